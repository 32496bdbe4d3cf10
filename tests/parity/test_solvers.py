"""Solvers that diffusers has not, or not right: beside the papers' formulas written down again, and by the order at
which they converge."""
import json

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from conftest import Job, qtaylor
from oracle import linear_alpha_sigma, mixture_epsilon, run_plan

MEANS, STD, WEIGHTS = np.array([[-0.8], [0.1], [0.9]]), 0.25, np.array([0.5, 0.3, 0.2])
X = np.array([[-1.7], [-0.4], [0.2], [0.9], [2.1]])


def epsilon(x, t):
    return mixture_epsilon(x, *linear_alpha_sigma(t), MEANS, STD, WEIGHTS)


def logsnr(t):
    alpha, sigma = linear_alpha_sigma(t)
    return np.log(alpha / sigma)


def time_of(value):
    """t of lambda on the linear schedule: log(1 + e^(-2 lambda)) = 0.1 t + 19.9 t^2/2."""
    integral = np.log1p(np.exp(-2 * value))
    return 2 * integral / (0.1 + np.sqrt(0.01 + 2 * 19.9 * integral))


def plan_of(tmp_path, sampler, card=None):
    job = Job(tmp_path)
    job.model["card"] |= {"shape": [1, 1, 1], "labels": None} | (card or {})
    job.keys |= {"sampler": sampler, "labels": "none"}
    return json.loads(qtaylor("plan", job.write(), "--json").stdout)


def times_for(count, start=0.8, end=0.2, power=3):
    """Steps that begin small, by a smooth map, so that the start's low orders do not show."""
    s = np.linspace(0, 1, count + 1) ** power
    points = time_of(logsnr(start) + s * (logsnr(end) - logsnr(start)))
    points[0], points[-1] = start, end
    return points.tolist()


def solve(tmp_path, sampler, times, noise=None):
    plan = plan_of(tmp_path, sampler | {"grid": {"times": times}, "final": "none"})
    return run_plan(plan, None, 1, lambda x, t, _: epsilon(x, t), start=X, noise=noise), plan


# ---- formulas ----

def lagrange(nodes, j, u):
    return np.prod([(u - nodes[i]) / (nodes[j] - nodes[i]) for i in range(len(nodes)) if i != j])


def weights(kernel, nodes, a, b, basis=lambda u: u):
    """Integrals of kernel times the Lagrange polynomials of `nodes` in `basis`, over [a, b]."""
    at = [basis(node) for node in nodes]
    return [quad(lambda u: kernel(u) * lagrange(at, j, basis(u)), a, b, epsabs=1e-14, epsrel=1e-13)[0]
            for j in range(len(nodes))]


def deis(times, order, basis):
    x, history = X, []
    for i, (t, s) in enumerate(zip(times, times[1:])):
        history.insert(0, epsilon(x, t))
        nodes = [logsnr(times[i - k]) for k in range(min(order, i + 1, len(times) - 1 - i))]
        (a, _), (b, _) = linear_alpha_sigma(t), linear_alpha_sigma(s)
        c = weights(lambda u: -np.exp(-u), nodes, logsnr(t), logsnr(s), basis)
        x = b / a * x + b * sum(w * e for w, e in zip(c, history))
    return x


def x0_of(x, t):
    alpha, sigma = linear_alpha_sigma(t)
    return (x - sigma * epsilon(x, t)) / alpha


def sa_solver(times, order, tau, noise):
    x, history, k = X, [], 1 + tau**2
    before = used = None

    def update(x, i, newest, count, z):
        (_, a), (alpha, b) = linear_alpha_sigma(times[i]), linear_alpha_sigma(times[i + 1])
        start, end = logsnr(times[i]), logsnr(times[i + 1])
        w = weights(lambda u: k * np.exp(-k * (end - u)), [logsnr(times[newest - j]) for j in range(count)], start, end)
        return (b / a * np.exp(-(tau**2) * (end - start)) * x + alpha * sum(v * m for v, m in zip(w, history))
                + b * np.sqrt(1 - np.exp(-2 * tau**2 * (end - start))) * z)

    for i, t in enumerate(times[:-1]):
        history.insert(0, x0_of(x, t))
        if i > 0:
            x = update(before, i - 1, i, used, noise(i))
        before, used = x, min(order, i + 1, len(times) - 1 - i)
        x = update(x, i, i, used, noise(i + 1))
    return x


def singlestep(times, order, data):
    """DPM-Solver-2 and -3 (Lu et al. 2022, algorithms 1 and 2), and their ++ forms, by the published formulas."""
    r1, r2 = (1 / 2, None) if order == 2 else (1 / 3, 2 / 3)
    x = X
    for t, s in zip(times, times[1:]):
        h = logsnr(s) - logsnr(t)
        inner = [time_of(logsnr(t) + r * h) for r in (r1, r2) if r]
        (a, u), (b, v), (a1, u1) = map(linear_alpha_sigma, (t, s, inner[0]))
        e = np.expm1
        if not data:
            e0 = epsilon(x, t)
            e1 = epsilon(a1 / a * x - u1 * e(r1 * h) * e0, inner[0]) - e0
            if order == 2:
                x = b / a * x - v * e(h) * e0 - v * e(h) * e1 / (2 * r1)
                continue
            a2, u2 = linear_alpha_sigma(inner[1])
            y = a2 / a * x - u2 * e(r2 * h) * e0 - u2 * r2 / r1 * (e(r2 * h) / (r2 * h) - 1) * e1
            x = b / a * x - v * e(h) * e0 - v / r2 * (e(h) / h - 1) * (epsilon(y, inner[1]) - e0)
        else:
            m0 = x0_of(x, t)
            m1 = x0_of(u1 / u * x - a1 * e(-r1 * h) * m0, inner[0]) - m0
            if order == 2:
                x = v / u * x - b * e(-h) * m0 - b * e(-h) * m1 / (2 * r1)
                continue
            a2, u2 = linear_alpha_sigma(inner[1])
            y = u2 / u * x - a2 * e(-r2 * h) * m0 + a2 * r2 / r1 * (e(-r2 * h) / (r2 * h) + 1) * m1
            x = v / u * x - b * e(-h) * m0 + b / r2 * (e(-h) / h + 1) * (x0_of(y, inner[1]) - m0)
    return x


def multistep_3m(times):
    x, history = X, []
    for i, (t, s) in enumerate(zip(times, times[1:])):
        history.insert(0, x0_of(x, t))
        (_, a), (alpha, b) = linear_alpha_sigma(t), linear_alpha_sigma(s)
        count, h = min(3, i + 1, len(times) - 1 - i), logsnr(s) - logsnr(t)
        if count == 2:
            slope = (history[0] - history[1]) / (logsnr(t) - logsnr(times[i - 1])) * h
            part = (1 - np.exp(-h)) * (history[0] + slope / 2)
        else:
            past = [logsnr(times[i - k]) for k in range(count)]
            w = weights(lambda u: np.exp(u - logsnr(s)), past, logsnr(t), logsnr(s))
            part = sum(v * m for v, m in zip(w, history))
        x = b / a * x + alpha * part
    return x


def ipndm(times):
    constants = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
    x, history = X, []
    for t, s in zip(times, times[1:]):
        history.insert(0, epsilon(x, t))
        mean = sum(c * e for c, e in zip(constants[min(len(history), 4) - 1], history))
        (a, u), (b, v) = linear_alpha_sigma(t), linear_alpha_sigma(s)
        x = b * ((x - u * mean) / a) + v * mean
    return x


def er_sde(times, order, noise):
    phi = lambda r: r * (np.exp(r**0.3) + 10)
    rho = [np.divide(*linear_alpha_sigma(t)[::-1]) for t in times]
    x, history, slopes = X, [], []
    for i in range(len(times) - 1):
        history.append(x0_of(x, times[i]))
        count, a, b = min(order, i + 1, len(times) - 1 - i), rho[i], rho[i + 1]
        r, h = phi(b) / phi(a), b - a
        y = r * x / linear_alpha_sigma(times[i])[0] + (1 - r) * history[i] + np.sqrt(b**2 - (r * a) ** 2) * noise(i + 1)
        if i > 0:
            slopes.append((history[i] - history[i - 1]) / (a - rho[i - 1]))
        if count > 1:
            y = y + (h + phi(b) * quad(lambda u: 1 / phi(u), b, a, epsrel=1e-13)[0]) * slopes[-1]
        if count > 2:
            second = (slopes[-1] - slopes[-2]) / ((a - rho[i - 2]) / 2)
            y = y + (h**2 / 2 + phi(b) * quad(lambda u: (u - a) / phi(u), b, a, epsrel=1e-13)[0]) * second
        x = linear_alpha_sigma(times[i + 1])[0] * y
    return x


def taylor_2m(times):
    """Order 2 in t, by the table of derivatives: beta = 0.1 + 19.9 t, S = -epsilon/sigma."""
    x, before = X, None
    for i, (t, s) in enumerate(zip(times, times[1:])):
        beta, slope, sigma, h = 0.1 + 19.9 * t, 19.9, linear_alpha_sigma(t)[1], t - s
        e = epsilon(x, t)
        first, second, ideal = beta / 2, (beta**2 - 2 * slope) / 4, (beta**2 / sigma**2 - 2 * slope) / 4
        y = x + h * first * (x - e / sigma) + h**2 / 2 * (second * x - ideal * e / sigma)
        if i > 0:
            y = y - h**2 / 2 * beta / (2 * sigma) * (e - before) / (times[i - 1] - t)
        x, before = y, e
    return x


def res_2m(times):
    """x0 as the straight line through the last two, integrated against the exponential by quadrature."""
    x, history = X, []
    for i, (t, s) in enumerate(zip(times, times[1:])):
        history.insert(0, x0_of(x, t))
        (_, a), (alpha, b) = linear_alpha_sigma(t), linear_alpha_sigma(s)
        past = [logsnr(times[i - k]) for k in range(min(2, i + 1))]
        w = weights(lambda u: np.exp(u - logsnr(s)), past, logsnr(t), logsnr(s))
        x = b / a * x + alpha * sum(v * m for v, m in zip(w, history))
    return x


def stork(times, velocity=None, scale=1):
    """The recursion of the authors' STORK-2, stage by stage; velocity: of a flow."""
    b = lambda j: 1 if j == 0 else 1 / 3 if j == 1 else 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))
    s = 50

    def drift(t, y, noise):
        if velocity:
            return noise
        return -0.5 * (0.1 + 19.9 * t) * (y - noise / linear_alpha_sigma(t)[1])

    x, held, steps = X * scale, [], []
    for t, end in zip(times, times[1:]):
        held.insert(0, velocity(x, t) if velocity else epsilon(x, t))
        dt, first = t - end, drift(t, x, held[0])
        if len(held) == 1:
            x, steps = x - dt * first, [dt]
            continue
        slope = (held[1] - held[0]) / steps[-1]
        y2, y1 = x, x - dt * 6 / ((s + 4) * (s - 1)) * first
        for j in range(2, s + 1):
            part = 4 / (3 * (s**2 + s - 2)) if j == 2 else ((j - 1)**2 + (j - 1) - 2) / (s**2 + s - 2)
            mu, nu = (2 * j + 1) * b(j) / (j * b(j - 1)), -(j + 1) * b(j) / (j * b(j - 2))
            w = mu * 6 / ((s + 4) * (s - 1))
            gamma = -w * (1 - j * (j + 1) * b(j - 1) / 2)
            now = drift(t - part * dt, y1, held[0] - part * dt * slope)
            y2, y1 = y1, mu * y1 + nu * y2 + (1 - mu - nu) * x - dt * w * now - dt * gamma * first
        x = y1
        steps.append(dt)
    return x


def gradient_estimation(times):
    x, before = X, None
    for t, s in zip(times, times[1:]):
        e = epsilon(x, t)
        mean, before = e if before is None else 2 * e - before, e
        (a, u), (b, v) = linear_alpha_sigma(t), linear_alpha_sigma(s)
        x = b * ((x - u * mean) / a) + v * mean
    return x


def drawn(stream):
    return np.random.default_rng(stream).normal(size=X.shape)


FORMULAS = {
    **{f"{name}-{k}": ({"per step": k}, lambda t, k=k, data=name == "dpmpp": singlestep(t, k, data))
       for name in ("dpm", "dpmpp") for k in (2, 3)},
    "dpmpp-3m": ({}, multistep_3m),
    "ipndm": ({}, ipndm), "res-2m": ({}, res_2m), "gradient-estimation": ({}, gradient_estimation),
    "stork": ({"clock": "t"}, stork),
    "taylor-2m": ({"clock": "t"}, taylor_2m),
    **{f"deis {order}": ({"solver": "deis", "order": order}, lambda t, k=order: deis(t, k, lambda u: u))
       for order in (2, 4)},
    **{f"deis-rho {k}": ({"solver": "deis-rho", "order": k}, lambda t, k=k: deis(t, k, lambda u: np.exp(-u)))
       for k in (2, 3, 4)},
    **{f"deis-t {k}": ({"solver": "deis-t", "order": k}, lambda t, k=k: deis(t, k, time_of)) for k in (2, 3, 4)},
    **{f"sa-solver {k} {tau}": ({"solver": "sa-solver", "order": k, "tau": tau},
                                lambda t, k=k, tau=tau: sa_solver(t, k, tau, drawn))
       for k in (1, 2, 3, 4) for tau in (0, 1, 0.4)},
    **{f"er-sde {k}": ({"solver": "er-sde", "order": k}, lambda t, k=k: er_sde(t, k, drawn)) for k in (1, 2, 3)},
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_of_the_paper(tmp_path, name):
    sampler, formula = FORMULAS[name]
    times = times_for(7, 0.95, 0.01, power=1.3)
    per_step = sampler.get("per step", 1)
    found, plan = solve(tmp_path, {"solver": name} | {key: sampler[key] for key in sampler if key != "per step"}, times,
                        drawn)
    assert plan["nfe"] == 7 * per_step
    np.testing.assert_allclose(found, formula(times), rtol=1e-10, atol=1e-11)


def test_stork_on_a_flow(tmp_path):
    def velocity(x, t):
        return (mixture_epsilon(x, 1 - t, t, MEANS, STD, WEIGHTS) * t - x) / (1 - t) + \
            mixture_epsilon(x, 1 - t, t, MEANS, STD, WEIGHTS)

    times = np.linspace(0.99, 0.02, 8).tolist()
    card = {"prediction": "velocity", "schedule": {"kind": "flow"}}
    plan = plan_of(tmp_path, {"solver": "stork", "grid": {"times": times}, "final": "none"}, card)
    found = run_plan(plan, None, 1, lambda x, t, _: velocity(x, t), start=X)
    assert plan["nfe"] == 7 and plan["initial_scale"] == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(found, stork(times, velocity, plan["initial_scale"]), rtol=1e-9)


@pytest.mark.parametrize("name", ["dpmpp-3m", "ipndm", "deis 4", "deis-t 3", "sa-solver 3 1", "er-sde 3"])
def test_a_wrong_coefficient_is_seen(tmp_path, name):
    """Each coefficient times 1.001: the comparison above notices at least 95 % of them."""
    sampler, formula = FORMULAS[name]
    times = times_for(7, 0.95, 0.01, power=1.3)
    plan, expected = solve(tmp_path, {"solver": name} | sampler, times, drawn)[1], formula(times)
    terms = [term for op in plan["ops"] if op["op"] == "LINCOMB" for term in op["terms"]]
    seen = 0
    for term in terms:
        term[0] *= 1.001
        found = run_plan(plan, None, 1, lambda x, t, _: epsilon(x, t), start=X, noise=drawn)
        seen += not np.allclose(found, expected, rtol=1e-10, atol=1e-11)
        term[0] /= 1.001
    assert seen >= 0.95 * len(terms) and len(terms) > 20


@pytest.mark.parametrize("churn", [None, {"s_churn": 6, "s_min": 0.05, "s_max": 50, "s_noise": 1.007}])
def test_edm_algorithms(tmp_path, churn):
    """Karras et al. 2022, algorithms 1 and 2, on the edm schedule with a network that gives x0 itself."""
    card = {"prediction": "x0", "time": {"kind": "sigma"},
            "schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80}}
    steps = 9
    plan = plan_of(tmp_path, {"solver": "edm", "steps": steps} | ({"churn": churn} if churn else {}), card)
    denoise = lambda x, sigma: x - sigma * mixture_epsilon(x, 1.0, sigma, MEANS, STD, WEIGHTS)
    found = run_plan(plan, None, 1, lambda x, sigma, _: denoise(x, sigma), start=X, noise=drawn)
    t = (80 ** (1 / 7) + np.arange(steps) / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    t = np.append(t, 0)
    x, stream = X * 80, 0
    for i in range(steps):
        churned = churn and churn["s_min"] <= t[i] <= churn["s_max"]
        gamma = min(churn["s_churn"] / steps, np.sqrt(2) - 1) if churned else 0
        hat = t[i] * (1 + gamma)
        if gamma:
            stream += 1
            x = x + np.sqrt(hat**2 - t[i] ** 2) * churn["s_noise"] * drawn(stream)
        d = (x - denoise(x, hat)) / hat
        after = x + (t[i + 1] - hat) * d
        if t[i + 1] > 0:
            after = x + (t[i + 1] - hat) * (d + (after - denoise(after, t[i + 1])) / t[i + 1]) / 2
        x = after
    assert plan["nfe"] == 2 * steps - 1
    assert stream == sum(op["op"] == "NOISE" for op in plan["ops"]) and (stream > 3) == bool(churn)
    np.testing.assert_allclose(found, x, rtol=1e-10)


# ---- orders ----

def exact(start, end):
    """The probability-flow ODE, d(x/alpha)/d rho = epsilon, to 13 digits."""
    alpha, sigma = linear_alpha_sigma(start)

    def slope(value, y):
        a, s = linear_alpha_sigma(time_of(value))
        return -s / a * epsilon(a * y[:, None], time_of(value))[:, 0]

    found = solve_ivp(slope, (logsnr(start), logsnr(end)), X[:, 0] / alpha, method="DOP853", rtol=1e-13, atol=1e-13)
    return linear_alpha_sigma(end)[0] * found.y[:, -1:]


ORDERS = {  # what plan --list says
    "ddim": ({}, 1), "euler": ({}, 1), "heun": ({}, 2), "midpoint": ({}, 2), "ralston": ({}, 2), "rk4": ({}, 4),
    "edm": ({}, 2), "taylor": ({"order": 2}, 1), "taylor 3": ({"solver": "taylor", "order": 3}, 1),
    **{f"taylor-2m {k}": ({"solver": "taylor-2m", "order": k}, 2) for k in (2, 3, ".inf")},
    "dpm-2": ({}, 2), "dpm-3": ({}, 3), "dpmpp-2": ({}, 2), "dpmpp-3": ({}, 3),
    "dpm-1": ({}, 1), "dpm-2s": ({}, 2), "dpm-3s": ({"uniform": True}, 3), "dpm-2m": ({}, 2), "dpm-3m": ({}, 3),
    "dpmpp-1": ({}, 1), "dpmpp-2s": ({}, 2), "dpmpp-3s": ({"uniform": True}, 3), "dpmpp-2m": ({}, 2),
    "dpmpp-3m": ({}, 3), "dpmpp-3m-common": ({}, 2),
    **{f"{name} {k}": ({"solver": name, "order": k}, k + gain) for k in (1, 2, 3, 4)
       for name, gain in (("unipc", 1), ("unipc-bh1", 1), ("unip", 0), ("deis", 0), ("deis-rho", 0), ("deis-t", 0))},
    **{f"lms {k}": ({"solver": "lms", "order": k}, k) for k in (1, 2, 3, 4)},
    **{f"sa-solver {k}": ({"solver": "sa-solver", "order": k, "tau": 0}, k) for k in (1, 2, 3)},
    # before, terms of higher order cancel it
    "sa-solver 4": ({"solver": "sa-solver", "order": 4, "tau": 0, "from": 1536}, 4),
    "ipndm": ({}, 2), "pndm": ({}, 2), "res-2m": ({}, 2), "gradient-estimation": ({}, 1),
    "stork": ({"clock": "t", "most": 2.2}, 1),  # its part of order 1 is small
}


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence(tmp_path, name):
    options, order = ORDERS[name]
    own = ("uniform", "from", "most")
    sampler = {"solver": name} | {key: value for key, value in options.items() if key not in own}
    on_constants = sampler["solver"] in ("ipndm", "pndm")  # of a grid uniform in t
    if sampler["solver"].startswith(("dpm", "uni", "deis", "sa-")) and sampler["solver"][-2:] not in ("-2", "-3"):
        sampler["lower_order_final"] = False
    errors, count = [], options.get("from", 24)
    while len(errors) < 2 or (count <= 768 and errors[-1] > 1e-10):
        times = (np.linspace(0.8, 0.2, count + 1).tolist() if on_constants
                 else times_for(count, power=1 if "uniform" in options else 3 if "from" in options else 2))
        errors.append(np.abs(solve(tmp_path, sampler, times, drawn)[0] - exact(0.8, 0.2)).max())
        count *= 2
    measured = np.log2(errors[-2] / errors[-1])
    assert order - 0.25 < measured < options.get("most", order + 0.4), f"{measured:.2f}"

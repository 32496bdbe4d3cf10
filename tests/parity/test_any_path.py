"""Paths that are not variance-preserving, and starts where alpha is 0: flows, gvp, zero terminal SNR, tables of alphas
and sigmas, beside closed forms and numpy."""
import json

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from conftest import Job, qtaylor
from oracle import mixture_epsilon, run_plan

MEANS, STD, WEIGHTS = np.array([[-0.8], [0.1], [0.9]]), 0.25, np.array([0.5, 0.3, 0.2])
X = np.array([[-1.7], [-0.4], [0.2], [0.9], [2.1]])
FLOW, GVP = {"kind": "flow"}, {"kind": "gvp"}
ALPHA_SIGMA = {"flow": lambda t: (1 - t, t), "gvp": lambda t: (np.cos(np.pi * t / 2), np.sin(np.pi * t / 2))}
SLOPES = {"flow": lambda t: (-1, 1),
          "gvp": lambda t: (-np.pi / 2 * np.sin(np.pi * t / 2), np.pi / 2 * np.cos(np.pi * t / 2))}
ODE = ["taylor", "taylor-2m", "ddim", "euler", "heun", "edm", "midpoint", "ralston", "rk4", "dpm-1", "dpm-2", "dpm-3",
       "dpm-2s",
       "dpm-3s", "dpm-2m", "dpm-3m", "dpmpp-1", "dpmpp-2", "dpmpp-3", "dpmpp-2s", "dpmpp-3s", "dpmpp-2m", "dpmpp-3m",
       "dpmpp-3m-common", "kdpm2", "unipc", "unipc-bh1", "unip", "deis", "deis-rho", "deis-t", "lms", "ipndm"]
SDE = ["ddpm", "euler-ancestral", "sde-dpmpp", "er-sde", "sa-solver", "kdpm2-ancestral"]


def job_of(tmp_path, sampler, schedule, prediction="velocity", time=None):
    job = Job(tmp_path)
    card = job.model["card"]
    card |= {"shape": [1, 1, 1], "labels": None, "prediction": prediction, "schedule": schedule,
             "time": time or {"kind": "continuous"}}
    job.keys |= {"sampler": sampler, "labels": "none"}
    return job


def plan_of(tmp_path, sampler, *card):
    return json.loads(qtaylor("plan", job_of(tmp_path, sampler, *card).write(), "--json").stdout)


def velocity(kind, data=None):
    """dx/dt of the mixture, or of N(0, data^2)."""
    def model(x, t, _):
        (alpha, sigma), (d_alpha, d_sigma) = ALPHA_SIGMA[kind](t), SLOPES[kind](t)
        if data:
            variance = alpha**2 * data**2 + sigma**2
            epsilon, x0 = sigma * x / variance, alpha * data**2 * x / variance
            return d_alpha * x0 + d_sigma * epsilon
        epsilon = mixture_epsilon(x, alpha, sigma, MEANS, STD, WEIGHTS)
        x0 = posterior_mean(x, alpha, sigma)
        return d_alpha * x0 + d_sigma * epsilon
    return model


def posterior_mean(x, alpha, sigma):
    """E[x0 | x], finite where alpha is 0 too."""
    variance = alpha**2 * STD**2 + sigma**2
    difference = x[:, None, :] - alpha * MEANS[None]
    logits = np.log(WEIGHTS) - 0.5 * (difference**2).sum(-1) / variance
    posterior = np.exp(logits - logits.max(1, keepdims=True))
    posterior /= posterior.sum(1, keepdims=True)
    return (posterior[:, :, None] * (MEANS[None] + alpha * STD**2 / variance * difference)).sum(1)


def run(plan, model, start=X, noise=None):
    return run_plan(plan, None, 1, model, start=start, noise=noise)


@pytest.mark.parametrize("steps, expected", [(1, 0), (2, 0.2), (4, 0.340540540541), (10, 0.430782604899)])
def test_euler_on_gaussian_data(tmp_path, steps, expected):
    """Data N(0, 1/4) and x(1) = 1: by hand."""
    plan = plan_of(tmp_path, {"solver": "euler", "nfe": steps}, FLOW)
    assert [step["t"] for step in plan["steps"]] == pytest.approx([1 - i / steps for i in range(steps)], abs=1e-15)
    assert run(plan, velocity("flow", 0.5), np.ones((1, 1)))[0, 0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sampler", [{"solver": "taylor", "order": order} for order in (1, 2, 3, 7)] +
                         [{"solver": "ddim"}, {"solver": "dpm-1"}, {"solver": "dpmpp-1"}], ids=str)
def test_one_step_methods_are_euler_on_a_flow(tmp_path, sampler):
    euler = plan_of(tmp_path, {"solver": "euler", "nfe": 7}, FLOW)
    other = plan_of(tmp_path, {"nfe": 7, "clock": "t", "grid": "uniform"} | sampler, FLOW)
    assert run(other, velocity("flow")) == pytest.approx(run(euler, velocity("flow")), abs=1e-12)


@pytest.mark.parametrize("kind", ["flow", "gvp"])
@pytest.mark.parametrize("prediction", ["velocity", "x0", "v"])
@pytest.mark.parametrize("noise_at", [0, 1])
def test_predictions_and_times_agree(tmp_path, kind, prediction, noise_at):
    """The same network, said in other words, makes the same samples; the number passed is scale * tau."""
    seen = []

    def model(x, number, _):
        t = number / 1000 if noise_at else 1 - number / 1000
        seen.append(number)
        alpha, sigma = ALPHA_SIGMA[kind](t)
        x0, epsilon = posterior_mean(x, alpha, sigma), mixture_epsilon(x, alpha, sigma, MEANS, STD, WEIGHTS)
        if prediction == "x0":
            return x0
        if prediction == "v":
            return (alpha * epsilon - sigma * x0) / np.hypot(alpha, sigma)
        return (1 if noise_at else -1) * velocity(kind)(x, t, None)
    time = {"kind": "continuous", "scale": 1000, "noise_at": noise_at}
    plan = plan_of(tmp_path, {"solver": "dpmpp-2m", "nfe": 8}, {"kind": kind}, prediction, time)
    plain = plan_of(tmp_path, {"solver": "dpmpp-2m", "nfe": 8}, {"kind": kind})
    assert run(plan, model) == pytest.approx(run(plain, velocity(kind)), abs=1e-12)
    assert seen[0] == (1000 if noise_at else 0)


def exact(kind, x, end=1e-6):
    """The flow's own path, integrated finely."""
    def slope(t, y):
        return velocity(kind)(y[:, None], t, None)[:, 0]
    return solve_ivp(slope, (1, end), x[:, 0], rtol=1e-11, atol=1e-12).y[:, -1:]


@pytest.mark.parametrize("solver", ODE + ["rk45"])
@pytest.mark.parametrize("kind", ["flow", "gvp"])
def test_every_ode_solver_starts_at_alpha_0(tmp_path, solver, kind):
    """Never NaN, and nearer with more steps: at least order 1 all the way from t = 1 to 0."""
    if solver == "rk45":
        plan = qtaylor("plan", job_of(tmp_path, {"solver": solver}, {"kind": kind}).write())
        assert "adaptive" in plan.stdout
        return
    errors = []
    for nfe in (24, 48, 96):
        plan = plan_of(tmp_path, {"solver": solver, "nfe": nfe}, {"kind": kind})
        assert plan["nfe"] <= nfe and plan["steps"][0]["t"] == 1 and plan["steps"][-1]["s"] == 0
        assert plan["nfe"] == sum(op["op"] == "EVAL" for op in plan["ops"])
        errors.append(np.abs(run(plan, velocity(kind)) - exact(kind, X)).max())
    assert errors[0] < 0.2 and errors[2] < 0.6 * errors[0], errors


@pytest.mark.parametrize("solver, order",
                         [("euler", 1), ("taylor", 1), ("ddim", 1), ("dpm-1", 1), ("dpmpp-1", 1), ("heun", 2),
                          ("edm", 2), ("kdpm2", 2), ("midpoint", 2), ("ralston", 2), ("rk4", 4), ("deis", 2),
                          ("deis-rho", 2), ("deis-t", 2), ("lms", 2), ("dpm-2", 2), ("dpmpp-2", 2),
                          ("dpm-2s", 2), ("dpmpp-2s", 2), ("dpm-2m", 2), ("dpmpp-2m", 2), ("unip", 2),
                          ("unipc", 2), ("unipc-bh1", 2)])
def test_order_of_convergence_from_1(tmp_path, solver, order):
    """From t = 1 exactly, to 0.2, where the last step does not show."""
    def end(steps):
        times = np.linspace(1, 0.2, steps + 1).tolist()
        sampler = {"solver": solver, "grid": {"times": times}, "final": "none", "clock": "t"}
        if solver == "unipc":
            sampler["order"] = 2
        return run(plan_of(tmp_path, sampler, FLOW), velocity("flow"))
    errors = [np.abs(end(steps) - exact("flow", X, 0.2)).max() for steps in (20, 40)]
    assert np.log2(errors[0] / errors[1]) > order - 0.35, errors


@pytest.mark.parametrize("sampler", [{"solver": name} for name in SDE] + [{"solver": "ddim", "eta": 0.5}], ids=str)
def test_sdes_leave_noise_for_the_right_variance(tmp_path, sampler):
    """On N(0, 1/4) everything is affine: the variance of the samples, out of their coefficients of all noises, goes to
    1/4 as 1/NFE or faster."""
    if sampler["solver"] in ("sde-dpmpp", "er-sde", "sa-solver"):
        sampler = sampler | {"order": 1}

    def miss(nfe):
        plan = plan_of(tmp_path, {"nfe": nfe} | sampler, FLOW, "velocity")
        basis = np.eye(sum(op["op"] == "NOISE" for op in plan["ops"]) + 1)
        sample = run(plan, velocity("flow", 0.5), basis[:, :1], lambda stream: basis[:, stream:stream + 1])
        return abs((sample**2).sum() - 0.25)
    assert miss(400) < 0.005 and miss(400) < 0.6 * miss(200)


@pytest.mark.parametrize("schedule, prediction, sampler, said", [
    (FLOW, "epsilon", {"solver": "euler", "nfe": 4}, "sampler.t_start: at 1 alpha is 0"),
    (FLOW, "score", {"solver": "ddim", "nfe": 4}, "t_start"),
    (FLOW, "velocity", {"solver": "pndm", "nfe": 20}, "pndm"),
    (FLOW, "velocity", {"solver": "euler-maruyama", "nfe": 4, "t_start": 1}, "euler-maruyama"),
    (FLOW, "velocity", {"solver": "euler", "nfe": 4, "diffusion": {"form": "sigma"}}, "sampler.diffusion"),
    (FLOW, "velocity", {"solver": "euler", "nfe": 4, "final": "mean"}, "sampler.final: mean"),
    (FLOW, "velocity", {"solver": "euler-maruyama", "nfe": 4, "clock": "logsnr", "t_start": 0.9}, "sampler.clock"),
    (FLOW, "velocity", {"solver": "euler-maruyama", "nfe": 4, "final": "zero", "last_step": 0.1}, "sampler.last_step"),
    (FLOW, "velocity", {"solver": "euler-maruyama", "nfe": 4, "t_end": 0.2, "last_step": 0.1}, "sampler.last_step"),
    (FLOW, "velocity", {"solver": "ito-taylor", "nfe": 4}, "ito-taylor"),
    (FLOW, "velocity", {"solver": "ddim", "nfe": 4, "grid": "karras"}, "log(alpha/sigma)"),
    ({"kind": "table", "alphas": [0.9, 0.5], "sigmas": [0.1]}, "velocity", {"solver": "ddim", "nfe": 2},
     "as many as alphas"),
    ({"kind": "table", "alphas": [0.5, 0.9], "sigmas": [0.1, 0.1]}, "velocity", {"solver": "ddim", "nfe": 2}, "falls"),
])
def test_what_has_no_start_is_refused(tmp_path, schedule, prediction, sampler, said):
    done = qtaylor("plan", job_of(tmp_path, sampler, schedule, prediction).write(), code=65)
    assert said in done.stderr, done.stderr


def test_zero_terminal_snr(tmp_path):
    """A DDPM table rescaled to zero terminal SNR (Lin et al. 2023), v-prediction: DDIM's own loop from alpha = 0."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000)**2
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    cumprod = root**2
    cumprod[-1] = 0
    plan = plan_of(tmp_path, {"solver": "ddim", "nfe": 10, "grid": "trailing"},
                   {"kind": "table", "alphas_cumprod": cumprod.tolist()}, "v", {"kind": "discrete", "steps": 1000})

    def parts(number):
        return np.sqrt(cumprod[int(number)]), np.sqrt(1 - cumprod[int(number)])

    def model(x, number, _):
        alpha, sigma = parts(number)
        return alpha * mixture_epsilon(x, alpha, sigma, MEANS, STD, WEIGHTS) - sigma * posterior_mean(x, alpha, sigma)
    x, steps = X, [999 - 100 * i for i in range(10)]
    for i, n in enumerate(steps):
        alpha, sigma = parts(n)
        v = model(x, n, None)
        x0, epsilon = alpha * x - sigma * v, sigma * x + alpha * v
        alpha, sigma = parts(steps[i + 1]) if i < 9 else (1, 0)
        x = alpha * x0 + sigma * epsilon
    assert plan["steps"][0]["alpha"] == 0
    assert run(plan, model) == pytest.approx(x, abs=1e-9)


def test_table_of_alphas_and_sigmas(tmp_path):
    """A flow as a table, asked at its own points, is the flow."""
    points = np.arange(1, 101) / 100
    table = {"kind": "table", "alphas": (1 - points).tolist(), "sigmas": points.tolist()}
    times = [1, 0.8, 0.5, 0.25, 0.05]
    for solver in ("ddim", "dpmpp-2m", "unipc"):
        sampler = {"solver": solver, "grid": {"times": times}, "final": "zero"}
        a = run(plan_of(tmp_path, sampler, table, "x0"), lambda x, t, _: posterior_mean(x, 1 - t, t))
        b = run(plan_of(tmp_path, sampler, FLOW, "x0"), lambda x, t, _: posterior_mean(x, 1 - t, t))
        assert a == pytest.approx(b * np.hypot(1, 0), abs=1e-9), solver


def test_noise_scale(tmp_path):
    """sigma = 2 t: starts twice as wide."""
    plan = plan_of(tmp_path, {"solver": "ddim", "nfe": 1}, {"kind": "flow", "noise_scale": 2}, "x0")
    assert plan["initial_scale"] == 2
    assert run(plan, lambda x, t, _: x / 7)[:, 0] == pytest.approx(2 * X[:, 0] / 7)


def test_constant_beta(tmp_path):
    """beta0 = beta1 (10, 10): alpha = e^(-5 t)."""
    plan = plan_of(tmp_path, {"solver": "ddim", "nfe": 4, "grid": "uniform"},
                   {"kind": "linear", "beta0": 10, "beta1": 10}, "epsilon")
    alphas = [np.exp(-5 * step["t"]) for step in plan["steps"]]
    assert [step["alpha"] for step in plan["steps"]] == pytest.approx(alphas, rel=1e-12)


RUNGE_KUTTA = {"euler": ([0], [[]], [1]), "heun": ([0, 1], [[], [1]], [0.5, 0.5]),
               "midpoint": ([0, 0.5], [[], [0.5]], [0, 1]),
               "ralston": ([0, 2 / 3], [[], [2 / 3]], [0.25, 0.75]),
               "rk4": ([0, 0.5, 0.5, 1], [[], [0.5], [0, 0.5], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6])}


@pytest.mark.parametrize("solver", RUNGE_KUTTA)
@pytest.mark.parametrize("kind", ["flow", "gvp"])
def test_own_formula_down_to_0(tmp_path, solver, kind):
    """t_end: 0, final: none: no step is one of x0. What the network says need not be a velocity of anything."""
    (nodes, rows, weights), network = RUNGE_KUTTA[solver], lambda x, t, _: np.tanh(2 * x) + np.cos(3 * t)
    sampler = {"solver": solver, "clock": "t", "final": "none"}
    equal = sampler | {"steps": 5, "t_end": 0}
    x = X
    for t, s in zip(np.linspace(1, 0, 6), np.linspace(1, 0, 6)[1:]):
        slopes = []
        for node, row in zip(nodes, rows):
            slopes.append(network(x + (s - t) * sum(a * k for a, k in zip(row, slopes)), t + node * (s - t), None))
        x = x + (s - t) * sum(w * k for w, k in zip(weights, slopes))
    for way in (equal, sampler | {"grid": {"times": [1, 0.8, 0.6, 0.4, 0.2, 0]}}):
        plan = plan_of(tmp_path, way, {"kind": kind})
        assert plan["nfe"] == 5 * len(nodes) and plan["steps"][-1]["s"] == 0
        assert np.abs(run(plan, network) - x).max() < 1e-12
    unasked = plan_of(tmp_path, sampler | {"steps": 5}, {"kind": kind})
    assert unasked["steps"][-1]["s"] == 0.001
    for other, prediction in ((equal, "x0"), (equal | {"clip": True}, "velocity"),
                              (equal | {"solver": "dpmpp-2m"}, "velocity")):
        path = job_of(tmp_path, other, {"kind": kind}, prediction).write()
        assert "sampler.t_end: expected a time of the schedule" in qtaylor("plan", path, code=65).stderr


@pytest.mark.parametrize("solver", ODE + SDE + ["lcm", "tcd", "consistency"])
def test_a_zero_snr_table_needs_no_grid_of_the_user(tmp_path, solver):
    """Of a network that takes any time, too: it starts at its last step, where alpha is 0."""
    table = {"kind": "table", "alphas_cumprod": ((1 - np.arange(200) / 199)**2 * 0.999).tolist()}
    plan = plan_of(tmp_path, {"solver": solver, "nfe": 24}, table, "v",
                   {"kind": "discrete", "steps": 200, "dtype": "float32"})
    assert plan["steps"][0]["t"] == 1 and plan["steps"][0]["alpha"] == 0
    assert all(np.isfinite(c) for op in plan["ops"] for c, _ in op.get("terms", []))

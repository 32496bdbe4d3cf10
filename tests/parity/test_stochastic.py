"""Stochastic solvers: Restart (Xu et al. 2023) beside its algorithm written down again, and all on Gaussian data, where
epsilon is affine in x and so mean and variance are exact."""
import numpy as np
import pytest

from conftest import Job, qtaylor
from oracle import linear_alpha_sigma, mixture_epsilon, run_plan
from test_solvers import MEANS, STD, WEIGHTS, X, drawn, plan_of, times_for



def test_restart_algorithm(tmp_path):
    """Xu et al. 2023, algorithm 1 with their code's Karras points, on the edm schedule."""
    card = {"prediction": "x0", "time": {"kind": "sigma"},
            "schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80}}
    steps = 9
    intervals = [{"steps": 3, "times": 2, "low": 0.06, "high": 0.3, "s_noise": 1.003},
                 {"steps": 4, "times": 3, "low": 1.2, "high": 20}, {"steps": 2, "low": 0.004, "high": 0.05}]
    plan = plan_of(tmp_path, {"solver": "restart", "steps": steps, "restart": intervals}, card)
    slope = lambda x, sigma: mixture_epsilon(x, 1.0, sigma, MEANS, STD, WEIGHTS)
    calls = [0]

    def denoise(x, sigma, _):
        calls[0] += 1
        return x - sigma * slope(x, sigma)

    found = run_plan(plan, None, 1, denoise, start=X, noise=drawn)

    def points(high, low, count):
        return (high ** (1 / 7) + np.arange(count) / (count - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7

    def heun(x, t, s):
        d = slope(x, t)
        return x + (s - t) * (d + slope(x + (s - t) * d, s)) / 2

    t = np.append(points(80, 0.002, steps), 0)
    x, stream = X * 80, 0
    begins = {int(np.abs(t - one["low"]).argmin()): one for one in intervals}
    assert len(begins) == 3
    for i in range(steps):
        x = heun(x, t[i], t[i + 1]) if t[i + 1] > 0 else x - t[i] * slope(x, t[i])
        one = begins.get(i + 1, {"times": 0})
        for _ in range(one.get("times", 1)):
            down, stream = points(one["high"], t[i + 1], one["steps"]), stream + 1
            x = x + np.sqrt(down[0]**2 - down[-1]**2) * one.get("s_noise", 1) * drawn(stream)
            for a, b in zip(down, down[1:]):
                x = heun(x, a, b)
    assert plan["nfe"] == calls[0] == 2 * steps - 1 + 2 * (2 * 2 + 3 * 3 + 1)
    assert stream == 6
    np.testing.assert_allclose(found, x, rtol=1e-10)
    by_nfe = plan_of(tmp_path, {"solver": "restart", "nfe": plan["nfe"], "restart": intervals}, card)
    assert by_nfe["ops"] == plan["ops"]


@pytest.mark.parametrize("change, words", [
    ({"restart": None}, "sampler.restart: missing; expected a list of intervals"),
    ({"solver": "edm"}, "sampler.restart: edm takes no such key (restart does)"),
    ({"restart": []}, "sampler.restart: expected a list of 1 to 16 maps"),
    ({"restart": [3]}, "sampler.restart[0]: expected a map {steps, times, low, high, s_noise}, found 3"),
    ({"restart": [{"steps": 1, "low": 1, "high": 2}]}, "restart[0].steps: expected a whole number of grid points"),
    ({"restart": [{"steps": 3, "low": 2, "high": 1}]}, "sampler.restart[0]: expected low below high, found 2 and 1"),
    ({"restart": [{"steps": 3, "lower": 2, "high": 1}]}, 'restart[0].lower: unknown key; did you mean "low"'),
    ({"restart": [{"steps": 3, "low": 1, "high": 900}]}, "raises sigma/alpha = "),
    ({"restart": [{"steps": 3, "low": 1e-9, "high": 1}]}, "next to the grid's end, 0"),
    ({"restart": [{"steps": 3, "low": 70, "high": 79}]}, "next to the grid's start"),
    ({"restart": [{"steps": 3, "low": 0.11, "high": 0.12}]}, "restart[0].high: expected more than"),
    ({"restart": [{"steps": 3, "low": 1, "high": 9}, {"steps": 3, "low": 1.1, "high": 9}]}, "to that of restart[0]"),
    ({"nfe": 9}, "sampler.nfe: restart needs at least"),
])
def test_restart_mistakes(tmp_path, change, words):
    job = Job(tmp_path)
    job.model["card"] |= {"prediction": "x0", "time": {"kind": "sigma"}, "labels": None,
                          "schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80}}
    sampler = {"solver": "restart", "nfe": 40, "restart": [{"steps": 3, "times": 3, "low": 1, "high": 9}]} | change
    job.keys |= {"sampler": {key: value for key, value in sampler.items() if value is not None}, "labels": "none"}
    assert words in qtaylor("plan", job.write(), code=65).stderr


# ---- Gaussian data ----

DATA_MEAN, DATA_STD = 0.3, 0.4


def moments(plan, start):
    """Mean and variance of what the plan makes of the true marginal at its start: registers are affine forms over 1,
    the start's deviation, and the noises."""
    streams = sum(op["op"] == "NOISE" for op in plan["ops"])
    alpha, sigma = linear_alpha_sigma(start)
    unit = np.eye(2 + streams)
    register = {0: alpha * DATA_MEAN * unit[0] + np.hypot(alpha * DATA_STD, sigma) * unit[1]}
    for op in plan["ops"]:
        if op["op"] == "EVAL":
            a, s = linear_alpha_sigma(op["time"])
            register[op["dst"]] = s * (register[op["src"]] - a * DATA_MEAN * unit[0]) / ((a * DATA_STD) ** 2 + s**2)
        elif op["op"] == "LINCOMB":
            register[op["dst"]] = sum(c * register[r] for c, r in op["terms"])
        else:
            register[op["dst"]] = unit[1 + op["stream"]]
    return register[0][0], (register[0][1:] ** 2).sum()


WEAK = {
    "ito-taylor": ({}, 1), "ddim": ({"eta": 1}, 1), "ddpm": ({}, 1), "euler-ancestral": ({}, 1),
    "euler-maruyama": ({}, 1), **{f"sde-dpmpp {k}": ({"solver": "sde-dpmpp", "order": k}, k) for k in (1, 2)},
    **{f"er-sde {k}": ({"solver": "er-sde", "order": k}, min(k, 2)) for k in (1, 2, 3)},
    **{f"sa-solver {k}": ({"solver": "sa-solver", "order": k}, min(k, 2)) for k in (1, 2, 3)},
}


@pytest.mark.parametrize("name", WEAK)
def test_weak_order(tmp_path, name):
    options, order = WEAK[name]
    sampler = {"solver": name} | options
    if "order" in options:
        sampler["lower_order_final"] = False
    alpha, sigma = linear_alpha_sigma(0.2)
    errors = []
    for count in (768, 1536):
        times = times_for(count, power=2 if "order" in options else 1)
        plan = plan_of(tmp_path, sampler | {"grid": {"times": times}, "final": "none"})
        mean, variance = moments(plan, times[0])
        errors.append(max(abs(mean - alpha * DATA_MEAN), abs(variance - (alpha * DATA_STD) ** 2 - sigma**2)))
    measured = np.log2(errors[0] / errors[1])
    assert measured > order - 0.25, f"{measured:.2f}, {errors}"


def test_restart_on_gaussian_data(tmp_path):
    """The noise that is added back is the forward process: mean and variance converge at Heun's order."""
    alpha, sigma = linear_alpha_sigma(0.2)
    errors = []
    for count in (96, 192):
        intervals = [{"steps": count // 4, "times": 3, "low": 1.5, "high": 6},
                     {"steps": count // 4, "times": 2, "low": 0.8, "high": 2}]
        times = times_for(count, power=1)
        plan = plan_of(tmp_path, {"solver": "restart", "restart": intervals, "grid": {"times": times},
                                  "final": "none"})
        assert sum(op["op"] == "NOISE" for op in plan["ops"]) == 5
        mean, variance = moments(plan, times[0])
        errors.append(max(abs(mean - alpha * DATA_MEAN), abs(variance - (alpha * DATA_STD) ** 2 - sigma**2)))
    measured = np.log2(errors[0] / errors[1])
    assert 1.75 < measured < 2.4, f"{measured:.2f}, {errors}"

"""What `plan` says of solvers that blow up at few steps: warned about, with the number that numpy finds, and never
NaN."""
import json
import re

import numpy as np
import pytest

from conftest import qtaylor
from oracle import linear_alpha_sigma


def process(schedule):
    if schedule == "linear":
        return linear_alpha_sigma
    if schedule == "edm":
        return lambda sigma: (1.0, sigma)
    bar = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    table = np.cumprod([1 - min(1 - bar((i + 1) / 1000) / bar(i / 1000), 0.999) for i in range(1000)])
    return lambda n: (np.sqrt(table[int(n)]), np.sqrt(1 - table[int(n)]))


CARDS = {"linear": {"time": {"kind": "continuous"}, "schedule": {"kind": "linear"}},
         "edm": {"time": {"kind": "sigma"}, "schedule": {"kind": "edm"}},
         "cosine": {"time": {"kind": "discrete"}, "schedule": {"kind": "discrete-cosine"}}}


def widening(plan, at, width):
    """Standard deviation of the samples, of data N(0, width^2) and an epsilon network, by the one it should be."""
    unit = np.eye(1 + sum(op["op"] == "NOISE" for op in plan["ops"]))
    register = {0: plan["initial_scale"] * unit[0]}
    for op in plan["ops"]:
        if op["op"] == "EVAL":
            alpha, sigma = at(op["time"])
            register[op["dst"]] = sigma * register[op["src"]] / ((alpha * width) ** 2 + sigma**2)
        elif op["op"] == "LINCOMB":
            register[op["dst"]] = sum(coefficient * register[source] for coefficient, source in op["terms"])
        else:
            register[op["dst"]] = unit[op["stream"]]
    end = plan["steps"][-1]["s"]
    alpha, sigma = at(end) if end > 0 else (1, 0)
    return np.linalg.norm(register[0]) / np.hypot(alpha * width, sigma)


BAD = [("cosine", "edm", 5), ("cosine", "pndm", 20), ("cosine", "dpm-3s", 10), ("edm", "heun", 5), ("edm", "rk4", 9),
       ("edm", "ito-taylor", 5), ("linear", "ito-taylor", 5), ("linear", "euler-maruyama", 5), ("linear", "rk4", 8),
       ("linear", "midpoint", 4)]
GOOD = [("linear", "taylor", 5), ("linear", "ddim", 3), ("linear", "unipc", 5), ("linear", "heun", 10),
        ("linear", "ito-taylor", 20),
        ("edm", "edm", 17), ("edm", "dpmpp-2m", 8), ("edm", "sa-solver", 8), ("cosine", "ddpm", 10),
        ("cosine", "dpmpp-3m", 10), ("cosine", "deis", 6)]


CASES = [(*case, prediction) for case in BAD + GOOD for prediction in ("epsilon", "v", "x0", "edm")
         if prediction == "epsilon" or case[1] in ("edm", "ito-taylor", "taylor", "ddpm")]


@pytest.mark.parametrize("schedule, solver, nfe, prediction", CASES)
def test_unstable_plans_are_warned_about(job, schedule, solver, nfe, prediction):
    job.model["card"] |= CARDS[schedule] | {"prediction": "epsilon", "labels": None}
    job.keys |= {"sampler": {"solver": solver, "nfe": nfe}, "labels": "none"}
    plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
    worst = max(widening(plan, process(schedule), width) for width in (0.5, 0.05))
    job.model["card"]["prediction"] = prediction
    said = re.search(r"([\d.e+]+) times as wide", qtaylor("plan", job.write()).stderr)
    assert (said is not None) == ((schedule, solver, nfe) in BAD)
    if said:
        assert float(said[1]) == pytest.approx(worst, rel=6e-3) and worst > 4
    else:
        assert worst < 4
    job.keys["sampler"]["clip"] = True
    assert "times as wide" not in qtaylor("plan", job.write()).stderr


@pytest.mark.parametrize("sampler", [{"grid": {"times": [1, 0.5, 0.5, 0.1]}}, {"grid": {"times": [0.9, 0.1, 0.2]}}])
def test_steps_of_no_length_are_refused(job, sampler):
    job.keys["sampler"] = {"solver": "dpmpp-2m"} | sampler
    assert "go down" in qtaylor("plan", job.write(), code=65).stderr


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_sweep_says_which_cells(job, verb):
    """The first one's name, and of how many more the same is true; others' are theirs."""
    job.model["card"] |= CARDS["linear"] | {"prediction": "epsilon", "labels": None}
    job.keys |= {"labels": "none", "seeds": "0-3", "sampler": {"nfe": 5},
                 "sweep": {"batch": [2, 4, 8], "sampler.solver": ["euler-maruyama", "ddim", "ito-taylor"]}}
    said = [line for line in qtaylor(verb, job.write()).stderr.splitlines() if "times as wide" in line]
    first, second = (line.split(": ", 3)[3] for line in said[:2])
    assert said == [f"qtaylor: warning: {of}: {what}" for of, what in (
        ("cell batch=2,solver=euler-maruyama", first), ("cell batch=2,solver=ito-taylor", second),
        ("2 more of the cells", first), ("2 more of the cells", second))]

"""Grids: shifts, lists, and diffusers' ways of saying integer timesteps, beside closed forms and diffusers itself."""
import json
import math

import numpy as np
import pytest
import torch

from conftest import Job, qtaylor
from oracle import run_plan
from test_diffusers import BETAS, ELEMENTS, cumprod, double, epsilon

DISCRETE = {"kind": "discrete", "steps": 1000}
SCHEDULES = {
    "linear": ({"kind": "linear"}, None), "cosine": ({"kind": "cosine"}, None), "flow": ({"kind": "flow"}, None),
    "gvp": ({"kind": "gvp"}, None), "log-linear": ({"kind": "log-linear"}, {"kind": "log-sigma"}),
    "discrete-linear": ({"kind": "discrete-linear"}, DISCRETE | {"dtype": "float32"}),
    "edm": ({"kind": "edm"}, {"kind": "sigma"}),
}


def job_of(tmp_path, sampler, schedule, time=None, prediction="v"):
    job = Job(tmp_path)
    job.model["card"] |= {"shape": [1, 1, ELEMENTS], "prediction": prediction, "labels": None, "schedule": schedule,
                          "time": time or {"kind": "continuous"}}
    job.keys |= {"sampler": sampler, "labels": "none"}
    return job.write()


def plan_of(tmp_path, sampler, *card):
    return json.loads(qtaylor("plan", job_of(tmp_path, sampler, *card), "--json").stdout)


def refusal(tmp_path, sampler, *card):
    return qtaylor("plan", job_of(tmp_path, sampler, *card), code=65).stderr


def logsnrs(plan):
    return [step["logsnr"] for step in plan["steps"]]


@pytest.mark.parametrize("shift", [3, 1 / 0.3, 0.5])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_shift(tmp_path, schedule, shift):
    """lambda -> lambda - ln S on every schedule."""
    most = 60 if schedule == "edm" else 1
    sampler = {"solver": "ddim", "nfe": 8, "grid": "quadratic", "t_start": most / 4, "t_end": most / 10,
               "final": "none"}
    if schedule in ("flow", "gvp"):
        sampler |= {"t_start": 1, "final": "zero"}
        del sampler["t_end"]
    plain = plan_of(tmp_path, sampler, *SCHEDULES[schedule])
    moved = plan_of(tmp_path, sampler | {"shift": shift}, *SCHEDULES[schedule])
    start = 1 if schedule in ("flow", "gvp") else 0
    np.testing.assert_allclose(logsnrs(moved)[start:], np.array(logsnrs(plain)[start:]) - math.log(shift), atol=1e-12)
    if start:
        assert moved["steps"][0]["t"] == 1 and moved["steps"][-1]["s"] == 0
    if schedule == "edm":
        assert moved["initial_scale"] == pytest.approx(15 * shift, rel=1e-14)
    if schedule == "flow":
        t = np.array([step["t"] for step in plain["steps"]])
        np.testing.assert_allclose([step["t"] for step in moved["steps"]], shift * t / (1 + (shift - 1) * t),
                                   atol=1e-15)


def test_shift_beyond_the_schedule(tmp_path):
    """What it says to say works; integer times snap afterwards; rk45 has no grid."""
    sampler = {"solver": "ddim", "nfe": 5, "shift": 2}
    for card in (SCHEDULES["linear"], SCHEDULES["edm"], SCHEDULES["discrete-linear"]):
        message = refusal(tmp_path, sampler, *card)
        start = float(message.split("t_start: ")[1].split(",")[0])
        assert plan_of(tmp_path, sampler | {"t_start": start * (1 - 1e-5)}, *card)["steps"]
    card = ({"kind": "discrete-linear"}, DISCRETE | {"dtype": "int64"})
    plan = plan_of(tmp_path, sampler | {"grid": "uniform", "clock": "t", "t_start": 0.5}, *card)
    assert all((step["t"] * 1000) == pytest.approx(round(step["t"] * 1000), abs=1e-9) for step in plan["steps"])
    ratio = (1 / cumprod("linear") - 1) ** 0.5
    nearest = np.abs(np.log(ratio / ratio[499]) - math.log(2)).argmin()
    assert plan["steps"][0]["t"] == pytest.approx((nearest + 1) / 1000)
    assert "sampler.shift: rk45 has no grid" in refusal(tmp_path, {"solver": "rk45", "shift": 2}, *SCHEDULES["linear"])


def test_shift_is_stated_only_where_said(tmp_path):
    path = job_of(tmp_path, {"solver": "ddim", "nfe": 5}, *SCHEDULES["flow"], "velocity")
    lines = [qtaylor("plan", path, "--set", f"sampler.shift={shift}", "--json").stdout for shift in (1, 3)]
    own = json.loads(qtaylor("plan", path, "--json").stdout)
    assert json.loads(lines[0])["ops"] == own["ops"] != json.loads(lines[1])["ops"]


AYS = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]


def loglinear(values, count):
    """Align-Your-Steps' loglinear_interp."""
    x, y = np.linspace(0, 1, len(values)), np.log(values[::-1])
    return np.exp(np.interp(np.linspace(0, 1, count), x, y))[::-1]


@pytest.mark.parametrize("points", [None, 6, 11, 21, 36])
def test_lists_of_sigmas(tmp_path, points):
    card = ({"kind": "discrete-linear"}, DISCRETE | {"dtype": "float32"})
    sigmas = [min(value, 1e9) for value in AYS[1:]]
    expected = loglinear(sigmas, points or len(sigmas))
    more = {"points": points} if points else {}
    for grid in ({"sigmas": sigmas}, {"logsnr": [-math.log(s) for s in sigmas]}):
        plan = plan_of(tmp_path, {"solver": "ddim", "grid": grid | more, "final": "zero"}, *card)
        np.testing.assert_allclose([step["sigma"] / step["alpha"] for step in plan["steps"]], expected, rtol=1e-10)
    flow = plan_of(tmp_path, {"solver": "euler", "grid": {"sigmas": sigmas} | more}, {"kind": "flow"}, None, "velocity")
    np.testing.assert_allclose([step["t"] for step in flow["steps"]], expected / (1 + expected), rtol=1e-12)


@pytest.mark.parametrize("points", [None, 26])
def test_a_published_list_of_three_digits(tmp_path, points):
    """Align-Your-Steps' of Stable Diffusion, whose last number is a little beyond that model's own."""
    card = ({"kind": "discrete-scaled-linear", "steps": 1000, "beta0": 0.00085, "beta1": 0.012},
            DISCRETE | {"dtype": "float32"})
    more = {"points": points} if points else {}
    plan = plan_of(tmp_path, {"solver": "ddim", "grid": {"sigmas": AYS} | more}, *card)
    ratios = np.array([step["sigma"] / step["alpha"] for step in plan["steps"]])
    np.testing.assert_allclose(ratios, loglinear(AYS, points or len(AYS)), rtol=6e-3)
    assert plan["steps"][0]["t"] == pytest.approx(1, abs=1e-4) and plan["steps"][-1]["t"] == 0.001


def test_what_lists_refuse(tmp_path):
    card = SCHEDULES["discrete-linear"]
    assert "sampler.grid.sigmas: expected sigma/alpha from 0.0100005 to 157.4" in refusal(
        tmp_path, {"solver": "ddim", "grid": {"sigmas": [200, 1]}}, *card)
    assert plan_of(tmp_path, {"solver": "ddim", "grid": {"sigmas": [157.5, 1]}}, *card)["steps"][0]["t"] == 1
    for grid, said in (({"sigmas": [1, 2]}, "sampler.grid.sigmas[1]: expected a list of sigma/alpha that goes down"),
                       ({"logsnr": [1, 0]}, "sampler.grid.logsnr[1]: expected a list of log(alpha/sigma) that goes up"),
                       ({"sigmas": [1, 0]}, "above 0, found 0"), ({"steps": [9, 1.5]}, "sampler.grid.steps[1]"),
                       ({"steps": [1000, 1]}, "expected timesteps from 0 to 999, found 1000"),
                       ({"sigmas": [1], "points": 4}, "sampler.grid.points: expected two or more sigmas"),
                       ({"times": [1, 0.5], "points": 4}, "sampler.grid: expected one of"),
                       ({"points": 4}, "sampler.grid: expected one of")):
        assert said in refusal(tmp_path, {"solver": "ddim", "grid": grid}, *card)
    assert "steps: this schedule is continuous" in refusal(tmp_path, {"solver": "ddim", "grid": {"steps": [9, 1]}},
                                                           *SCHEDULES["linear"])
    sampler = {"solver": "ddim", "nfe": 3, "grid": {"sigmas": [9, 1]}}
    assert "sampler.nfe: grid: {sigmas: ...}" in refusal(tmp_path, sampler, *card)


def diffusers(name, schedule, steps, options, x):
    """Their timesteps and sample."""
    scheduler = double(name)(num_train_timesteps=1000, **BETAS[schedule][1], **options)
    table = cumprod(schedule)
    scheduler.alphas_cumprod = torch.from_numpy(table)
    if not options.get("set_alpha_to_one", True):
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(steps)
    sample = torch.from_numpy(x)
    for n in scheduler.timesteps:
        output = torch.from_numpy(epsilon(sample.numpy(), int(n), table))
        sample = scheduler.step(output, n, sample).prev_sample
    return [int(n) for n in scheduler.timesteps], sample.numpy()


@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("offset, to_one", [(0, True), (1, True), (0, False), (1, False)])
@pytest.mark.parametrize("steps", [7, 10])
def test_ddim_as_diffusers_says_it(tmp_path, schedule, offset, to_one, steps):
    """steps_offset, set_alpha_to_one: false (a last step of no length where the offset is 0), and the list of
    timesteps."""
    x = np.random.default_rng(1).normal(size=(3, ELEMENTS))
    options = {"clip_sample": False, "steps_offset": offset, "set_alpha_to_one": to_one, "timestep_spacing": "leading"}
    times, them = diffusers("DDIMScheduler", schedule, steps, options, x)
    card = {"kind": BETAS[schedule][0], "steps": 1000}
    if schedule == "linear":
        card |= {"beta0": 1e-4, "beta1": 0.02}
    final = {"solver": "ddim", "final": "zero" if to_one else "acp0"}
    for grid in ({"grid": "leading", "steps_offset": offset, "steps": steps}, {"grid": {"steps": times}}):
        plan = plan_of(tmp_path, final | grid, card, DISCRETE | {"dtype": "int64"}, "epsilon")
        assert [op["time"] for op in plan["ops"] if op["op"] == "EVAL"] == times and plan["nfe"] == steps
        us = run_plan(plan, None, ELEMENTS, lambda x, n, _: epsilon(x, int(n), cumprod(schedule)), start=x)
        assert np.abs(us - them).max() < 1e-9 * np.abs(them).max()


def test_linspace_fractional(tmp_path):
    for name in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"):
        scheduler = double(name)(num_train_timesteps=1000, **BETAS["linear"][1], timestep_spacing="linspace")
        scheduler.set_timesteps(7)
        expected = np.unique(scheduler.timesteps.numpy())[::-1]
        plan = plan_of(tmp_path, {"solver": "ddim", "steps": 7, "grid": "linspace-fractional"},
                       *SCHEDULES["discrete-linear"])
        np.testing.assert_allclose([op["time"] for op in plan["ops"] if op["op"] == "EVAL"], expected, atol=1e-9)
    assert "say linspace" in refusal(tmp_path, {"solver": "ddim", "steps": 7, "grid": "linspace-fractional"},
                                     {"kind": "discrete-linear"}, DISCRETE | {"dtype": "int64"})


def test_what_the_new_ends_refuse(tmp_path):
    card = ({"kind": "discrete-linear"}, DISCRETE | {"dtype": "int64"})
    assert "sampler.final: acp0" in refusal(tmp_path, {"solver": "ddim", "nfe": 5, "final": "acp0"},
                                            *SCHEDULES["linear"])
    assert "say final: none" in refusal(tmp_path, {"solver": "lms", "nfe": 5, "grid": "leading", "final": "acp0"},
                                        *card)
    sampler = {"solver": "ddim", "nfe": 5, "steps_offset": 1}
    assert "sampler.steps_offset: it is of grid: leading" in refusal(tmp_path, sampler, *card)
    assert "sampler.steps_offset: 150 puts the first timestep at 1050" in refusal(
        tmp_path, {"solver": "ddim", "nfe": 10, "grid": "leading", "steps_offset": 150}, *card)

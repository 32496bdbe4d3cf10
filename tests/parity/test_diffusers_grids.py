"""Grids in sigma beside diffusers' (Karras of any rho, exponential, beta, Lu), and what it does differently there: it
asks the model at rounded times while its sigma stays exact, and ends on a step of no length."""
import json

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.stats import beta

from conftest import Job, qtaylor
from oracle import mixture_epsilon, run_plan
from test_diffusers import BETAS, ELEMENTS, MEANS, cumprod, double, epsilon


def epsilon_at(x, ratio):
    """Of the variance-preserving x at sigma/alpha."""
    alpha = 1 / np.sqrt(1 + ratio**2)
    return mixture_epsilon(x, alpha, ratio * alpha, MEANS, 0.15, np.full(4, 0.25))


def theirs(name, schedule, steps, options, x, rho=7.0, model=lambda x, ratio, n: epsilon_at(x, ratio)):
    """The sigmas and the sample. model(x, sigma/alpha, the time it is asked at)."""
    scheduler = double(name, rho)(num_train_timesteps=1000, **BETAS[schedule][1], **options)
    scheduler.alphas_cumprod = torch.from_numpy(cumprod(schedule))
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)  # by itself it begins at the second where two times round to the first
    sigmas = scheduler.sigmas.numpy()
    sample = torch.from_numpy(x)
    if name.startswith(("Euler", "LMS", "Heun")):
        sample = sample * np.sqrt(1 + sigmas[0] ** 2)
    for i, n in enumerate(scheduler.timesteps):
        seen = scheduler.scale_model_input(sample, n).numpy()
        sample = scheduler.step(torch.from_numpy(model(seen, sigmas[i], float(n))), n, sample).prev_sample
    return sigmas, sample.numpy()


def plan_of(tmp_path, schedule, sampler, dtype):
    job = Job(tmp_path)
    job.model["card"] |= {"shape": [1, 1, ELEMENTS], "time": {"kind": "discrete", "steps": 1000, "dtype": dtype},
                          "schedule": {"kind": BETAS[schedule][0], "steps": 1000}, "labels": None}
    job.keys |= {"sampler": sampler, "labels": "none"}
    return json.loads(qtaylor("plan", job.write(), "--json").stdout)


def ours(plan, x):
    at = {round(step["t"] * 1000 - 1, 6): step["sigma"] / step["alpha"] for step in plan["steps"]}
    return run_plan(plan, None, ELEMENTS, lambda x, n, _: epsilon_at(x, at[round(n, 6)]), start=x)


SOLVERS = [("DPMSolverMultistepScheduler", "dpmpp-2m"), ("UniPCMultistepScheduler", "unipc"),
           ("EulerDiscreteScheduler", "ddim"), ("HeunDiscreteScheduler", "edm"), ("LMSDiscreteScheduler", "lms")]
GRIDS = {"karras": ("karras", "use_karras_sigmas", 7.0), "karras 3": ({"karras": 3}, "use_karras_sigmas", 3.0),
         "exponential": ("exponential", "use_exponential_sigmas", 7.0), "beta": ("beta", "use_beta_sigmas", 7.0),
         "lu": ("lu", "use_lu_lambdas", 7.0)}
IN_SIGMA = [(*solver, grid) for solver in SOLVERS for grid in GRIDS  # only DPMSolverMultistep has Lu's
            if grid != "lu" or solver[1] == "dpmpp-2m"]


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("name, solver, grid", IN_SIGMA)
def test_grids_in_sigma(tmp_path, name, solver, grid, schedule, steps):
    ours_grid, option, rho = GRIDS[grid]
    if solver == "edm" and schedule == "squaredcos_cap_v2":
        pytest.skip("Heun's first step there leaves by orders of magnitude")
    x = np.random.default_rng(1).normal(size=(3, ELEMENTS))
    sigmas, them = theirs(name, schedule, steps, {option: True}, x, rho)
    order = {"order": 2} if solver == "unipc" else {}
    plan = plan_of(tmp_path, schedule, {"solver": solver, "grid": ours_grid, "steps": steps} | order, "float32")
    found = [step["sigma"] / step["alpha"] for step in plan["steps"]]
    expected = np.concatenate([sigmas[:1], sigmas[1:-1:2]]) if solver == "edm" else sigmas[:-1]
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    assert np.abs(ours(plan, x) - them).max() < 1e-9 * np.abs(them).max()


@pytest.mark.parametrize("shape", [(0.6, 0.6), (0.3, 2), (4, 1), (1, 1)], ids=str)
def test_beta_of_other_shapes(tmp_path, shape):
    plan = plan_of(tmp_path, "linear", {"solver": "ddim", "grid": {"beta": shape}, "steps": 12}, "float32")
    table = cumprod("linear")
    most, least = np.sqrt((1 - table[[999, 0]]) / table[[999, 0]])
    expected = least + beta.ppf(1 - np.arange(12) / 11, *shape) * (most - least)
    np.testing.assert_allclose([step["sigma"] / step["alpha"] for step in plan["steps"]], expected, rtol=1e-11)


def test_a_last_step_of_no_length(tmp_path):
    """Karras's sigmas end at sigma_min; with final_sigmas_type sigma_min diffusers adds it once more. Here the grid
    ends there."""
    x = np.random.default_rng(1).normal(size=(3, ELEMENTS))
    options = {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min", "lower_order_final": False}
    sigmas, them = theirs("DPMSolverMultistepScheduler", "linear", 10, options, x)
    assert sigmas[-1] == pytest.approx(sigmas[-2], rel=1e-12)
    plan = plan_of(tmp_path, "linear", {"solver": "dpmpp-2m", "grid": "karras", "nfe": 9, "final": "none",
                                        "lower_order_final": False}, "float32")
    assert plan["nfe"] == 9  # they spend 10
    assert all(step["s"] < step["t"] for step in plan["steps"])
    assert np.abs(ours(plan, x) - them).max() < 1e-9 * np.abs(them).max()


def exact(x, table):
    """The probability-flow ODE, d(x/alpha)/d(sigma/alpha) = epsilon, from the last trained step to the first."""
    ends = np.sqrt((1 - table[[999, 0]]) / table[[999, 0]])
    slope = lambda u, y: (np.exp(u) * epsilon_at(y.reshape(x.shape) / np.sqrt(1 + np.exp(2 * u)), np.exp(u))).ravel()
    found = solve_ivp(slope, np.log(ends), (x / np.sqrt(table[999])).ravel(), method="DOP853", rtol=1e-12, atol=1e-12)
    return found.y[:, -1].reshape(x.shape) * np.sqrt(table[0])


@pytest.mark.parametrize("schedule", BETAS)
def test_truncated_times(tmp_path, schedule):
    """An integer-time model on exponential sigmas: diffusers asks it at truncated times while its sigma stays exact,
    and a method of order 2 stops at the error that makes. Here a grid point has the integer's own sigma, and it goes
    on. (Rounded times, as with Karras's sigmas on the linear schedule, cost little.)"""
    x, table = np.random.default_rng(1).normal(size=(3, ELEMENTS)), cumprod(schedule)
    truth, gain = exact(x, table), {}
    options = {"use_exponential_sigmas": True, "final_sigmas_type": "sigma_min", "lower_order_final": False}
    models = {"theirs": lambda x, _, n: epsilon(x, int(n), table),
              "theirs, asked at the exact time": lambda x, ratio, _: epsilon_at(x, ratio)}
    for name, model in models.items():
        gain[name] = [theirs("DPMSolverMultistepScheduler", schedule, steps, options, x, model=model)[1]
                      for steps in (80, 160)]
    plans = [plan_of(tmp_path, schedule, {"solver": "dpmpp-2m", "grid": "exponential", "nfe": steps, "final": "none",
                                          "lower_order_final": False}, "int64") for steps in (80, 160)]
    gain["ours"] = [run_plan(plan, None, ELEMENTS, lambda x, n, _: epsilon(x, int(n), table), start=x)
                    for plan in plans]
    gain = {name: np.abs(coarse - truth).max() / np.abs(fine - truth).max() for name, (coarse, fine) in gain.items()}
    assert gain["theirs"] < 2 and gain["ours"] > 2.5 and gain["theirs, asked at the exact time"] > 3.5, gain

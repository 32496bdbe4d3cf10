"""Every sampler that diffusers has too, beside diffusers' own code, both in float64: its source with float32
replaced."""
import importlib
import inspect
import json
import re
import sys
import types

import numpy as np
import pytest
import torch

from conftest import Job, qtaylor
from oracle import mixture_epsilon, run_plan

ELEMENTS = 6
MEANS = np.random.default_rng(0).normal(size=(4, ELEMENTS)) * 0.6
BETAS = {"linear": ("discrete-linear", dict(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)),
         "squaredcos_cap_v2": ("discrete-cosine", dict(beta_schedule="squaredcos_cap_v2"))}


def double(scheduler, rho=7.0, _cache={}):  # noqa: B006 (it is a cache)
    """diffusers.schedulers.<scheduler>, every float32 in its source made float64, Karras's rho as given."""
    if (scheduler, rho) not in _cache:
        original = getattr(importlib.import_module("diffusers"), scheduler)
        source = inspect.getsource(sys.modules[original.__module__])
        source = re.sub(r"(torch|np)\.float32", r"\1.float64", source).replace(".float()", ".double()")
        source = source.replace("rho = 7.0", f"rho = {rho}")
        module = types.ModuleType(original.__module__ + "_double")
        module.__package__ = "diffusers.schedulers"
        sys.modules[module.__name__] = module
        exec(compile(source, module.__name__, "exec"), module.__dict__)
        _cache[scheduler, rho] = module.__dict__[scheduler]
    return _cache[scheduler, rho]


def cumprod(schedule):
    if schedule == "linear":
        return np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    bar = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod([1 - min(1 - bar((i + 1) / 1000) / bar(i / 1000), 0.999) for i in range(1000)])


def epsilon(x, n, table):
    return mixture_epsilon(x, np.sqrt(table[n]), np.sqrt(1 - table[n]), MEANS, 0.15, np.full(4, 0.25))


def predicted_variance(x, n):
    return np.sin(3 * x + n)  # in [-1, 1]


def theirs(name, schedule, steps, options, x, noise):
    config = dict(num_train_timesteps=1000, clip_sample=False, thresholding=False, **BETAS[schedule][1], **options)
    accepted = inspect.signature(double(name).__init__).parameters
    scheduler = double(name)(**{key: value for key, value in config.items() if key in accepted})
    table = cumprod(schedule)
    # Its own table is a cumulative product of float32 betas; the exact one, before the grid is made.
    scheduler.alphas_cumprod = torch.from_numpy(table)
    if hasattr(scheduler, "betas"):
        scheduler.betas = torch.from_numpy(1 - table / np.concatenate([[1], table[:-1]]))
        scheduler.alphas = 1 - scheduler.betas
    scheduler.set_timesteps(steps)
    starts_in_sigma = name.startswith(("Euler", "LMS", "Heun", "KDPM2"))
    sample = torch.from_numpy(x)
    if starts_in_sigma:  # x/alpha at the first step
        sample = sample / np.sqrt(table[int(scheduler.timesteps[0])])
    with torch.no_grad():
        for n in scheduler.timesteps:
            seen = scheduler.scale_model_input(sample, n)
            trained = round(float(n))  # KDPM2's own inverse leaves 1e-12 of an integer
            output = torch.from_numpy(epsilon(seen.numpy(), trained, table))
            if options.get("variance_type") == "learned_range":
                output = torch.cat([output, torch.from_numpy(predicted_variance(seen.numpy(), trained))], 1)
            n = int(n) if name == "LCMScheduler" else n  # which makes float32 of an integer tensor
            before, sample = sample, scheduler.step(output, n, sample, **noise(name)).prev_sample
    if options.get("solver_type") == "bh1":  # NaN at sigma 0, -inf * 0; the limit is the last x0
        assert sample.isnan().all()
        sample = (before - np.sqrt(1 - table[int(n)]) * output) / np.sqrt(table[int(n)])
    return sample.numpy()


def grid_of(name, steps, options, spacing, sampler):
    """The same grid by name or, for those that stop at the first trained step, as a list."""
    if sampler.get("final") != "none":
        return {"grid": spacing, "steps": steps}
    scheduler = double(name)(**options, **({"timestep_spacing": spacing} if "Single" not in name else {}))
    scheduler.set_timesteps(steps)
    return {"grid": {"times": [(int(n) + 1) / 1000 for n in [*scheduler.timesteps, 0]]}}


def ours(tmp_path, schedule, sampler, x, noise=None):
    job = Job(tmp_path)
    job.model["card"] |= {"shape": [1, 1, ELEMENTS], "time": {"kind": "discrete", "steps": 1000, "dtype": "int64"},
                          "schedule": {"kind": BETAS[schedule][0], "steps": 1000}}
    if schedule == "linear":
        job.model["card"]["schedule"] |= {"beta0": 1e-4, "beta1": 0.02}
    job.model["card"]["labels"] = None
    if sampler.get("variance") == "learned":
        job.model["card"]["variance"] = "learned"
    job.keys |= {"sampler": sampler, "labels": "none"}
    plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
    table = cumprod(schedule)
    return run_plan(plan, None, ELEMENTS,
                    lambda x, n, _: (epsilon(x, int(n), table), predicted_variance(x, int(n))), start=x, noise=noise)


CASES = [
    ("DDIMScheduler", {"set_alpha_to_one": True}, {"solver": "ddim"}, ["leading"]),
    *[("DPMSolverMultistepScheduler", {"solver_order": order, "lower_order_final": lower}, {"solver": solver}, None)
      for order, solver in ((1, "dpmpp-1"), (2, "dpmpp-2m"), (3, "dpmpp-3m-common")) for lower in (True, False)],
    *[("DPMSolverSinglestepScheduler", {"solver_order": order, "final_sigmas_type": "zero"}, {"solver": solver},
       ["linspace"])
      for order, solver in ((2, "dpmpp-2s"), (3, "dpmpp-3s"))],
    *[("UniPCMultistepScheduler", {"solver_order": order, "solver_type": kind}, {"solver": solver, "order": order},
       None)
      for order in (1, 2, 3) for kind, solver in (("bh1", "unipc-bh1"), ("bh2", "unipc"))],
    # These stop at the first trained step.
    *[("DEISMultistepScheduler", {"solver_order": order, "lower_order_final": lower},
       {"solver": "deis", "order": order, "final": "none"}, None) for order in (1, 2, 3) for lower in (True, False)],
    *[("DPMSolverMultistepScheduler", {"solver_order": order, "algorithm_type": "dpmsolver", "final_sigmas_type":
       "sigma_min", "lower_order_final": lower}, {"solver": solver, "final": "none"}, None)
      for order, solver in ((1, "dpm-1"), (2, "dpm-2m")) for lower in (True, False)],
    *[("DPMSolverSinglestepScheduler", {"solver_order": order, "algorithm_type": "dpmsolver", "final_sigmas_type":
       "sigma_min", "lower_order_final": lower}, {"solver": solver, "final": "none", "lower_order_final": lower},
      ["linspace"]) for order, solver in ((2, "dpm-2s"), (3, "dpm-3s")) for lower in (True, False)],
    ("PNDMScheduler", {"set_alpha_to_one": True}, {"solver": "pndm"}, ["leading"]),
    ("PNDMScheduler", {"set_alpha_to_one": True, "skip_prk_steps": True}, {"solver": "plms"}, ["leading"]),
    ("DPMSolverMultistepScheduler", {"solver_order": 2, "solver_type": "heun"},
     {"solver": "dpmpp-2m", "solver_type": "heun"}, None),
    ("DPMSolverMultistepScheduler",
     {"solver_order": 2, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "solver_type": "heun"},
     {"solver": "dpm-2m", "final": "none", "solver_type": "heun"}, ["linspace"]),
    ("LMSDiscreteScheduler", {}, {"solver": "lms"}, ["leading", "trailing"]),
    ("EulerDiscreteScheduler", {}, {"solver": "ddim"}, ["leading", "trailing"]),
    ("HeunDiscreteScheduler", {}, {"solver": "edm"}, ["leading", "trailing"]),
]


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case[2]["solver"], *map(str, case[1].values())]))
def test_deterministic(tmp_path, case, schedule, steps):
    name, options, sampler, spacings = case
    if name == "HeunDiscreteScheduler" and schedule == "squaredcos_cap_v2":
        pytest.skip("Heun's first step there leaves by orders of magnitude")
    x = np.random.default_rng(1).normal(size=(3, ELEMENTS))
    for spacing in spacings or ["leading", "linspace", "trailing"]:
        grid = grid_of(name, steps, options, spacing, sampler)
        them = theirs(name, schedule, steps, options | {"timestep_spacing": spacing}, x, lambda _: {})
        us = ours(tmp_path, schedule,
                  sampler | grid | ({} if options.get("lower_order_final", True) else {"lower_order_final": False}), x)
        error = np.abs(us - them).max() / np.abs(them).max()
        assert error < 1e-9, f"{spacing}: {error:.2e}"


STOCHASTIC = [
    ("DDIMScheduler", {"set_alpha_to_one": True}, {"solver": "ddim", "eta": 0.6}, "leading"),
    ("DDPMScheduler", {"variance_type": "fixed_small"}, {"solver": "ddpm"}, "leading"),
    ("DDPMScheduler", {"variance_type": "fixed_large"}, {"solver": "ddpm", "variance": "large"}, "leading"),
    ("DDPMScheduler", {"variance_type": "learned_range"}, {"solver": "ddpm", "variance": "learned"}, "leading"),
    ("DDPMScheduler", {"variance_type": "learned_range"}, {"solver": "ddpm", "variance": "learned"}, "trailing"),
    ("EulerAncestralDiscreteScheduler", {}, {"solver": "euler-ancestral"}, "leading"),
    ("DPMSolverMultistepScheduler", {"solver_order": 1, "algorithm_type": "sde-dpmsolver++"},
     {"solver": "sde-dpmpp", "order": 1}, "linspace"),
    ("DPMSolverMultistepScheduler", {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"},
     {"solver": "sde-dpmpp", "order": 2}, "linspace"),
    ("DPMSolverMultistepScheduler", {"solver_order": 2, "algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
     {"solver": "sde-dpmpp", "order": 2, "solver_type": "heun"}, "linspace"),
    ("KDPM2AncestralDiscreteScheduler", {}, {"solver": "kdpm2-ancestral"}, "leading"),
    ("KDPM2AncestralDiscreteScheduler", {}, {"solver": "kdpm2-ancestral"}, "trailing"),
    ("LCMScheduler", {"original_inference_steps": 1000}, {"solver": "lcm"}, "trailing"),
    ("TCDScheduler", {"original_inference_steps": 1000}, {"solver": "tcd", "eta": 0.3, "final": "none"}, "trailing"),
    ("TCDScheduler", {"original_inference_steps": 1000}, {"solver": "tcd", "eta": 1, "final": "none"}, "trailing"),
    ("SASolverScheduler", {"predictor_order": 1, "corrector_order": 1},
     {"solver": "sa-solver", "order": 1, "final": "none"}, "linspace"),
]


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("case", STOCHASTIC, ids=lambda case: "-".join(map(str, case[2].values())))
def test_with_the_same_noise(tmp_path, case, schedule, steps):
    name, options, sampler, spacing = case
    rng = np.random.default_rng(2)
    x, drawn = rng.normal(size=(3, ELEMENTS)), rng.normal(size=(steps + 1, 3, ELEMENTS))
    # diffusers adds noise (of "variance" 1e-20, and what was learned) to its last x0; ADM does not
    if spacing == "trailing":
        drawn[steps] = 0
    count = iter(range(1, steps + 2))

    def draw(shape, **_):  # diffusers' randn_tensor
        return torch.from_numpy(drawn[next(count)])

    module = sys.modules[double(name).__module__]
    module.randn_tensor = draw
    noise = {"eta": sampler["eta"]} if "eta" in sampler else {}
    if name == "SASolverScheduler":
        options = options | {"tau_func": lambda t: 1.0}
    them = theirs(name, schedule, steps, options | {"timestep_spacing": spacing}, x, lambda _: noise)
    us = ours(tmp_path, schedule, sampler | grid_of(name, steps, options, spacing, sampler), x,
              lambda stream: drawn[stream])
    # DPM2's first step from sigma/alpha 2e4 is a difference of two evaluations that large
    tolerance = 1e-7 if sampler["solver"] == "kdpm2-ancestral" and schedule == "squaredcos_cap_v2" else 1e-9
    assert np.abs(us - them).max() < tolerance * np.abs(them).max()


def consistency_network(x, sigma, sigma_data=0.5):
    """F by which c_out F + c_skip x is smooth in x and sigma, a consistency function in nothing but its shape."""
    return np.sin(x / np.hypot(sigma, sigma_data)) + np.log(sigma) * MEANS[0] / 4


@pytest.mark.parametrize("steps, clip", [(1, False), (2, False), (3, True), (8, False)])
def test_consistency(tmp_path, steps, clip):
    """The network in the file has the boundary condition in it: it gives c_out F + c_skip x itself."""
    rng = np.random.default_rng(4)
    x, drawn = rng.normal(size=(3, ELEMENTS)), rng.normal(size=(steps + 1, 3, ELEMENTS))
    scheduler = double("CMStochasticIterativeScheduler")(clip_denoised=clip)
    scheduler.set_timesteps(steps)
    count = iter(range(1, steps + 1))
    module = sys.modules[double("CMStochasticIterativeScheduler").__module__]
    module.randn_tensor = lambda shape, **_: torch.from_numpy(drawn[next(count)])
    sigmas, sample = scheduler.sigmas.numpy(), torch.from_numpy(80 * x)
    for n, sigma in zip(scheduler.timesteps, sigmas):
        scheduler.scale_model_input(sample, n)
        sample = scheduler.step(torch.from_numpy(consistency_network(sample.numpy(), sigma)), n, sample).prev_sample

    def network(x, sigma, _):
        c_skip, c_out = 0.25 / ((sigma - 0.002) ** 2 + 0.25), (sigma - 0.002) * 0.5 / np.hypot(sigma, 0.5)
        return c_skip * x + c_out * consistency_network(x, sigma)
    job = Job(tmp_path)
    job.model["card"] |= {"shape": [1, 1, ELEMENTS], "labels": None, "prediction": "x0", "time": {"kind": "sigma"},
                          "schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80}}
    for end in ({"grid": {"sigmas": sigmas[:-1].tolist()}}, {"grid": {"sigmas": sigmas.tolist()}, "final": "none"}):
        job.keys |= {"sampler": {"solver": "consistency", "clip": clip} | end, "labels": "none"}
        plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
        assert plan["nfe"] == steps
        us = run_plan(plan, None, ELEMENTS, network, start=x, noise=lambda stream: drawn[stream])
        assert np.abs(us - sample.numpy()).max() < 1e-9 * np.abs(us).max()
    job.keys["sampler"] = {"solver": "consistency", "nfe": steps}  # its last step ends at sigma_min; no call there
    plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
    assert plan["nfe"] == steps and plan["steps"][-1]["s"] == 0.002
    assert sum(op["op"] == "NOISE" for op in plan["ops"]) == steps - 1

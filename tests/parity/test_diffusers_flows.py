"""Flow matching as diffusers has it, and its KDPM2, in float64 by substitution: our plans on the schedulers' own
sigmas."""
import json

import numpy as np
import pytest
import torch

from conftest import Job, qtaylor
from oracle import mixture_epsilon, run_plan
from test_diffusers import MEANS, cumprod, double
from test_any_path import FLOW, plan_of

ELEMENTS, STD, WEIGHTS = 6, 0.15, np.full(4, 0.25)
X = np.random.default_rng(1).normal(size=(3, ELEMENTS))


def velocity(x, t, *_):
    """z - x0 of the mixture at sigma = t; finite at t = 1, where it is x - E x0."""
    if t == 1:
        return x - WEIGHTS @ MEANS
    epsilon = mixture_epsilon(x, 1 - t, t, MEANS, STD, WEIGHTS)
    return epsilon - (x - t * epsilon) / (1 - t)


MULTISTEP = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
CASES = [("FlowMatchEulerDiscreteScheduler", {}, {"solver": solver}) for solver in ("euler", "ddim", "taylor")] + [
    ("FlowMatchHeunDiscreteScheduler", {}, {"solver": "heun"}),
    *[("DPMSolverMultistepScheduler", MULTISTEP | {"solver_order": order, "solver_type": kind},
       {"solver": solver} | said)
      for order, kind, solver, said in ((1, "midpoint", "dpmpp-1", {}), (2, "midpoint", "dpmpp-2m", {}),
                                        (2, "heun", "dpmpp-2m", {"solver_type": "heun"}),
                                        (3, "midpoint", "dpmpp-3m-common", {}))],
    *[("UniPCMultistepScheduler", MULTISTEP | {"solver_order": order, "solver_type": kind},
       {"solver": solver, "order": order})
      for order in (1, 2, 3) for kind, solver in (("bh2", "unipc"), ("bh1", "unipc-bh1"))]]


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case[2]["solver"], *map(str, case[1].values())]))
def test_flow(tmp_path, case, shift, steps):
    name, options, sampler = case
    scheduler = double(name)(**options, **{"flow_shift" if options else "shift": shift})
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.numpy()
    times = list(dict.fromkeys(sigmas[:-1].tolist()))  # Heun's are there twice
    assert len(times) == steps and sigmas[-1] == 0 and sigmas.dtype == np.float64
    sample = torch.from_numpy(X)
    for n in scheduler.timesteps:
        if scheduler.step_index is None:
            scheduler._init_step_index(n)
        before, t = sample, sigmas[scheduler.step_index]
        output = torch.from_numpy(velocity(sample.numpy(), t))
        sample = scheduler.step(output, n, sample).prev_sample
    if options.get("solver_type") == "bh1":  # NaN at sigma 0, -inf * 0; the limit is the last x0
        assert sample.isnan().all()
        sample = before - t * output
    plan = plan_of(tmp_path, sampler | {"grid": {"times": times}, "final": "zero"}, FLOW)
    us, them = run_plan(plan, None, ELEMENTS, velocity, start=X), sample.numpy()
    assert np.abs(us - them).max() < 1e-9 * np.abs(them).max()


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_kdpm2(tmp_path, spacing, steps):
    """Its times between the trained ones are rounded by its own interpolation, so that both networks are told
    sigma/alpha."""
    table = cumprod("linear")
    scheduler = double("KDPM2DiscreteScheduler")(num_train_timesteps=1000, timestep_spacing=spacing)
    scheduler.alphas_cumprod = torch.from_numpy(table)
    scheduler.set_timesteps(steps)
    nodes = scheduler.sigmas.numpy()
    sigmas = [nodes[0]] + [sigma for i in range(1, steps)
                           for sigma in (np.sqrt(nodes[2 * i - 2] * nodes[2 * i - 1]), nodes[2 * i - 1])]
    calls = iter(sigmas)

    def network(x):
        rho = next(calls)
        alpha = 1 / np.hypot(1, rho)
        return mixture_epsilon(x, alpha, rho * alpha, MEANS, STD, WEIGHTS)
    sample = torch.from_numpy(X) * np.hypot(1, nodes[0])
    for n in scheduler.timesteps:
        seen = scheduler.scale_model_input(sample, n)
        sample = scheduler.step(torch.from_numpy(network(seen.numpy())), n, sample).prev_sample
    assert next(calls, None) is None
    job = Job(tmp_path)
    job.model["card"] |= {"shape": [1, 1, ELEMENTS], "labels": None,
                          "time": {"kind": "discrete", "steps": 1000, "dtype": "float32"},
                          "schedule": {"kind": "discrete-linear", "steps": 1000, "beta0": 1e-4, "beta1": 0.02}}
    job.keys |= {"sampler": {"solver": "kdpm2", "steps": steps, "grid": spacing}, "labels": "none"}
    plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
    calls = iter(sigmas)
    us, them = run_plan(plan, None, ELEMENTS, lambda x, *_: network(x), start=X), sample.numpy()
    assert next(calls, None) is None
    assert np.abs(us - them).max() < 1e-9 * np.abs(them).max()

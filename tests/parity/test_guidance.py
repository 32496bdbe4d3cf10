"""Clipping and dynamic thresholding beside diffusers; the forms of guidance beside their formulas in numpy."""
import json

import numpy as np
import pytest
import torch

from conftest import Job, qtaylor
from oracle import mixture_epsilon, run_plan
from test_diffusers import BETAS, ELEMENTS, MEANS, cumprod, double, epsilon

X = np.random.default_rng(1).normal(size=(3, ELEMENTS))
TABLE = cumprod("linear")


def job_of(tmp_path, sampler, schedule, time, prediction):
    job = Job(tmp_path)
    job.model["card"] |= {"shape": [1, 1, ELEMENTS], "prediction": prediction, "schedule": schedule, "time": time}
    job.keys |= {"sampler": sampler}
    return job.write()


DISCRETE = ({"kind": "discrete-linear", "steps": 1000, "beta0": 1e-4, "beta1": 0.02},
            {"kind": "discrete", "steps": 1000, "dtype": "int64"}, "epsilon")
FLOW = ({"kind": "flow"}, {"kind": "continuous"}, "velocity")


def plan_of(tmp_path, sampler, card):
    return json.loads(qtaylor("plan", job_of(tmp_path, sampler, *card), "--json").stdout)


CLIPS = [({"clip_sample": True}, {}, {"epsilon": "kept"}),
         ({"clip_sample": True}, {"use_clipped_model_output": True}, True),
         ({"clip_sample": True, "clip_sample_range": 0.6}, {}, {"epsilon": "kept", "range": 0.6}),
         ({"clip_sample": True, "clip_sample_range": 0.6}, {"use_clipped_model_output": True}, {"range": 0.6}),
         ({"thresholding": True, "dynamic_thresholding_ratio": 0.7, "sample_max_value": 1.4}, {},
          {"epsilon": "kept", "threshold": 0.7, "threshold_max": 1.4}),
         ({"thresholding": True, "dynamic_thresholding_ratio": 0.85, "sample_max_value": 1e9},
          {"use_clipped_model_output": True}, {"threshold": 0.85})]


@pytest.mark.parametrize("options, call, clip", CLIPS, ids=str)
def test_clip_as_diffusers_ddim(tmp_path, options, call, clip):
    scheduler = double("DDIMScheduler")(num_train_timesteps=1000, **BETAS["linear"][1],
                                        **({"clip_sample": False} | options))
    scheduler.alphas_cumprod = torch.from_numpy(TABLE)
    scheduler.set_timesteps(10)
    shape = (3, 1, 1, ELEMENTS)  # thresholding wants an image
    sample, model = torch.from_numpy(3 * X).reshape(shape), lambda x, n: 1.3 * epsilon(x, n, TABLE)
    for n in scheduler.timesteps:
        output = torch.from_numpy(model(sample.numpy().reshape(3, ELEMENTS), int(n))).reshape(shape)
        sample = scheduler.step(output, n, sample, **call).prev_sample
    sample = sample.reshape(3, ELEMENTS)
    plan = plan_of(tmp_path, {"solver": "ddim", "grid": "leading", "steps": 10, "clip": clip}, DISCRETE)
    us = run_plan(plan, None, ELEMENTS, lambda x, n, _: model(x, int(n)), start=3 * X)
    assert np.abs(us - sample.numpy()).max() < 1e-9
    plain = plan_of(tmp_path, {"solver": "ddim", "grid": "leading", "steps": 10}, DISCRETE)
    assert np.abs(us - run_plan(plain, None, ELEMENTS, lambda x, n, _: model(x, int(n)), start=3 * X)).max() > 1e-3


@pytest.mark.parametrize("solver", ["dpmpp-2m", "dpmpp-3m", "unipc", "heun", "lms", "deis", "taylor"])
def test_kept_epsilon_with_solvers_that_look_back(tmp_path, solver):
    """A clip that never acts changes nothing: no register is used twice."""
    card = ({"kind": "linear"}, {"kind": "continuous"}, "epsilon")
    plans = [plan_of(tmp_path, {"solver": solver, "nfe": 12} | extra, card)
             for extra in ({}, {"clip": {"epsilon": "kept", "range": 1e6}})]

    def model(x, t, _):
        integral = 0.1 * t + 19.9 * t * t / 2
        return mixture_epsilon(x, np.exp(-integral / 2), np.sqrt(-np.expm1(-integral)), MEANS, 0.15, np.full(4, 0.25))
    one, two = (run_plan(plan, None, ELEMENTS, model, start=X) for plan in plans)
    np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-9)


def test_what_clip_refuses(tmp_path):
    for clip, said in (({"threshold_max": 2}, "clip.threshold_max: it is of a threshold"),
                       ({"threshold": 2}, "a quantile from 0 to 1"),
                       ({"threshold": 0.9, "threshold_max": 0.5}, "at least the range")):
        assert said in qtaylor("plan", job_of(tmp_path, {"solver": "ddim", "nfe": 5, "clip": clip}, *DISCRETE),
                               code=65).stderr
    job = job_of(tmp_path, {"solver": "rk45", "clip": {"epsilon": "kept"}}, {"kind": "linear"}, {"kind": "continuous"},
                 "epsilon")
    assert "sampler.clip.epsilon" in qtaylor("plan", job, code=65).stderr


def output(x, t, labels):
    """Two smooth functions; what they mean does not matter to a formula."""
    shift, more = (0.3, 0.2 * x[:, ::-1]) if labels == "given" else (0, 0.1)
    return np.sin(x * (1 + 0.3 * np.cos(t)) + shift) + more


def dot(a, b):
    return (a * b).sum(1, keepdims=True)


def cfg_zero(conditional, free, scale, *_):
    star = dot(conditional, free) / dot(free, free)
    return star * free + scale * (conditional - star * free)


def apg(eta, threshold, momentum):
    average = [0]

    def guided(conditional, free, scale, x, x0):
        """In x0; x0(F) is affine in F."""
        of, back = x0(conditional), x0(free)
        average[0] = of - back + momentum * average[0]
        difference = average[0] * np.minimum(1, threshold / np.linalg.norm(average[0], axis=1, keepdims=True))
        parallel = dot(difference, of) / dot(of, of) * of
        wanted = of + (scale - 1) * (difference - parallel + eta * parallel)
        return conditional + (wanted - of) / (x0(conditional + 1) - x0(conditional))
    return guided


def formula(plan, guided, prediction, scale, zero_init=0):
    """Euler on a flow, or DDIM on the table, as the papers' loops have them."""
    x = X.copy()
    for i, step in enumerate(plan["steps"]):
        t, s = step["t"], step["s"]
        number = t if prediction == "velocity" else round(1000 * t) - 1
        conditional, free = output(x, number, "given"), output(x, number, "null")
        if prediction == "velocity":
            F = guided(conditional, free, scale(t), x, lambda F: x - t * F) if i >= zero_init else 0
            x = x + (s - t) * F
        else:
            alpha, sigma = step["alpha"], step["sigma"]
            F = guided(conditional, free, scale(t), x, lambda F: (x - sigma * F) / alpha)
            table = TABLE[round(1000 * s) - 1] if s > 0 else 1
            x = np.sqrt(table) * (x - sigma * F) / alpha + np.sqrt(1 - table) * F
    return x


@pytest.mark.parametrize("card, solver", [(FLOW, "euler"), (DISCRETE, "ddim")], ids=["velocity", "epsilon"])
@pytest.mark.parametrize("form", ["cfg-zero*", "cfg-zero* from 0", "apg", "apg short", "apg all"])
def test_forms(tmp_path, card, solver, form):
    more, zero_init, guided = {"form": form.split(" ")[0]}, 0, cfg_zero
    if form == "cfg-zero* from 0":
        if solver == "ddim":
            message = qtaylor("plan", job_of(tmp_path, {"solver": "ddim", "nfe": 5,
                                                        "guidance": more | {"scale": 2, "zero_init_steps": 1}},
                                             *card), code=65).stderr
            assert "sampler.guidance.zero_init_steps: it sets a velocity to 0" in message
            return
        zero_init = more["zero_init_steps"] = 2
    if form == "apg":
        guided = apg(0, np.inf, 0)
    if form == "apg short":
        more["norm_threshold"] = 0.3
        guided = apg(0, 0.3, 0)
    if form == "apg all":
        more |= {"norm_threshold": 0.5, "eta": 0.4, "momentum": -0.5}
        guided = apg(0.4, 0.5, -0.5)
    grid = {"nfe": 6} if solver == "euler" else {"grid": {"steps": [700, 550, 400, 250, 100]}}
    plan = plan_of(tmp_path, {"solver": solver, "guidance": more | {"scale": 3.5}} | grid, card)
    us = run_plan(plan, None, ELEMENTS, output, start=X)
    np.testing.assert_allclose(us, formula(plan, guided, card[2], lambda t: 3.5, zero_init), rtol=1e-11, atol=1e-11)


def plain(conditional, free, scale, *_):
    return free + scale * (conditional - free)


def test_interval_and_scale_in_t(tmp_path):
    plan = plan_of(tmp_path, {"solver": "euler", "nfe": 10, "guidance": {"scale": 2, "interval": {"t": [0.25, 0.7]}}},
                   FLOW)
    us = run_plan(plan, None, ELEMENTS, output, start=X)
    np.testing.assert_allclose(us, formula(plan, plain, "velocity", lambda t: 2 if 0.25 <= t < 0.71 else 1), atol=1e-12)
    assert plan["model_calls"] == 15
    scales = [[0.9, 1], [0.5, 4], [0.1, 2]]
    plan = plan_of(tmp_path, {"solver": "euler", "nfe": 10, "guidance": {"scale": scales}}, FLOW)
    at = lambda t: np.interp(t, [0.1, 0.5, 0.9], [2, 4, 1])
    np.testing.assert_allclose(run_plan(plan, None, ELEMENTS, output, start=X), formula(plan, plain, "velocity", at),
                               atol=1e-12)
    message = qtaylor("plan", job_of(tmp_path, {"solver": "euler", "nfe": 5,
                                                "guidance": {"scale": [[0.1, 1], [0.5, 2]]}}, *FLOW), code=65).stderr
    assert ("sampler.guidance.scale[1]: expected a number, a list of [t, scale] with falling t, or a path (.npy)"
            in message)
    message = qtaylor("plan", job_of(tmp_path, {"solver": "euler", "nfe": 5, "guidance": {"scale": 2, "eta": 1}},
                                     *FLOW), code=65).stderr
    assert "sampler.guidance.eta: it is of form: apg" in message


@pytest.mark.parametrize("steps", [5, 10, 20, 25, 50])
@pytest.mark.parametrize("low, high", [(0.2, 0.8), (0.4, 0.6)])
def test_edges_of_an_interval_that_are_grid_points(tmp_path, steps, low, high):
    """Both belong to it, whatever the grid's arithmetic makes of 0.2."""
    guidance = {"scale": 2, "interval": {"t": [low, high]}}
    plan = plan_of(tmp_path, {"solver": "euler", "steps": steps, "guidance": guidance}, FLOW)
    guided = sum(op["op"] == "EVAL" and op["labels"] == "null" for op in plan["ops"])
    assert guided == sum(low - 1e-6 <= 1 - i / steps <= high + 1e-6 for i in range(steps))

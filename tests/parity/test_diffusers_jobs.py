"""The samplers that tools/export.py diffusers makes of DDIM and DDPM, beside the schedulers themselves in float64,
and what it refuses of them."""
import itertools
import sys

import numpy as np
import pytest
import torch

import exporter  # noqa: F401 (it makes tools/export importable)
from export.checkpoints import Refusal
from export.schedulers import translate
from test_diffusers import BETAS, ELEMENTS, cumprod, double, epsilon, ours, predicted_variance


def theirs(scheduler, steps, x, noise, **called):
    table = cumprod("linear")
    scheduler.alphas_cumprod = torch.from_numpy(table)
    if getattr(scheduler.config, "set_alpha_to_one", True) is False:
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    count = iter(range(1, steps + 2))
    module = sys.modules[type(scheduler).__module__]
    module.randn_tensor = lambda shape, **_: torch.from_numpy(noise[next(count)]).unsqueeze(1)
    scheduler.set_timesteps(steps)
    sample = torch.from_numpy(x).unsqueeze(1)  # one channel
    for n in scheduler.timesteps:
        seen = sample[:, 0].numpy()
        output = torch.from_numpy(epsilon(seen, int(n), table)).unsqueeze(1)
        if getattr(scheduler.config, "variance_type", "") == "learned_range":
            output = torch.cat([output, torch.from_numpy(predicted_variance(seen, int(n))).unsqueeze(1)], 1)
        sample = scheduler.step(output, n, sample, **called).prev_sample
    return sample.numpy()[:, 0]


def both(tmp_path, name, options, steps, **called):
    """(why it is refused or None, how far the two are from one another)"""
    rng = np.random.default_rng(3)
    x, noise = rng.normal(size=(3, ELEMENTS)), rng.normal(size=(steps + 2, 3, ELEMENTS))
    scheduler = double(name)(**BETAS["linear"][1], **options)
    try:
        sampler = translate(scheduler, steps).sampler
    except Refusal as refusal:
        return str(refusal), None
    them = theirs(scheduler, steps, x, noise, **called)
    us = ours(tmp_path, "linear", sampler, x, lambda stream: noise[stream])
    return None, np.abs(us - them).max() / np.abs(them).max()


def options_of(**values):
    return [dict(zip(values, product)) for product in itertools.product(*values.values())]


DDIM = options_of(timestep_spacing=["leading", "trailing", "linspace"], steps_offset=[0, 1],
                  set_alpha_to_one=[True, False], clip_sample=[False])


@pytest.mark.parametrize("steps", [7, 10])
@pytest.mark.parametrize("options", DDIM, ids=lambda options: "-".join(map(str, options.values())))
def test_ddim(tmp_path, options, steps):
    refused, distance = both(tmp_path, "DDIMScheduler", options, steps)
    if options["timestep_spacing"] == "linspace" or (options["timestep_spacing"] == "trailing" and 1000 % steps):
        assert "which no job does" in refused
    else:
        assert not refused and distance < 1e-9


DDPM = options_of(timestep_spacing=["leading", "trailing", "linspace"], steps_offset=[0, 1], clip_sample=[True, False],
                  variance_type=["fixed_small", "fixed_small_log", "fixed_large", "learned_range"])


@pytest.mark.parametrize("options", DDPM, ids=lambda options: "-".join(map(str, options.values())))
def test_ddpm(tmp_path, options):
    refused, distance = both(tmp_path, "DDPMScheduler", options, 10)
    noisy = options["variance_type"] in ("fixed_large", "learned_range")
    ends_at_0 = options["timestep_spacing"] == "linspace" or (options["timestep_spacing"] == "leading"
                                                              and not options["steps_offset"])
    if noisy and not ends_at_0:
        assert "noise is added to the finished picture" in refused
    else:
        assert not refused and distance < 1e-8


@pytest.mark.parametrize("options", [{"clip_sample": True}, {"thresholding": True},
                                     {"thresholding": True, "sample_max_value": 1.5},
                                     {"clip_sample": True, "clip_sample_range": 0.7}], ids=str)
@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
def test_clipping(tmp_path, name, options):
    refused, distance = both(tmp_path, name, options, 10)
    assert not refused and distance < 1e-9


@pytest.mark.parametrize("name, options, steps, said", [
    ("DDPMScheduler", {"variance_type": "learned"}, 10, "variance_type: learned: expected one of"),
    ("DDIMScheduler", {"steps_offset": 1}, 1000, "beyond"), ("DDIMScheduler", {}, 0, "expected 1 to"),
    ("DDIMScheduler", {}, 1001, "expected 1 to")])
def test_refusals(name, options, steps, said):
    import diffusers

    with pytest.raises(Refusal, match=said):
        translate(getattr(diffusers, name)(**options), steps)


def test_all_steps():
    from diffusers import DDIMScheduler

    sampler = translate(DDIMScheduler(clip_sample=False), 1000).sampler
    assert sampler == {"solver": "ddim", "grid": "leading", "steps": 1000}

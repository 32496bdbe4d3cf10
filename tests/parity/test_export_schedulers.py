"""Every scheduler class of diffusers with its options: the job that tools/export.py writes beside the class itself
on a small U-Net from the same noise, pixels within one level; or refused by name. The job's plan is run in numpy
here, with the noise of the steps prescribed; test_export_pictures.py runs exported files."""
import inspect
import json
import sys

import diffusers
import numpy as np
import pytest
import torch

from conftest import ROOT, qtaylor
from exporter import assert_same_pictures, normals, one_thread, to_pixels, unet
from export import schedulers
from export.checkpoints import Refusal
from export.writer import job_text
from oracle import run_plan
from scheduler_cases import CASES, ON_SIGMA, PLAIN, REFUSALS, SCALED, SHORT, V

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
ELEMENTS = 3 * 16 * 16


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def network():
    return unet()


def make(name, **options):
    """The class with those of the options that it has."""
    kind = getattr(diffusers, name)
    accepted = inspect.signature(kind.__init__).parameters
    return kind(**{key: value for key, value in options.items() if key in accepted})


def theirs(network, scheduler, steps, start, noise):
    """The loop of diffusers' pipelines, with the noise of each step given."""
    drawn = iter(noise)
    module = sys.modules[type(scheduler).__module__]
    draw = lambda shape, **_: torch.from_numpy(next(drawn)).reshape(shape).float()
    kept = getattr(module, "randn_tensor", None), torch.randn_like
    if kept[0]:
        module.randn_tensor = draw
    torch.randn_like = lambda like: draw(like.shape)
    try:
        scheduler.set_timesteps(steps)
        sample = start * getattr(scheduler, "init_noise_sigma", 1)
        called = {"prev": True} if type(scheduler).__name__ == "UnCLIPScheduler" else {}
        times = scheduler.timesteps
        with torch.no_grad():
            for i, t in enumerate(times):
                seen = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
                given = {"prev_timestep": times[i + 1] if i + 1 < len(times) else None} if called else {}
                sample = scheduler.step(network(seen, t).sample, t, sample, **given).prev_sample
    finally:
        torch.randn_like = kept[1]
        if kept[0]:
            module.randn_tensor = kept[0]
    assert torch.isfinite(sample).all(), "the class itself makes no numbers"
    return to_pixels(sample.double().numpy())


def ours(tmp_path, network, translated, start, noise):
    call = lambda net, x, t, labels: net(x, t).sample
    call = translated.wrap(call) if translated.wrap else call

    def model(x, time, _):
        seen = torch.from_numpy(np.asarray(x)).float().reshape(-1, 3, 16, 16)
        with torch.no_grad():
            return call(network, seen, torch.full([len(seen)], time), None).double().numpy().reshape(len(seen), -1)
    card = {"shape": [3, 16, 16], "range": [-1, 1], **translated.card, "labels": None, "batch": None}
    text = job_text("out", card, {"sampler": translated.sampler}, [])
    path = tmp_path / "job.yaml"
    path.write_text(text.replace("model: {path: model.pt}", f"model: {{card: {json.dumps(card)}}}"))
    plan = json.loads(qtaylor("plan", path, "--json").stdout)
    plan["initial_scale"] *= translated.start
    found = run_plan(plan, None, ELEMENTS, model, start=start.double().numpy().reshape(len(start), -1),
                     noise=lambda stream: noise[stream - 1].reshape(len(start), -1))
    return to_pixels(found.reshape(-1, 3, 16, 16))


def compare(tmp_path, network, name, options, steps=10):
    scheduler = make(name, **options)
    translated = schedulers.translate(scheduler, steps)
    start = normals(2)
    noise = np.random.default_rng(3).normal(size=(2 * steps + 2, *start.shape))
    them = theirs(network, make(name, **options), steps, start, noise)
    assert_same_pictures(ours(tmp_path, network, translated, start, noise), them)


class Answer:
    def __init__(self, sample):
        self.sample = sample


def epsilon_network(x, t):
    """E[z | x] of Gaussian data around a pattern, on SCALED: a random network's epsilon would leave by 1/alpha. t
    may be fractional."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    logs = np.log(np.cumprod(1 - betas))
    at = np.interp(np.asarray(t, float).reshape(-1), np.arange(1000), logs)
    cumprod = torch.from_numpy(np.exp(at)).reshape(-1, 1, 1, 1)
    mean = torch.sin(torch.arange(ELEMENTS).double() * 0.37).reshape(3, 16, 16) * 0.6
    found = (1 - cumprod).sqrt() * (x.double() - cumprod.sqrt() * mean) / (cumprod * 0.3**2 + 1 - cumprod)
    return Answer((found + 0.05 * torch.sin(3 * x.double())).float())


BY_CLASS = [pytest.param(group, name, marks=[] if (group, name.removesuffix("Scheduler")) in SHORT
                         else pytest.mark.long)
            for group, cases in CASES.items() for name in dict.fromkeys(name for name, _ in cases)]


@pytest.mark.parametrize("group, name", BY_CLASS)
def test_pictures(tmp_path, network, group, name, request):
    cases = [options for each, options in CASES[group] if each == name]
    for options in cases if request.node.get_closest_marker("long") else cases[::4]:
        net = epsilon_network if options.get("prediction_type") == "epsilon" and "beta_start" in options else network
        try:
            compare(tmp_path, net, name, options)
        except (Refusal, AssertionError) as error:
            raise AssertionError(f"{options}: {error}") from error


@pytest.mark.long
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 25])
def test_numbers_of_steps(tmp_path, network, steps):
    for name in PLAIN.split():  # one or two steps of linspace are at timestep 0, which has no noise
        spacing = {"timestep_spacing": "trailing"} if name in ON_SIGMA.split() + ["EulerAncestralDiscrete"] else {}
        compare(tmp_path, network, f"{name}Scheduler", V | SCALED | spacing, steps)


@pytest.mark.parametrize("name, options, said", [*((name, {}, "") for name in schedulers.REFUSED), *(
    (f"{name}Scheduler", options, said) for name, options, said in REFUSALS)], ids=str)
def test_refusals(tmp_path, name, options, said):
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps(options | {"_class_name": name}))
    with pytest.raises(Refusal) as refused:
        schedulers.translate(schedulers.read_scheduler(path), 10)
    assert name in str(refused.value) and said in str(refused.value)


def test_every_class_is_known():
    """And in the table of jobs/README.md, which is the tool's, and tried here."""
    names = {name for listed in diffusers.schedulers._import_structure.values() for name in listed
             if name.endswith("Scheduler")}
    known = schedulers.TRANSLATED.keys() | schedulers.REFUSED.keys()
    assert {name for name in names if not name.startswith("Flax")} <= known
    assert schedulers.table() in (ROOT / "jobs/README.md").read_text()
    assert {name for cases in CASES.values() for name, _ in cases} == schedulers.TRANSLATED.keys()

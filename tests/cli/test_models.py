"""TorchScript diffusion models through the program, beside the same plan run by numpy over the same modules: variance
channels, a second model that guides, guidance on some channels; and models whose cards say what is not so."""
import json

import numpy as np
import pytest

from conftest import CARD, TORCH, qtaylor
from oracle import run_plan
from test_plan import stored_samples

torch = pytest.importorskip("torch")
SHAPE = (4, 2, 2)


class Network(torch.nn.Module):
    """Epsilon that moves with label and time and mixes channels; then as many channels of variance."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        shift = (0.1 * labels + t)[:, None, None, None]
        return torch.cat([torch.tanh(0.9 * x + 0.2 * x.roll(1, 1) + 0.3 * shift), torch.cos(3 * x + shift)], 1)


class Narrow(Network):
    def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.tanh(0.9 * x + 0.1 * labels[:, None, None, None])


class Guide(torch.nn.Module):
    """x0, without labels."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 0.5 * torch.tanh(x) * (1 - t[:, None, None, None])


def save(module, path, **card):
    card = {**CARD, "shape": list(SHAPE), **card}
    torch.jit.save(torch.jit.script(module()), str(path), _extra_files={"diffusion.json": json.dumps(card)})


@pytest.fixture
def models(job):
    job.keys["model"]["path"] = "model.pt"
    save(Network, job.folder / "model.pt", variance="learned")
    save(Guide, job.folder / "guide.pt", prediction="x0", labels=None)
    job.keys |= {"seeds": "0-20"}
    job.keys["output"]["dtype"] = "float32"
    return job


SAMPLERS = {
    "learned variance": {"solver": "ddpm", "nfe": 8},
    "its mean in another solver": {"solver": "dpmpp-2m", "nfe": 8},
    "three channels": {"solver": "ddpm", "nfe": 8, "guidance": {"scale": 3, "channels": 3}, "clip": True},
    "guided by a model": {"solver": "ddpm", "nfe": 8,
                          "guidance": {"scale": 2, "model": "guide.pt", "interval": [0.05, ".inf"]}},
    "all at once": {"solver": "edm", "nfe": 8,
                    "guidance": {"scale": 2, "channels": 3, "rescale": 0.7, "model": "guide.pt"}},
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_torchscript_models(models, sampler):
    models.keys["sampler"] = sampler
    path = models.write()
    plan = json.loads(qtaylor("plan", path, "--json", program=TORCH).stdout)
    labels = torch.arange(21) % 2

    def call(module, x, time, *more):
        x = torch.from_numpy(x.reshape(-1, *SHAPE)).float()
        both = module(x, torch.full((len(x),), time), *more).numpy().astype(np.float64)
        return both[:, :4].reshape(-1, 16), both[:, 4:].reshape(-1, 16)

    network, guide = torch.jit.load(str(models.folder / "model.pt")), torch.jit.load(str(models.folder / "guide.pt"))
    given = lambda x, time, which: call(network, x, time, labels if which == "given" else torch.full_like(labels, 2))
    ours = run_plan(plan, range(21), 16, given, guide=lambda x, time, which: call(guide, x, time), channels=4)
    qtaylor("generate", path, program=TORCH)
    assert np.abs(ours - stored_samples(models.run)).max() < 1e-5 * np.abs(ours).max()


def test_a_run_with_a_guide_is_resumed_and_not_mixed_with_another(models):
    models.keys["sampler"] = {"solver": "ddim", "nfe": 4, "guidance": {"scale": 2, "model": "guide.pt"}}
    qtaylor("generate", models.write(), program=TORCH)
    keys = json.loads((models.run / "run.json").read_text())["keys"]
    assert len(keys["sampler"]["guidance"]["model"]["sha256"]) == 64
    (models.folder / "guide.pt").rename(models.folder / "moved.pt")
    models.keys["sampler"]["guidance"]["model"] = "moved.pt"
    qtaylor("generate", models.write(), program=TORCH)
    save(Guide, models.folder / "moved.pt", prediction="epsilon", labels=None)
    done = qtaylor("generate", models.write(), program=TORCH, code=65)
    assert "sampler.guidance.model.sha256" in done.stderr


MISTAKES = {
    "variance without channels": (lambda job: save(Narrow, job.folder / "model.pt", variance="learned"),
                                  ["the first call of the model failed", "[8, 4, 2, 2]", "expected 8 channels"]),
    "guide of another shape":
        (lambda job: save(Guide, job.folder / "guide.pt", shape=[1, 4, 4]),
         ["guidance.model", "[4, 2, 2]", "[1, 4, 4]"]),
    "guide of another schedule":
        (lambda job: save(Guide, job.folder / "guide.pt", schedule={"kind": "cosine"}, labels=None),
         ["guidance.model", "schedule"]),
    "guide of other labels":
        (lambda job: save(Guide, job.folder / "guide.pt", labels={"classes": 3, "null": 3}),
         ["guidance.model", "labels"]),
    "guide of another range":
        (lambda job: save(Guide, job.folder / "guide.pt", range=[0, 1]), ["guidance.model", "range"]),
    "guide of integer times":
        (lambda job: save(Guide, job.folder / "guide.pt", labels=None, time={"kind": "discrete", "steps": 1000}),
         ["integer timesteps"]),
    "guide of another batch":
        (lambda job: save(Guide, job.folder / "guide.pt", labels=None, batch=3), ["batch", "guiding model"]),
    "guide that takes labels":
        (lambda job: save(Narrow, job.folder / "guide.pt", labels=None),
         ["the first call of the guiding model failed"]),
    "guide without card":
        (lambda job: torch.jit.save(torch.jit.script(Guide()), str(job.folder / "guide.pt")),
         ["guidance.model", "diffusion.json"]),
    "too many channels":
        (lambda job: job.keys["sampler"]["guidance"].update(channels=5), ["guidance.channels", "4", "5"]),
    "no learned variance": (lambda job: (save(Narrow, job.folder / "model.pt"),
                                         job.keys["sampler"].update(variance="learned")),
                            ["sampler.variance", "variance: learned"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(models, name):
    change, words = MISTAKES[name]
    models.keys["sampler"] = {"solver": "ddpm", "nfe": 4, "guidance": {"scale": 2, "model": "guide.pt"}}
    change(models)
    done = qtaylor("generate", models.write(), program=TORCH, code=65)
    assert all(word in done.stderr for word in words), done.stderr

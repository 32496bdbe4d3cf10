"""Model files that are damaged or something else, as torch itself writes them; and what a model gives that its card
does not say."""
import json

import pytest

from conftest import CARD, FAKE, TORCH, qtaylor

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return 0.5 * x + 0.1 * self.layer(x)


@pytest.fixture
def torch_job(job):
    job.keys["model"] = {"path": "model.pt", "card": CARD}
    return job


def save(net, path):
    torch.jit.save(torch.jit.script(net.eval()), str(path))


@pytest.mark.parametrize("which", ["model", "guide", "features"])
def test_a_flipped_bit_in_a_weight(torch_job, which):
    for name in "model", "guide", "features":
        description = {"shape": [1, 4, 4], "range": [0, 1], "outputs": {"pool": 16}}
        said = {"features.json": description} if name == "features" else {"diffusion.json": CARD}
        extra = {file: json.dumps(content) for file, content in said.items()}

        class Features(Net):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.layer(x).flatten(1)

        net = Features() if name == "features" else Net()
        torch.jit.save(torch.jit.script(net.eval()), str(torch_job.folder / f"{name}.pt"), _extra_files=extra)
    torch_job.add_evaluation()
    import numpy
    numpy.savez(torch_job.folder / "reference.npz", mu=numpy.zeros(16), sigma=numpy.eye(16))
    torch_job.keys["evaluate"]["features"] = "features.pt"
    torch_job.keys["sampler"]["guidance"] = {"scale": 2, "model": "guide.pt"}
    path = torch_job.folder / f"{which}.pt"
    data, weight = bytearray(path.read_bytes()), Net().layer.weight.detach().numpy().tobytes()
    assert bytes(data).count(weight) == 1
    data[data.find(weight) + 7] ^= 0x10
    path.write_bytes(data)
    done = qtaylor("run", torch_job.write(), program=TORCH, code=65)
    assert f"{which}.pt is damaged: its member {which}/data/" in done.stderr and not torch_job.run.exists()
    assert "is damaged" in qtaylor("inspect", path, program=TORCH, code=65).stderr


def write_text(path):
    path.write_text("model weights v2\n")


def export(path):
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), path)


KINDS = {
    "state dict": (lambda path: torch.save(Net().state_dict(), path), "a state dict", "tools/export.py"),
    "legacy": (lambda path: torch.save(Net().state_dict(), path, _use_new_zipfile_serialization=False),
               "a pickle", "tools/export.py"),
    "pt2": (export, "an exported program", "torch.jit.save"),
    "text": (write_text, "a text", "TorchScript"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("card", [True, False])
def test_other_files_are_called_what_they_are(torch_job, kind, card):
    write, *words = KINDS[kind]
    write(torch_job.folder / "model.pt")
    if not card:
        del torch_job.keys["model"]["card"]
    done = qtaylor("generate", torch_job.write(), program=TORCH, code=65)
    assert all(word in done.stderr for word in words) and len(done.stderr) < 600, done.stderr
    assert not torch_job.run.exists()



@pytest.mark.parametrize("dtype", ["half", "bfloat16", "double"])
def test_weights_of_another_type(torch_job, dtype):
    save(getattr(Net(), dtype)(), torch_job.folder / "model.pt")
    done = qtaylor("generate", torch_job.write(), program=TORCH, code=65)
    assert "casts inside forward" in done.stderr and "its weights are" in done.stderr, done.stderr


@pytest.mark.parametrize("channels, told", [(1, False), (2, True)])
def test_channels_that_the_card_does_not_know_of(job, channels, told):
    job.model["channels"] = channels
    done = qtaylor("generate", job.write(), ranks=2, program=FAKE)
    assert done.stderr.count("variance: learned") == told

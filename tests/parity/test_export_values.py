"""Networks that read values out of their tensors, which no trace follows: each way to read is refused with its line,
and what only looks like it is not. The oracle is the network itself on inputs that the exporter does not try."""
import numpy as np
import pytest
import torch

from exporter import load
from export.decoder_file import save_decoder
from export.frame import Refusal
from export.model_file import save
from test_export_refusals import CARD, Convolution

LARGE = torch.full((3, 2, 4, 4), 50.0), torch.ones(3)  # beyond all that the exporter tries


class OnValues(Convolution):
    """Its output is doubled where `read` says so."""

    def __init__(self, read):
        super().__init__()
        self.read = read
        self.register_buffer("kept", torch.zeros(()))

    def forward(self, x, t):
        return super().forward(x, t) * (2 if self.read(self, x, t) else 1)


def written(x):
    peaks = torch.zeros(len(x))
    for row in range(x.shape[0]):
        peaks[row] = x[row].max()
    return bool(peaks.max() > 40)


def swallowed(x):
    try:
        return bool(x.max() > 40)
    except Exception:
        return False


READS = {
    "if": lambda net, x, t: x.abs().max() > 40,
    "item": lambda net, x, t: x.max().item() > 40,
    "tolist": lambda net, x, t: x.max().tolist() > 40,
    "numpy": lambda net, x, t: x.detach().cpu().numpy().max() > 40,
    "asarray": lambda net, x, t: np.asarray(x).max() > 40,
    "dlpack": lambda net, x, t: np.from_dlpack(x).max() > 40,
    "storage": lambda net, x, t: x.untyped_storage()[3] == 0x42,
    "repr": lambda net, x, t: "50." in repr(x),
    "format": lambda net, x, t: float(f"{x.max():.1f}") > 40,
    "equal": lambda net, x, t: torch.allclose(x, x.new_full([1], 50)),
    "in": lambda net, x, t: t[0] in [1.0],
    "list": lambda net, x, t: bool((torch.tensor([x.max(), 1.0]) > 40).any()),
    "asarray of a list": lambda net, x, t: bool((torch.asarray([x.max(), 1.0]) > 40).any()),
    "size": lambda net, x, t: len(torch.arange(x.max().abs().ceil())) > 40,
    "written": lambda net, x, t: written(x),
    "out": lambda net, x, t: bool(torch.gt(x, 40.0, out=torch.empty(x.shape, dtype=torch.bool)).any()),
    "data": lambda net, x, t: bool(x.data.max() > 40),
    "swallowed": lambda net, x, t: swallowed(x),
}


@pytest.mark.parametrize("how", READS)
def test_a_value_that_is_read(tmp_path, how):
    network = OnValues(READS[how])
    assert network.read(network, *LARGE) and (how == "storage" or not network.read(network, 0 * LARGE[0], 0 * LARGE[1]))
    with pytest.raises(Refusal, match=r"no value .*test_export_values.py:\d+, `"):
        save(network, CARD, str(tmp_path / "model.pt"))
    assert not list(tmp_path.iterdir())


def test_values_that_are_kept(tmp_path):
    def first_call(network, x, t):
        if not network.kept:
            network.kept.copy_(x.std())

    with pytest.raises(Refusal, match="expected a call to change nothing, found that it writes kept"):
        save(OnValues(first_call), CARD, str(tmp_path / "model.pt"))


def set_by_the_first(network, x, t):
    if not hasattr(network, "done"):
        network.done = network.kept.data.copy_(x.std()) > 0


CHANGES = {
    "an attribute": (lambda net, x, t: vars(net).setdefault("first", x.std()), "leave nothing behind"),
    "a weight behind its version": (set_by_the_first, "leave nothing behind"),
    "its input": (lambda net, x, t: x.clamp_(-1, 1) is None, "writes into x"),
    "its times": (lambda net, x, t: t.mul_(2) is None, "writes into t"),
    "one row": (lambda net, x, t: x[1] is None, "run at a batch of 1.* index 1 is out of bounds"),
}


class Kept(Convolution):
    """Divided and shifted by what a call may keep."""

    def __init__(self, read):
        super().__init__()
        self.read = read
        self.register_buffer("kept", torch.zeros(()))

    def forward(self, x, t):
        self.read(self, x, t)
        return super().forward(x, t) / getattr(self, "first", 1) + self.kept


@pytest.mark.parametrize("what", CHANGES)
def test_a_call_that_changes_something(tmp_path, what):
    does, said = CHANGES[what]
    with pytest.raises(Refusal, match=said):
        save(Kept(does).eval(), CARD, str(tmp_path / "model.pt"))


def test_weights_that_a_first_call_makes(tmp_path):
    network = torch.nn.Sequential(torch.nn.LazyConv2d(2, 1)).eval()
    with pytest.raises(Refusal, match="lazy ones, which a first call makes: 0.weight, 0.bias"):
        save(network, CARD, str(tmp_path / "model.pt"))


DECODERS = {
    "tuple": (lambda net, z: (z,), "expected a tensor, found tuple"),
    "error": (lambda net, z: {}["a"], "does not run as its card says: KeyError"),
    "random": (lambda net, z: z + 1e-6 * torch.randn_like(z), "the same bits"),
    "rows": (lambda net, z: z - z.mean((0, 2, 3), keepdim=True), "independent of the other rows"),
    "buffer": (lambda net, z: (net.kept.add_(1), z)[1], "writes kept"),
    "its input": (lambda net, z: z.clamp_(-1, 1), "writes into z"),
}


@pytest.mark.parametrize("what", DECODERS)
def test_a_decoder_that_is_no_function(tmp_path, what):
    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.zeros(()))

        def forward(self, z):
            return DECODERS[what][0](self, z)

    with pytest.raises(Refusal, match="the decoder:? .*" + DECODERS[what][1]):
        save_decoder(Decoder(), {"latent": [2, 4, 4]}, str(tmp_path / "decoder.pt"))
    assert not list(tmp_path.iterdir())


def test_a_decoder_that_reads_values(tmp_path):
    class Decoder(torch.nn.Module):
        def forward(self, latents):
            return latents * 2 if latents.max() < 40 else latents

    with pytest.raises(Refusal, match="the decoder: .*`return latents"):
        save_decoder(Decoder(), {"latent": [2, 4, 4]}, str(tmp_path / "decoder.pt"))


def test_what_torch_compile_changed(tmp_path):
    with pytest.raises(Refusal, match="torch.compile"):
        save(torch.compile(Convolution()), CARD, str(tmp_path / "model.pt"))


CACHE = {}


def cached(x):
    return CACHE.setdefault(x.shape[1:], torch.ones_like(x[:1])) is None


def registered(network, x):
    if not hasattr(network, "ones"):
        network.register_buffer("ones", torch.ones_like(x[:1]))


class Scripted(Convolution):
    """A file keeps the branches of a script."""

    class Branch(torch.nn.Module):
        def forward(self, x):
            if bool(x.max() > 40):
                x = x / 2
            return x

    def __init__(self):
        super().__init__()
        self.branch = torch.jit.script(self.Branch())

    def forward(self, x, t):
        return self.branch(super().forward(x, t))


RIGHT = {
    "shape": lambda: OnValues(lambda net, x, t: x.shape[1] == 2),
    "buffer": lambda: OnValues(lambda net, x, t: net.kept.item() > 0),
    "global": lambda: OnValues(lambda net, x, t: cached(x)),
    "registered": lambda: OnValues(lambda net, x, t: registered(net, x)),
    "tracing": lambda: OnValues(lambda net, x, t: not torch.jit.is_tracing() and x.max() > 1000),
    "one hot": lambda: OnValues(lambda net, x, t: torch.nn.functional.one_hot(t.long().clamp(0, 1), 2) is None),
    "script": Scripted,
}


@pytest.mark.parametrize("what", RIGHT)
def test_what_reads_none(tmp_path, capsys, what):
    network = RIGHT[what]()
    save(network, CARD, str(tmp_path / "model.pt"))
    assert "not checked" not in capsys.readouterr().err
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "model.pt")[0](*LARGE), network(*LARGE))


def test_a_size_that_hangs_on_values_is_said(tmp_path, capsys):
    save(OnValues(lambda net, x, t: len((x > 40).nonzero())), CARD, str(tmp_path / "model.pt"))
    assert "not checked: a tensor's size hangs on values in" in capsys.readouterr().err

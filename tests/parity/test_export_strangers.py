"""Networks as strangers bring them to tools/export.py module: what they keep outside of themselves, complex weights,
times of transformers, names, folders that hold an earlier export."""
import json
import os
import random

import pytest
import torch

from conftest import TORCH, qtaylor
from exporter import export, load, one_thread
from export.arguments import arguments_of
from export.frame import Refusal
from export.model_file import save
from export.writer import flow
from test_export_refusals import CARD, Convolution

LABELS = CARD | {"labels": {"classes": 4, "null": None}}


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


class Changed(Convolution):
    """Its numbers times what `by` says."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x, t, *others):
        return super().forward(x, t) * self.by(self, x, t, *others)


STORE = {}


def chosen(net, x, t):
    if not hasattr(net, "gain"):
        net.gain = 2 if x.abs().max() > 20 else 1
    return net.gain


def of_the_class(net, x, t):
    Changed.peak = vars(Changed).get("peak", x.abs().amax())
    return Changed.peak


KEPT = {
    "chosen by the first call": (chosen, "no value to be read .*abs"),
    "in a global": (lambda net, x, t: STORE.setdefault("std", x.std()), "leave nothing behind"),
    "in the class": (of_the_class, "leave nothing behind"),
    "exit": (lambda net, x, t: exit(), "does not run as its card says: SystemExit"),
    "the first row": (lambda net, x, t: t[0], "independent of the other rows"),
    "rows before": (lambda net, x, t: t.cumsum(0).reshape(-1, 1, 1, 1), "independent of the other rows"),
    "a dictionary of sizes": (lambda net, x, t: {4: 1.0}[x.shape[-1]], r"cannot be traced: KeyError: tensor\(4\).*int"),
    "infinite at one batch": (lambda net, x, t: torch.where(x.new_ones(x.shape[:1]).sum() < 64, 1.0, torch.inf),
                              "batch 64: expected differences"),
    "an assertion on a size": (lambda net, x, t: [1 / (x.shape[0] <= 32)][0], "at a batch of 64"),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_a_file_can_not_keep(tmp_path, what):
    by, said = KEPT[what]
    try:
        with pytest.raises(Refusal, match=said):
            save(Changed(by).eval(), CARD, str(tmp_path / "model.pt"))
    finally:
        STORE.clear()
        vars(Changed).get("peak") is None or delattr(Changed, "peak")
    assert not list(tmp_path.iterdir())


def counting(net, x, t):
    net.calls = getattr(net, "calls", 0) + 1
    return 1


@pytest.mark.parametrize("by, said", [(counting, "calls"),
                                      (lambda net, x, t: int(random.random() < 2), "random's state")])
def test_what_is_drawn_or_counted_is_said(tmp_path, capfd, by, said):
    network = Changed(by).eval()
    network.calls = 0
    save(network, CARD, str(tmp_path / "model.pt"))
    assert f"not checked: a call changes {said}" in capfd.readouterr().err


class Rotated(Convolution):
    def __init__(self):
        super().__init__()
        self.register_buffer("turns", torch.polar(torch.ones(2), torch.tensor([1.0, 2.0])))

    def forward(self, x, t):
        pairs = torch.view_as_complex(super().forward(x, t).float().unflatten(-1, (2, 2)).contiguous())
        return torch.view_as_real(pairs * self.turns).flatten(-2)


def test_complex_weights_stay_complex(tmp_path):
    network = Rotated().eval()
    save(network, CARD, str(tmp_path / "model.pt"), "bfloat16")
    x, t = arguments_of(CARD, 7)
    with torch.no_grad():
        ours, theirs = load(tmp_path / "model.pt")[0](10 * x, t), network(10 * x, t)
    assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max()


class Tokens(Convolution):
    """A transformer's way: a weight at the root, and times made large before the first layer."""

    def __init__(self):
        super().__init__()
        self.places = torch.nn.Parameter(torch.zeros(1, 2, 4, 4))

    def forward(self, x, t):
        return super().forward(x, t) + self.places + torch.cos(1000 * t)[:, None, None, None]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_times_are_not_rounded_at_the_root(tmp_path, dtype):
    network = Tokens().eval()
    save(network, CARD, str(tmp_path / "model.pt"), dtype)
    x, t = torch.zeros(3, 2, 4, 4), torch.tensor([0.9961, 0.9970, 0.9980])
    with torch.no_grad():
        ours, theirs = load(tmp_path / "model.pt")[0](x, t), network(x, t)
    assert (ours - theirs).abs().max() < 0.02


def test_the_null_label_is_tried(tmp_path):
    class Labelled(Convolution):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(4, 2)

        def forward(self, x, t, labels):
            return super().forward(x, t) + self.table(labels)[:, :, None, None]

    save(Labelled().eval(), LABELS, str(tmp_path / "model.pt"))
    with pytest.raises(Refusal, match="does not run as its card says: IndexError"):
        save(Labelled().eval(), LABELS | {"labels": {"classes": 4, "null": -1}}, str(tmp_path / "model.pt"))


def test_indexing_by_numbers_is_no_size(tmp_path, capfd):
    table = torch.linspace(1, 2, 1000)
    discrete = CARD | {"time": {"kind": "discrete"}, "schedule": {"kind": "discrete-linear", "steps": 1000,
                                                                  "beta0": 1e-4, "beta1": 0.02}}

    class Looked(Convolution):
        def forward(self, x, t):
            return super().forward(x, t.float()) * table[t].reshape(-1, 1, 1, 1)

    save(Looked().eval(), discrete, str(tmp_path / "model.pt"))
    assert "hangs on values" not in capfd.readouterr().err


class Once(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()


def test_what_is_not_saved_or_copied(tmp_path):
    with pytest.raises(Refusal, match="can be traced, but not saved"):
        save(Changed(lambda net, x, t: Once.apply(x)).eval(), CARD, str(tmp_path / "model.pt"))
    locked = Convolution().eval()
    locked.lock = __import__("threading").Lock()
    with pytest.raises(Refusal, match="cannot be copied"):
        save(locked, CARD, str(tmp_path / "model.pt"), "bfloat16")
    assert not list(tmp_path.iterdir())


def test_a_frozen_script_is_a_network(tmp_path):
    save(Convolution().eval(), CARD, str(tmp_path / "model.pt"))
    save(load(tmp_path / "model.pt")[0], CARD, str(tmp_path / "again.pt"))
    arguments = arguments_of(CARD, 7)
    assert torch.equal(load(tmp_path / "again.pt")[0](*arguments), load(tmp_path / "model.pt")[0](*arguments))


FILE = """
from __future__ import annotations
import dataclasses
import torch

@dataclasses.dataclass
class Options:
    width: int = 2

class Net(torch.nn.Module):
    def forward(self, x, t):
        from sibling import twice
        return twice(x) + t[:, None, None, None] + Options().width

class Reads(Net):
    def forward(self, x, t):
        return x if x.max() > 40 else 2 * x

class Decoder(torch.nn.Module):
    def forward(self, z):
        return torch.tanh(z).repeat(1, 2, 1, 1)[:, :3]
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "sibling.py").write_text("def twice(x): return 2 * x\n")
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    (tmp_path / "decoder.json").write_text("{}")
    return tmp_path


def module(folder, made, *options, code=0, out="out", card="card.json"):
    export("module", f"{folder}/net.py:{made}", folder / out, "--card", folder / card, *options, code=code)


def test_a_file_with_dataclasses_and_late_imports(net):
    module(net, "Net", out="123")
    assert qtaylor("plan", net / "123/job.yaml", program=TORCH).returncode == 0


def test_a_refusal_leaves_an_earlier_export_as_it_was(net):
    decoder = "--decoder", f"{net}/net.py:Decoder", "--decoder-card", net / "decoder.json"
    module(net, "Net", *decoder)
    before = {path.name: (path.read_bytes(), path.stat().st_ino) for path in (net / "out").iterdir()}
    assert set(before) == {"model.pt", "decoder.pt", "job.yaml"}
    (net / "decoder.json").write_text('{"scale": 0.9}')
    module(net, "Reads", *decoder, code=65)
    assert before == {path.name: (path.read_bytes(), path.stat().st_ino) for path in (net / "out").iterdir()}
    (net / "out/job.yaml").write_bytes(b"name: caf\xe9\n")
    module(net, "Net", *decoder)
    assert (net / "out/job.yaml.1").read_bytes() == b"name: caf\xe9\n"


def test_a_folder_in_a_files_place(net):
    os.makedirs(net / "out/job.yaml")
    module(net, "Net", code=74)
    assert [path.name for path in (net / "out").iterdir()] == ["job.yaml"]


def inputs(*names):
    return {"inputs": [{"name": name, "shape": [5]} for name in names]}


@pytest.mark.parametrize("changed, said", [
    (inputs("class"), "a name of Python's"), (inputs("my-context"), "a name of Python's"),
    (inputs("self"), "a name of Python's"), (inputs("a", "a"), "its own"), ({"inputs": [{"shape": [5]}]}, "name"),
    ({"batch": 8}, "batch: expected none, found 8"), ({"dtype": "bfloat16"}, "dtype: expected none, found bfloat16")])
def test_cards_that_say_too_much(net, capsys, changed, said):
    (net / "card.json").write_text(json.dumps(CARD | changed))
    module(net, "Net", code=65)
    assert said in capsys.readouterr().err and not (net / "out").exists()


@pytest.mark.parametrize("name", ["123", "1e5", "1.5", "true", "No", "-x"])
def test_texts_that_yaml_would_read_otherwise(name):
    assert flow(name) == f'"{name}"'

"""tools/export.py sit, repa, lightningdit, torchcfm and module: on stand-ins for the repositories, with their layout,
their constructors and the names of their weights, and small random networks: the exported job's samples beside those of
the scripts' own loops, written again here. (On the repositories themselves the same was tried by hand.)"""
import json
import shutil
import textwrap

import numpy as np
import pytest
import torch

from conftest import TORCH
from exporter import assert_same_pictures, export, load, one_thread, run_exported, shake
from export.checkpoints import import_code, import_inside

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")
TRANSFORMER = """
import torch
from torch import nn

class Embedder(nn.Module):
    def __init__(self, channels, hidden, patch):
        super().__init__()
        self.proj = nn.Conv2d(channels, hidden, patch, patch)

class Labels(nn.Module):
    def __init__(self, classes, hidden):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, hidden)

class Block(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 6 * hidden))

    def forward(self, x, c):
        shift, scale, *_ = self.adaLN_modulation(c).unsqueeze(1).chunk(6, -1)
        x = x * (1 + scale) + shift
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return x + self.proj(((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2))

class Last(nn.Module):
    def __init__(self, hidden, out):
        super().__init__()
        self.linear = nn.Linear(hidden, out)

class Transformer(nn.Module):
    def __init__(self, input_size, patch_size, in_channels, hidden_size, depth, num_heads, num_classes,
                 learn_sigma=False):
        super().__init__()
        self.patch, self.out, self.learn_sigma = patch_size, in_channels * (2 if learn_sigma else 1), learn_sigma
        self.x_embedder = Embedder(in_channels, hidden_size, patch_size)
        self.y_embedder = Labels(num_classes, hidden_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, (input_size // patch_size) ** 2, hidden_size))
        self.blocks = nn.ModuleList([Block(hidden_size, num_heads) for _ in range(depth)])
        self.final_layer = Last(hidden_size, patch_size**2 * self.out)

    def forward(self, x, t, y):
        side = x.shape[-1] // self.patch
        x = self.x_embedder.proj(x).flatten(2).transpose(1, 2) + self.pos_embed
        c = self.y_embedder.embedding_table(y) + torch.cos(t.unsqueeze(1) * 3)
        for block in self.blocks:
            x = block(x, c)
        x = self.final_layer.linear(x).reshape(-1, side, side, self.patch, self.patch, self.out)
        x = torch.einsum("nhwpqc->nchpwq", x).reshape(-1, self.out, side * self.patch, side * self.patch)
        return x.chunk(2, 1)[0] if self.learn_sigma else x
"""
SIT = TRANSFORMER + "\nSiT = Transformer\n"
REPA = TRANSFORMER + textwrap.dedent("""
    class SiT(Transformer):
        def __init__(self, path_type, decoder_hidden_size, z_dims, projector_dim, encoder_depth, fused_attn, qk_norm,
                     **sizes):
            super().__init__(**sizes)
            hidden = sizes["hidden_size"]
            assert decoder_hidden_size == hidden and not qk_norm and encoder_depth <= sizes["depth"]
            self.projectors = nn.ModuleList([nn.Sequential(
                nn.Linear(hidden, projector_dim), nn.SiLU(), nn.Linear(projector_dim, projector_dim), nn.SiLU(),
                nn.Linear(projector_dim, z)) for z in z_dims])

        def forward(self, x, t, y):
            return super().forward(x, t, y), [projector(self.pos_embed) for projector in self.projectors]
""")
LIGHTNING = TRANSFORMER + textwrap.dedent("""
    @torch.compile
    def half(x):
        return x / 2

    class LightningDiT(Transformer):
        def __init__(self, use_qknorm, use_swiglu, use_rmsnorm, use_rope, wo_shift, **sizes):
            super().__init__(**sizes)
            assert not (use_qknorm or use_swiglu or use_rmsnorm or use_rope or wo_shift)

        def forward(self, x, t=None, y=None):
            return half(super().forward(x, t, y))
""")
UNET = """
import torch
from torch import nn
from .neighbour import LAYER

class UNetModelWrapper(nn.Module):
    def __init__(self, dim, num_channels, num_res_blocks, channel_mult, num_heads, num_head_channels,
                 attention_resolutions, use_scale_shift_norm, resblock_updown, class_cond, num_classes):
        super().__init__()
        self.input_blocks = nn.ModuleList([nn.ModuleList([LAYER(dim[0], num_channels, 3, padding=1)])])
        self.out = LAYER(num_channels, dim[0], 3, padding=1)
        if class_cond:
            self.label_emb = nn.Embedding(num_classes, num_channels)

    def forward(self, t, x, y=None):
        h = self.input_blocks[0][0](x) + torch.cos(t).reshape(-1, 1, 1, 1)
        return self.out(torch.tanh(h if y is None else h + self.label_emb(y).unsqueeze(2).unsqueeze(3)))
"""
SIZES = {"input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 16, "depth": 2, "num_heads": 2,
         "num_classes": 10}
PLAIN = {"use_qknorm": False, "use_swiglu": False, "use_rmsnorm": False, "use_rope": False, "wo_shift": False}
HEADS = ("--num-heads", 2)
LABELS = torch.tensor([0, 1, 2])


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


def start(channels=4, side=8):
    return torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(7))


def checkout(folder, path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
    return folder


def guided(network, x, t, scale, channels):
    """forward_with_cfg: guidance on the first channels alone."""
    with torch.no_grad():
        given, none = (network(x, torch.full([len(x)], t), labels) for labels in (LABELS, torch.full_like(LABELS, 10)))
    return torch.cat([(none + scale * (given - none))[:, :channels], given[:, channels:]], 1)


def compare(tmp_path, out, expected, channels=4):
    found = run_exported(out / "job.yaml", start(channels, expected.shape[-1]), tmp_path, "labels=balanced")
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_sit(tmp_path):
    code = checkout(tmp_path / "SiT", "models.py", SIT)
    models, = import_code(code, "models")
    network = shake(models.SiT(**SIZES, learn_sigma=True))
    torch.save({"ema": network.state_dict(), "model": network.state_dict()}, tmp_path / "sit.pt")
    asked = ("--code", code, *HEADS, "--cfg-scale", 2, "--sampling-method", "euler", "--steps", 9)
    export("sit", tmp_path / "sit.pt", tmp_path / "out", *asked)
    x, times = start(), np.linspace(0, 1, 9)  # data at 1
    for t, s in zip(times, times[1:]):
        x = x + (s - t) * guided(network, x, t, 2, 3)
    compare(tmp_path, tmp_path / "out", x)
    assert load(tmp_path / "out/model.pt")[1]["labels"] == {"classes": 10, "null": 10}
    export("sit", tmp_path / "sit.pt", tmp_path / "sde", "--code", code, *HEADS, "--mode", "SDE", "--steps", 5)
    run_exported(tmp_path / "sde/job.yaml", start(), tmp_path / "sde")


def test_repa(tmp_path, capsys):
    code = checkout(tmp_path / "REPA", "models/sit.py", REPA)
    module, = import_code(code, "models.sit")
    network = shake(module.SiT("linear", 16, [5], 7, 1, False, False, **SIZES))
    torch.save({"ema": network.state_dict()}, tmp_path / "last.pt")
    asked = ("--code", code, *HEADS, "--mode", "ode", "--cfg-scale", 1.8, "--guidance-high", 0.7, "--steps", 8)
    export("repa", tmp_path / "last.pt", tmp_path / "out", *asked)
    x, times = start(), np.linspace(1, 0, 9)  # noise at 1
    for t, s in zip(times, times[1:]):
        scale = 1.8 if t <= 0.7 else 1
        x = x + (s - t) * guided(lambda *given: network(*given)[0], x, t, scale, 4)
    compare(tmp_path, tmp_path / "out", x)
    export("repa", tmp_path / "last.pt", tmp_path / "other", *asked, "--heun", code=65)
    assert "--heun" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_lightningdit(tmp_path):
    code = checkout(tmp_path / "LightningDiT", "models/lightningdit.py", LIGHTNING)
    from export.lightningdit import uncompiled
    with uncompiled():
        module, = import_code(code, "models.lightningdit")
    network = shake(module.LightningDiT(**PLAIN, **SIZES))
    torch.save({"ema": {f"module.{name}": value for name, value in network.state_dict().items()}}, tmp_path / "net.pt")
    asked = ("--code", code, *HEADS, "--cfg-scale", 6.7, "--cfg-interval-start", 0.125, "--steps", 8)
    export("lightningdit", tmp_path / "net.pt", tmp_path / "out", *asked)
    x, times = start(), np.linspace(0, 1, 8)
    times = 0.3 * times / (1 - 0.7 * times)
    for t, s in zip(times, times[1:]):
        x = x + (s - t) * guided(network, x, t, 6.7 if t >= 0.125 else 1, 3)
    compare(tmp_path, tmp_path / "out", x)


@pytest.mark.parametrize("model, classes", [("otcfm", None), ("si", 10)])
def test_torchcfm(tmp_path, model, classes):
    code = checkout(tmp_path / "cfm", "torchcfm/models/unet/unet.py", UNET)
    checkout(code, "torchcfm/models/unet/neighbour.py", "from torch.nn import Conv2d as LAYER\n")
    checkout(code, "torchcfm/__init__.py", "import a_package_that_is_not_here\n")
    unet = import_inside(str(code / "torchcfm/models/unet"), "unet")
    network = shake(unet.UNetModelWrapper((3, 8, 8), 16, 1, [1, 2], 1, 8, "4", False, False, bool(classes), classes))
    torch.save({"ema_model": network.state_dict(), "step": 400000}, tmp_path / "net.pt")
    asked = ("--code", code, "--image-size", 8, "--model", model, "--integration-method", "euler", "--steps", 6)
    export("torchcfm", tmp_path / "net.pt", tmp_path / "out", *asked)
    assert load(tmp_path / "out/model.pt")[1]["schedule"]["kind"] == ("gvp" if model == "si" else "flow")
    if model == "si":  # Euler's steps of qtaylor are of x0 and z there, not of x
        return
    x, times = start(3), np.linspace(0, 1, 7)
    with torch.no_grad():
        for t, s in zip(times, times[1:]):
            x = x + (s - t) * network(torch.full([3], t), x)
    expected = torch.clamp(127.5 * x + 128, 0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert_same_pictures(run_exported(tmp_path / "out/job.yaml", start(3), tmp_path), expected)


MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.table = torch.nn.Embedding(5, 3)

    def forward(self, x, t, labels):
        return self.conv(x) + self.table(labels).unsqueeze(2).unsqueeze(3) * torch.cos(t).reshape(-1, 1, 1, 1)

def make():
    return Net()
"""
CARD = {"shape": [3, 8, 8], "prediction": "velocity", "time": {"kind": "continuous"}, "schedule": {"kind": "flow"},
        "labels": {"classes": 4}}


@pytest.fixture
def module(tmp_path):
    (tmp_path / "net.py").write_text(MODULE)
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    return tmp_path


def test_any_module(module):
    export("module", f"{module / 'net.py'}:make", module / "out", "--card", module / "card.json", "--null", 4)
    file, card = load(module / "out/model.pt")
    assert card["labels"] == {"classes": 4, "null": 4} and card["range"] == [-1, 1]
    run_exported(module / "out/job.yaml", start(3), module, "sampler.guidance=2", "sampler.nfe=8")


TOLD = """
import torch

class Told(torch.nn.Module):
    def forward(self, x, t, mask, context):
        told = (context * torch.where(mask, 1.0, -0.5)).mean(1)
        return x * torch.cos(t)[:, None, None, None] + told[:, None, None, None]
"""


@pytest.mark.parametrize("classes", [None, 4])
def test_a_module_with_inputs(tmp_path, classes):
    """They follow x, t and the labels in the card's order, by whatever names the network has for them."""
    labels = "labels, " if classes else ""
    (tmp_path / "net.py").write_text(TOLD.replace("mask, context)", f"{labels}mask, prompt)").replace(
        "(context", "(prompt"))
    inputs = [{"name": "mask", "shape": [5], "dtype": "bool", "null": "zeros"},
              {"name": "context", "shape": [5], "dtype": "float32", "null": "zeros"}]
    card = CARD | {"labels": {"classes": classes} if classes else None, "inputs": inputs}
    (tmp_path / "card.json").write_text(json.dumps(card))
    export("module", f"{tmp_path / 'net.py'}:Told", tmp_path / "out", "--card", tmp_path / "card.json")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "mask.npy", mask := rng.random((3, 5)) < 0.5)
    np.save(tmp_path / "context.npy", context := rng.normal(size=(3, 5)).astype("f4"))
    x = np.asarray(start(3))
    ours = run_exported(tmp_path / "out/job.yaml", x, tmp_path, "sampler.solver=euler", "sampler.nfe=1",
                        f"conditions.mask={tmp_path}/mask.npy", f"conditions.context={tmp_path}/context.npy",
                        "output.dtype=float32")
    told = (context * np.where(mask, 1.0, -0.5)).mean(1)[:, None, None, None]
    np.testing.assert_allclose(ours, x - (x * np.cos(1.0) + told), rtol=0, atol=1e-5)  # one step from t = 1 to 0


DECODER = """

class Decoder(torch.nn.Module):
    def forward(self, z):
        return torch.tanh(torch.nn.functional.interpolate(z[:, :3], scale_factor=2, mode="nearest"))
"""


def test_a_module_of_latents(module):
    """Without a decoder they are stored as they are; with one of its own pictures are made."""
    (module / "net.py").write_text(MODULE + DECODER)
    (module / "card.json").write_text(json.dumps(CARD | {"range": None}))
    (module / "decoder.json").write_text(json.dumps({"scale": 0.5}))
    command = "module", f"{module / 'net.py'}:make", module / "out", "--card", module / "card.json"
    export(*command)
    latents = run_exported(module / "out/job.yaml", start(3), module, "sampler.nfe=4")
    assert latents.dtype == np.float32 and latents.shape == (3, 3, 8, 8)
    given = "--decoder", f"{module / 'net.py'}:Decoder", "--decoder-card", module / "decoder.json"
    export(*command, *given)
    shutil.rmtree(module / "run")
    pictures = run_exported(module / "out/job.yaml", start(3), module, "sampler.nfe=4")
    expected = np.tanh(latents.repeat(2, 2).repeat(2, 3) / 0.5).transpose(0, 2, 3, 1)
    assert_same_pictures(pictures, np.trunc(np.clip(127.5 * expected + 128, 0, 255)).astype(np.uint8))
    export(*command, "--decoder", f"{module / 'net.py'}:Decoder", code=64)
    (module / "decoder.json").write_text(json.dumps({"scale": 0.5, "image": [3, 8, 8]}))
    export(*command, *given, code=65)


@pytest.mark.parametrize("classes", [6, 5])
def test_a_label_that_the_network_lacks(module, capsys, classes):
    """Its table has 5 rows."""
    card = CARD | {"labels": {"classes": classes, "null": 5}}
    (module / "card.json").write_text(json.dumps(card))
    export("module", f"{module / 'net.py'}:make", module / "out", "--card", module / "card.json", code=65)
    assert "does not run as its card says: IndexError: index out of range" in capsys.readouterr().err


def test_what_is_there_already(module, capsys):
    """An edited job is kept beside the new one; a file of another form is named."""
    command = "module", f"{module / 'net.py'}:make", module / "out", "--card", module / "card.json"
    export(*command)
    job = module / "out/job.yaml"
    first = job.read_text()
    job.write_text(first + "batch: 7\n")
    (module / "out/model.pt2").write_text("of an earlier export")
    capsys.readouterr()
    export(*command, "--null", 2)
    said = capsys.readouterr().err
    assert f"{job}: another one was there, now {job}.1" in said and job.read_text() == first
    assert (module / "out/job.yaml.1").read_text() == first + "batch: 7\n"
    assert "model.pt2 is of an earlier export: the job takes model.pt" in said
    assert "--null 2: one of the 4 classes" in said
    export(*command)
    assert not (module / "out/job.yaml.2").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_shorter_types_inside(module, capsys, dtype):
    export("module", f"{module / 'net.py'}:make", module / "out", "--card", module / "card.json", "--dtype", dtype)
    assert f"{dtype}: differs from float32 by" in capsys.readouterr().err
    file, card = load(module / "out/model.pt")
    assert card["dtype"] == dtype
    export("module", f"{module / 'net.py'}:make", module / "plain", "--card", module / "card.json")
    with torch.no_grad():
        given = start(3), torch.full([3], 0.5), LABELS
        answer, plain = file(*given), load(module / "plain/model.pt")[0](*given)
    assert answer.dtype == torch.float32 and 0 < (answer - plain).abs().max() < 0.01 * plain.abs().max()
    run_exported(module / "out/job.yaml", start(3), module, "sampler.nfe=4")


def test_what_is_no_module(module, capsys):
    for source, code, said in ((f"{module / 'net.py'}:nothing", 65, "has no attribute"),
                               (module / "net.py", 64, "PATH:FUNCTION"),
                               (f"{module / 'absent.py'}:make", 74, "No such file")):
        export("module", source, module / "out", "--card", module / "card.json", code=code)
        assert said in capsys.readouterr().err and not (module / "out").exists()
    (module / "exit.py").write_text("import sys\ndef make():\n    sys.exit(0)\n")
    export("module", f"{module / 'exit.py'}:make", module / "out", "--card", module / "card.json", code=65)
    assert "SystemExit" in capsys.readouterr().err and not (module / "out").exists()
    (module / "card.json").write_text("{}")
    export("module", f"{module / 'net.py'}:make", module / "out", "--card", module / "card.json", code=65)
    assert "expected a card with" in capsys.readouterr().err


def test_a_checkpoint_of_something_else(tmp_path, capsys):
    code = checkout(tmp_path / "SiT", "models.py", SIT)
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "net.pt")
    for family in ("sit", "torchcfm"):
        checkout(code, "torchcfm/models/unet/unet.py", "")
        export(family, tmp_path / "net.pt", tmp_path / "out", "--code", code, code=65)
        assert "expected the weights of" in capsys.readouterr().err
    export("sit", tmp_path / "net.pt", tmp_path / "out", "--code", tmp_path / "net.pt", code=64)
    assert "--code: expected a checkout with models.py" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

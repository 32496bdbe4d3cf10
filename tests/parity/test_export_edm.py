"""tools/export.py edm: a double of what EDM's pickles hold, with the names, the pickling and the habits of its classes:
the file against the network, and whole runs against EDM's sampler."""
import pickle
import sys
import textwrap
import types

import numpy as np
import pytest
import torch

from conftest import TORCH
from exporter import assert_same, export, load, one_thread, run_job, shake

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


PERSISTENCE = """
import sys, types
modules = {}
def _reconstruct_persistent_obj(meta):
    source = meta["module_src"]
    if source not in modules:
        modules[source] = types.ModuleType(f"_imported_module_{len(modules)}")
        sys.modules[modules[source].__name__] = modules[source]
        exec(source, modules[source].__dict__)
    obj = object.__new__(modules[source].__dict__[meta["class_name"]])
    obj.__dict__.update(meta["state"])
    return obj
"""
# Small; but what a tracer trips over is here as there: an autograd.Function, arange on the input's device, sums in
# place, sizes that depend on the batch, numpy's numbers, class_labels=None, a label as a row of numbers.
NETWORKS = """
import numpy as np
import torch
from torch.nn.functional import silu

class AttentionOp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k):
        w = torch.einsum('ncq,nck->nqk', q, k / np.sqrt(k.shape[1])).softmax(dim=2)
        ctx.save_for_backward(q, k, w)
        return w

class PositionalEmbedding(torch.nn.Module):
    def forward(self, x):
        freqs = (1 / 10000) ** (torch.arange(16, dtype=torch.float32, device=x.device) / 16)
        x = x.ger(freqs.to(x.dtype))
        return torch.cat([x.cos(), x.sin()], dim=1)

class UNetBlock(torch.nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.num_heads = heads
        self.norm, self.conv = torch.nn.GroupNorm(4, channels), torch.nn.Conv2d(channels, channels, 3, padding=1)
        self.affine, self.qkv = torch.nn.Linear(32, channels), torch.nn.Conv2d(channels, 3 * channels, 1)
        self.proj = torch.nn.Conv2d(channels, channels, 1)

    def forward(self, x, emb):
        x = self.conv(silu(self.norm(x))).add_(x).add_(self.affine(emb).unsqueeze(2).unsqueeze(3).to(x.dtype))
        q, k, v = self.qkv(x).reshape(x.shape[0] * self.num_heads, x.shape[1] // self.num_heads, 3, -1).unbind(2)
        a = torch.einsum('nqk,nck->ncq', AttentionOp.apply(q, k), v)
        return self.proj(a.reshape(*x.shape)).add_(x) * np.sqrt(0.5)

class SongUNet(torch.nn.Module):
    def __init__(self, channels, out, label_dim):
        super().__init__()
        self.map_noise = PositionalEmbedding()
        self.map_label = torch.nn.Linear(label_dim, 32) if label_dim else None
        self.enc = torch.nn.ModuleDict({'8x8_conv': torch.nn.Conv2d(channels, 16, 3, padding=1),
                                        '8x8_block0': UNetBlock(16, 2)})
        self.out = torch.nn.Conv2d(16, out, 3, padding=1)

    def forward(self, x, noise_labels, class_labels, augment_labels=None):
        emb = self.map_noise(noise_labels)
        emb = emb.reshape(emb.shape[0], 2, -1).flip(1).reshape(*emb.shape)
        if self.map_label is not None:
            emb = emb + self.map_label(class_labels * np.sqrt(self.map_label.in_features))
        for block in self.enc.values():
            x = block(x, emb) if isinstance(block, UNetBlock) else block(x)
        return self.out(silu(x))

class Precond(torch.nn.Module):
    def __init__(self, label_dim=0, **values):
        super().__init__()
        self.img_resolution, self.img_channels, self.label_dim, self.use_fp16 = 8, 3, label_dim, False
        for name, value in values.items():
            setattr(self, name, value)
        self.model = SongUNet(3, self.outputs * 3, label_dim)

    outputs = 1
    def labels(self, class_labels):
        if self.label_dim == 0:
            return None
        return torch.zeros([1, self.label_dim]) if class_labels is None else class_labels

class EDMPrecond(Precond):
    def forward(self, x, sigma, class_labels=None):
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        total = (sigma ** 2 + self.sigma_data ** 2).sqrt()
        F = self.model(x.float() / total, (sigma.log() / 4).flatten(), class_labels=self.labels(class_labels))
        return self.sigma_data ** 2 / total ** 2 * x + sigma * self.sigma_data / total * F

class VPPrecond(Precond):
    def forward(self, x, sigma, class_labels=None):
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        t = ((self.beta_min ** 2 + 2 * self.beta_d * (1 + sigma ** 2).log()).sqrt() - self.beta_min) / self.beta_d
        return x - sigma * self.model(x.float() / (sigma ** 2 + 1).sqrt(), ((self.M - 1) * t).flatten(),
                                      class_labels=self.labels(class_labels))

class VEPrecond(Precond):
    def forward(self, x, sigma, class_labels=None):
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        return x + sigma * self.model(x.float(), (0.5 * sigma).log().flatten(), class_labels=self.labels(class_labels))

class iDDPMPrecond(Precond):
    outputs = 2
"""


class Persistent:
    """Pickles a module of NETWORKS, and those in it, as EDM's persistence does: the source, the class's name, the
    state."""

    def __init__(self, module, reconstruct):
        self.module, self.reconstruct = module, reconstruct

    def __reduce__(self):
        state = dict(self.module.__dict__)
        if type(self.module).__module__ == "edm_double":
            state["_modules"] = {name: Persistent(child, self.reconstruct) if child is not None else None
                                 for name, child in self.module._modules.items()}
            return self.reconstruct, ({"type": "class", "version": 6, "module_src": NETWORKS,
                                       "class_name": type(self.module).__name__, "state": state},)
        children = {name: Persistent(child, self.reconstruct) for name, child in self.module._modules.items()}
        return plain_module, (type(self.module), state | {"_modules": children})


def plain_module(kind, state):
    made = object.__new__(kind)
    made.__dict__.update(state)
    return made


@pytest.fixture(scope="module")
def edm(tmp_path_factory):
    """The authors' folder, and make(class, label_dim, values) -> (network, pickle's path)."""
    folder = tmp_path_factory.mktemp("edm")
    (folder / "torch_utils").mkdir()
    (folder / "torch_utils/persistence.py").write_text(PERSISTENCE)
    (folder / "test_export_edm.py").write_text(textwrap.dedent("""
        def plain_module(kind, state):
            made = object.__new__(kind)
            made.__dict__.update(state)
            return made
    """))
    sys.path.insert(0, str(folder))
    from torch_utils.persistence import _reconstruct_persistent_obj as reconstruct
    sys.path.remove(str(folder))
    double = types.ModuleType("edm_double")
    sys.modules["edm_double"] = double
    exec(NETWORKS, double.__dict__)

    def make(kind, label_dim=0, **values):
        torch.manual_seed(0)
        network = shake(getattr(double, kind)(label_dim, **values))
        path = folder / f"{kind}-{label_dim}.pkl"
        path.write_bytes(pickle.dumps({"ema": Persistent(network, reconstruct), "loss_fn": None}))
        return network, path

    return folder, make


EDM = {"EDMPrecond": {"sigma_min": 0, "sigma_max": float("inf"), "sigma_data": 0.5},
       "VPPrecond": {"sigma_min": 0.001, "sigma_max": 152.2, "beta_d": 19.9, "beta_min": 0.1, "M": 1000},
       "VEPrecond": {"sigma_min": 0.02, "sigma_max": 100}}


def edm_sampler(network, x, labels, steps, low, high):
    """Karras et al., algorithm 1 with their steps, in float64."""
    grid = (high ** (1 / 7) + np.arange(steps) / (steps - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    x = x * high
    denoise = lambda y, s: network(torch.tensor(y, dtype=torch.float32), torch.tensor([s]), labels).double().numpy()
    for t, s in zip(grid, [*grid[1:], 0]):
        d = (x - denoise(x, t)) / t
        euler = x + (s - t) * d
        x = euler if s == 0 else x + (s - t) / 2 * (d + (euler - denoise(euler, s)) / s)
    return x


LONG = (("EDMPrecond", 0), ("VPPrecond", 5), ("VEPrecond", 0), ("VEPrecond", 5))


@pytest.mark.parametrize("kind,label_dim", [("EDMPrecond", 5), ("VPPrecond", 0)] + [
    pytest.param(kind, dim, marks=pytest.mark.long) for kind, dim in LONG])
def test_edm_is_sampled_as_its_generate_does(tmp_path, edm, kind, label_dim):
    folder, make = edm
    network, path = make(kind, label_dim, **EDM[kind])
    export("edm", path, tmp_path / "out", "--code", folder)
    file, card = load(tmp_path / "out/model.pt")
    rows = lambda labels: torch.cat([torch.eye(5), torch.zeros(1, 5)])[labels]
    arguments = lambda batch, rng: (torch.randn(batch, 3, 8, 8, generator=rng), torch.randn(batch, generator=rng),
                                    *([torch.randint(6, [batch], generator=rng)] if label_dim else []))
    assert_same(file, network.model, arguments,
                lambda net, x, t, *labels: net(x, t, rows(labels[0]) if labels else None))
    low, high = max(0.002, EDM[kind]["sigma_min"]), min(80, EDM[kind]["sigma_max"])
    assert card["schedule"] == {"kind": "edm", "sigma_min": low, "sigma_max": high}
    ours = run_job(tmp_path, "out/model.pt", seeds="0-7", labels="balanced" if label_dim else "none", noise="torch-cpu",
                   sampler={"solver": "edm", "nfe": 35})
    drawn = [torch.randn([3, 8, 8], generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    latents = torch.stack(drawn).double().numpy()
    with torch.no_grad():
        theirs = edm_sampler(network, latents, rows(torch.arange(8) % 5) if label_dim else None, 18, low, high)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=5e-4 * np.abs(theirs).max())


def test_edm_files_that_no_card_would_describe(tmp_path, edm, capsys):
    folder, make = edm
    _, path = make("VPPrecond", 0, **EDM["VPPrecond"] | {"beta_d": 20})
    export("edm", path, tmp_path / "a", "--code", folder, code=65)
    assert "beta_d: expected 19.9, found 20" in capsys.readouterr().err
    network, path = make("iDDPMPrecond", 0, M=1000, C_1=0.001, C_2=0.008, sigma_min=0.008, sigma_max=20000)
    export("edm", path, tmp_path / "b", "--code", folder)
    assert load(tmp_path / "b/model.pt")[1]["prediction"] == "edm-iddpm"
    assert not (tmp_path / "a").exists()

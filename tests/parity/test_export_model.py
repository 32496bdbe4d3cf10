"""tools/export_model.py on networks with random weights: the file against the network in float32 (the tool refuses at batches of 1,
5 and 64 by itself; here again, through qtaylor's own libtorch), and whole runs against the peers' samplers. No published
checkpoint: those of EDM are stood in for by a double with the names, the pickling and the habits of its classes."""
import importlib.util
import json
import pickle
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
import torch
import yaml

from conftest import ROOT, TORCH, environment, qtaylor, stored
from oracle import normals

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks gain nothing from more, and threads that wait for one another lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def convert(*arguments, code=0):
    done = subprocess.run([sys.executable, ROOT / "tools/export_model.py", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT,
                          env=environment(OMP_NUM_THREADS=1))
    assert done.returncode == code, done.stderr
    return done


def load(path):
    extra = {"diffusion.json": ""}
    return torch.jit.load(str(path), _extra_files=extra), json.loads(extra["diffusion.json"])


def assert_same(file, network, *arguments):
    """arguments: of the network, from a batch."""
    for batch in (1, 5, 64):
        rng = torch.Generator().manual_seed(100 + batch)
        given, call = arguments[0](batch, rng), arguments[1]
        with torch.no_grad():
            expected = call(network, *given)
            found = file(*given)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def shake(network):
    """Some layers begin as zeros, which would hide what is before them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network.eval()


def run_job(folder, model, **keys):
    job = {"name": "run", "model": model, "batch": 8, "output": {"dir": str(folder / "run"), "dtype": "float32", "samples_per_shard": 8}} | keys
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    qtaylor("generate", folder / "job.yaml", program=TORCH)
    return stored(folder / "run")


# ---- diffusers ----

def unet(classes=None):
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return shake(UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
        num_class_embeds=classes))


@pytest.mark.parametrize("schedule,clip", [("linear", True), pytest.param("linear", False, marks=pytest.mark.long),
                                           pytest.param("squaredcos_cap_v2", True, marks=pytest.mark.long)])
def test_a_diffusers_pipeline_is_reproduced(tmp_path, schedule, clip):
    from diffusers import DDIMPipeline, DDIMScheduler

    pipeline = DDIMPipeline(unet(), DDIMScheduler(beta_schedule=schedule, clip_sample=clip))
    pipeline.save_pretrained(tmp_path / "pipeline")
    done = convert("diffusers", tmp_path / "pipeline", tmp_path / "model.pt")
    assert ("clip: {epsilon: kept}" in done.stderr) == clip and "the nearest is" not in done.stderr
    file, card = load(tmp_path / "model.pt")
    assert not [node for node in file.graph.findAllNodes("prim::Constant", recurse=True) if str(node.output().type()) == "Device"]
    arguments = lambda batch, rng: (torch.randn(batch, 3, 16, 16, generator=rng), torch.randint(1000, [batch], generator=rng))
    assert_same(file, pipeline.unet, arguments, lambda net, x, t: net(x, t).sample)
    assert card["schedule"]["kind"] == {"linear": "discrete-linear", "squaredcos_cap_v2": "discrete-cosine"}[schedule]
    ours = run_job(tmp_path, "model.pt", seeds="3-13", noise="torch-cpu",
                   sampler={"solver": "ddim", "grid": "leading", "steps": 10, "clip": {"epsilon": "kept"} if clip else False})
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(batch_size=11, generator=[torch.Generator().manual_seed(seed) for seed in range(3, 14)], num_inference_steps=10,
                      output_type="np").images
    found = np.clip(ours / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(found, theirs, atol=2e-4 if (schedule, clip) == ("linear", True) else 1e-2)  # float32, times 1/alpha


@pytest.mark.long
def test_a_conditional_unet_alone(tmp_path):
    network = unet(classes=7)
    network.save_pretrained(tmp_path / "net")
    assert "scheduler" in convert("diffusers", tmp_path / "net", tmp_path / "model.pt", code=65).stderr
    (tmp_path / "net/scheduler_config.json").write_text(json.dumps({"beta_schedule": "scaled_linear", "beta_start": 0.001, "beta_end": 0.01,
                                                                   "prediction_type": "v_prediction", "num_train_timesteps": 500}))
    convert("diffusers", tmp_path / "net", tmp_path / "model.pt")
    file, card = load(tmp_path / "model.pt")
    assert card["prediction"] == "v" and card["labels"] == {"classes": 7, "null": None}
    assert card["schedule"] == {"kind": "discrete-scaled-linear", "steps": 500, "beta0": 0.001, "beta1": 0.01}
    arguments = lambda batch, rng: (torch.randn(batch, 3, 16, 16, generator=rng), torch.randint(500, [batch], generator=rng),
                                    torch.randint(7, [batch], generator=rng))
    assert_same(file, network, arguments, lambda net, x, t, labels: net(x, t, labels).sample)


# ---- guided-diffusion: its UNetModel, as the package azula carries it ----

ADM_FLAGS = ("--attention_resolutions 8,4 --class_cond True --diffusion_steps 1000 --dropout 0.1 --image_size 16 --channel_mult 1,2,2 "
             "--learn_sigma True --noise_schedule cosine --num_channels 32 --num_head_channels 16 --num_res_blocks 1 --resblock_updown True "
             "--use_new_attention_order True --use_fp16 True --use_scale_shift_norm True").split()


@pytest.fixture
def adm_code():
    place, = importlib.util.find_spec("azula").submodule_search_locations
    return f"{place}/plugins/adm/_src"


def adm_network(code):
    package = types.ModuleType("adm_peer")
    package.__path__ = [code]
    sys.modules["adm_peer"] = package
    torch.manual_seed(0)
    return shake(importlib.import_module("adm_peer.unet").UNetModel(
        image_size=16, in_channels=3, model_channels=32, out_channels=6, num_res_blocks=1, attention_resolutions=(2, 4), dropout=0.1,
        channel_mult=(1, 2, 2), num_classes=10, num_head_channels=16, use_scale_shift_norm=True, resblock_updown=True,
        use_new_attention_order=True))


def respaced(steps, count):
    """guided-diffusion's cosine schedule in `count` of `steps`: the integers and the betas between them."""
    bar = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    cumprod = np.cumprod([1 - min(1 - bar((i + 1) / steps) / bar(i / steps), 0.999) for i in range(steps)])
    chosen = [round(i * (steps - 1) / (count - 1)) for i in range(count)]
    kept = cumprod[chosen]
    return chosen, kept, 1 - kept / np.concatenate([[1], kept[:-1]])


def test_adm_is_sampled_as_guided_diffusion_does(tmp_path, adm_code):
    network = adm_network(adm_code)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    convert("adm", tmp_path / "state.pt", tmp_path / "model.pt", "--code", adm_code, *ADM_FLAGS)
    file, card = load(tmp_path / "model.pt")
    assert card["variance"] == "learned" and card["labels"]["classes"] == 10
    arguments = lambda batch, rng: (torch.randn(batch, 3, 16, 16, generator=rng), torch.randint(1000, [batch], generator=rng),
                                    torch.randint(10, [batch], generator=rng))
    assert_same(file, network, arguments, lambda net, x, t, labels: net(x, t, labels))
    # p_sample: eq. 15 of Nichol & Dhariwal for the variance, x0 clipped, the posterior's mean, no noise in the last step.
    ours = run_job(tmp_path, "model.pt", seeds="0-2", labels=4, sampler={"solver": "ddpm", "variance": "learned", "grid": "linspace", "nfe": 8,
                                                                         "clip": True})
    chosen, bar, betas = respaced(1000, 8)
    # The first step multiplies the network's rounding by 1/alpha = 2e4: so the same batch through the same file, on one thread
    # as a worker has.
    x, threads = np.stack([normals(seed, 0, 768).reshape(3, 16, 16) for seed in range(3)]), torch.get_num_threads()
    torch.set_num_threads(1)
    for step, i in enumerate(reversed(range(8))):
        before = bar[i - 1] if i else 1.0
        with torch.no_grad():
            out = file(torch.tensor(x, dtype=torch.float32), torch.tensor([chosen[i]] * 3), torch.tensor([4] * 3)).double().numpy()
        eps, v = out[:, :3], out[:, 3:]
        x0 = np.clip((x - np.sqrt(1 - bar[i]) * eps) / np.sqrt(bar[i]), -1, 1)
        x = np.sqrt(before) * betas[i] / (1 - bar[i]) * x0 + np.sqrt(1 - betas[i]) * (1 - before) / (1 - bar[i]) * x
        if i:
            small = betas[i] * (1 - before) / (1 - bar[i])
            log_variance = (v + 1) / 2 * np.log(betas[i]) + (1 - v) / 2 * np.log(small)
            x = x + np.exp(log_variance / 2) * np.stack([normals(seed, step + 1, 768).reshape(3, 16, 16) for seed in range(3)])
    torch.set_num_threads(threads)
    np.testing.assert_allclose(ours, x, atol=3e-3)


# ---- EDM ----

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
# Small; but what a tracer trips over is here as there: an autograd.Function, arange on the input's device, sums in place, sizes
# that depend on the batch, numpy's numbers, class_labels=None, a label as a row of numbers.
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
        self.enc = torch.nn.ModuleDict({'8x8_conv': torch.nn.Conv2d(channels, 16, 3, padding=1), '8x8_block0': UNetBlock(16, 2)})
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
        return None if self.label_dim == 0 else torch.zeros([1, self.label_dim]) if class_labels is None else class_labels

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
        return x - sigma * self.model(x.float() / (sigma ** 2 + 1).sqrt(), ((self.M - 1) * t).flatten(), class_labels=self.labels(class_labels))

class VEPrecond(Precond):
    def forward(self, x, sigma, class_labels=None):
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        return x + sigma * self.model(x.float(), (0.5 * sigma).log().flatten(), class_labels=self.labels(class_labels))

class iDDPMPrecond(Precond):
    outputs = 2
"""


class Persistent:
    """Pickles a module of NETWORKS, and those in it, as EDM's persistence does: the source, the class's name and the state."""

    def __init__(self, module, reconstruct):
        self.module, self.reconstruct = module, reconstruct

    def __reduce__(self):
        state = dict(self.module.__dict__)
        if type(self.module).__module__ == "edm_double":
            state["_modules"] = {name: Persistent(child, self.reconstruct) if child is not None else None
                                 for name, child in self.module._modules.items()}
            return self.reconstruct, ({"type": "class", "version": 6, "module_src": NETWORKS, "class_name": type(self.module).__name__,
                                       "state": state},)
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
    (folder / "test_export_model.py").write_text(textwrap.dedent("""
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


@pytest.mark.parametrize("kind,label_dim", [("EDMPrecond", 5), ("VPPrecond", 0)] + [
    pytest.param(kind, dim, marks=pytest.mark.long) for kind, dim in (("EDMPrecond", 0), ("VPPrecond", 5), ("VEPrecond", 0), ("VEPrecond", 5))])
def test_edm_is_sampled_as_its_generate_does(tmp_path, edm, kind, label_dim):
    folder, make = edm
    network, path = make(kind, label_dim, **EDM[kind])
    convert("edm", path, tmp_path / "model.pt", "--code", folder)
    file, card = load(tmp_path / "model.pt")
    rows = lambda labels: torch.cat([torch.eye(5), torch.zeros(1, 5)])[labels]
    arguments = lambda batch, rng: (torch.randn(batch, 3, 8, 8, generator=rng), torch.randn(batch, generator=rng),
                                    *([torch.randint(6, [batch], generator=rng)] if label_dim else []))
    assert_same(file, network.model, arguments, lambda net, x, t, *labels: net(x, t, rows(labels[0]) if labels else None))
    low, high = max(0.002, EDM[kind]["sigma_min"]), min(80, EDM[kind]["sigma_max"])
    assert card["schedule"] == {"kind": "edm", "sigma_min": low, "sigma_max": high}
    ours = run_job(tmp_path, "model.pt", seeds="0-7", labels="balanced" if label_dim else "none", noise="torch-cpu",
                   sampler={"solver": "edm", "nfe": 35})
    latents = np.stack([torch.randn([3, 8, 8], generator=torch.Generator().manual_seed(seed)).double().numpy() for seed in range(8)])
    with torch.no_grad():
        theirs = edm_sampler(network, latents, rows(torch.arange(8) % 5) if label_dim else None, 18, low, high)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=5e-4 * np.abs(theirs).max())


def test_edm_files_that_no_card_would_describe(tmp_path, edm):
    folder, make = edm
    _, path = make("VPPrecond", 0, **EDM["VPPrecond"] | {"beta_d": 20})
    assert "beta_d: expected 19.9, found 20" in convert("edm", path, tmp_path / "a.pt", "--code", folder, code=65).stderr
    network, path = make("iDDPMPrecond", 0, M=1000, C_1=0.001, C_2=0.008, sigma_min=0.008, sigma_max=20000)
    convert("edm", path, tmp_path / "b.pt", "--code", folder)
    assert load(tmp_path / "b.pt")[1]["prediction"] == "edm-iddpm"
    assert not (tmp_path / "a.pt").exists()


# ---- the jobs for published files ----

VARIANTS = {
    "cifar10/edm-vp": [([], 35)], "cifar10/edm-ve": [([], 35)], "imagenet64/adm": [([], 250)], "imagenet64/edm": [([], 511)],
    "cifar10/scoresde-vp": [([], 10), (["sampler={solver: edm, nfe: 35}", "model.card.schedule={kind: edm, sigma_min: 0.002, sigma_max: 80}"], 35)],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_jobs_plan_as_published(tmp_path, name):
    path = ROOT / f"jobs/{name}.yaml"
    job = yaml.safe_load(path.read_text())
    assert job["seeds"] == "0-49999" and job["output"]["rounding"] == name.split("/")[1].replace("edm-vp", "edm").replace(
        "edm-ve", "edm").replace("scoresde-vp", "edm")
    for overrides, nfe in VARIANTS[name]:
        plan = json.loads(qtaylor("plan", path, "--json", *(word for override in overrides for word in ("--set", override))).stdout)
        assert plan["nfe"] == nfe
    # The sweep in its comments, where its card is.
    lines = path.read_text().splitlines()
    start = lines.index("# sweep:")
    job |= yaml.safe_load("\n".join(line[2:] for line in lines[start:]))
    if "leave out `sampler`" in lines[start - 1]:
        del job["sampler"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(job))
    plans = json.loads(qtaylor("plan", tmp_path / "sweep.yaml", "--json").stdout)
    asked = [nfe for product in job["sweep"] for nfe in product["sampler.nfe"]]
    assert len(plans) >= len(asked) and {plan["nfe"] for plan in plans.values()} <= set(asked)

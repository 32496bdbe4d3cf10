"""AOTInductor packages (.pt2) through the program, beside the same networks as TorchScript; and packages of another
processor, device or batch, damaged ones, and ones without a card. Packages are compiled once and kept in
build/packages."""
import hashlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from conftest import CARD, ROOT, TORCH, qtaylor
from test_plan import stored_samples

torch = pytest.importorskip("torch")
sys.path.insert(0, str(ROOT / "tools"))
from export import forms  # noqa: E402

BATCH = 8
FEATURES = {"shape": [1, 4, 4], "range": [-1, 1], "outputs": {"pool": 16}}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inside = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.outside = torch.nn.Conv2d(8, 1, 3, padding=1)
        self.classes = torch.nn.Embedding(3, 8)

    def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        shift = (self.classes(labels) + t[:, None])[:, :, None, None]
        return 0.5 * x + 0.1 * self.outside(torch.relu(self.inside(x) + shift))


class Features(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(images).flatten(1)


def package(network, arguments, card, name):
    """The path of a package in build/, made where it is not there yet."""
    sources = "".join(map(inspect.getsource, (network, forms)))
    made_of = sources + torch.__version__ + forms.processor_flags() + json.dumps(card)
    path = ROOT / "build" / "packages" / f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.pt2"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        forms.save_package(network(), arguments, card, path, name)
    return path


@pytest.fixture(scope="module")
def made():
    x, t, labels = torch.randn(BATCH, 1, 4, 4), torch.rand(BATCH), torch.arange(BATCH) % 3
    return {"model": package(Net, (x, t, labels), CARD, "diffusion.json"),
            "features": package(Features, (x,), FEATURES, "features.json")}


@pytest.fixture
def packages(job, made):
    shutil.copy(made["model"], job.folder / "model.pt2")
    torch.jit.save(torch.jit.script(Net().eval()), str(job.folder / "model.pt"),
                   _extra_files={"diffusion.json": json.dumps(CARD)})
    job.keys |= {"model": {"path": "model.pt2"}, "seeds": "0-40", "labels": "balanced"}
    job.keys.pop("batch", None)
    job.keys["output"] = job.keys["output"] | {"dtype": "float32"}
    job.keys["output"].pop("samples_per_shard", None)
    return job


def rewrite(path, metadata=None, drop=()):
    """The package with its metadata changed by a function, and members left out."""
    with zipfile.ZipFile(path) as archive:
        members = [(member, archive.read(member)) for member in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members:
            if member.endswith("_metadata.json") and metadata:
                changed = json.loads(data)
                metadata(changed)
                data = json.dumps(changed).encode()
            if not member.endswith(drop or ("\0",)):
                archive.writestr(member, data)


def test_the_samples_are_those_of_torchscript_whatever_makes_them(packages):
    ours = []
    for ranks, workers in (1, 1), (1, 2), (2, 1), (5, 2):
        packages.keys["workers"] = workers
        packages.keys["output"]["dir"] = str(packages.folder / f"{ranks}-{workers}")
        qtaylor("generate", packages.write(), program=TORCH, ranks=ranks)
        ours.append(stored_samples(packages.run))
        assert np.array_equal(ours[0], ours[-1]), (ranks, workers)
    assert json.loads((packages.run / "run.json").read_text())["job"]["batch"] == BATCH
    packages.keys |= {"model": {"path": "model.pt"}, "batch": BATCH}
    packages.keys["output"]["dir"] = str(packages.folder / "script")
    qtaylor("generate", packages.write(), program=TORCH)
    theirs = stored_samples(packages.run)
    assert 0 < np.abs(theirs).max() < 100 and np.abs(ours[0] - theirs).max() < 1e-5 * np.abs(theirs).max()


def test_batched_guidance_in_a_package_of_twice_the_batch(packages):
    packages.keys |= {"seeds": "0-12", "batch": BATCH // 2}
    packages.keys["sampler"] = {"solver": "heun", "nfe": 5, "guidance": {"scale": 2, "batched": True}}
    qtaylor("generate", packages.write(), program=TORCH)
    ours = stored_samples(packages.run)
    packages.keys["model"] = {"path": "model.pt"}
    packages.keys["sampler"]["guidance"]["batched"] = False
    packages.keys["output"]["dir"] = str(packages.folder / "script")
    qtaylor("generate", packages.write(), program=TORCH)
    theirs = stored_samples(packages.run)
    assert np.abs(theirs).max() > 0.1 and np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    packages.keys["batch"] = BATCH
    packages.keys |= {"model": {"path": "model.pt2"}}
    packages.keys["sampler"]["guidance"]["batched"] = True
    said = qtaylor("generate", packages.write(), program=TORCH, code=65).stderr
    assert "makes calls of 16 rows, but the model file was exported for calls of 8" in said


INPUTS = [{"name": "context", "shape": [2, 3], "dtype": "float32", "null": "zeros"},
          {"name": "mask", "shape": [4], "dtype": "bool", "null": "zeros"}]


class Told(Net):
    def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, context: torch.Tensor,
                mask: torch.Tensor) -> torch.Tensor:
        shift = (self.classes(labels) + t[:, None])[:, :, None, None]
        told = context.mean((1, 2)) * torch.where(mask, 1.0, -0.5).sum(1)
        return 0.5 * x + 0.1 * self.outside(torch.relu(self.inside(x) + shift)) + 0.1 * told[:, None, None, None]


def test_inputs_follow_in_the_order_of_the_card(packages):
    """By name of TorchScript, whose forward may have them in any order; by place of a package, which knows no names."""
    rng, card = np.random.default_rng(0), CARD | {"inputs": INPUTS}
    context, mask = rng.normal(size=(7, 2, 3)).astype("f4"), rng.random((7, 4)) < 0.5
    example = torch.randn(BATCH, 1, 4, 4), torch.rand(BATCH), torch.arange(BATCH) % 3
    inputs = torch.randn(BATCH, 2, 3), torch.ones(BATCH, 4, dtype=torch.bool)
    path = package(Told, (*example, *inputs), card, "diffusion.json")
    torch.jit.save(torch.jit.script(Told().eval()), str(packages.folder / "model.pt"),
                   _extra_files={"diffusion.json": json.dumps(card)})
    np.save(packages.folder / "context.npy", context)
    np.save(packages.folder / "mask.npy", mask)
    packages.keys |= {"conditions": {"context": "context.npy", "mask": "mask.npy"}, "batch": BATCH}
    made = []
    for number, model in enumerate((path, packages.folder / "model.pt")):
        packages.keys["model"] = {"path": str(model)}
        packages.keys["output"]["dir"] = str(packages.folder / str(number))
        qtaylor("generate", packages.write(), program=TORCH)
        made.append(stored_samples(packages.run))
    assert np.abs(made[0] - made[1]).max() < 1e-5 * np.abs(made[1]).max()
    packages.keys["output"]["dir"] = str(packages.folder / "other")
    np.save(packages.folder / "context.npy", -context)
    qtaylor("generate", packages.write(), program=TORCH)
    assert np.abs(stored_samples(packages.run) - made[1]).max() > 1e-2  # they are heard
    shorter = CARD | {"inputs": INPUTS[:1]}
    packages.keys["model"] = {"path": str(path), "card": {"inputs": shorter["inputs"]}}
    del packages.keys["conditions"]["mask"]
    packages.keys["output"]["dir"] = str(packages.folder / "shorter")
    said = qtaylor("generate", packages.write(), program=TORCH, code=65).stderr
    assert "it takes 5 tensors, and gets 4" in said


def test_features(packages, made):
    shutil.copy(made["features"], packages.folder / "features.pt2")
    np.savez(packages.folder / "reference.npz", mu=np.zeros(16), sigma=np.eye(16))
    packages.keys["evaluate"] = {"features": "features.pt2", "reference": "reference.npz", "metrics": ["fid"]}
    qtaylor("run", packages.write(), program=TORCH)
    ours = json.loads((packages.run / "metrics.json").read_text())["metrics"]["fid"]
    packages.keys["evaluate"]["features"] = "features.pt"
    torch.jit.save(torch.jit.script(Features()), str(packages.folder / "features.pt"),
                   _extra_files={"features.json": json.dumps(FEATURES)})
    packages.keys["output"]["dir"] = str(packages.folder / "script")
    qtaylor("run", packages.write(), program=TORCH)
    theirs = json.loads((packages.run / "metrics.json").read_text())["metrics"]["fid"]
    assert abs(ours - theirs) < 1e-4 * theirs


def test_inspect_tells_the_form(packages):
    assert "AOTInductor" in json.loads(qtaylor("--version", "--json", program=TORCH).stdout)["networks"]
    about = json.loads(qtaylor("inspect", packages.folder / "model.pt2", program=TORCH).stdout)
    assert about["form"] == "aoti" and about["card"]["batch"] == BATCH and about["AOTI_DEVICE_KEY"] == "cpu"
    assert json.loads(qtaylor("inspect", packages.folder / "model.pt", program=TORCH).stdout)["form"] == "torchscript"


def card(**keys):
    """An edit of the metadata: a card of batches of 8, but for these keys."""
    return lambda m: m.update({"diffusion.json": json.dumps(CARD | {"batch": 8} | keys)})


MISTAKES = {
    "another processor": (lambda m: m.update(AOTI_CPU_ISA="AVX1024 AVX512"),
                          ["model.pt2", "avx1024", "compiled for a processor", "TorchScript"]),
    "another compiler's flags": (lambda m: m.update(cpu_flags="amx_fp4 avx2"), ["amx_fp4", "compiled for a processor"]),
    "another architecture": (lambda m: m.update(AOTI_MACHINE="riscv64"), ["riscv64", "compiled for"]),
    "another device": (lambda m: m.update(AOTI_DEVICE_KEY="cuda"), ["compiled for device cuda", "device: cuda"]),
    "no card": (lambda m: m.pop("diffusion.json"),
                ["model.pt2", "extra/diffusion.json, or that name in a package's metadata",
                 "model: {path: ..., card: {...}}"]),
    "a card that is no JSON": (lambda m: m.update({"diffusion.json": "{"}),
                               ["metadata: diffusion.json", "expected JSON"]),
    "another batch in its card": (card(batch=5), ["compiled for 8 rows", "gets 5"]),
    "no batch in its card": (lambda m: m.update({"diffusion.json": json.dumps(CARD)}),
                             ["compiled for 8 rows", "gets 64"]),
    "another shape in its card": (card(shape=[1, 4, 2]), ["compiled for 4 values in axis 3 of x", "gets 2"]),
    "times of another type": (card(time={"kind": "discrete", "steps": 1000}), ["its input t", "time.dtype"]),
    "no labels in its card": (card(labels=None), ["takes 3 tensors", "gets 2"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(packages, name):
    change, words = MISTAKES[name]
    rewrite(packages.folder / "model.pt2", change)
    if name == "no labels in its card":
        packages.keys["labels"] = "none"
    done = qtaylor("generate", packages.write(), program=TORCH, code=65)
    assert all(word in done.stderr for word in words), done.stderr
    assert not list(packages.run.glob("samples/*"))


def test_another_batch(packages):
    packages.keys["batch"] = 16
    assert "batch: 16" in qtaylor("generate", packages.write(), program=TORCH, code=65).stderr


def test_truncated_or_without_its_code(packages):
    path = packages.folder / "model.pt2"
    shutil.copy(path, packages.folder / "whole.pt2")
    rewrite(path, drop=(".wrapper.so",))
    done = qtaylor("generate", packages.write(), program=TORCH, code=65)
    assert "not compiled" in done.stderr, done.stderr
    shutil.copy(packages.folder / "whole.pt2", path)
    path.write_bytes(path.read_bytes()[:100_000])
    assert "whole zip archive" in qtaylor("generate", packages.write(), program=TORCH, code=65).stderr
    assert not packages.run.exists()


def export(packages, *options, code=0):
    source = inspect.getsource(Net)
    (packages.folder / "net.py").write_text(f"import torch\n\n\n{source}\n\ndef make():\n    return Net()\n")
    (packages.folder / "card.json").write_text(json.dumps(CARD))
    done = subprocess.run([sys.executable, ROOT / "tools/export.py", "module", f"{packages.folder}/net.py:make",
                           packages.folder / "out", "--card", packages.folder / "card.json", *options],
                          capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def test_the_fastest_form_within_a_tolerance(packages):
    done = export(packages, "--autotune", "--tolerance", "0.02", "--batch", "8")
    tried = {" ".join(name.split()[1:]): (float(time), float(part)) for name, time, part in re.findall(
        r"^(torchscript .*): ([\d.e+-]+) ms, .* differs by ([\d.e+-]+) of the largest", done.stderr, re.M)}
    assert len(tried) == 2 * (1 + len(forms.shorter_types())) and "taken: torchscript " in done.stderr
    assert f"form 2 of {len(tried)}: torchscript float32 channels_last\n" in done.stderr
    taken = re.search(r"taken: torchscript (.*), ", done.stderr)[1]
    assert tried[taken][0] == min(time for time, _ in tried.values())
    out = packages.folder / "out"
    dtype = taken.split()[0]
    assert torch.jit.load(str(out / "model.pt")) and sorted(path.name for path in out.iterdir()) == ["job.yaml",
                                                                                                     "model.pt"]
    qtaylor("generate", out / "job.yaml", "--set", f"output.dir={packages.folder}/made", program=TORCH)
    document = json.loads((packages.folder / "made/run.json").read_text())
    assert document["keys"]["card"].get("dtype", "float32") == dtype == document["card"].get("dtype", "float32")
    x, t, labels = torch.randn(8, 1, 4, 4), torch.rand(8), torch.arange(8) % 3
    with torch.no_grad():
        expected, found = Net()(x, t, labels), torch.jit.load(str(out / "model.pt"))(x, t, labels)
    assert (found - expected).abs().max() <= 0.02 * expected.abs().max()


def test_a_tolerance_that_no_form_keeps(packages):
    done = export(packages, "--dtype", "bfloat16", "--tolerance", "1e-6", code=65)
    assert "expected a form that differs by no more" in done.stderr and not (packages.folder / "out").exists()
    assert "expected a number between 0 and 1, found 2" in export(packages, "--tolerance", "2", code=64).stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(packages):
    done = export(packages, "--format", "aoti", "--device", "cuda", "--batch", "8", code=64)
    assert "--device cuda: expected a GPU, found none" in done.stderr and not (packages.folder / "out").exists()


@pytest.mark.long
def test_the_exporter_makes_one(packages):
    done = export(packages, "--format", "aoti", "--batch", "8")
    for form in ("eager float32", "TorchScript", "AOTInductor"):
        assert f"{form}: " in done.stderr and "ms a call of 8" in done.stderr
    ours, theirs = packages.folder / "ours", packages.folder / "theirs"
    job = packages.folder / "out" / "job.yaml"
    qtaylor("generate", job, "--set", f"output.dir={ours}", "--set", "output.dtype=float32", program=TORCH)
    qtaylor("generate", job, "--set", f"output.dir={theirs}", "--set", "output.dtype=float32", "--set",
            f"model.path={packages.folder}/model.pt", program=TORCH)
    ours, theirs = stored_samples(ours), stored_samples(theirs)
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()

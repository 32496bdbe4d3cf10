"""What tools/export.py must not export: checkpoints of another class, weights that are missing or too many, networks
that answer one way now and another way then. Each is exit 65 (64 for the command line) with a message, and no file."""
import json
import pickle
import signal
import subprocess
import sys

import pytest
import torch

from conftest import ROOT, TORCH
from exporter import export, unet
from export.arguments import arguments_of
from export.frame import Refusal
from export.model_file import save
from test_export_adm import ADM_FLAGS, adm_code, adm_network  # noqa: F401


@pytest.fixture
def convert(tmp_path, capsys):
    """convert(KIND, CHECKPOINT, OPTIONS..., code=65): what it says. A refusal leaves nothing behind."""
    def run(kind, checkpoint, *options, code=65):
        export(kind, checkpoint, tmp_path / "out", *options, code=code)
        said = capsys.readouterr().err
        assert "Traceback" not in said and (tmp_path / "out").exists() == (code == 0)
        return said

    return run


# ---- diffusers' folders ----

@pytest.fixture
def folder(tmp_path):
    from diffusers import DDIMScheduler

    unet().save_pretrained(tmp_path / "unet")
    DDIMScheduler(clip_sample=False).save_pretrained(tmp_path / "scheduler")
    return tmp_path


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_network_of_another_class(tmp_path, convert):
    from diffusers import DDIMScheduler, UNet1DModel

    UNet1DModel(block_out_channels=(8, 8), norm_num_groups=8, down_block_types=("DownBlock1D",) * 2,
                up_block_types=("UpBlock1D",) * 2).save_pretrained(tmp_path / "unet")
    DDIMScheduler().save_pretrained(tmp_path / "scheduler")
    said = convert("diffusers", tmp_path)
    assert "expected _class_name UNet2DModel or DiTTransformer2DModel" in said and "found UNet1DModel" in said
    change(tmp_path / "unet/config.json", _class_name="UNet2DModel")  # a config that lies: the weights tell
    assert "does not load it" in (said := convert("diffusers", tmp_path)) or "missing" in said


@pytest.mark.parametrize("kind", ["missing", "unexpected", "mismatched"])
def test_weights_that_do_not_match(folder, convert, kind):
    from safetensors.torch import load_file, save_file

    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    if kind == "unexpected":
        weights["extra.weight"] = torch.zeros(3)
    elif kind == "missing":
        del weights["conv_in.bias"]
    else:
        weights["conv_in.bias"] = torch.zeros(5)
    save_file(weights, path, metadata={"format": "pt"})
    said = convert("diffusers", folder)
    assert ("extra.weight" if kind == "unexpected" else "conv_in.bias") in said


@pytest.mark.parametrize("name", ["SASolverScheduler", "ScoreSdeVeScheduler", "CogVideoXDDIMScheduler",
                                  "NoScheduler"])
def test_schedulers_that_no_card_describes(folder, convert, name):
    import diffusers

    path = folder / "scheduler/scheduler_config.json"
    path.write_text(json.dumps({"_class_name": name}))
    if hasattr(diffusers, name):
        getattr(diffusers, name)().save_pretrained(folder / "scheduler")
    assert name in convert("diffusers", folder)


def test_the_rest_of_a_folder(folder, convert):
    change(folder / "scheduler/scheduler_config.json", _class_name="DDPMScheduler", variance_type="learned_range")
    assert "expected a UNet2DModel with twice" in convert("diffusers", folder)
    change(folder / "scheduler/scheduler_config.json", _class_name="DDIMScheduler", rescale_betas_zero_snr=True)
    assert "rescale_betas_zero_snr" in convert("diffusers", folder)
    (folder / "scheduler/scheduler_config.json").write_text("{")
    assert "expected JSON" in convert("diffusers", folder)
    assert "none" in convert("diffusers", folder / "unet")  # no scheduler
    assert "No such file" in convert("diffusers", folder / "absent", code=74)
    assert "usage" in convert("diffusers", folder, "--nonsense", code=64)


def test_what_it_says_of_latents_and_steps(folder, convert):
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "LDMPipeline", "vqvae": ["diffusers",
                                                                                                 "VQModel"]}))
    said = convert("diffusers", folder, "--steps", 20, code=0)
    assert "latents, not pictures" in said
    assert "sampler: {solver: ddim, grid: leading, steps: 20}" in (folder / "out/job.yaml").read_text()
    assert "batch 64: the file differs from the network by" in said


# ---- state dicts and pickles ----

def test_state_dicts(tmp_path, convert, adm_code):  # noqa: F811
    state = adm_network(adm_code).state_dict()

    def export(value, *flags, code=65):
        torch.save(value, tmp_path / "state.pt")
        return convert("adm", tmp_path / "state.pt", "--code", adm_code, *ADM_FLAGS, *flags, code=code)

    assert "missing: out.2.bias" in export({name: value for name, value in state.items() if name != "out.2.bias"})
    assert "unexpected: ema.decay" in export(state | {"ema.decay": torch.zeros(1)})
    assert "mismatched: out.2.bias [3] for [6]" in export(state | {"out.2.bias": torch.zeros(3)})
    assert "--class_cond False, and the state has label_emb.weight" in export(state, "--class_cond", "False")
    assert "expected a state dict" in export({"model": state})
    assert "usage" in export(state, "--attention_resolutions", "8,x", code=64)
    assert "usage" in export(state, "--code", tmp_path, code=64)


def test_pickles(tmp_path, convert):
    path = tmp_path / "net.pkl"
    for value, said in (({"G": 1}, "under `ema`"), ({"ema": torch.nn.Identity()}, "found Identity")):
        path.write_bytes(pickle.dumps(value))
        assert said in convert("edm", path, "--code", tmp_path)
    path.write_bytes(b"PK")
    assert "expected a pickle" in convert("edm", path, "--code", tmp_path)


# ---- what the file is proved to be ----

CARD = {"shape": [2, 4, 4], "range": [-1, 1], "prediction": "epsilon", "time": {"kind": "continuous"},
        "schedule": {"kind": "linear", "beta0": 0.1, "beta1": 20}, "labels": None, "batch": None}


class Convolution(torch.nn.Module):
    def __init__(self, *after):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, padding=1), *after)

    def forward(self, x, t):
        return self.layers(x) + t.reshape(-1, 1, 1, 1)


class AlwaysDropout(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.1, training=True)


class NeverEval(Convolution):
    def train(self, mode=True):
        return super().train(True)


class Counting(Convolution):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x, t):
        self.calls += 1
        return super().forward(x, t) + self.calls


class BatchMean(torch.nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Branching(Convolution):
    """A trace holds one branch."""

    def forward(self, x, t):
        return super().forward(x, t) * (2 if len(x) > 5 else 1)


class Embeds(Convolution):
    """Takes whole timesteps alone."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(10, 2)

    def forward(self, x, t):
        return self.layers(x) + self.table(t).reshape(-1, 2, 1, 1)


class Pair(Convolution):
    def forward(self, x, t):
        return super().forward(x, t), t


class OneBatch(Convolution):
    def forward(self, x, t):
        return super().forward(x, t).reshape(len(x), 2, 4, 4)


class Divides(torch.nn.Module):
    def forward(self, x):
        return x / 0


@pytest.mark.parametrize("make, said", [
    (lambda: Convolution(AlwaysDropout()), "second call"),
    (lambda: Convolution(torch.nn.BatchNorm2d(2, track_running_stats=False)), "independent of the other rows"),
    (lambda: Convolution(BatchMean()), "independent of the other rows"),
    (lambda: NeverEval(torch.nn.BatchNorm2d(2)), "eval mode"), (lambda: Counting(), "writes calls"),
    (lambda: Branching(), "differences of rounding"), (lambda: OneBatch(), "run at a batch of 1"),
    (lambda: Embeds(), r"does not run .* called by forward\(x float32 \[4, 2, 4, 4\], t float32 \[4\]\)"),
    (lambda: Convolution().double(), "weights of float32, found float64"), (lambda: Pair(), "a tensor, found tuple"),
    (lambda: Convolution(Divides()), "finite"),
    (lambda: Convolution(torch.nn.Conv2d(2, 4, 1)), "shape"), (lambda: Convolution(torch.nn.Linear(3, 3)),
                                                               "does not run"),
], ids=["dropout", "batch norm", "mean", "train", "state", "branch", "one batch", "time", "double", "tuple", "infinite",
        "channels", "fails"])
def test_networks_that_no_file_holds(tmp_path, make, said):
    with pytest.raises(Refusal, match=said):
        save(make(), CARD, str(tmp_path / "model.pt"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("time", [{"steps": 10}, {"steps": 10, "dtype": "int64"}, {}, {"dtype": "float32"}], ids=str)
def test_times_are_tried_in_the_type_of_the_card(tmp_path, time):
    card = CARD | {"time": {"kind": "discrete"} | time, "schedule": {"kind": "discrete-linear", "steps": 10}}
    if time.get("dtype") == "float32":
        with pytest.raises(Refusal, match="does not run as its card says"):
            save(Embeds(), card, str(tmp_path / "model.pt"))
    else:
        save(Embeds(), card, str(tmp_path / "model.pt"))


def test_networks_that_are_put_into_eval_mode(tmp_path, capsys):
    save(Convolution(torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(2)).train(), CARD, str(tmp_path / "model.pt"))
    assert "batch 5: the file differs from the network by" in capsys.readouterr().err
    file = torch.jit.load(tmp_path / "model.pt")
    assert not file(torch.zeros(1, 2, 4, 4), torch.zeros(1)).requires_grad


MODULE = """
import time, torch
class Slow(torch.nn.Module):
    def forward(self, x, t):
        print("at work", flush=True)
        time.sleep({seconds})
        return self.dropout(x)
    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout()
def make():
    return Slow()
"""


def start_module(folder, seconds):
    (folder / "net.py").write_text(MODULE.format(seconds=seconds))
    (folder / "card.json").write_text(json.dumps(CARD))
    words = "module", f"{folder}/net.py:make", folder / "out", "--card", folder / "card.json"
    # Who starts tests in the background may have SIGINT ignored, and what is started then has it so, too.
    return subprocess.Popen([sys.executable, ROOT / "tools/export.py", *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


@pytest.mark.parametrize("number, said", [(signal.SIGTERM, "ended by SIGTERM"), (signal.SIGINT, "export: interrupted")])
def test_an_end_from_outside_leaves_nothing(tmp_path, number, said):
    with start_module(tmp_path, 600) as exporter:
        assert exporter.stdout.readline() == "at work\n" and (tmp_path / "out").exists()
        exporter.send_signal(number)
        try:
            assert exporter.wait(60) == 128 + number and not (tmp_path / "out").exists()
        finally:
            exporter.kill()
        assert exporter.stderr.read().splitlines()[-1].startswith(said)


def test_what_eval_mode_changes_is_said(tmp_path):
    with start_module(tmp_path, 0) as exporter:
        assert "put into eval mode, where dropout does nothing" in exporter.stderr.read()
        assert exporter.wait(60) == 0


@pytest.mark.parametrize("change, said", [
    ({"time": {}}, "KeyError: 'kind'"), ({"time": {"kind": "t"}}, "time.kind: expected one of continuous"),
    ({"time": "continuous"}, "TypeError"), ({"schedule": None}, "AttributeError"), ({"shape": "3"}, "TypeError"),
    ({"labels": {"null": 3}}, "KeyError: 'classes'"), ({"inputs": [{"name": "mask"}]}, "KeyError: 'shape'"),
], ids=str)
def test_cards_that_say_too_little(tmp_path, convert, change, said):
    (tmp_path / "net.py").write_text(MODULE.format(seconds=0))
    (tmp_path / "card.json").write_text(json.dumps(CARD | change))
    assert said in convert("module", f"{tmp_path}/net.py:make", "--card", tmp_path / "card.json")


@pytest.mark.skipif(not TORCH.exists(), reason="the program looks at the card")
def test_cards_that_the_program_refuses(tmp_path, convert):
    (tmp_path / "net.py").write_text(MODULE.format(seconds=0))
    (tmp_path / "card.json").write_text(json.dumps(CARD | {"prediction": "epsilom"}))
    said = convert("module", f"{tmp_path}/net.py:make", "--card", tmp_path / "card.json")
    assert f"export: {tmp_path}/card.json: card: prediction: expected one of epsilon, " in said


def test_a_network_of_zeros_is_said(tmp_path, capsys):
    network = Convolution()
    network.forward = lambda x, t: 0 * x
    save(network, CARD, str(tmp_path / "model.pt"))
    assert "nothing but zeros" in capsys.readouterr().err


def test_what_a_card_may_leave_out():
    card = CARD | {"labels": {"classes": 0, "null": -1}, "inputs": [{"name": "context", "shape": [3]}]}
    x, t, labels, context = arguments_of(card, 2)
    assert labels.tolist() == [0, -1] and context.dtype == t.dtype == x.dtype == torch.float32


def test_a_python_without_torch():
    command = [sys.executable, "-S", ROOT / "tools/export.py", "sit", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 64 and done.stderr.startswith("export: No module named 'torch': run it by a Python with")
    assert len(done.stderr.splitlines()) == 1

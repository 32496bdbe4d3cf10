"""What is proved of networks before the first sample, and what is left where something fails later."""
import io
import json
import runpy
import subprocess
import textwrap

import numpy as np
import pytest

from conftest import CARD, TORCH, qtaylor, stored


def proved_and_refused(job, *words, evaluate=False):
    done = qtaylor("run", job.write(), code=65)
    assert all(word in done.stderr for word in words), done.stderr
    assert not list(job.run.glob("samples/*")) and not (job.run / "log/failures.jsonl").read_text()
    return done


@pytest.mark.parametrize("member, words", [
    ({"dropout": 0.1}, ["same input again", "dropout", "eval mode"]),
    ({"drift": 1e-3}, ["same input again", "buffers", "eval mode"]),
    ({"mixing": 0.5}, ["other samples of the batch", "batch norm", "eval mode", "model.row_dependent"]),
    ({"dropout": 0.4, "disturb_row": 0}, ["same input again"]),
    ({"dropout": 0.4, "disturb_row": 7}, ["same input again"]),
    ({"dropout": 0.1, "disturb_times": [0.01, 0.9]}, ["same input again"]),
    ({"mixing": 0.5, "disturb_row": 0}, ["other samples of the batch"]),
    ({"mixing": 0.5, "disturb_times": [0, 0.9]}, ["other samples of the batch"]),
    ({"mixing": 0.5, "disturb_times": [0.9, 1]}, ["other samples of the batch"]),
    ({"nan_label": 1}, ["not finite", "label 1"]),
    ({"nan_times": [0.2, 0.3]}, ["not finite", "at time 0.266"]),
    ({"nan_times": [0, 0.05]}, ["not finite", "at time 0.0"]),
    ({"nan_times": [0.999, 1]}, ["not finite", "at time 1 "]),
])
def test_a_model_that_is_no_function_of_its_row(job, member, words):
    job.model |= member
    proved_and_refused(job, "model.json", *words)


def test_null_label_of_a_guided_plan(job):
    job.model["nan_label"] = 2
    qtaylor("run", job.write())  # unguided, it is never asked for
    job.keys["sampler"]["guidance"] = 2
    job.keys["output"]["dir"] += "-guided"
    proved_and_refused(job, "not finite", "label 2")


def test_guide(job):
    (job.folder / "guide.json").write_text(json.dumps(job.model | {"dropout": 0.1}))
    job.keys["sampler"]["guidance"] = {"scale": 2, "model": "guide.json"}
    proved_and_refused(job, "the guiding model", "guide.json", "dropout")


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_small_batches(job, batch):
    job.keys |= {"batch": batch, "seeds": "0-9"}
    job.model["mixing"] = 0.5
    qtaylor("run", job.write(), code=0 if batch == 1 else 65)
    job.model |= {"mixing": 0, "dropout": 0.3}
    job.keys["output"]["dir"] += "-dropout"
    qtaylor("run", job.write(), code=65)


@pytest.mark.parametrize("member, code", [({"drift": 0.01}, 65), ({"mixing": 0.5}, 65), ({}, 0)])
def test_adaptive_plans(job, member, code):
    job.model |= member
    job.keys["sampler"] = {"solver": "rk45", "rtol": 1e-3, "atol": 1e-3}
    qtaylor("run", job.write(), code=code)


def test_kernels_that_differ_in_the_last_bits_are_noted(job):
    job.model["mixing"] = 1e-6
    done = qtaylor("run", job.write(), ranks=2)
    noted = json.loads((job.run / "run.json").read_text())["row_difference"]
    assert 0 < noted["model"] < 1e-5 and "other samples of the batch" in done.stderr
    assert "row difference" in qtaylor("report", job.run, "--json").stdout


def test_row_dependent_networks_that_are_meant_to(job):
    qtaylor("run", job.write())
    plain = json.loads((job.run / "run.json").read_text())
    assert "row_dependent" not in plain["keys"]["model"]
    job.keys["model"]["row_dependent"] = False
    said = qtaylor("run", job.write()).stdout
    assert "0 samples" in said or json.loads((job.run / "metrics.json").read_text())["made_now"] == 0
    job.model["mixing"] = 0.5
    job.keys["output"]["dir"] += "-mixing"
    qtaylor("run", job.write(), code=65)
    job.keys["model"]["row_dependent"] = True
    job.keys["output"]["dir"] += "-meant"
    qtaylor("run", job.write())
    document = json.loads((job.run / "run.json").read_text())
    assert document["keys"]["model"]["row_dependent"] is True and document["fingerprint"] != plain["fingerprint"]
    assert "row_dependent" in json.dumps(json.loads(qtaylor("report", job.run, "--json").stdout)["environment"])
    job.model["dropout"] = 0.1
    job.keys["output"]["dir"] += "-not"
    assert "dropout" in qtaylor("run", job.write(), code=65).stderr


def test_diagnose_and_recompute_prove_too(job):
    qtaylor("run", job.write())
    job.model["dropout"] = 0.1
    assert "dropout" in qtaylor("diagnose", job.write(), "--count", 4, code=65).stderr


# ---- feature networks ----

@pytest.mark.parametrize("member, words", [
    ({"dropout": 0.1}, "same input again"), ({"drift": 1e-3}, "same input again"), ({"mixing": 0.5}, "batch norm"),
    ({"dropout": 0.4, "disturb_row": 0}, "same input again"), ({"mixing": 0.5, "disturb_row": 0}, "batch norm"),
    ({"fail_from": 1}, "fails from call 1"),
])
def test_a_feature_network_that_is_no_function_of_its_row(job, member, words):
    job.add_evaluation()
    network = json.loads((job.folder / "features.json").read_text())
    (job.folder / "features.json").write_text(json.dumps(network | member))
    proved_and_refused(job, "feature network", "features.json", words)
    pictures = job.folder / "pictures.npz"
    np.savez(pictures, arr_0=np.random.default_rng(0).integers(0, 255, (90, 4, 4, 1), np.uint8))
    done = qtaylor("reference", pictures, "--features", job.folder / "features.json", "-o", job.folder / "made.npz",
                   code=65)
    assert words in done.stderr


@pytest.mark.parametrize("ranks", [0, 2])
def test_features_that_fail_later_cost_no_samples(job, ranks):
    job.add_evaluation()
    network = json.loads((job.folder / "features.json").read_text())
    (job.folder / "features.json").write_text(json.dumps(network | {"fail_from": 5}))
    path = job.write()
    done = qtaylor("run", path, ranks=ranks, code=65)
    assert "its samples are all there" in done.stderr and "fails from call 5" in done.stderr
    assert len(list(job.run.glob("samples/*.zst"))) == 7 == len((job.run / "manifest.jsonl").read_text().splitlines())
    assert not (job.run / "log/failures.jsonl").read_text() and not (job.run / "quarantine.json").exists()
    samples = stored(job.run)
    qtaylor("run", path, ranks=ranks, code=65)  # and again: nothing is made twice
    (job.folder / "features.json").write_text(json.dumps(network))
    qtaylor("run", path)
    assert json.loads((job.run / "metrics.json").read_text())["made_now"] == 0
    assert np.array_equal(samples, stored(job.run))
    qtaylor("verify", job.run)


# ---- what fails everywhere ----

@pytest.mark.parametrize("ranks", [0, 2])
def test_nothing_but_failures_is_given_up(job, ranks):
    job.keys["seeds"] = "0-799"
    job.model["nan_times"] = [0.7, 0.8]  # between those of the proof
    path = job.write()
    done = qtaylor("run", path, ranks=ranks, code=65)
    assert "first 4 shards failed twice each and none succeeded" in done.stderr and "not finite" in done.stderr
    failed = (job.run / "log/failures.jsonl").read_text().splitlines()
    assert 8 <= len(failed) <= 8 + 8 * (ranks or 1)  # and what was in hand; of 100
    qtaylor("run", path, ranks=ranks, code=65)
    assert (job.run / "log/failures.jsonl").read_text().splitlines() == failed
    job.model["nan_times"] = [9, 9]


def test_a_run_that_has_samples_goes_on(job):
    """Four shards that fail, behind one that is there: the others are made."""
    job.model["card"]["labels"] = {"classes": 4, "null": 4}
    (job.folder / "labels.txt").write_text("".join(f"{2 if 16 <= seed < 80 else 0}\n" for seed in range(160)))
    job.keys |= {"labels": "labels.txt", "seeds": "0-159"}
    qtaylor("run", job.write(), QTAYLOR_FAKE_POISON="2:nan", code=76)
    assert len(list(job.run.glob("samples/*.zst"))) == 6


def test_what_is_stored_is_finite(job):
    """Finite in double, infinite once cast to float32."""
    job.keys |= {"seeds": "0-7", "sampler": {"solver": "ddim", "steps": 1, "guidance": 10, "final": "zero"}}
    job.keys["output"] |= {"dtype": "float32", "samples_per_shard": 8}
    job.model["card"]["prediction"] = "x0"
    job.model["mixture"]["means"] = [[1e38] * 16, [-1e38] * 16]
    done = qtaylor("run", job.write(), code=65)
    assert "not finite as float32" in done.stderr and not list(job.run.glob("samples/*.zst"))


# ---- float samples ----

def fid(a, b):
    """Of rows, by numpy alone."""
    values = np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T))
    mean = a.mean(0) - b.mean(0)
    return mean @ mean + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * np.sqrt(np.maximum(values.real, 0)).sum()


@pytest.mark.parametrize("span", [[0, 1], [-1, 1], None], ids=str)
@pytest.mark.parametrize("card", [[-1, 1], [-4, 4]], ids=str)
def test_float_samples_reach_the_network_unrounded(job, span, card):
    rows = np.random.default_rng(2).normal(size=(500, 16)) * 0.3
    np.savez(job.folder / "reference.npz", mu=rows.mean(0), sigma=np.cov(rows.T))
    (job.folder / "net.json").write_text(
        json.dumps({"features": {"shape": [1, 4, 4], "range": span, "outputs": {"pool": 16}}}))
    job.keys |= {"seeds": "0-499",
                 "evaluate": {"features": "net.json" if span else "none", "reference": "reference.npz"}}
    job.keys["output"]["dtype"] = "float32"
    job.model["card"]["range"] = card
    job.model["mixture"]["std"] = 0.6  # beyond the range, too
    qtaylor("run", job.write())
    low, high = span or [0, 1]
    seen = (stored(job.run).reshape(500, 16).astype(np.float64) - card[0]) / (card[1] - card[0]) * (high - low) + low
    found = json.loads((job.run / "metrics.json").read_text())["metrics"]["fid"]
    assert found == pytest.approx(fid(seen, rows), rel=1e-5)
    assert seen.min() < low or card != [-1, 1]
    [parts] = {path.parent for path in job.run.glob("features/*/*/*.zst")}
    features = np.concatenate(
        [np.load(io.BytesIO(subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout))
         for path in sorted(parts.iterdir())])
    assert np.abs(features - seen).max() < 1e-6


def test_float_samples_and_a_network_of_bytes(job):
    job.add_evaluation()
    job.keys["output"]["dtype"] = "float32"
    path = job.write()
    done = qtaylor("run", path, code=65)
    assert "evaluate.features" in done.stderr and "dtype: uint8" in done.stderr and not job.run.exists()
    qtaylor("generate", path)
    qtaylor("verify", job.run, code=75)  # its features
    assert "dtype: uint8" in qtaylor("evaluate", job.run, code=65).stderr


# ---- over libtorch ----

def test_torchscript(job):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.layer, self.b = torch.nn.Conv2d(1, 8, 3, padding=1), layer, torch.nn.Conv2d(8, 1, 3, padding=1)

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return 0.3 * x + 0.1 * self.b(self.layer(torch.nn.functional.silu(self.a(x))))

    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", torch.zeros(1))

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            self.n += 1
            return x * (0.5 + 0.001 * self.n)

    def says(body):
        body = textwrap.indent(body, 8 * " ")
        path = job.folder / f"net{len(list(job.folder.iterdir()))}.py"  # torch.jit reads a module's source
        path.write_text("import torch\n\nclass Net(torch.nn.Module):\n"
                        "    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:\n"
                        f"        y = x * 0.5\n{body}\n        return y\n")
        return torch.jit.script(runpy.run_path(str(path), run_name=path.stem)["Net"]())

    example = (torch.randn(8, 1, 4, 4), torch.full((8,), 0.5))
    traced = lambda net: torch.jit.trace(net, example, check_trace=False)
    cases = [("dropout", traced(Net(torch.nn.Dropout(0.1)).train()), "dropout"),
             ("batch norm", traced(Net(torch.nn.BatchNorm2d(8)).train()), "batch norm"),
             ("eval", traced(Net(torch.nn.BatchNorm2d(8)).eval()), None),
             ("state", torch.jit.script(Counts()), "buffers"),
             ("a random row", says("y[0] = y[0] + 0.1 * torch.randn_like(y[0])"), "same input again"),
             ("random in the middle", says("if 0.01 < float(t[0]) < 0.9:\n    y = y + torch.randn_like(y)"),
              "same input again"),
             ("seeded", says("torch.manual_seed(0)\ny = y + 0.1 * torch.randn_like(y)"), "other samples of the batch"),
             ("first row", says("y[0] = y[0] - 0.2 * x[1]"), "other samples of the batch"),
             ("mean", says("if float(t[0]) < 0.9:\n    y = y - y.mean(0, keepdim=True)"), "other samples of the batch"),
             ("place", says("y = y + 0.05 * torch.arange(x.shape[0]).reshape(-1, 1, 1, 1)"), "place among them")]
    job.keys |= {"model": {"path": "net.pt"}, "labels": "none", "seeds": "0-31"}
    for name, net, word in cases:
        torch.jit.save(net, str(job.folder / "net.pt"),
                       _extra_files={"diffusion.json": json.dumps({**CARD, "labels": None})})
        job.keys["output"]["dir"] = str(job.folder / name)
        done = qtaylor("generate", job.write(), program=TORCH, code=65 if word else 0)
        assert not word or (word in done.stderr and "eval mode" in done.stderr), done.stderr

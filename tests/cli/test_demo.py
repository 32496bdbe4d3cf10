"""The default job on the real model: its FID, its picture, and the same FID from Python."""
import io
import json
import subprocess

import numpy as np
import pytest
import scipy.linalg

from conftest import ROOT, TORCH, qtaylor

JOB = ROOT / "jobs/digits/job.yaml"
BOUND = 0.205  # order 2 of the job is near 0.186


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    run = tmp_path_factory.mktemp("demo") / "run"
    done = qtaylor("run", JOB, "--set", f"output.dir={run}", "--json", program=TORCH, ranks=2, timeout=300)
    return run, json.loads(done.stdout)


def test_fid_is_below_the_bound(demo):
    run, result = demo
    assert result["samples"] == 10000 and result["nfe"] == 10
    assert result["metrics"]["fid"] < BOUND


def test_second_run_only_reports(demo):
    run, result = demo
    again = json.loads(qtaylor("run", JOB, "--set", f"output.dir={run}", "--json", program=TORCH).stdout)
    assert again["made_now"] == 0 and again["metrics"] == result["metrics"]
    assert again["payload_sha256"] == result["payload_sha256"]


@pytest.mark.parametrize("broken", ["sampler.clock=logsnr", pytest.param("sampler.order=.inf", marks=pytest.mark.long),
                                    pytest.param("sampler.t_end=0.02", marks=pytest.mark.long)])
def test_a_broken_solver_misses_the_bound(tmp_path, broken):
    """A series in another variable than the grid's, its limit instead of the cut, a path that ends early."""
    words = [word for one in (broken, f"output.dir={tmp_path}/run", "seeds=0-2499") for word in ("--set", one)]
    done = qtaylor("run", JOB, *words, "--json", program=TORCH, ranks=2)
    assert json.loads(done.stdout)["metrics"]["fid_corrected"] > BOUND  # 0.231 and more; 0.203 of the job's own


def test_python_gets_the_same_fid(demo):
    """The stored pictures through the same network in PyTorch, moments in numpy, scipy's square root."""
    import torch

    run, result = demo
    network = torch.jit.load(str(ROOT / "jobs/digits/features.pt"))
    features = []
    for path in sorted((run / "samples").glob("*.npy.zst")):
        raw = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
        pictures = torch.from_numpy(np.load(io.BytesIO(raw))).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            features.append(network(pictures).numpy().astype(np.float64))
    features = np.concatenate(features)
    reference = np.load(ROOT / "jobs/digits/reference.npz")
    mu, sigma = features.mean(0), np.cov(features.T)
    product = scipy.linalg.sqrtm(sigma @ reference["sigma"]).real
    fid = ((mu - reference["mu"]) ** 2).sum() + np.trace(sigma + reference["sigma"] - 2 * product)
    assert result["metrics"]["fid"] == pytest.approx(fid, rel=1e-4)
    eigen = np.linalg.eigvals(sigma @ reference["sigma"]).astype(complex)
    exact = ((mu - reference["mu"]) ** 2).sum() + np.trace(sigma + reference["sigma"]) - 2 * np.sqrt(eigen).real.sum()
    assert result["metrics"]["fid"] == pytest.approx(exact, rel=1e-5)


def test_rounding_rules_and_labels(tmp_path):
    """Stored bytes against numpy's rounding of the float samples."""
    stored = {}
    for rule, dtype in [("edm", "float32"), ("edm", "uint8"), ("adm", "uint8"), ("diffusers", "uint8")]:
        run = tmp_path / f"{rule}-{dtype}"
        qtaylor("generate", JOB, "--set", f"output.dir={run}", "--set", "seeds=0-63", "--set",
                f"output.rounding={rule}", "--set", f"output.dtype={dtype}", "--set", "evaluate=null", program=TORCH)
        raw = subprocess.run(["zstd", "-dc", run / "samples/000000.npy.zst"], capture_output=True, check=True).stdout
        stored[rule, dtype] = np.load(io.BytesIO(raw))
    x = stored["edm", "float32"].transpose(0, 2, 3, 1).astype(np.float64)
    expected = {"edm": np.trunc(np.clip(127.5 * x + 128, 0, 255)), "adm": np.trunc(np.clip((x + 1) * 127.5, 0, 255)),
                "diffusers": np.round(255 * np.clip((x + 1) / 2, 0, 1))}
    for rule, values in expected.items():
        difference = np.abs(values - stored[rule, "uint8"])
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-3, rule  # float32 may cross a half

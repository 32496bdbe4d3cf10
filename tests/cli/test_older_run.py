"""A run directory of format 0.1, kept in tests/data as that version left it, is read and continued by this one.

expected.json was written by numpy and zstd alone: the rows of the shards, their JSON frames, the FID by eigenvalues.
"""
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from conftest import ROOT, qtaylor, stored
from oracle import linear_alpha_sigma, mixture_epsilon, run_plan

KEPT = ROOT / "tests/data/run-0.1"
EXPECTED = json.loads((KEPT / "expected.json").read_text())
SAMPLES = np.array(EXPECTED["samples"], np.uint8).reshape(16, 4, 4, 1)


@pytest.fixture
def older(tmp_path):
    """A copy. It was made in /srv/digits, which is here where the copy is."""
    folder = pathlib.Path(shutil.copytree(KEPT, tmp_path / "kept"))
    for name in ("run.json", "metrics.json"):
        path = folder / "run" / name
        path.write_text(path.read_text().replace("/srv/digits", str(folder)))
    return folder


def test_what_was_written_then_is_read_now(older, tmp_path):
    run = older / "run"
    assert (stored(run) == SAMPLES).all()
    verified = json.loads(qtaylor("verify", run, "--json").stdout)
    assert verified["complete"] and verified["samples"] == 16
    status = json.loads(qtaylor("status", run, "--json").stdout)
    assert (status["done"], status["shards_done"]) == (16, 2)
    manifest = [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines()]
    assert [record["sha256"] for record in manifest] == EXPECTED["sha256"]
    qtaylor("export", run, "--to", "npy", "-o", tmp_path / "out.npy")
    assert (np.load(tmp_path / "out.npy") == SAMPLES).all()
    qtaylor("report", run)
    assert f"{EXPECTED['fid']:.0f}" in re.sub(r"[ ,]", "", (run / "report.html").read_text())
    qtaylor("sample", run, "5", "--recompute", "-o", tmp_path / "5.png")


def test_verify_reads_the_samples_where_the_network_has_gone():
    """As it lies in the repository: what it is of was in /srv."""
    done = qtaylor("verify", KEPT / "run", code=74)
    assert f"{KEPT}/run holds exactly its 16 samples" in done.stdout and "2 files good, 0 missing" in done.stdout
    assert "its features are not looked at" in done.stderr
    assert json.loads(qtaylor("verify", KEPT / "run", "--json", code=74).stdout)["complete"] is False


def test_its_fid_is_that_of_its_features(older):
    found = json.loads(qtaylor("evaluate", older / "run", "--json").stdout)["metrics"]["fid"]
    assert found == pytest.approx(EXPECTED["fid"], rel=1e-6)
    features = stored(older / "run", next((older / "run/features").glob("*/pool")).relative_to(older / "run"))
    np.testing.assert_allclose(features, EXPECTED["features"], atol=6e-4)


def test_more_seeds_are_added_to_it(older):
    """As many as its own plan says, read by numpy: labels alternate, EDM's rounding."""
    run = older / "run"
    plan = json.loads((run / "run.json").read_text())["plan"]
    done = qtaylor("run", older / "job.yaml", "--set", "seeds=0-19", "--set", f"output.dir={run}")
    assert "20 on disk, 4 made now" in done.stdout
    rows = stored(run)
    assert (rows[:16] == SAMPLES).all() and rows.shape == (20, 4, 4, 1)
    mixture = json.loads((older / "model.json").read_text())["mixture"]
    for label in (0, 1):
        means = mixture["means"][label: label + 1]
        x = run_plan(plan, range(label, 20, 2), 16, lambda x, t, _, means=means: mixture_epsilon(
            x, *linear_alpha_sigma(t), means, mixture["std"], np.ones(1)))
        pixels = np.floor((x * 127.5 + 128).clip(0, 255))
        assert abs(pixels - rows[label::2].reshape(10, 16)).max() <= 1  # the network's output is float32


@pytest.mark.parametrize("command", ["verify", "status", "report", "card", "evaluate", "export", "run"])
def test_a_later_format_is_refused(older, command):
    path = older / "run/run.json"
    document = json.loads(path.read_text())
    document["format"], document["versions"]["qtaylor"] = 2, "3.1.4"
    path.write_text(json.dumps(document))
    arguments = {"run": ("run", older / "job.yaml", "--set", f"output.dir={older / 'run'}"),
                 "card": ("report", older / "run", "--card"),
                 "export": ("export", older / "run", "--to", "npy", "-o", older / "out.npy")}
    done = qtaylor(*arguments.get(command, (command, older / "run")), code=65)
    assert "run.json: format: expected 1, found 2, written by qtaylor 3.1.4" in done.stderr + done.stdout
    assert not (older / "out.npy").exists()


def test_a_later_sweep_is_refused(job):
    """Neither read, nor written over by a sweep that continues it."""
    job.keys["seeds"], job.keys["sweep"] = "0-7", {"sampler.nfe": [2, 3]}
    path = job.write()
    qtaylor("run", path)
    later = json.loads((job.run / "sweep.json").read_text()) | {"format": 2}
    (job.run / "sweep.json").write_text(json.dumps(later))
    for arguments in ("run", path), ("verify", job.run), ("report", job.run):
        assert "sweep.json: format: expected 1, found 2" in qtaylor(*arguments, code=65).stderr
    assert json.loads((job.run / "sweep.json").read_text()) == later

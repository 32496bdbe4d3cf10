"""evaluate --count: the first samples' metrics, beside those that the job asks for."""
import json

import numpy as np

from conftest import qtaylor, stored
from test_compare import compare


def test_counts_stand_beside_the_runs_own_metrics(job, tmp_path):
    job.add_evaluation()
    job.keys["seeds"] = "0-399"
    qtaylor("run", job.write())
    whole = (job.run / "metrics.json").read_bytes()
    done = qtaylor("evaluate", job.run, "--count", "250")
    assert f"{job.run}/metrics-250.json: the metrics of the first 250 of 400 samples" in done.stderr
    assert (job.run / "metrics.json").read_bytes() == whole  # what `report` reads
    result = json.loads((job.run / "metrics-250.json").read_text())
    metrics = result["metrics"]
    assert metrics["samples"] == 250 and result["generation"] == json.loads(whole)["generation"]
    assert "evaluated   the first 250 of these samples" in done.stdout
    for line in done.stdout.splitlines():
        assert line.endswith("(of all 400 samples)") == line.startswith(("saturated", "digest"))
    (pool,) = job.run.glob("features/*/pool")
    np.save(tmp_path / "first.npy", stored(pool.parent, "pool")[:250])
    assert compare(tmp_path / "first.npy", job.folder / "reference.npz")["fid"] == metrics["fid"]
    assert "evaluate.count" in qtaylor("evaluate", job.run, "--count", "500", code=65).stderr
    for arguments in ([], ["--count", "400"]):
        before = sorted(path.name for path in job.run.iterdir())
        done = qtaylor("evaluate", job.run, *arguments)
        assert "first" not in done.stdout + done.stderr and "of all" not in done.stdout
        assert sorted(path.name for path in job.run.iterdir()) == before
    job.keys["evaluate"]["count"] = 250  # the job's own count is what metrics.json is of
    said = qtaylor("run", job.write()).stderr
    assert f"{job.run}/metrics.json is now of the first 250 samples, no longer of 400" in said
    assert json.loads((job.run / "metrics.json").read_text())["metrics"] == metrics


def test_a_count_of_what_is_not_evaluated_is_refused(job):
    qtaylor("run", job.write())
    assert "has no evaluate block" in qtaylor("evaluate", job.run, "--count", 50, code=65).stderr
    assert "has no evaluate block: nothing is evaluated" in qtaylor("evaluate", job.run).stderr


def test_an_error_that_is_rounding_is_left_out(tmp_path):
    rows = np.random.default_rng(3).normal(size=(2, 400, 4))
    np.save(tmp_path / "samples.npy", rows[0].astype(np.float32))
    np.save(tmp_path / "reference.npy", (1e30 + 1e20 * rows[1]).astype(np.float32))
    sides = [tmp_path / "samples.npy", tmp_path / "reference.npy"]
    done = qtaylor("compare", *sides, "--json")
    found = json.loads(done.stdout)["metrics"]
    assert "fid" in found and not {"fid_error", "fid_low", "fid_high"} & found.keys()
    assert "fid: it has no standard error" in done.stderr
    for metric in ["kid"], ["fld", "--validation", sides[0]]:  # whose numbers, or whose error, would not be finite
        assert "the features are too large" in qtaylor("compare", *sides, "--metrics", *metric, code=65).stderr


def test_kernel_distances_that_are_rounding_are_told(tmp_path):
    rows = np.random.default_rng(4).normal(size=(2, 400, 4))
    for far, words in ((0, 0), (1e6, 1)):
        for name, side in zip("ab", rows):
            np.save(tmp_path / f"{name}.npy", (far + side).astype(np.float32))
        said = qtaylor("compare", tmp_path / "a.npy", tmp_path / "b.npy", "--metrics", "kid,cmmd").stderr
        assert [said.count(f"{metric}: it and its error are the rounding") for metric in ("kid", "cmmd")] == [words] * 2

"""Runs in rounds until the FID is exact enough. The decisions are numpy's from the features of runs that made
everything, and the same for any number of ranks and after a kill."""
import json
import random

import numpy as np
import pytest

from conftest import Job, qtaylor, stored
from rounds import SEEDS, SHARD, document, estimate, features_of, fid, jackknife, kill_at, make, result, whole_shards


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("whole"))
    qtaylor("run", make(job))
    return features_of(job.run), np.load(job.folder / "reference.npz"), job.run


def sizes():
    size = whole_shards(1000)
    while size < SEEDS:
        yield size
        size = whole_shards(size + size // 4)


def stop_at(whole, target):
    """How many samples there are once the error is at most the target."""
    for size in sizes():
        if estimate(jackknife(whole[0][:size], whole[1]))[1] <= target:
            return size
    return SEEDS


def target_for(whole, which):
    """Between the error of this block and those before, so that rounding decides nothing."""
    errors = [estimate(jackknife(whole[0][:size], whole[1]))[1] for size in sizes()]
    return float(np.mean(sorted([min(errors[:which]), min(errors[:which + 1])])))


@pytest.mark.parametrize("ranks", [0, 2, 3])
def test_until_stops_where_numpy_says(job, whole_run, ranks):
    target = target_for(whole_run, 3)
    size = stop_at(whole_run, target)
    assert 1024 < size < SEEDS
    path = make(job)
    job.keys["evaluate"]["until"] = {"fid_error": target}
    done = qtaylor("run", job.write(), ranks=ranks)
    found = result(job.run)
    assert found["samples"] == found["metrics"]["samples"] == found["made_now"] == size and \
        f"{size} of {SEEDS} seeds" in done.stdout
    assert found["stopped"] == document(job.run)["stopped"] and found["stopped"]["of"] == SEEDS
    assert found["metrics"]["fid_error"] <= target
    assert found["generation"]["samples"] == size
    assert found["metrics"]["fid"] == pytest.approx(fid(whole_run[0][:size], whole_run[1]), rel=1e-9)
    # a run of so many samples, for everybody
    status = json.loads(qtaylor("status", job.run, "--json").stdout)
    assert (status["state"], status["samples"], status["stopped"]["by"]) == ("complete", size, "until")
    qtaylor("verify", job.run)
    qtaylor("export", job.run, "--to", "npz", "-o", job.folder / "x.npz")
    assert len(np.load(job.folder / "x.npz")["arr_0"]) == size
    assert np.array_equal(stored(job.run), stored(whole_run[2])[:size])
    assert qtaylor("sample", job.run, SEEDS - 1, "-o", job.folder / "x.png", code=65).stderr
    qtaylor("report", job.run)
    card = qtaylor("report", job.run, "--card").stdout
    assert f"seeds             0-{size - 1}, noise" in card and f"0-{SEEDS - 1}" not in card
    assert f"after {size} of {SEEDS} seeds, when FID's standard error was at most {target:g}" in card
    qtaylor("evaluate", job.run)
    assert result(job.run)["metrics"] == found["metrics"] and "stopped" in document(job.run)
    if ranks == 0:
        qtaylor("run", job.run / "run.json", "--set", f"output.dir={job.folder / 'again'}")
        assert "same" in qtaylor("compare", "--same", job.run, job.folder / "again").stdout
        told = qtaylor("run", job.run / "run.json", code=65).stderr
        assert f"stopped after {size} of its {SEEDS} seeds (by evaluate.until)" in told
        assert f"--set seeds=0-{SEEDS - 1} to make" in told
        dry = qtaylor("run", job.run / "run.json", "--dry-run", "--set", f"seeds=0-{SEEDS - 1}").stdout
        assert f"{SEEDS}: {size} on disk, {SEEDS - size} to make" in dry
        # run again nothing is made; a looser target keeps the files, a tighter one goes on, none makes the rest
        shards = {p: p.stat().st_mtime_ns for p in job.run.glob("samples/*")}
        dry = qtaylor("run", path, "--dry-run").stdout
        assert f"{size}: {size} on disk, 0 to make; 0 of" in dry
        assert f"by evaluate.until, after {size} of {SEEDS} seeds" in dry
        dry = qtaylor("run", path, "--dry-run", "--set", f"evaluate.until.fid_error={target / 2}").stdout
        assert f"at most {SEEDS - size} to make" in dry and "evaluate.until decides" in dry
        assert "0 made now" in qtaylor("run", path).stdout
        job.keys["evaluate"]["until"] = {"fid_error": target * 100}
        qtaylor("run", job.write())
        assert result(job.run)["samples"] == 1024
        assert "0 foreign" in qtaylor("verify", job.run).stdout
        assert {p: p.stat().st_mtime_ns for p in job.run.glob("samples/*")} == shards
        del job.keys["evaluate"]["until"]
        qtaylor("run", job.write())
        whole = result(whole_run[2])
        assert result(job.run)["payload_sha256"] == whole["payload_sha256"]
        assert result(job.run)["metrics"] == whole["metrics"] and "stopped" not in result(job.run)


def test_a_target_out_of_reach_is_told(job, whole_run):
    make(job)
    job.keys["evaluate"]["until"] = {"fid_error": 1e-6}
    done = qtaylor("run", job.write())
    assert "as evaluate.until asks" in done.stderr and result(job.run)["samples"] == SEEDS
    assert "stopped" not in document(job.run)
    assert result(job.run)["payload_sha256"] == result(whole_run[2])["payload_sha256"]
    assert result(job.run)["metrics"] == result(whole_run[2])["metrics"]


@pytest.mark.parametrize("seed", [1, 2])
def test_until_killed_and_run_again(job, whole_run, seed):
    target = target_for(whole_run, 3)
    make(job)
    job.keys["evaluate"]["until"] = {"fid_error": target}
    size = stop_at(whole_run, target)
    path = job.write()
    kill_at(path, job.run, random.Random(seed).randrange(size // SHARD), seed)
    qtaylor("run", path, ranks=seed)
    found = result(job.run)
    assert found["samples"] == size
    assert found["metrics"]["fid"] == pytest.approx(fid(whole_run[0][:size], whole_run[1]), rel=1e-9)
    qtaylor("verify", job.run)


# ---- mistakes ----

@pytest.mark.parametrize("evaluate, words", [
    ({"until": 0.05}, "evaluate.until: expected a map with fid_error, found 0.05"),
    ({"until": {}}, "evaluate.until.fid_error: missing"),
    ({"until": {"fid_error": 0}}, "evaluate.until.fid_error: expected a number above 0, found 0"),
    ({"until": {"kid_error": 1}}, "kid_error"),
    ({"until": {"fid_error": 1}, "metrics": ["kid"]}, "expected fid among evaluate.metrics"),
    ({"until": {"fid_error": 1}, "count": 500}, "expected no count beside evaluate.until"),
    ({"until": {"fid_error": 1}, "seeds": "0-198"}, "expected at least 200 seeds"),
    ({"until": {"fid_error": 1}, "features": ["features.json", "none"]}, "expected one network beside evaluate.until"),
])
def test_until_mistakes(job, evaluate, words):
    make(job)
    if "seeds" in evaluate:
        job.keys["seeds"] = evaluate.pop("seeds")
    job.keys["evaluate"] |= evaluate
    for command in "plan", "run":
        assert words in qtaylor(command, job.write(), code=65).stderr
    assert not job.run.exists()


def test_a_stop_that_says_by_what_in_no_words(job):
    path = make(job)
    job.keys["evaluate"]["until"] = {"fid_error": 1e9}
    job.write()
    qtaylor("run", path)
    document = json.loads((job.run / "run.json").read_text())
    document["stopped"]["by"] = 3
    (job.run / "run.json").write_text(json.dumps(document))
    assert "0 to make" in qtaylor("run", path, "--dry-run").stdout


def test_deciding_needs_the_evaluation(job):
    make(job)
    job.keys["sweep"] = {"race": {}, "sampler.solver": ["ddim", "taylor"]}
    assert "sweep.race): say run, not generate" in qtaylor("generate", job.write(), code=64).stderr
    del job.keys["sweep"]
    job.keys["evaluate"]["until"] = {"fid_error": 1}
    assert "evaluate.until): say run, not generate" in qtaylor("generate", job.write(), code=64).stderr

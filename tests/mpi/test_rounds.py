"""Runs in rounds: until the FID is exact enough, and races. The decisions are numpy's and scipy's from the features of
runs that made everything, and the same for any number of ranks and after a kill."""
import json
import random
import shutil
import subprocess
import time

import numpy as np
import pytest
import scipy.stats

from conftest import Job, FAKE, environment, mpirun, qtaylor, stored

SEEDS, SHARD = 3000, 64
SOLVERS = ["ddim", "taylor", "deis", "dpmpp-2m"]


def make(job, **keys):
    job.add_evaluation()
    job.keys |= {"seeds": f"0-{SEEDS - 1}"} | keys
    job.keys["output"]["samples_per_shard"] = SHARD
    return job.write()


def fid(features, reference):
    mean, cov = features.mean(0) - reference["mu"], np.cov(features.T)
    roots = np.sqrt(np.linalg.eigvals(cov @ reference["sigma"]).real.clip(0))
    return mean @ mean + np.trace(cov) + np.trace(reference["sigma"]) - 2 * roots.sum()


def jackknife(features, reference):
    """The FID of all rows and those without each of 20 blocks."""
    ends = [len(features) * k // 20 for k in range(21)]
    return np.array([fid(features, reference)] + [fid(np.delete(features, slice(a, b), 0), reference)
                                                  for a, b in zip(ends, ends[1:])])


def estimate(values):
    mean = values[1:].mean()
    return 20 * values[0] - 19 * mean, np.sqrt(19 / 20 * ((values[1:] - mean)**2).sum())


def features_of(run):
    return stored(run, next((run / "features").glob("*/pool")).relative_to(run)).astype(np.float64)


def whole_shards(samples):
    return min(-(-samples // SHARD) * SHARD, SEEDS)


def document(run):
    return json.loads((run / "run.json").read_text())


def result(run):
    """metrics.json without the path of the reference, which is another copy for each test."""
    found = json.loads((run / "metrics.json").read_text())
    del found["metrics"]["reference"]["path"]
    return found


# ---- until ----

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


def kill_at(path, run, shards, seed):
    """Starts the job on two ranks and kills them once there are so many shards."""
    rng = random.Random(seed)
    process = subprocess.Popen(mpirun(2) + [str(FAKE), "run", str(path)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)
    deadline = time.time() + 60
    while len(list(run.rglob("samples/*.zst"))) < shards and process.poll() is None and time.time() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05))
    subprocess.run(["pkill", "-KILL" if rng.random() < 0.7 else "-TERM", "-s", str(process.pid)])
    process.wait(timeout=60)
    while subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True).stdout:
        time.sleep(0.02)


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


# ---- races ----

RACE = {"race": {"metric": "fid", "confidence": 0.95}, "sampler.solver": SOLVERS}


def race_job(job, tmp_path, **race):
    """Cells that are near and far of one another: a reference of the model's own law."""
    make(job)
    network = json.loads((job.folder / "features.json").read_text())
    truth = Job(job.folder / "truth")
    truth.folder.mkdir(exist_ok=True)
    truth.keys |= {"sampler": {"solver": "heun", "nfe": 41}}
    make(truth)
    del truth.keys["evaluate"]["reference"]
    truth.keys["seeds"] = "900000-903999"
    truth.keys["evaluate"]["reference"] = "reference.npz"
    (truth.folder / "features.json").write_text(json.dumps(network))
    qtaylor("run", truth.write())
    rows = features_of(truth.run)
    np.savez(job.folder / "reference.npz", mu=rows.mean(0), sigma=np.cov(rows.T))
    job.keys["sweep"] = RACE | race
    del job.keys["sampler"]["solver"]
    job.keys["sampler"]["nfe"] = 12
    return job.write()


@pytest.fixture(scope="module")
def whole_race(tmp_path_factory):
    """The sweep without a race: everything is made."""
    job = Job(tmp_path_factory.mktemp("sweep"))
    race_job(job, job.folder)
    del job.keys["sweep"]["race"]
    qtaylor("run", job.write())
    reference = np.load(job.folder / "reference.npz")
    return {f"solver={solver}": features_of(job.run / f"solver={solver}") for solver in SOLVERS}, reference, job


def decide(whole, confidence=0.95):
    """[(samples, leader, {left: (delta, error)})] by numpy and scipy."""
    features, reference, _ = whole
    alive, rounds = list(features), []
    for size in map(whole_shards, [1000, 2000, 5000]):
        if size >= SEEDS or len(alive) < 2:
            break
        values = {cell: jackknife(features[cell][:size], reference) for cell in alive}
        leader = min(alive, key=lambda cell: values[cell][0])
        limit = scipy.stats.t.isf((1 - confidence) / (len(alive) - 1) / 2, 19)
        deltas = {cell: estimate(values[cell] - values[leader]) for cell in alive if cell != leader}
        left = {cell: delta for cell, delta in deltas.items() if delta[0] > limit * delta[1]}
        rounds.append((size, leader, left))
        alive = [cell for cell in alive if cell not in left]
    return rounds, alive


@pytest.mark.parametrize("ranks", [0, 2, 3])
def test_who_leaves_is_what_scipy_says(job, whole_race, ranks):
    rounds, alive = decide(whole_race)
    assert any(left for _, _, left in rounds) and len(alive) < len(SOLVERS)
    path = race_job(job, job.folder)
    dry = qtaylor("run", path, "--dry-run", ranks=ranks).stdout
    assert dry.count(f"at most {SEEDS} to make") == len(SOLVERS) == dry.count("sweep.race decides")
    done = qtaylor("run", path, ranks=ranks)
    dry = json.loads(qtaylor("run", path, "--dry-run", "--json", ranks=ranks).stdout)
    assert dry["missing"] == 0 and {cell["rule"] for cell in dry["cells"]} == {"race"}
    race = json.loads((job.run / "race.json").read_text())
    assert [(r["samples"], r["leader"], {c["cell"] for c in r["left"]}) for r in race["rounds"]] == \
        [(size, leader, set(left)) for size, leader, left in rounds]
    for record, (_, _, left) in zip(race["rounds"], rounds):
        for cell in record["left"]:
            assert (cell["delta"], cell["error"]) == pytest.approx(left[cell["cell"]], rel=1e-6)
            assert cell["limit"] == pytest.approx(scipy.stats.t.isf(0.05 / (record["cells"] - 1) / 2, 19), rel=1e-9)
    kept = {cell: SEEDS for cell in alive}
    kept |= {cell: size for size, _, left in rounds for cell in left}
    assert {cell["cell"]: cell["samples"] for cell in dry["cells"]} == kept
    assert race["samples"] == sum(kept.values()) and race["of"] == SEEDS * len(SOLVERS)
    for cell, size in kept.items():
        assert result(job.run / cell)["samples"] == size
        assert np.array_equal(stored(job.run / cell), stored(whole_race[2].run / cell)[:size])
    assert "left behind" in done.stderr
    for _, leader, left in rounds:
        for cell, (delta, error) in left.items():
            card = qtaylor("report", job.run / cell, "--card").stdout
            assert f"0-{kept[cell] - 1}, noise" in card and f"after {kept[cell]} of {SEEDS} seeds" in card
            told = qtaylor("run", job.run / cell / "run.json", code=65).stderr
            assert f"stopped after {kept[cell]} of its {SEEDS} seeds (by sweep.race)" in told
            assert f"left a race: {delta:.4g} ± {error:.2g} (standard error) behind {leader}" in card
    status = json.loads(qtaylor("status", job.run, "--json").stdout)
    assert status["state"] == "complete" and {c["cell"]: c["samples"] for c in status["cells"]} == kept
    assert {c["cell"] for c in status["cells"] if "stopped" in c} == set(kept) - set(alive)
    qtaylor("verify", job.run)
    report = qtaylor("report", job.run, "--text").stdout
    assert f"{100 * (1 - race['samples'] / race['of']):.0f} % saved" in report
    risk = "the risk that the best cell was left behind is at most 2.5 % a round, 5 % in 2 rounds"
    assert len(rounds) == 2 and risk in report
    leader, level = rounds[-1][1], [cell for cell in kept if cell in alive and cell != rounds[-1][1]]
    outcome = f"{leader} leads after the last round; "
    assert (outcome + (f"not significantly worse {'are' if len(level) > 1 else 'is'} {len(level)}: " if level else
                       "all others left the race")) in report
    if level:
        assert set(report.split(outcome)[1].splitlines()[0].split(": ")[1].split(", ")) == set(level)
    qtaylor("report", job.run)
    page = (job.run / "report.html").read_text()
    assert outcome in page and risk in page and "The race" in page and all(cell in page for cell in kept)
    (job.run / "results.json").unlink()  # as before the last round
    assert "its rows come when the race ends" in qtaylor("report", job.run, code=75).stderr
    again = qtaylor("run", job.folder / "job.yaml")
    assert json.loads((job.run / "race.json").read_text()) == race and "left behind" in again.stderr


@pytest.mark.parametrize("seed", [1, 2])
def test_a_race_killed_and_run_again(job, whole_race, seed):
    rounds, alive = decide(whole_race)
    path = race_job(job, job.folder)
    kill_at(path, job.run, random.Random(seed).randrange(100), seed)
    qtaylor("run", path, ranks=seed)
    race = json.loads((job.run / "race.json").read_text())
    assert [(r["samples"], r["leader"], {c["cell"] for c in r["left"]}) for r in race["rounds"]] == \
        [(size, leader, set(left)) for size, leader, left in rounds]
    qtaylor("verify", job.run)
    # without the race, the cells that left go on from what they have
    before = {p: p.stat().st_mtime_ns for p in job.run.glob("*/samples/*")}
    del job.keys["sweep"]["race"]
    qtaylor("run", job.write())
    assert {p: p.stat().st_mtime_ns for p in job.run.glob("*/samples/*")}.items() >= before.items()
    for cell in whole_race[0]:
        assert result(job.run / cell)["metrics"] == result(whole_race[2].run / cell)["metrics"]
    assert not (job.run / "race.json").exists()


def test_the_record_alone_decides(job, whole_race):
    """Rounds that are on disk are taken as they are; without them they come out the same."""
    path = race_job(job, job.folder)
    qtaylor("run", path)
    race = (job.run / "race.json").read_text()
    for cell in whole_race[0]:
        shutil.rmtree(job.run / cell / "rounds")
    (job.run / "race.json").unlink()
    done = qtaylor("run", path)
    assert (job.run / "race.json").read_text() == race and "samples/s, took" not in done.stderr


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


@pytest.mark.parametrize("change, words", [
    (lambda keys: keys["sweep"].update(race=1), "sweep.race: expected a map with metric and confidence, found 1"),
    (lambda keys: keys["sweep"].update(race={"metrik": "fid"}), 'sweep.race.metrik: unknown key; did you mean "m'),
    (lambda keys: keys["sweep"].update(race={"metric": "is"}), "sweep.race.metric: expected one of fid, sfid, cmmd, "),
    (lambda keys: keys["sweep"].update(race={"metric": "mind"}), "expected mind among evaluate.metrics of every cell"),
    (lambda keys: keys["sweep"].update(race={"confidence": 1}), "sweep.race.confidence: expected a number from 0.5 to"),
    (lambda keys: keys["evaluate"].update(count=500), "expected no evaluate.count beside it"),
    (lambda keys: keys["evaluate"].update(until={"fid_error": 1}), "expected no evaluate.until beside it"),
    (lambda keys: keys["evaluate"].update(features=["features.json", "none"]), "expected one feature network"),
    (lambda keys: keys.pop("evaluate"), "expected fid among evaluate.metrics of every cell"),
    (lambda keys: keys.update(seeds="0-1000"), "expected more seeds than the first round has, 1000 in whole shards"),
    (lambda keys: keys["sweep"].update(seeds=["0-2999", "0-3999"]), "expected the same seeds in every cell"),
    (lambda keys: keys.update(sweep=[{"sampler.solver": ["ddim"]}, {"race": {}},
                                     {"sampler.solver": ["heun"], "output.samples_per_shard": [128]}]),
     "expected the same output.samples_per_shard in every cell"),
    (lambda keys: keys["sweep"].update({"evaluate.metrics": [["fid"], ["fid", "fid_infinity"]]}),
     "expected the same evaluate in every cell"),
    (lambda keys: keys.update(sweep=[keys["sweep"], {"sampler.solver": ["heun"]}]), "in a map of its own"),
])
def test_race_mistakes(job, change, words):
    make(job)
    job.keys["sweep"] = json.loads(json.dumps(RACE))
    change(job.keys)
    for command in "plan", "run":
        assert words in qtaylor(command, job.write(), code=65).stderr
    assert not job.run.exists()


def test_deciding_needs_the_evaluation(job):
    make(job)
    job.keys["sweep"] = RACE
    assert "sweep.race): say run, not generate" in qtaylor("generate", job.write(), code=64).stderr
    del job.keys["sweep"]
    job.keys["evaluate"]["until"] = {"fid_error": 1}
    assert "evaluate.until): say run, not generate" in qtaylor("generate", job.write(), code=64).stderr


def test_a_race_in_a_list_of_products(job, whole_race):
    race_job(job, job.folder)
    job.keys["sweep"] = [{"sampler.solver": SOLVERS[:2]}, {"sampler.solver": SOLVERS[2:]}, {"race": {}}]
    qtaylor("run", job.write())
    race = json.loads((job.run / "race.json").read_text())
    rounds, _ = decide(whole_race)
    assert [{c["cell"] for c in r["left"]} for r in race["rounds"]] == [set(left) for _, _, left in rounds]

"""Races of a sweep's cells. The decisions are numpy's and scipy's from the features of runs that made everything, and
the same for any number of ranks and after a kill."""
import csv
import json
import random
import shutil

import numpy as np
import pytest
import scipy.stats

from conftest import ROOT, Job, qtaylor, stored
from rounds import SEEDS, SHARD, estimate, features_of, jackknife, kill_at, make, result, whole_shards

SOLVERS = ["ddim", "taylor", "deis", "dpmpp-2m"]
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
    if ranks > 0:
        return  # what reads the folder does not know how many made it
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
    outcome = f"{leader} leads after the last round, of {rounds[-1][0]} samples a cell; "
    assert (outcome + (f"not significantly worse {'are' if len(level) > 1 else 'is'} {len(level)}: " if level else
                       "all others left the race")) in report
    if level:
        assert set(report.split(outcome)[1].splitlines()[0].split(": ")[1].split(", ")) == set(level)
    qtaylor("report", job.run)
    page = (job.run / "report.html").read_text()
    assert outcome in page and risk in page and "The race" in page and all(cell in page for cell in kept)
    (job.run / "results.json").unlink()
    assert "has no results.json, though" in qtaylor("report", job.run, code=75).stderr
    whole = (job.run / "race.json").read_text()
    (job.run / "race.json").write_text(json.dumps(race | {"next": 2000}))  # as before the last round
    assert "its rows come when the race ends" in qtaylor("report", job.run, code=75).stderr
    (job.run / "race.json").write_text(whole)
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
    # without the race, the cells that left go on from what they have, and its record stays
    before = {p: p.stat().st_mtime_ns for p in job.run.glob("*/samples/*")}
    del job.keys["sweep"]["race"]
    qtaylor("run", job.write())
    assert {p: p.stat().st_mtime_ns for p in job.run.glob("*/samples/*")}.items() >= before.items()
    for cell in whole_race[0]:
        assert result(job.run / cell)["metrics"] == result(whole_race[2].run / cell)["metrics"]
    assert json.loads((job.run / "race.json").read_text()) == race
    completed = len(SOLVERS) - len(alive)
    said = f"; {completed} that left {'have' if completed > 1 else 'has'} been given all samples since"
    assert said in qtaylor("report", job.run, "--text").stdout
    # with it again they keep what they have
    results = table(job)
    job.keys["sweep"] = RACE
    again = qtaylor("run", job.write(), ranks=seed)
    assert "samples/s, took" not in again.stderr and table(job) == results
    assert {row["samples"] for row in results} == {str(SEEDS)}
    assert json.loads((job.run / "race.json").read_text()) == race
    assert "stopped" not in qtaylor("status", job.run, "--json").stdout and said in qtaylor(
        "report", job.run, "--text").stdout
    assert qtaylor("run", path, "--dry-run").stdout.count(f"{SEEDS} on disk, 0 to make") == len(SOLVERS)
    qtaylor("verify", job.run)


def table(job):
    with open(job.run / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_samples_beyond_a_round_are_told(job, whole_race):
    """A cell that left and has more than its round, and not all, is that of its round."""
    rounds, _ = decide(whole_race)
    path = race_job(job, job.folder)
    qtaylor("run", path)
    size, _, left = rounds[0]
    cell = job.run / sorted(left)[0]
    qtaylor("run", path, "--set", "sweep.race=null")
    sorted((cell / "samples").iterdir())[-2].unlink()
    told = qtaylor("run", path).stderr
    assert f"{cell}: has {SEEDS - size - SHARD} samples more, of another job, which count with --set sweep.race=null " \
        "alone" in told
    assert result(cell)["samples"] == size


def test_status_of_a_race(job, whole_race):
    path = race_job(job, job.folder)
    job.model["delay_ms"] = 1
    job.write()
    kill_at(path, job.run, 5, 1)
    status = qtaylor("status", job.run, code=75).stdout
    assert f"{job.run}: stopped, a race that has not ended\n" in status
    assert "race        by fid: in round 1, of 1024 samples a cell, are 4 of 4 cells\n" in status
    assert status.count("stopped, in the race\n") == 4
    assert f"            to go on, in {ROOT}: qtaylor run {path}\n" in status
    race = json.loads(qtaylor("status", job.run, "--json", code=75).stdout)["race"]
    assert race["next"] == 1024 and set(race["in"]) == {f"solver={solver}" for solver in SOLVERS}
    assert "its rows come when the race ends" in qtaylor("report", job.run, code=75).stderr
    rounds, alive = decide(whole_race)
    qtaylor("run", path, ranks=2)
    status = qtaylor("status", job.run).stdout
    assert f"{job.run}: complete\n" in status and "to go on" not in status and "in the race" not in status
    assert f"race        by fid: decided in {len(rounds)} rounds\n" in status
    assert f"            after {rounds[-1][0]} samples a cell {rounds[-1][1]} leads\n" in status
    assert status.count("left the race") == len(SOLVERS) - len(alive)


def test_what_the_report_says_is_what_the_race_said(job, whole_race):
    """Also where the next one left, and so has other samples than the best."""
    race_job(job, job.folder)
    job.keys["sweep"] = {"race": {}, "sampler.solver": ["ddim", "deis"]}
    qtaylor("run", job.write())
    left = json.loads((job.run / "race.json").read_text())["rounds"][0]["left"][0]
    best = json.loads(qtaylor("report", job.run, "--json").stdout)["best"][0]
    assert best["best"]["cell"] == "solver=deis" and best["second"]["cell"] == left["cell"] == "solver=ddim"
    assert best["raced"] == {"samples": 1024, "leader": "solver=deis", "delta": left["delta"], "error": left["error"]}
    said = qtaylor("report", job.run, "--text").stdout
    assert "not paired" not in said and "all others left the race" in said
    assert f"it left the race after 1024 samples, {left['delta']:.3g} +- {left['error']:.2g} behind solver=deis" in \
        " ".join(said.split())


def test_a_race_of_one_cell_is_none(job):
    make(job)
    job.keys["seeds"] = "0-1999"
    job.keys["sweep"] = {"race": {}, "sampler.solver": ["ddim"]}
    warning = "sweep.race: there is one cell and nothing to decide: it gets all its samples"
    assert warning in qtaylor("plan", job.write()).stderr
    done = qtaylor("run", job.write())
    assert warning in done.stderr and "leads" not in done.stderr and result(job.run / "solver=ddim")["samples"] == 2000
    assert not (job.run / "race.json").exists() and not (job.run / "solver=ddim/rounds").exists()
    # nor is a cell alone
    job.keys["sweep"]["sampler.solver"].append("deis")
    assert "one cell is no race" in qtaylor("run", job.write(), "--cell", "1").stderr
    assert result(job.run / "solver=deis")["samples"] == 2000


@pytest.mark.parametrize("nfes, few, many", [([4, 5], 4, 5), ([4, 12], 4, 12), ([6], None, None)])
def test_cells_that_cost_more_are_told(job, nfes, few, many):
    make(job)
    job.keys["seeds"] = "0-1999"
    del job.keys["sampler"]["nfe"]
    job.keys["sweep"] = {"race": {}, "sampler.solver": ["ddim", "heun"], "sampler.nfe": nfes}
    words = f"its cells take from {few} to {many} model calls a sample" if few else ""
    for command in "plan", "run":
        told = qtaylor(command, job.write()).stderr
        assert words in told and ("so those that take few will lose" in told) == (few is not None)
    race = json.loads((job.run / "race.json").read_text())
    assert race.get("model_calls") == ([few, many] if few else None)
    said = qtaylor("report", job.run, "--text").stdout
    assert (f"they take from {few} to {many} model calls a sample and all competed" in said) == (few is not None)


def test_the_record_alone_decides(job, whole_race):
    """Rounds that are on disk are taken as they are; without them they come out the same."""
    path = race_job(job, job.folder)
    qtaylor("run", path)
    race = (job.run / "race.json").read_text()
    for cell in whole_race[0]:
        shutil.rmtree(job.run / cell / "rounds")
    (job.run / "race.json").write_text("{")
    assert "race.json:1:1: not JSON" in qtaylor("status", job.run).stderr
    qtaylor("run", path, "--dry-run")
    done = qtaylor("run", path)
    assert (job.run / "race.json").read_text() == race and "samples/s, took" not in done.stderr


@pytest.mark.parametrize("forget", [None, "payload_sha256", "metrics_sha256"])
def test_a_round_is_of_its_samples(job, whole_race, forget):
    """Numbers that are not those of the shards decide nothing."""
    path = race_job(job, job.folder)
    qtaylor("run", path)
    race = (job.run / "race.json").read_text()
    first = json.loads(race)["rounds"][0]
    forged = job.run / first["left"][0]["cell"] / "rounds" / f"{first['samples']}.json"
    written = json.loads(forged.read_text())
    verified = json.loads(qtaylor("verify", forged.parent.parent, "--json").stdout)
    assert written["payload_sha256"] == verified["payload_sha256"]
    qtaylor("run", path)
    assert json.loads(forged.read_text()) == written  # taken as it is
    better = json.loads(json.dumps(written))
    better["metrics"] |= {"fid": 1.0, "fid_without": [1 + i / 1000 for i in range(20)]}
    if forget:
        better[forget] = ""
    forged.write_text(json.dumps(better))
    told = qtaylor("run", path).stderr
    assert f"{forged}: its metrics are not those that were written" in told
    assert (job.run / "race.json").read_text() == race
    assert json.loads(forged.read_text())["metrics"]["fid"] == written["metrics"]["fid"]
    # nor do they stand in a result
    metrics = job.run / first["leader"] / "metrics.json"
    written = result(metrics.parent)
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"metrics": better["metrics"]}))
    assert "its metrics are not those that were written" in qtaylor("run", path).stderr
    assert result(metrics.parent)["metrics"] == written["metrics"]


# ---- mistakes ----

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


def test_a_race_in_a_list_of_products(job, whole_race):
    race_job(job, job.folder)
    job.keys["sweep"] = [{"sampler.solver": SOLVERS[:2]}, {"sampler.solver": SOLVERS[2:]}, {"race": {}}]
    qtaylor("run", job.write())
    race = json.loads((job.run / "race.json").read_text())
    rounds, _ = decide(whole_race)
    assert [{c["cell"] for c in r["left"]} for r in race["rounds"]] == [set(left) for _, _, left in rounds]

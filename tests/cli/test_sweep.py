"""Sweeps: which cells there are, that they are the runs they name, what is made again, and that they share one
queue."""
import csv
import io
import json
import random
import shutil
import subprocess

import numpy as np
import pandas
import pytest

from conftest import environment, mpirun, qtaylor, strike, FAKE, Job

TIMING = ["seconds", "samples_per_second", "model_seconds"]
SWEEP = {"sampler.solver": ["ddim", "heun", "taylor"], "sampler.nfe": [4, 6]}


def sweep_job(job, sweep, **keys):
    job.add_evaluation()
    job.keys |= {"seeds": "0-199", "sweep": sweep} | keys
    job.keys["sampler"].pop("nfe", None)
    return job.write()


def table(job):
    """results.csv as it is, without the last columns, which hold times."""
    lines = (job.run / "results.csv").read_text().splitlines()
    assert lines[0].split(",")[-3:] == TIMING
    return [line.rsplit(",", 3)[0] for line in lines]


def rows(job):
    return list(csv.DictReader(io.StringIO("\n".join(table(job)))))


def stamps(job, *patterns):
    return {path: path.stat().st_mtime_ns for pattern in patterns for path in job.run.glob(pattern)}


def log(job, rank):
    return [json.loads(line) for line in (job.run / f"log/rank-{rank:04d}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("ranks", [0, 3])
def test_cells_are_the_runs_they_name(job, tmp_path, ranks):
    path = sweep_job(job, {"sampler.solver": ["ddim", "heun", "dpmpp-2m"], "sampler.nfe": [5, 8],
                           "skip": [{"sampler.solver": "ddim", "sampler.nfe": [8, 9]}]})
    done = qtaylor("run", path, ranks=ranks)
    found = rows(job)
    assert [row["cell"] for row in found] == [
        "solver=ddim,nfe=5", "solver=heun,nfe=5", "solver=heun,nfe=8", "solver=dpmpp-2m,nfe=5", "solver=dpmpp-2m,nfe=8"]
    assert [row["nfe"] for row in found] == ["5", "4", "8", "5", "8"]  # Heun's: the largest possible
    assert "solver=heun,nfe=8" in done.stdout
    assert json.loads((job.run / "results.json").read_text())["cells"][0]["fid"] == float(found[0]["fid"])
    alone = {key: value for key, value in job.keys.items() if key != "sweep"}
    job.keys = alone | {"sampler": {"solver": "heun", "nfe": 8},
                        "output": {"dir": str(tmp_path / "alone"), "samples_per_shard": 16}}
    qtaylor("run", job.write())
    single = json.loads((tmp_path / "alone/metrics.json").read_text())
    cell = json.loads((tmp_path / "run/solver=heun,nfe=8/metrics.json").read_text())
    assert cell["payload_sha256"] == single["payload_sha256"] and cell["metrics"] == single["metrics"]


def test_lists_maps_and_cells_that_mean_the_same(job):
    path = sweep_job(job, [{"sampler": [{"solver": "ddim"}, {"solver": "taylor", "order": ".inf"}], "sampler.nfe": [5]},
                           {"sampler.solver": ["ddim"], "sampler.nfe": [5], "sampler.eta": [0, 1]},
                           {"sampler.solver": ["taylor"], "sampler.nfe": [5], "sampler.order": [1, 2],
                            "only": {"sampler.order": [1]}}], labels="random")
    qtaylor("run", path)
    found = {row["cell"]: row for row in rows(job)}
    assert list(found) == ["solver=ddim,nfe=5", "solver=taylor,order=.inf,nfe=5", "solver=ddim,nfe=5,eta=0",
                           "solver=ddim,nfe=5,eta=1", "solver=taylor,nfe=5,order=1"]
    same = found["solver=ddim,nfe=5,eta=0"]
    assert same["same_as"] == "solver=ddim,nfe=5" and same["fid"] == found["solver=ddim,nfe=5"]["fid"]
    assert not (job.run / "solver=ddim,nfe=5,eta=0").exists()
    assert found["solver=ddim,nfe=5,eta=1"]["same_as"] == ""


def test_added_values_compute_the_new_cells_only(job):
    qtaylor("run", sweep_job(job, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]}))
    before = stamps(job, "*/samples/*", "*/features/*/*/*", "*/manifest.jsonl", "*/grid.png")
    first = rows(job)
    seen = len(log(job, 0))
    qtaylor("run", sweep_job(job, {"sampler.solver": ["ddim", "heun", "unipc"], "sampler.nfe": [4, 6]}))
    assert len(rows(job)) == 6
    assert stamps(job, "*/samples/*", "*/features/*/*/*", "*/manifest.jsonl", "*/grid.png").items() >= before.items()
    assert [row for row in rows(job) if row in first] == first
    for row in first:
        assert json.loads((job.run / row["cell"] / "metrics.json").read_text())["made_now"] == 0
        assert [event for event in log(job, 0)[seen:] if event.get("cell") == row["cell"]] == [] or \
            [event.get("concluded") for event in log(job, 0)[seen:]
             if event.get("cell") == row["cell"]] == ["as before"]


def test_other_metrics_are_computed_from_what_is_there(job):
    qtaylor("run", sweep_job(job, {"sampler.nfe": [4, 6]}))
    before = stamps(job, "*/samples/*", "*/features/*/*/*")
    job.keys["evaluate"]["count"] = 100
    qtaylor("run", job.write())
    assert stamps(job, "*/samples/*", "*/features/*/*/*") == before
    counts = [json.loads(path.read_text())["metrics"]["samples"] for path in job.run.glob("*/metrics.json")]
    assert counts == [100, 100]


def start(path, ranks=2):
    """In a session of its own: mpirun gives each rank its own process group, but not its own session."""
    return subprocess.Popen(mpirun(ranks) + [str(FAKE), "run", str(path)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)


def kill_and_finish(job, seed, whole):
    """Killed once so many shards are there, at any moment of making or evaluating the next ones."""
    rng = random.Random(seed)
    path = sweep_job(job, SWEEP)
    job.model["delay_ms"] = rng.choice([1, 3])
    path = job.write()
    process = start(path)
    shards = rng.randrange(70)  # of 78
    strike(process, job.run, "*/samples/*.zst", shards, rng)
    before = stamps(job, "*/samples/*.zst")
    if (job.run / "results.csv").exists():
        assert [row for row in rows(job) if row not in csv.DictReader(io.StringIO("\n".join(whole)))] == []
    qtaylor("run", path, ranks=rng.choice([1, 2]))
    assert table(job) == whole
    assert stamps(job, "*/samples/*.zst").items() >= before.items()
    qtaylor("verify", job.run)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_and_run_again(job, seed, whole_sweep):
    kill_and_finish(job, seed, whole_sweep)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 20))
def test_killed_and_run_again_long(job, seed, whole_sweep):
    kill_and_finish(job, seed, whole_sweep)


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("whole"))
    qtaylor("run", sweep_job(job, SWEEP))
    return table(job)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_do_not_matter(job, ranks, whole_sweep):
    qtaylor("run", sweep_job(job, SWEEP), ranks=ranks)
    assert table(job) == whole_sweep
    digests = {json.loads(path.read_text())["payload_sha256"] for path in job.run.glob("*/metrics.json")}
    assert len(digests) == 6


def test_ranks_work_on_different_cells_and_evaluate_meanwhile(job):
    """One shard a cell, so that ranks that waited for one another would never be at two cells."""
    sweep_job(job, {"sampler.nfe": [4, 5, 6, 7, 8, 9]}, seeds="0-15", workers=1)
    job.model["delay_ms"] = 40
    qtaylor("run", job.write(), ranks=2)
    spans = []
    for rank in 0, 1:
        assert sum("loaded" in event for event in log(job, rank)) == 2  # one model, one feature network
        for event in (event for event in log(job, rank) if "shard" in event):
            end = (job.run / event["cell"] / "samples/000000.npy.zst").stat().st_mtime
            spans.append((rank, event["cell"], end - event["seconds"], end))
    assert len(spans) == 6
    assert [(a, b) for a in spans for b in spans if a[0] < b[0] and a[1] != b[1] and a[2] < b[3] and b[2] < a[3]]
    concluded = min(stamps(job, "*/metrics.json").values())
    assert concluded < max(stamps(job, "*/samples/*.zst").values())


def test_pandas_reads_the_results(job):
    job.keys["labels"] = "random"
    qtaylor("run", sweep_job(job, [SWEEP, {"sampler.solver": ["ddim"], "sampler.nfe": [4], "sampler.eta": [0, 0.5]}]))
    frame = pandas.read_csv(job.run / "results.csv")
    assert list(frame.columns) == ["cell", "solver", "eta", "nfe", "model_calls", "samples", "fid", "fid_corrected",
                                   "fid_error", "fid_low", "fid_high", "same_as"] + TIMING
    assert frame.nfe.dtype == "int64" and frame.eta.isna().sum() == 6 and (frame.samples == 200).all()
    assert (frame[TIMING] > 0).all(axis=None) and (frame.model_seconds <= frame.seconds * 2 * 1.01).all()
    assert frame.same_as.dropna().tolist() == ["solver=ddim,nfe=4"]
    listed = json.loads((job.run / "results.json").read_text())
    assert listed["columns"] == list(frame.columns)
    assert [cell["fid"] for cell in listed["cells"]] == frame.fid.tolist()


def test_verify_a_sweep(job):
    job.keys["labels"] = "random"
    path = sweep_job(job, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4], "sampler.eta": [0]}
                     | {"only": {"sampler.solver": "ddim"}})
    job.keys["sweep"] = [job.keys["sweep"], SWEEP]
    qtaylor("run", job.write())
    whole = json.loads(qtaylor("verify", job.run, "--json").stdout)
    assert whole["complete"] and len(whole["cells"]) == 6  # the seventh is the same as the first
    (job.run / "solver=heun,nfe=6/samples/000003.npy.zst").unlink()
    (job.run / "solver=taylor,nfe=4/run.json").unlink()
    found = qtaylor("verify", job.run, code=75)
    assert "missing  " in found.stdout and "solver=heun,nfe=6/samples/000003" in found.stdout
    assert "solver=taylor,nfe=4: not begun" in found.stdout and "2 of its 6 cells" in found.stderr
    cells = json.loads(qtaylor("verify", job.run, "--json", code=75).stdout)["cells"]
    assert {cell["cell"] for cell in cells if not cell["complete"]} == {"solver=heun,nfe=6", "solver=taylor,nfe=4"}
    (job.run / "solver=ddim,nfe=6/samples/notes.txt").write_text("foreign")
    qtaylor("run", path)
    assert "foreign" in qtaylor("verify", job.run, code=65).stdout


def test_plan_of_every_cell(job):
    path = sweep_job(job, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [6]})
    plans = json.loads(qtaylor("plan", path, "--json").stdout)
    assert {name: plan["nfe"] for name, plan in plans.items()} == {"solver=ddim,nfe=6": 6, "solver=heun,nfe=6": 6}
    told = qtaylor("plan", path).stdout
    assert "== solver=heun,nfe=6" in told
    # first a line of each
    lines = [line.split() for line in told.split("\n\n")[0].splitlines()[1:]]
    assert lines == [[name, plan["solver"], str(plan["nfe"]), str(plan["model_calls"]), str(len(plan["ops"]))]
                     for name, plan in plans.items()]


def test_mistakes(job):
    def refused(sweep):
        return qtaylor("run", sweep_job(job, sweep), code=65).stderr

    assert "cell solver=heun,nfe=1: " in refused({"sampler.solver": ["ddim", "heun"], "sampler.nfe": [1]})
    assert "sampler.nfe: expected a list of values" in refused({"sampler.nfe": 5})
    assert "has no cells" in refused({"sampler.nfe": [5], "skip": {"sampler.nfe": 5}})
    none = "sweep: expected keys of the job with lists of values, as sampler.nfe: [5, 10]; found none"
    for empty in ({}, [], [{}], {"race": {}}, [{"race": {}}], {"sampler": [{}]}, {"skip": []}):
        assert none in refused(empty) and none in qtaylor("plan", job.write(), code=65).stderr
    assert "sampler.nfe: expected a list of values, found []" in refused({"sampler.nfe": []})
    for rule in ("skip", "only"):  # what would say nothing
        for empty in ({}, [{}], [[]], 5):
            assert f"sweep: {rule}: expected maps of key: [values], found" in refused({"sampler.nfe": [5], rule: empty})
        assert f'sweep: {rule}: expected keys of the lists beside it, found {{"nfe":5}}' in refused(
            {"sampler.nfe": [5], rule: {"nfe": 5}})
    assert "nfe=5 is there twice" in refused({"sampler.nfe": [5, 5]})
    assert "sampler.speed" in refused({"sampler.speed": [5]})
    assert "sweep: cuda_graphs: " in refused([{"cuda_graphs": [graphs], "sampler.nfe": [nfe]}
                                              for graphs, nfe in ((True, 4), (False, 5))])
    assert "sweep: precision: " in refused({"precision": ["fp32", "tf32"], "sampler.nfe": [4]})
    assert not job.run.exists()


def test_rows_of_another_reference_are_not_kept(job):
    """One table, one reference: a row that an earlier list left may stay only where its metrics can be compared."""
    qtaylor("run", sweep_job(job, {"sampler.solver": ["ddim"], "sampler.nfe": [4, 5]}))
    before = {row["cell"]: row for row in rows(job)}
    older = json.loads((job.run / "results.json").read_text())["cells"][1]
    path = sweep_job(job, {"sampler.solver": ["ddim"], "sampler.nfe": [6]})
    assert "left out" not in qtaylor("run", path).stderr and len(rows(job)) == 3  # the same inputs: they stay
    np.savez(job.folder / "reference.npz", mu=np.full(8, 90.0), sigma=np.eye(8) * 1000)
    first = job.folder / "run/solver=ddim,nfe=4/metrics.json"
    kept = first.read_text()
    path = job.write()
    done = qtaylor("run", path)
    assert done.stderr.count("2 rows of cells that this sweep does not list are left out") == 1
    assert [row["cell"] for row in rows(job)] == ["solver=ddim,nfe=6"] and first.read_text() == kept
    assert "nfe=4" not in qtaylor("report", job.run, "--text").stdout
    results = json.loads((job.run / "results.json").read_text())  # as an older version left them
    results["cells"] += [older]
    (job.run / "results.json").write_text(json.dumps(results))
    told = qtaylor("report", job.run, "--json")
    words = "1 cells of another reference or feature network are left out: run the sweep again"
    assert words in told.stderr and words in " ".join(qtaylor("report", job.run, "--text").stdout.split())
    assert [cell["cell"] for cell in json.loads(told.stdout)["cells"]] == ["solver=ddim,nfe=6"]
    assert json.loads(told.stdout)["left_out"] == [older["cell"]] == ["solver=ddim,nfe=5"]
    job.keys["sweep"]["sampler.nfe"] = [4, 6]
    qtaylor("run", job.write())
    found = {row["cell"]: row for row in rows(job)}
    assert set(found) == {"solver=ddim,nfe=4", "solver=ddim,nfe=6"}
    assert found["solver=ddim,nfe=4"]["fid"] != before["solver=ddim,nfe=4"]["fid"]


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_cell_given_up_does_not_stop_the_others(job, ranks):
    path = sweep_job(job, {"model.path": ["bad.json", "model.json"], "sampler.nfe": [4]})
    (job.folder / "bad.json").write_text(json.dumps(job.model | {"nan_times": [0.5, 0.6]}))
    done = qtaylor("run", path, ranks=ranks, code=65)
    assert "first 4 shards failed twice" in done.stderr and "not finite" in done.stderr
    assert [row["cell"] for row in rows(job)] == ["path=model.json,nfe=4"]
    assert "path=bad.json,nfe=4" in done.stderr
    assert len((job.run / "log/failures.jsonl").read_text().splitlines()) <= 8 + 2 * 4 * (ranks or 1)


def test_a_cell_that_cannot_be_evaluated_does_not_stop_the_others(job):
    path = sweep_job(job, {"evaluate.reference": ["bad.npz", "reference.npz"], "sampler.nfe": [4]})
    sigma = np.eye(8)
    sigma[0, 1] = sigma[1, 0] = 2  # which only its factors tell
    np.savez(job.folder / "bad.npz", mu=np.zeros(8), sigma=sigma)
    done = qtaylor("run", path, ranks=2, code=65)
    assert "a sigma is no covariance" in done.stderr
    assert "reference=bad.npz,nfe=4 could not be made or evaluated" in done.stderr
    assert [row["cell"] for row in rows(job)] == ["reference=reference.npz,nfe=4"]


def test_a_cell_that_is_known_to_be_impossible_is_named_before_anything_is_made(job):
    path = sweep_job(job, {"evaluate.count": [1, 100], "sampler.nfe": [4]})
    for command, ranks in (("run", 2), ("plan", 0)):
        done = qtaylor(command, path, ranks=ranks, code=65)
        assert "fid needs at least 2 samples" in done.stderr and "count=1,nfe=4" in done.stderr
    assert not job.run.exists()


def test_one_cell_alone_and_the_rest_later(job, whole_sweep):
    """What a job array does: each cell by a process of its own, then one that finds them all and makes the table."""
    path = sweep_job(job, SWEEP)
    cells = [line.split("\t") for line in qtaylor("plan", path, "--cells").stdout.splitlines()]
    assert [(number, name) for number, name, _ in cells] == [
        (str(i), f"solver={solver},nfe={nfe}") for i, (solver, nfe) in enumerate(
            (solver, nfe) for solver in ("ddim", "heun", "taylor") for nfe in (4, 6))]
    assert all(folder == str(job.run / name) for _, name, folder in cells)
    qtaylor("run", path, "--cell", "1")
    qtaylor("run", path, "--cell", "solver=taylor,nfe=4", ranks=2)
    assert sorted(folder.name for folder in job.run.iterdir()) == ["solver=ddim,nfe=6", "solver=taylor,nfe=4"]
    before = {file: file.stat().st_mtime_ns for file in job.run.glob("*/samples/*.zst")}
    qtaylor("run", path)
    assert table(job) == whole_sweep and all(file.stat().st_mtime_ns == stamp for file, stamp in before.items())


def test_a_cell_that_is_not_there(job):
    path = sweep_job(job, {"sampler.nfe": [4, 6]})
    for wrong in ("2", "-1", "nfe=5"):
        assert f"from 0 to 1 or a cell's name (qtaylor plan JOB --cells lists them), found {wrong}" in qtaylor(
            "run", path, "--cell", wrong, code=64).stderr
    del job.keys["sweep"]
    assert "this job has no sweep" in qtaylor("run", job.write(), "--cell", "0", ranks=2, code=64).stderr
    assert qtaylor("plan", path, "--cells").stdout == f"0\t-\t{job.run}\n"
    assert not job.run.exists()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace counts the opens")
def test_job_file_is_opened_once_a_run(job, tmp_path):
    """Whatever the number of cells; what their documents have alike comes back whole in each run.json."""
    path = sweep_job(job, SWEEP)
    trace = tmp_path / "trace"
    done = subprocess.run(["strace", "-f", "-e", "trace=open,openat", "-o", trace, FAKE, "run", path],
                          capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr
    assert sum(f'"{path}"' in line and "ENOENT" not in line for line in trace.read_text().splitlines()) == 1
    for cell in sorted(job.run.glob("*/run.json")):
        alone = json.loads(qtaylor("plan", path, "--json").stdout)[cell.parent.name]
        document = json.loads(cell.read_text())
        assert document["plan"] == alone
        assert document["card"]["shape"] == [1, 4, 4] and document["versions"] and document["keys"]["sampler"]
    assert len(list(job.run.glob("*/run.json"))) == 6

"""Sweeps: which cells there are, that they are the runs they name, and what is made again."""
import csv
import json
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import environment, mpirun, qtaylor, FAKE

TIMING = ("seconds", "samples_per_second")


def sweep_job(job, sweep, **keys):
    job.add_evaluation()
    job.keys |= {"seeds": "0-199", "sweep": sweep} | keys
    job.keys["sampler"].pop("nfe", None)
    return job.write()


def rows(job):
    with open(job.run / "results.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMING} for row in csv.DictReader(file)]


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
    job.keys = alone | {"sampler": {"solver": "heun", "nfe": 8}, "output": {"dir": str(tmp_path / "alone"), "samples_per_shard": 16}}
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
    before = {path: path.stat().st_mtime_ns for path in job.run.glob("*/samples/*.zst")}
    first = rows(job)
    qtaylor("run", sweep_job(job, {"sampler.solver": ["ddim", "heun", "unipc"], "sampler.nfe": [4, 6]}))
    assert len(rows(job)) == 6 and all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert [row for row in rows(job) if row in first] == first


def kill_and_finish(job, seed):
    rng = random.Random(seed)
    path = sweep_job(job, {"sampler.solver": ["ddim", "heun", "taylor"], "sampler.nfe": [4, 6]})
    job.model["delay_ms"] = rng.choice([1, 3])
    path = job.write()
    process = subprocess.Popen(mpirun(2) + [str(FAKE), "run", str(path)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)
    time.sleep(rng.uniform(0.3, 2.5))
    try:
        os.killpg(process.pid, rng.choice([signal.SIGKILL, signal.SIGTERM]))
    except ProcessLookupError:
        pass
    process.wait(timeout=30)
    time.sleep(0.3)  # ranks of a killed mpirun end by themselves
    qtaylor("run", path, ranks=rng.choice([1, 2]))
    return rows(job)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_and_run_again(job, seed, whole_sweep):
    assert kill_and_finish(job, seed) == whole_sweep


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 20))
def test_killed_and_run_again_long(job, seed, whole_sweep):
    assert kill_and_finish(job, seed) == whole_sweep


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory):
    from conftest import Job

    job = Job(tmp_path_factory.mktemp("whole"))
    qtaylor("run", sweep_job(job, {"sampler.solver": ["ddim", "heun", "taylor"], "sampler.nfe": [4, 6]}))
    return rows(job)


def test_plan_of_every_cell(job):
    path = sweep_job(job, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [6]})
    plans = json.loads(qtaylor("plan", path, "--json").stdout)
    assert {name: plan["nfe"] for name, plan in plans.items()} == {"solver=ddim,nfe=6": 6, "solver=heun,nfe=6": 6}
    assert "== solver=heun,nfe=6" in qtaylor("plan", path).stdout


def test_mistakes(job):
    def refused(sweep):
        return qtaylor("run", sweep_job(job, sweep), code=65).stderr

    assert "cell solver=heun,nfe=1: " in refused({"sampler.solver": ["ddim", "heun"], "sampler.nfe": [1]})
    assert "sampler.nfe: expected a list of values" in refused({"sampler.nfe": 5})
    assert "has no cells" in refused({"sampler.nfe": [5], "skip": {"sampler.nfe": 5}})
    assert "nfe=5 is there twice" in refused({"sampler.nfe": [5, 5]})
    assert "sampler.speed" in refused({"sampler.speed": [5]})
    assert not job.run.exists()


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_quarantined_cell_does_not_stop_the_others(job, ranks):
    path = sweep_job(job, {"model.path": ["bad.json", "model.json"], "sampler.nfe": [4]})
    (job.folder / "bad.json").write_text(json.dumps(job.model | {"nan_call": -1}))
    done = qtaylor("run", path, ranks=ranks, code=76)
    assert "failed twice" in done.stderr
    assert [row["cell"] for row in rows(job)] == ["path=model.json,nfe=4"]

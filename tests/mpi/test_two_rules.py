"""Two jobs in one folder that let other rules decide how many samples there are (a race, `until`, none): whatever the
order, one leaves the folder to the other with a message, and what lies there is of one of them."""
import csv
import json
import os
import signal
import subprocess
import time

import pytest

from conftest import FAKE, FAULT, ROOT, environment, qtaylor
from rounds import SEEDS, document, make, result

RACE = {"race": {}, "sampler.solver": ["ddim", "deis"]}


@pytest.fixture
def race(job):
    make(job)
    del job.keys["sampler"]["solver"]
    job.keys["sweep"] = RACE
    job.keys["workers"] = 1
    return job


@pytest.fixture
def until(job):
    make(job)
    job.keys["workers"] = 1
    job.keys["evaluate"]["until"] = {"fid_error": 1e-6}
    return job


def suspended(path, at, *options):
    """The job, stopped before the file of this name takes its place."""
    process = subprocess.Popen([FAKE, "run", path, *options], stderr=subprocess.PIPE, text=True, cwd=ROOT,
                               env=environment(LD_PRELOAD=FAULT, QTAYLOR_FAULTS=f"call=link path={at} n=1 do=SIGSTOP"))
    while open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return process


def ends(process):
    os.kill(process.pid, signal.SIGCONT)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


def check_of_one(run):
    """run.json, metrics.json and the samples say the same."""
    found, stopped = result(run), document(run).get("stopped")
    assert found.get("stopped") == stopped
    assert found["samples"] == found["metrics"]["samples"] == (stopped["samples"] if stopped else SEEDS)
    qtaylor("verify", run)


def check_cells(job):
    """And so do the results."""
    with open(job.run / "results.csv", newline="") as file:
        rows = {row["cell"]: int(row["samples"]) for row in csv.DictReader(file)}
    for cell in rows:
        check_of_one(job.run / cell)
    assert rows == {f"solver={solver}": result(job.run / f"solver={solver}")["samples"]
                    for solver in RACE["sampler.solver"]}
    return set(rows.values())


@pytest.mark.parametrize("at", ["1024.json", "manifest.jsonl"])
def test_a_job_of_all_comes_into_a_race(race, at):
    path = race.write()
    first = suspended(path, at)
    qtaylor("run", path, "--set", "sweep.race=null")
    code, said = ends(first)
    assert code == 65 and "another job has begun there since, for the samples of all its seeds; this one is for a " \
        "race of 2 cells by fid, confidence 0.95 and leaves the folder to it" in said, said
    assert check_cells(race) == {SEEDS}
    assert "stopped" not in qtaylor("status", race.run, "--json").stdout


@pytest.mark.parametrize("at", ["000003.npy.zst", "manifest.jsonl"])
def test_a_race_comes_into_a_job_of_all(race, at):
    path = race.write()
    first = suspended(path, at, "--set", "sweep.race=null")
    qtaylor("run", path)
    code, said = ends(first)
    assert code == 65 and "this one is for the samples of all its seeds and leaves the folder to it" in said, said
    check_cells(race)
    qtaylor("run", path, "--set", "sweep.race=null")
    assert check_cells(race) == {SEEDS}


def test_two_races_that_share_a_cell(race):
    path = race.write()
    first = suspended(path, "1024.json")
    race.keys["sweep"] = RACE | {"sampler.solver": ["ddim", "taylor"]}
    qtaylor("run", race.write())
    code, said = ends(first)
    assert code == 65 and "solver=ddim: another job has begun there since, for a race of 2 cells" in said, said
    check_of_one(race.run / "solver=ddim")


@pytest.mark.parametrize("other, words", [("1e9", "samples until the FID's standard error is 1e+09"),
                                          (None, "the samples of all its seeds")])
def test_until_other_targets(until, other, words):
    path = until.write()
    change = f"evaluate.until.fid_error={other}" if other else "evaluate.until=null"
    # the one that comes later has the folder, whichever of the two it is
    for options, later, code in [([], ["--set", change], 65), (["--set", change], [], 65)]:
        first = suspended(path, "manifest.jsonl", *options)
        qtaylor("run", path, *later)
        ended, said = ends(first)
        assert ended == code and "another job has begun there since" in said and words in said, said
        check_of_one(until.run)
        assert result(until.run)["samples"] == (1024 if later and other else SEEDS)
        (until.run / "metrics.json").unlink()
        (until.run / "manifest.jsonl").unlink()


def test_the_same_rule_works_together(race):
    path = race.write()
    first = suspended(path, "1024.json")
    qtaylor("run", path)
    code, said = ends(first)
    assert code == 0, said
    check_cells(race)
    assert json.loads((race.run / "race.json").read_text())["rounds"]

"""Samples that make the model fail, twice, are left out and named; the rest is made, whatever became of the
processes."""
import json
import os
import signal
import subprocess
import time

import pytest

from conftest import FAKE, environment, mpirun, qtaylor, two_ranks

SEEDS, POISON, SHARD = 100, 37, 2  # seed 37 is in the shard of seeds 32 to 47


@pytest.fixture
def poisoned(job):
    """A job one of whose samples has label 2; the shim is told per run what that label does."""
    job.add_evaluation()
    job.model["card"]["labels"] = {"classes": 4, "null": 4}  # a largest label that fails is refused
    labels = [2 if seed == POISON else seed % 2 for seed in range(SEEDS)]
    (job.folder / "labels.txt").write_text("\n".join(map(str, labels)) + "\n")
    job.keys |= {"seeds": f"0-{SEEDS - 1}", "labels": "labels.txt", "workers": 1}
    return job


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    from conftest import Job

    job = Job(tmp_path_factory.mktemp("healthy"))
    poisoned.__wrapped__(job)
    qtaylor("run", job.write())
    return job.digest()


def failures(job):
    path = job.run / "log/failures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def crash(path, ranks, does, **env):
    """Runs into a crash: the launcher's status says whatever it likes, but not that all is well."""
    done = subprocess.run(mpirun(ranks) + [str(FAKE), "run", str(path)], capture_output=True, text=True, timeout=60,
                          env=environment(QTAYLOR_FAKE_POISON=f"2:{does}", **env))
    assert done.returncode not in (0, 75, 76), done.stderr
    return done


def check_quarantine(job, reason, folder=None):
    folder = folder or job.run
    quarantine = json.loads((folder / "quarantine.json").read_text())
    assert "failures.jsonl" in quarantine["retry"]
    [shard] = quarantine["shards"]
    assert (shard["shard"], shard["seeds"], shard["samples"], shard["tries"]) == (SHARD, "32-47", 16, 2)
    assert reason in shard["reason"] and shard["host"] == os.uname().nodename
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["quarantine"] == quarantine["shards"] and metrics["samples"] == SEEDS - 16
    assert metrics["metrics"] is None and metrics["payload_sha256"] is None
    assert {int(p.name[:6]) for p in folder.glob("samples/*.zst")} == set(range(7)) - {SHARD}
    assert [json.loads(line)["id"]
            for line in (folder / "manifest.jsonl").read_text().splitlines()] == [0, 1, 3, 4, 5, 6]


def check_end(job, path, healthy):
    """Named by verify and status, not tried again by the next job, and made once a person wants it."""
    verified = qtaylor("verify", job.run, code=76)
    assert "quarantined" in verified.stdout and "32-47" in verified.stdout
    verified = json.loads(qtaylor("verify", job.run, "--json", code=76).stdout)
    assert verified["quarantined"] == 2 and verified["quarantine"][0]["shard"] == SHARD  # samples and features
    status = json.loads(qtaylor("status", job.run, "--json", code=76).stdout)
    assert status["state"] == "quarantined" and status["quarantined"] == 16
    assert status["quarantine"][0]["shard"] == SHARD
    before = failures(job)
    again = qtaylor("run", path, ranks=2, code=76)
    assert "failed twice" in again.stderr and "32-47" in again.stderr and failures(job) == before
    (job.run / "log/failures.jsonl").unlink()
    qtaylor("run", path, ranks=2)
    assert job.digest() == healthy and not (job.run / "quarantine.json").exists()
    assert "quarantine" not in json.loads((job.run / "metrics.json").read_text())
    qtaylor("verify", job.run)


@pytest.mark.parametrize("does, reason", [("nan", f"the sample of seed {POISON} "), ("fail", "does not like a sample")])
@pytest.mark.parametrize("ranks", [0, 2])
def test_what_fails_twice_is_left_out(poisoned, healthy, does, reason, ranks):
    path = poisoned.write()
    done = qtaylor("run", path, ranks=ranks, code=76, QTAYLOR_FAKE_POISON=f"2:{does}")
    assert reason in done.stderr and "seeds 32 to 39" in done.stderr  # of the batch
    check_quarantine(poisoned, reason)
    assert len(failures(poisoned)) == 2 and {f["rank"] for f in failures(poisoned)} == set(range(ranks or 1))
    check_end(poisoned, path, healthy)


@pytest.mark.parametrize("does, name, ranks", [("segv", "SIGSEGV", 0), ("abort", "SIGABRT", 2)])
def test_a_crash_counts_across_jobs(poisoned, healthy, does, name, ranks):
    path = poisoned.write()
    for tries in (1, 2):
        said = crash(path, ranks, does).stderr
        line = next(line for line in said.splitlines() if "crashed" in line)
        assert name in line and f'"shard": {SHARD}' in line and "report it" in line, line
        assert [f["shard"] for f in failures(poisoned)] == [SHARD] * tries
        qtaylor("verify", poisoned.run, code=75)
    qtaylor("run", path, ranks=ranks, code=76, QTAYLOR_FAKE_POISON=f"2:{does}")
    check_quarantine(poisoned, name)
    check_end(poisoned, path, healthy)


def test_a_failure_and_a_crash_make_two(poisoned):
    path = poisoned.write()
    crash(path, 0, "segv")
    qtaylor("run", path, code=76, QTAYLOR_FAKE_POISON="2:nan")
    assert [("SIGSEGV" in f["reason"], "seed 37" in f["reason"])
            for f in failures(poisoned)] == [(True, False), (False, True)]


def test_to_be_killed_is_no_failure(poisoned, healthy):
    path = poisoned.write()
    for _ in range(3):
        crash(path, 0, "kill")
    assert failures(poisoned) == []
    qtaylor("run", path)
    assert poisoned.digest() == healthy


def test_one_cell_of_a_sweep(poisoned):
    """The poisoned shard of each cell is left out, and a cell that can't be tried is no reason to stop the others."""
    poisoned.keys["sweep"] = {"sampler.nfe": [4, 6]}
    poisoned.keys["sampler"].pop("nfe")
    path = poisoned.write()
    crash(path, 0, "segv")
    [first] = failures(poisoned)
    assert first["cell"] in ("nfe=4", "nfe=6")
    qtaylor("run", path, code=76, QTAYLOR_FAKE_POISON="2:nan")
    failed = sorted((f["cell"], f["shard"]) for f in failures(poisoned))
    assert failed == [(c, SHARD) for c in ("nfe=4",) * 2 + ("nfe=6",) * 2]
    for cell in ("nfe=4", "nfe=6"):
        check_quarantine(poisoned, "", poisoned.run / cell)
        qtaylor("verify", poisoned.run / cell, code=76)
    status = json.loads(qtaylor("status", poisoned.run, "--json", code=76).stdout)
    assert [cell["state"] for cell in status["cells"]] == ["quarantined"] * 2


def test_stopped_while_loading_and_waiting(job):
    """Rank 0 loads for a minute, rank 1 waits for it; two signals, and both leave."""
    job.add_evaluation()
    path = job.write()
    program = [str(FAKE), "run", str(path)]
    command = two_ranks(["env", "QTAYLOR_FAKE_LOAD=60", *program], program)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    while not list(job.run.glob("log/rank-0001.jsonl")):
        time.sleep(0.05)
    for _ in range(2):
        time.sleep(0.3)
        process.send_signal(signal.SIGUSR1)  # mpirun forwards it
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    qtaylor("run", path, ranks=2)
    assert not [p for p in job.run.rglob("*") if ".tmp-" in p.name]

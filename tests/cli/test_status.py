"""status says what is in the folder and who is at work, and touches nothing."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import FAKE, environment, mpirun, qtaylor, wait_until_ended


def status(folder, code):
    return json.loads(qtaylor("status", folder, "--json", code=code).stdout)


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in pathlib.Path(folder).rglob("*")}


def start(job, delay, ranks, **keys):
    job.model["delay_ms"] = delay
    job.keys |= {"seeds": "0-399", "workers": 1} | keys
    process = subprocess.Popen(mpirun(ranks) + [str(FAKE), "generate", str(job.write())], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)
    while len(list(job.run.rglob("*.zst"))) < 3:
        time.sleep(0.05)
        assert process.poll() is None
    return process


def test_a_finished_run(job):
    qtaylor("run", job.write())
    before = snapshot(job.run)
    found = status(job.run, 0)
    text = qtaylor("status", job.run).stdout
    assert snapshot(job.run) == before
    assert found["state"] == "complete" and found["samples"] == found["done"] == 100
    assert found["shards"] == found["shards_done"] == 7
    assert found["attempts"] == [] and found["ended"] and found["eta_seconds"] == 0 and found["quarantine"] == []
    assert "complete" in text and "100 of 100 (100.0%), 7 of 7 shards" in text


def test_while_it_runs_and_when_it_was_killed(job):
    process = start(job, delay=60, ranks=2)
    found = status(job.run, 75)
    text = qtaylor("status", job.run, code=75).stdout
    assert found["state"] == "running" and 48 <= found["done"] < 400 and found["done"] % 16 == 0
    [attempt] = found["attempts"]
    assert attempt["ranks"] == found["ranks"] == 2 and attempt["host"] == os.uname().nodename
    assert pathlib.Path(f"/proc/{attempt['pid']}/exe").resolve() == FAKE.resolve()
    assert "2 ranks in 1 job" in text
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until_ended(process)
    found = status(job.run, 75)
    assert found["state"] == "stopped" and found["attempts"] == [] and not found["ended"]
    assert "no sign of life for" in qtaylor("status", job.run, code=75).stdout


@pytest.mark.parametrize("sweep", [False, True])
def test_rate_and_eta_come_with_the_heartbeat(job, sweep):
    """In a sweep samples differ in their work, so samples/s would tell a wrong ETA: the job at work knows."""
    if sweep:
        job.keys["sampler"].pop("nfe")
        job.keys["sweep"] = {"sampler.nfe": [2, 6]}
    process = start(job, delay=60, ranks=0)
    record = job.run / "log/attempt-0001.json"
    rate = 0
    while process.poll() is None and not rate:
        time.sleep(0.3)
        told = json.loads(record.read_text())
        rate = told["rate"]
    found = status(job.run, 75)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 75
    assert 0 < rate  # one worker, 6 calls of 60 ms for 8 samples: 22 a second at most; loaded machines are slower
    assert found["rate"] == rate and abs(found["eta_seconds"] - told["eta_seconds"]) < 2  # less what has gone by
    if sweep:
        return
    assert abs(told["eta_seconds"] - (400 - found["done"]) / rate) < 3  # some shards may have come since
    stopped = status(job.run, 75)
    assert stopped["ended"] and "the last job ended" in qtaylor("status", job.run, code=75).stdout


def test_a_sweep(job):
    job.keys["sampler"].pop("nfe")
    job.keys["sweep"] = {"sampler.nfe": [4, 6]}
    path = job.write()
    qtaylor("generate", path)
    next((job.run / "nfe=4/samples").glob("*.zst")).unlink()
    found = status(job.run, 75)
    cells = [(c["cell"], c["state"], c["done"]) for c in found["cells"]]
    assert cells == [("nfe=4", "stopped", 84), ("nfe=6", "complete", 100)] \
        or [(cell, done) for cell, _, done in cells] == [("nfe=4", 96), ("nfe=6", 100)]
    assert found["samples"] == 200 and found["done"] == sum(c["done"] for c in found["cells"])
    text = qtaylor("status", job.run, code=75).stdout
    assert "nfe=4" in text and "stopped" in text
    assert status(job.run / "nfe=6", 0)["done"] == 100
    qtaylor("generate", path)
    assert status(job.run, 0)["state"] == "complete"


def test_cells_as_jobs_of_their_own(job, tmp_path):
    """The tasks of an array: each writes into the sweep's folder, and none knows of the others."""
    job.keys["output"]["dir"] = str(tmp_path / "sweep/nfe=6")
    process = start(job, delay=60, ranks=0)
    found = status(tmp_path / "sweep", 75)
    assert len(found["attempts"]) == 1 and found["cells"][0]["state"] == found["state"] == "running"
    process.kill()
    process.wait()
    assert status(tmp_path / "sweep", 75)["cells"][0]["state"] == "stopped"


def test_what_is_no_run(job, tmp_path):
    assert "no run directory and no sweep" in qtaylor("status", tmp_path, code=65).stderr
    assert "cannot list" in qtaylor("status", tmp_path / "none", code=74).stderr
    qtaylor("generate", job.write())
    (job.run / "run.json").write_text("{")
    assert "not JSON" in qtaylor("status", job.run, code=65).stderr


def test_a_file_servers_clock_may_be_ahead(job):
    """A progress.json of the near future is a sign of life, and not none."""
    qtaylor("run", job.write())
    for path in (job.run / "log").glob("attempt-*"):
        path.unlink()
    os.utime(job.run / "progress.json", (time.time() + 30,) * 2)
    assert json.loads(qtaylor("status", job.run, "--json").stdout)["silent_seconds"] == 0

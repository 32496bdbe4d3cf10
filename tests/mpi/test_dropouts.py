"""Cells that fail in a round: neither done, nor judged, nor saved, and each place says so."""
import json

from conftest import qtaylor
from rounds import SEEDS, make


def fail_twice(job, cell):
    (job.run / "log").mkdir(parents=True)
    line = json.dumps({"cell": cell, "shard": 2, "reason": "a test"} if cell else {"shard": 2, "reason": "a test"})
    (job.run / "log/failures.jsonl").write_text(f"{line}\n{line}\n")


def test_a_cell_drops_out_of_a_race(job):
    make(job)
    del job.keys["sampler"]["solver"]
    job.keys["sweep"] = {"race": {}, "sampler.solver": ["ddim", "deis", "taylor"]}
    fail_twice(job, "solver=taylor")
    path = job.write()
    told = qtaylor("run", path, code=65).stderr
    assert "1 of 3 cells dropped out" in told and f"{job.run}/solver=taylor after 1024 of {SEEDS} samples" in told
    assert "the rest is done" not in told and f"delete {job.run}/log/failures.jsonl and run again" in told
    assert "dropped out of the race, whose outcome is not of it" in qtaylor("status", job.run, code=75).stdout
    race = json.loads((job.run / "race.json").read_text())
    assert race["dropped"] == [{"cell": "solver=taylor", "samples": 1024}]
    said = " ".join(qtaylor("report", job.run, "--text").stdout.split())
    assert "solver=taylor dropped out in the round of 1024 samples, and neither this nor the risk is of it" in said
    assert "all others left" not in said
    assert f"{race['samples']} of {2 * SEEDS} samples were made for it" in said
    (job.run / "log/failures.jsonl").unlink()
    qtaylor("run", path)
    assert json.loads((job.run / "race.json").read_text())["dropped"] == []


def test_a_round_of_until_fails(job):
    make(job)
    job.keys["evaluate"]["until"] = {"fid_error": 1e-6}
    fail_twice(job, None)
    told = qtaylor("run", job.write(), code=65).stderr
    assert f"{job.run} after 1024 of {SEEDS} samples" in told and "the rest is done" not in told

"""Several jobs on one run directory: they share the work, do each other no harm, and all end with the same samples."""
import collections
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import FAKE, ROOT, environment, mpirun, qtaylor, two_ranks


def start(path, ranks, **env):
    return subprocess.Popen(mpirun(ranks) + [str(FAKE), "run", str(path)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment(**env), start_new_session=True, cwd=ROOT)


def end(process, code=0):
    out, err = process.communicate(timeout=90)
    assert process.returncode == code, out + err
    return out, err


def slow(job, delay=15, **keys):
    job.add_evaluation()
    job.model["delay_ms"] = delay
    job.keys |= {"seeds": "0-399", "workers": 1} | keys
    return job.write()


def events(folder):
    """Every line of every rank's log, by file; all of them are JSON."""
    return {p.name: [json.loads(line) for line in p.read_text().splitlines()]
            for p in (folder / "log").glob("rank-*.jsonl")}


def computed(folder):
    """How often each shard was computed."""
    return collections.Counter((e.get("cell"), e["shard"]) for lines in events(folder).values() for e in lines
                               if "shard" in e and not e.get("found"))


def whole(job, tmp_path):
    """The digest and FID of an uninterrupted run of the same job, by cell."""
    keys = job.keys
    job.keys = keys | {"output": keys["output"] | {"dir": str(tmp_path / "whole")}}
    delay, job.model["delay_ms"] = job.model["delay_ms"], 0
    folder = tmp_path / "whole-job"  # the model file is the same but for its delay, so it needs a folder of its own
    folder.mkdir()
    before, job.folder = job.folder, folder
    for name in ("features.json", "reference.npz"):
        shutil.copy(before / name, folder)
    qtaylor("run", job.write())
    job.folder, job.keys = before, keys
    job.model["delay_ms"] = delay
    return results(tmp_path / "whole")


def results(folder):
    found = {}
    for path in sorted(folder.rglob("metrics.json")):
        result = json.loads(path.read_text())
        found[str(path.parent.relative_to(folder))] = (result["payload_sha256"], result["metrics"]["fid"])
    return found


def no_temporaries(job):
    return not [p for p in job.run.rglob("*") if ".tmp-" in p.name]


def attempts(job):
    return [json.loads(p.read_text()) for p in sorted((job.run / "log").glob("attempt-*.json"))]


def test_two_jobs_share_the_work(job, tmp_path):
    path = slow(job)
    expected = whole(job, tmp_path)
    jobs = [start(path, 2), start(path, 1)]
    for process in jobs:
        end(process)
    assert results(job.run) == expected
    seen = computed(job.run)
    assert len(seen) == 25
    assert sum(seen.values()) - 25 <= 3 * 2, seen  # a rank has at most two shards in flight
    assert len(jobs) == len(attempts(job)) and all(a["ended"] and a["code"] == 0 for a in attempts(job))
    shares = [sum("shard" in e and not e.get("found") for e in lines) for lines in events(job.run).values()]
    assert len(shares) == 3 and min(shares) >= 3, shares
    assert no_temporaries(job)
    assert json.loads(qtaylor("verify", job.run, "--json").stdout)["complete"]
    manifest = [json.loads(line) for line in (job.run / "manifest.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in manifest] == list(range(25))


def test_a_sweep_is_shared_by_three_jobs_and_one_of_them_is_killed(job, tmp_path):
    path = slow(job, sweep={"sampler.solver": ["ddim", "heun"]}, seeds="0-199")
    expected = whole(job, tmp_path)
    jobs = [start(path, ranks) for ranks in (0, 1, 0)]
    time.sleep(1.2)
    os.killpg(jobs[2].pid, signal.SIGKILL)
    for process in jobs[:2]:
        end(process)
    jobs[2].communicate()
    assert results(job.run) == expected
    seen = computed(job.run)
    assert len(seen) == 26
    assert sum(seen.values()) - 26 <= 3 * 2, seen  # a job has at most two shards in flight
    qtaylor("run", path)  # clears what the killed one left
    assert no_temporaries(job)
    assert len(attempts(job)) == 1
    assert results(job.run) == expected


def test_a_job_that_comes_late_finds_what_is_done(job, tmp_path):
    path = slow(job, delay=0)
    qtaylor("run", path, ranks=2)
    done = sum(computed(job.run).values())
    out, _ = end(start(path, 1))
    assert "0 made now" in out
    assert sum(computed(job.run).values()) == done == 25


APART = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']


@pytest.mark.skipif(subprocess.run([*APART, "/mnt", "true"], capture_output=True).returncode != 0,
                    reason="needs the right to mount")
def test_ranks_that_do_not_see_one_folder(job, tmp_path):
    """Rank 1 has a file system of its own where the others' folder is, as on a node without the network's."""
    (tmp_path / "shared").mkdir()
    path = slow(job, delay=0, output={"dir": str(tmp_path / "shared/run"), "samples_per_shard": 16})
    program = [str(FAKE), "run", str(path)]
    done = subprocess.run(two_ranks(program, [*APART, tmp_path / "shared", *program]),
                          capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 65, done.stderr
    assert "rank 1" in done.stderr and "same output.dir" in done.stderr and str(job.run) in done.stderr
    assert not list(tmp_path.rglob("*.zst"))
    assert [a["code"] for a in attempts(job)] == [65]


def test_ranks_of_different_builds(job, tmp_path):
    path = slow(job, delay=0)
    version = subprocess.run([str(FAKE), "--version", "--json"], capture_output=True, text=True).stdout
    commit = json.loads(version)["commit"].encode()
    other = tmp_path / "other"
    program = FAKE.read_bytes()
    assert commit in program
    other.write_bytes(program.replace(commit, commit[:-1] + (b"x" if commit[-1:] != b"x" else b"y")))
    other.chmod(0o755)
    done = subprocess.run(two_ranks([FAKE, "run", path], [other, "run", path]),
                          capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 65, done.stderr
    assert "different programs" in done.stderr and commit.decode() in done.stderr
    assert not job.run.exists()


def test_workers_stay_within_the_cores(job):
    path = slow(job, delay=0, workers=50)
    done = qtaylor("run", path)
    cores = len(os.sched_getaffinity(0))
    assert "workers: 50" in done.stderr and f"{cores} core" in done.stderr
    assert json.loads((job.run / "run.json").read_text())["hosts"][0]["workers"] == cores


def test_a_vanished_directory_stops_the_run(job, tmp_path):
    """As when a file system is unmounted: nothing is made anew in its place, the reason is told, and nothing hangs."""
    path = slow(job, delay=40)
    process = start(path, 2)
    while len(list(job.run.glob("samples/*.zst"))) < 2:
        time.sleep(0.05)
    os.rename(job.run, tmp_path / "elsewhere")
    out, err = end(process, code=74)
    assert f"{job.run}/" in err and "No such file" in err
    assert not job.run.exists()
    os.rename(tmp_path / "elsewhere", job.run)
    qtaylor("run", path, ranks=2)
    assert no_temporaries(job)
    qtaylor("verify", job.run)

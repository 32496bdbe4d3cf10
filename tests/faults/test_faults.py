"""Whatever fails, dies or is damaged, nothing is lost: every drill ends with the oracle of drill.Drill.resume."""
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from conftest import Job, qtaylor
from drill import BATCH, SHARDS, Drill, ranks_of

LIVE_ON = ["--enable-recovery"]  # a launcher that does not end a job because one rank died


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Digest and FID of the uninterrupted run."""
    drill = Drill(Job(tmp_path_factory.mktemp("whole")))
    qtaylor("run", drill.path)
    return drill.job.digest(), json.loads((drill.run / "metrics.json").read_text())["metrics"]["fid"]


@pytest.fixture
def drill(job):
    return Drill(job)


SHARED = 10  # milliseconds a call: each rank gets some of the shards, also on a busy machine

# ---- kill -9 at a random call: of a worker, of the coordinator, of everything at once ----

TALLY = collections.Counter()


def kill_points(count, seed):
    rng = random.Random(seed)
    return [pytest.param(rng.randrange(2**31), id=f"{seed}-{i}") for i in range(count)]


def kill_and_resume(job, seed, whole):
    rng = random.Random(seed)
    drill = Drill(job, delay=rng.choice([0, 1]))
    ranks = rng.choice([1, 2, 2, 3])
    victim = rng.choice(["coordinator", "all"] if ranks == 1 else ["worker", "coordinator", "all"])
    rank = rng.randrange(1, ranks) if victim == "worker" else rng.randrange(ranks) if victim == "all" else 0
    call = rng.choice(["tick", f"file path={drill.run}"])
    last = {"tick": 160, "file": 200}[call.split()[0]] // ranks
    fault = f"rank={rank} call={call} n={rng.randrange(1, last)} do=SIGKILL" + rng.choice(["", " after"])
    drill.break_it(ranks, fault + (" all" if victim == "all" else ""))
    TALLY[victim if drill.fired() else "not reached"] += 1
    assert drill.code != 0 or not drill.fired()
    drill.resume(rng.choice([n for n in (0, 1, 2, 4) if n != ranks]), whole)


@pytest.mark.parametrize("seed", kill_points(32, 11))
def test_kill_anywhere(job, seed, whole):
    kill_and_resume(job, seed, whole)


@pytest.mark.long
@pytest.mark.parametrize("seed", kill_points(200, 12))
def test_kill_anywhere_long(job, seed, whole):
    kill_and_resume(job, seed, whole)


def test_kill_points_were_reached():
    """Of those above, if any ran: enough, of every kind."""
    print(dict(TALLY))
    total = sum(TALLY.values())
    assert TALLY["not reached"] <= total / 4
    assert total < 30 or min(TALLY[victim] for victim in ("worker", "coordinator", "all")) >= total / 10


# ---- ranks lost where the launcher lets the others live ----

def test_two_workers_die_and_the_rest_is_made(job, whole):
    drill = Drill(job, delay=SHARED)
    faults = ";".join(f"rank={rank} call=fsync path=.npy.zst n={n} do=SIGKILL" for rank, n in ((1, 1), (2, 2)))
    said = drill.break_it(3, faults, options=LIVE_ON, QTAYLOR_LEASE=0.5)
    assert "rank 1 has been silent" in said and "rank 2 has been silent" in said
    drill.check_seeds()  # this launcher's exit code says nothing
    drill.resume(1, whole)


def test_the_coordinator_dies_and_the_others_leave(job, whole):
    drill = Drill(job, delay=5)
    said = drill.break_it(3, "rank=0 call=fsync path=.npy.zst n=2 do=SIGKILL", options=LIVE_ON, QTAYLOR_LEASE=0.5)
    assert "rank 0) is gone" in said
    drill.resume(2, whole)


# ---- a zombie writer: stopped in the middle of a commit, past its lease ----

def stopped(process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pid in ranks_of(process):
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "T":
                    return pid
        time.sleep(0.01)
    raise AssertionError("no rank stopped")


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize("late", [False, True], ids=["while-the-others-work", "after-all-ended"])
def test_zombie_writer(job, whole, call, late):
    drill = Drill(job, delay=40)  # rank 1 gets a shard, even when it is slow to ask (Open MPI 5)
    drill.remade = 2  # the one that it writes and the one that waits
    process = drill.start(2, f"rank=1 call={call} path=.npy.zst n=1 do=SIGSTOP", QTAYLOR_LEASE=0.4)
    pid = stopped(process)
    time.sleep(0.9)
    if late:
        deadline = time.monotonic() + 20
        while len(ranks_of(process)) > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError if late else ()):  # Open MPI 5 may end what the others have left behind
        os.kill(pid, signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert "rank 1 has been silent" in err
    if not late:
        assert process.returncode == 0 and "rank 1 is back" in err, out + err
    drill.resume(3, whole)


# ---- signals ----

@pytest.mark.parametrize("ranks, rank, name",
                         [(1, 0, "SIGTERM"), (2, 1, "SIGTERM"), (3, 0, "SIGUSR1"), (3, 2, "SIGUSR1")])
def test_signals_interrupt(job, whole, ranks, rank, name):
    drill = Drill(job, delay=SHARED)
    drill.break_it(ranks, f"rank={rank} call=write path=.npy.zst n=2 do={name}", code=75)
    assert not [path for path in drill.run.rglob("*") if ".tmp-" in path.name]
    drill.resume(4 - ranks, whole)


# ---- disk errors ----

MESSAGES = {"ENOSPC": "No space left", "EIO": "Input/output error", "EDQUOT": "quota exceeded",
            "EROFS": "Read-only file system", "EACCES": "Permission denied"}
ERRORS = [("write", "ENOSPC", "3+", 2), ("write", "EIO", "2", 0), ("write", "EDQUOT", "1+", 0),
          ("open", "EROFS", "2+", 0),
          ("open", "ENOSPC", "5", 2), ("fsync", "EIO", "3+", 0), ("fsync", "EIO", "4+", 0), ("close", "EDQUOT", "2", 2),
          ("close", "EIO", "1", 0), ("rename", "EIO", "2", 2), ("rename", "ENOSPC", "1+", 0)]


@pytest.mark.parametrize("call, error, n, ranks", ERRORS)
def test_a_disk_error_stops_with_its_reason(job, whole, call, error, n, ranks):
    drill = Drill(job, delay=SHARED if ranks else 0)
    said = drill.break_it(ranks, f"rank={max(ranks - 1, 0)} call={call} path=.npy.zst n={n} do={error}", code=74)
    assert MESSAGES[error] in said and str(drill.run) in said
    assert not [path for path in drill.run.rglob("*") if ".tmp-" in path.name]
    drill.resume(3 - ranks, whole)


@pytest.mark.parametrize("call, error", [("mkdir", "EACCES"), ("open", "EROFS"), ("write", "ENOSPC")])
def test_nothing_can_be_written_from_the_start(drill, whole, call, error):
    said = drill.break_it(2, f"call={call} path={drill.run} n=1+ do={error}", code=74)
    assert MESSAGES[error] in said
    drill.resume(0, whole)


def every_error():
    return [pytest.param(call, n, id=f"{call}-{n}") for call in ("write", "fsync", "close", "open", "rename")
            for n in range(1, 25)]


@pytest.mark.long
@pytest.mark.parametrize("call, n", every_error())
def test_every_call_fails_once(drill, whole, call, n):
    """Any call on any file of the run. What is only for show (progress.json, a reading of what is there) may fail."""
    said = drill.break_it(0, f"call={call} path={drill.run} n={n} do=EIO")
    assert drill.code in (0, 74), said
    assert drill.code == 0 or MESSAGES["EIO"] in said
    drill.resume(1, whole)


def test_short_and_interrupted_writes_do_no_harm(drill, whole):
    drill.break_it(2, f"call=write path={drill.run} n=1+ do=short", code=0)
    shutil.rmtree(drill.run)
    drill.break_it(0, f"call=write path={drill.run} n=3 do=EINTR", code=0)
    drill.resume(1, whole)


@pytest.fixture
def small_disk(tmp_path):
    """mount(OPTIONS): the run's folder becomes a tmpfs with those."""
    folder = tmp_path / "run"

    def mount(options):
        folder.mkdir(exist_ok=True)
        again = ["-o", f"remount,{options}"] if os.path.ismount(folder) else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *again, folder], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("options", ["size=64k,nr_inodes=1000", "size=1m,nr_inodes=20"], ids=["space", "inodes"])
def test_a_full_disk(job, small_disk, whole, options):
    small_disk(options)
    drill = Drill(job)
    said = drill.break_it(2, "", code=74)
    assert MESSAGES["ENOSPC"] in said
    assert drill.samples_there()
    small_disk("size=8m,nr_inodes=1000")
    drill.resume(3, whole)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_became_read_only(job, small_disk, whole):
    small_disk("size=8m")
    drill = Drill(job)
    drill.break_it(1, "rank=0 call=rename path=.npy.zst n=5 do=SIGKILL")
    small_disk("ro")
    assert MESSAGES["EROFS"] in drill.break_it(2, "", code=74)
    small_disk("rw")
    drill.resume(2, whole)


def test_the_folder_vanishes(drill, whole):
    """And comes back."""
    said = drill.break_it(2, f"rank=1 call=open path={drill.run}/samples n=3 do=away", code=74)
    assert "No such file" in said and "samples" in said
    away = drill.run / "samples.away"
    for path in away.iterdir():  # what a rank wrote meanwhile into a new folder stays
        (drill.run / "samples").mkdir(exist_ok=True)
        shutil.move(path, drill.run / "samples" / path.name)
    away.rmdir()
    drill.resume(1, whole)


def test_a_file_that_shows_late(drill, whole):
    """As on NFS, where a node learns late of what another one made: looked at before it is made, it comes into sight
    later."""
    looking = f"rank=0 call=stat path={drill.run}/samples/000003.npy.zst do=ENOENT"
    said = drill.break_it(0, f"{looking} n=3; {looking} n=4", code=0)
    assert drill.notes.read_text().count("fired") == 2, said
    drill.resume(2, whole)


def test_a_file_that_never_shows(drill, whole):
    """Its cell is not concluded, whatever the worker says that made it."""
    looking = f"rank=0 call=stat path={drill.run}/samples/000003.npy.zst do=ENOENT"
    said = drill.break_it(0, f"{looking} n=3+", code=75, QTAYLOR_LEASE=0.3)
    assert "4 of 32 samples are missing (shards 3)" in said
    drill.resume(2, whole)


def test_a_file_that_shows_late_beside_one_that_fails(drill):
    """The manifest of a run with a quarantined shard names every other one."""
    drill.job.model["card"]["labels"] = {"classes": 4, "null": 4}  # of which the proof tries the first and the last
    (drill.job.folder / "labels.txt").write_text("".join(f"{2 * (seed == 9)}\n" for seed in range(SHARDS * BATCH)))
    drill.job.keys["labels"] = "labels.txt"
    drill.path = drill.job.write()
    looking = f"rank=0 call=stat path={drill.run}/samples/000003.npy.zst do=ENOENT"
    said = drill.break_it(0, f"{looking} n=3; {looking} n=4", code=76, QTAYLOR_FAKE_POISON="2:nan")
    assert drill.notes.read_text().count("fired") == 2, said
    named = [json.loads(line)["id"] for line in (drill.run / "manifest.jsonl").read_text().splitlines()]
    assert named == [0, 1, 3, 4, 5, 6, 7]


# ---- memory ----

def out_of_memory(drill, n, ranks, whole):
    said = drill.break_it(ranks, f"rank={max(ranks - 1, 0)} call=malloc n={n} do=ENOMEM")
    assert drill.code in (0, 70, 74, 75, 76) or (drill.code == 65 and "memory" in said), f"exit {drill.code}\n{said}"
    drill.resume(1 - min(ranks, 1), whole)


@pytest.mark.parametrize("n", [7, 150, 600, 1100, 2000, 2900, 3600, 4400, 5200, 6100, 7000, 7900])
def test_out_of_memory(drill, whole, n):
    out_of_memory(drill, n, 0, whole)


@pytest.mark.parametrize("n", [300, 1900, 2900])
def test_out_of_memory_in_one_of_two_ranks(drill, whole, n):
    out_of_memory(drill, n, 2, whole)


@pytest.mark.long
@pytest.mark.parametrize("n", range(1, 8400, 71))
def test_out_of_memory_anywhere(drill, whole, n):
    out_of_memory(drill, n, 0, whole)


# ---- damage ----

def test_damaged_shards_are_made_again(drill, whole):
    """One damage a shard; every byte's flip and every cut are in tests/unit/shard/test_shard.c."""
    qtaylor("run", drill.path)
    files = [drill.run / f"samples/{i:06d}.npy.zst" for i in range(SHARDS)]
    content = [path.read_bytes() for path in files]
    flipped = bytearray(content[2])
    flipped[len(flipped) // 2] ^= 4
    for path, bytes_ in zip(files, [b"", content[1][:-1], flipped, content[4], content[3], content[6]]):
        path.write_bytes(bytes_)
    feature = next(drill.run.glob("features/*/*/000007.npy.zst"))
    feature.write_bytes(feature.read_bytes()[:100])
    verdict = json.loads(qtaylor("verify", drill.run, "--json", code=75).stdout)
    assert (verdict["damaged"], verdict["foreign"], verdict["missing"]) == (4, 3, 0)
    for path in files[:6]:
        path.unlink()  # the oracle counts what is there as whole
    drill.remade = 7
    drill.resume(2, whole)


# ---- two jobs, and clocks ----

def test_two_jobs_in_one_directory(job, whole):
    drill = Drill(job, delay=3)
    both = [drill.start(ranks) for ranks in (2, 1)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    drill.remade = SHARDS
    drill.resume(0, whole)


def test_one_of_two_jobs_is_killed(job, whole):
    drill = Drill(job, delay=3)
    first, second = drill.start(2, "rank=1 call=write path=.npy.zst n=2 do=SIGKILL all"), drill.start(2)
    out, err = second.communicate(timeout=60)
    first.communicate(timeout=60)
    assert second.returncode == 0, out + err
    drill.remade = SHARDS
    drill.resume(1, whole)


@pytest.mark.parametrize("skew", [-86400, 7200])
def test_clocks_that_differ(drill, whole, skew):
    """And a temporary that another host is writing now survives a clock that is ahead."""
    (drill.run / "samples").mkdir(parents=True)
    foreign = drill.run / "samples/.000000.npy.zst.tmp-elsewhere-1-0"
    foreign.write_bytes(b"on its way")
    drill.break_it(3, f"rank=0 clock={skew};rank=1 clock={-skew}", code=0)
    assert foreign.exists()
    os.utime(foreign, (time.time() - 7200,) * 2)
    drill.break_it(1, f"rank=0 clock={skew}", code=0)
    assert not foreign.exists()
    drill.resume(2, whole)


# ---- scale ----

@pytest.mark.long
def test_sixty_four_ranks_make_ten_thousand_units(job):
    job.keys.update(seeds="0-9999", batch=1, workers=1)
    job.keys["output"]["samples_per_shard"] = 1
    job.keys["sampler"]["nfe"] = 1
    done = json.loads(qtaylor("generate", job.write(), "--json", ranks=64, timeout=600, QTAYLOR_LEASE=120).stdout)
    assert done["made_now"] == 10000 and done["generation"]["ranks"] == 64
    assert sorted(path.name for path in job.run.glob("samples/*")) == [f"{i:06d}.npy.zst" for i in range(10000)]
    records = [json.loads(line) for line in (job.run / "manifest.jsonl").read_text().splitlines()]
    assert [record["seeds"] for record in records] == [str(i) for i in range(10000)]
    qtaylor("verify", job.run, timeout=300)

"""A look that fails is no "there is none": any stat, open or listing of files fails once, and the run has the right
bytes or ends with 74, and loses nothing. A FIFO or a device in any file's place is never waited for and never
replaced."""
import collections
import json
import os
import random
import shutil
import stat
import subprocess

import pytest

from conftest import FAKE, Job, environment, qtaylor
from drill import Drill

REASONS = {"ESTALE": "Stale file handle", "EACCES": "Permission denied", "EIO": "Input/output error"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Digest and FID of the uninterrupted run."""
    drill = Drill(Job(tmp_path_factory.mktemp("whole")))
    qtaylor("run", drill.path)
    return drill.job.digest(), json.loads((drill.run / "metrics.json").read_text())["metrics"]["fid"]


def content(folder):
    """What a job may not lose: not its logs and what is for show."""
    return {path: path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and "log" not in path.parts and path.name != "progress.json"}


REACHED = collections.Counter()


def points(count, seed):
    rng = random.Random(seed)
    kinds = [(error, job) for error in REASONS for job in ("new", "half", "same", "other")]
    return [pytest.param(*kinds[i % len(kinds)], rng.randrange(1, 1 << 30), id=f"{seed}-{i}") for i in range(count)]


def look_and_fail(job, whole, error, which, seed):
    """which: the job that meets the fault, in a new folder, one with half the shards, the finished run, or another
    job's."""
    rng = random.Random(seed)
    drill = Drill(job)
    if which != "new":
        qtaylor("run", drill.path)
    if which == "half":
        for path in [*drill.run.glob("samples/*"), *drill.run.glob("features/*/*/*")]:
            if int(path.name[:6]) % 2:
                path.unlink()
        drill.remade = 4
    if which == "other":
        job.keys["sampler"]["nfe"] = 3
        job.write()
    before = content(drill.run)
    ranks = rng.choice([0, 0, 2])
    rank = rng.randrange(2) if ranks and which != "other" else 0
    calls = 70 if rank == 1 else {"other": 19, "same": 170, "half": 180, "new": 370}[which]  # at least so many
    said = drill.break_it(ranks, f"rank={rank} call=look path={job.folder} n={rng.randrange(1, calls)} do={error}")
    REACHED[drill.fired()] += 1
    assert drill.code in ((65, 74) if which == "other" else (0, 74)), f"exit {drill.code}\n{said}"
    assert drill.code == 0 or REASONS[error] in said or drill.code == 65, said
    if which == "other":
        assert content(drill.run) == before
        job.keys["sampler"]["nfe"] = 6
        job.write()
    elif which in ("same", "half"):
        after = content(drill.run)
        assert {path for path in before if before[path] != after.get(path) and "samples" in path.parts} == set()
    drill.resume(0, whole)


@pytest.mark.parametrize("error, which, seed", points(24, 31))
def test_any_look_fails_once(job, whole, error, which, seed):
    look_and_fail(job, whole, error, which, seed)


@pytest.mark.long
@pytest.mark.parametrize("error, which, seed", points(300, 32))
def test_any_look_fails_once_long(job, whole, error, which, seed):
    look_and_fail(job, whole, error, which, seed)


def test_the_faults_were_reached():
    """Of those above, if any ran."""
    assert REACHED[False] <= sum(REACHED.values()) / 4, REACHED


@pytest.mark.parametrize("error", REASONS)
def test_another_job_is_refused_whatever_stat_says(job, error):
    """The first looks at run.json, one by one."""
    qtaylor("run", job.write())
    before = content(job.run)
    drill = Drill(job)
    job.keys["sampler"]["nfe"] = 3
    job.write()
    for call in ("stat", "open", "fstat"):
        said = drill.break_it(0, f"call={call} path={job.run}/run.json n=1 do={error}")
        assert drill.code in (65, 74) and (drill.code == 65 or REASONS[error] in said), said
        assert content(job.run) == before


def test_the_last_look_of_rank_0_fails(job, whole):
    """At failures.jsonl, once all is made: the other rank does not wait for it."""
    drill = Drill(job)
    said = drill.break_it(2, f"rank=0 call=open path={drill.run}/log/failures.jsonl n=3 do=EIO", code=74)
    assert REASONS["EIO"] in said
    drill.resume(0, whole)


# ---- what is no regular file ----

def replace(path, kind):
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


KINDS = ["FIFO", "folder",
         pytest.param("device", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices"))]
FILES = {  # of a finished run: the commands that read it, or write to it
    "run/run.json": ["run JOB", "status RUN", "verify RUN", "evaluate RUN", "export RUN --to npy -o OUT"],
    "run/metrics.json": ["run JOB", "report RUN"],
    "run/samples/000000.npy.zst": ["run JOB", "verify RUN", "export RUN --to npy -o OUT", "sample RUN 1 -o OUT",
                                   "inspect FILE"],
    "run/log/failures.jsonl": ["run JOB"],
    "run/log/rank-0000.jsonl": ["run JOB"],
    "run/log/attempt-0001.json": ["run JOB", "status RUN"],
    "run/quarantine.json": ["status RUN", "verify RUN"],
    "run/sweep.json": ["verify RUN", "report RUN"],
    "run/grid.png": ["report RUN"],
    "model.json": ["run JOB", "plan JOB", "inspect FILE"],
    "features.json": ["run JOB"],
    "reference.npz": ["run JOB", "compare FILE FILE", "inspect FILE"],
    "labels.txt": ["run JOB"],
    "start.npy": ["run JOB", "compare FILE FILE"],
    "images.zip": ["compare FILE FILE --features none"],
    "images/a.png": ["compare IMAGES IMAGES --features none"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_only_regular_files_are_read(job, name, kind):
    job.keys["seeds"] = "0-31"
    job.add_evaluation()
    (job.folder / "labels.txt").write_text("0\n" * 32)
    if name == "labels.txt":
        job.keys["labels"] = name
    if name == "start.npy":
        job.keys["initial"] = name
    (job.folder / "images").mkdir()
    path = job.write()
    if name.startswith("run/"):
        qtaylor("run", path)
    file = job.folder / name
    replace(file, kind)
    if kind == "folder" and name in ("images.zip", "reference.npz", "start.npy", "images/a.png"):
        return  # a folder is one of images
    words = {"JOB": path, "RUN": job.run, "FILE": file, "OUT": job.folder / "out.npy", "IMAGES": job.folder / "images"}
    for command in FILES[name]:
        done = subprocess.run([FAKE, *[str(words.get(word, word)) for word in command.split()]], capture_output=True,
                              text=True, env=environment(), timeout=30)
        said = done.stdout + done.stderr
        assert done.returncode == 74, f"{command}: {said}"
        assert "expected a regular file, found" in said and file.name in said, f"{command}: {said}"
        mode = file.lstat().st_mode
        assert {"FIFO": stat.S_ISFIFO, "folder": stat.S_ISDIR, "device": stat.S_ISCHR}[kind](mode), command


@pytest.mark.parametrize("kind", [*KINDS[:1], "link", KINDS[2]])
@pytest.mark.parametrize("command", ["report RUN -o OUT.html", "report RUN --plot OUT.svg",
                                     "export RUN --to npy --force -o OUT.npy",
                                     "export RUN --to npz --force -o OUT.npz", "export RUN --to png --force -o OUT.zip",
                                     "sample RUN 3 --force -o OUT.png", "reference RUN -o OUT.npz",
                                     "reference RUN -o OUT.npy"])
def test_only_regular_files_are_replaced(job, command, kind):
    job.keys["seeds"] = "0-31"
    job.add_evaluation()
    qtaylor("run", job.write())
    out, target = job.folder / ("out." + command.rpartition(".")[2]), job.folder / "target"
    target.write_text("keep")
    if kind == "link":
        out.symlink_to(target)
    else:
        replace(out, kind)
    done = qtaylor(*[{"RUN": job.run}.get(word, out if word.startswith("OUT") else word) for word in command.split()],
                   code=74, timeout=30)
    assert {"FIFO": "a FIFO", "link": "a symbolic link", "device": "a device"}[kind] in done.stderr
    assert target.read_text() == "keep" and not stat.S_ISREG(out.lstat().st_mode)
    assert not [path for path in job.folder.rglob("*") if ".tmp-" in path.name]

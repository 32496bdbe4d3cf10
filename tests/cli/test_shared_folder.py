"""What another job made is never replaced, whatever leads to it: a link, a copy, or a job that came in between."""
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import FAKE, FAULT, ROOT, environment, qtaylor


def content(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.zst")}


def linked(tmp_path, *names):
    (tmp_path / "scratch").mkdir()
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples").symlink_to(tmp_path / "scratch")


def test_two_runs_whose_samples_are_one_folder(job, tmp_path):
    linked(tmp_path, "A", "B")
    path = job.write()
    qtaylor("run", path, "--set", f"output.dir={tmp_path / 'A'}")
    before = content(tmp_path / "scratch")
    for ranks in (0, 2):
        done = qtaylor("run", path, "--set", f"output.dir={tmp_path / 'B'}", "--set", "sampler.nfe=8", code=65,
                       ranks=ranks)
        assert "made by another job" in done.stderr and ".npy.zst" in done.stderr and "output.dir" in done.stderr
        assert content(tmp_path / "scratch") == before
    assert "another job" in qtaylor("verify", tmp_path / "B", code=65).stderr
    qtaylor("verify", tmp_path / "A")


def test_a_copied_shard_and_features(job, tmp_path):
    job.add_evaluation()
    path = job.write()
    qtaylor("run", path)
    other = tmp_path / "other"
    qtaylor("run", path, "--set", f"output.dir={other}", "--set", "sampler.nfe=8")
    for pattern in ("samples/000001.npy.zst", "features/*/*/000002.npy.zst"):
        mine, theirs = next(job.run.glob(pattern)), next(other.glob(pattern))
        whole = mine.read_bytes()
        shutil.copy(theirs, mine)
        assert str(mine) in qtaylor("run", path, code=65).stderr
        assert mine.read_bytes() == theirs.read_bytes()
        mine.unlink()
        qtaylor("run", path)
        assert mine.read_bytes() == whole


def test_a_shard_of_another_job_comes_meanwhile(job, tmp_path):
    """Stopped before its shard takes its name."""
    linked(tmp_path, "A", "B")
    job.keys["workers"] = 1
    path = job.write()
    late = subprocess.Popen([FAKE, "run", path, "--set", f"output.dir={tmp_path / 'B'}", "--set", "sampler.nfe=8"],
                            stderr=subprocess.PIPE, text=True, cwd=ROOT,
                            env=environment(LD_PRELOAD=FAULT,
                                            QTAYLOR_FAULTS="call=link path=000003.npy.zst n=1 do=SIGSTOP"))
    while open(f"/proc/{late.pid}/stat").read().rpartition(")")[2].split()[0] != "T":
        assert late.poll() is None, late.communicate()
        time.sleep(0.005)
    for file in (tmp_path / "scratch").glob("*.zst"):
        file.unlink()
    qtaylor("run", path, "--set", f"output.dir={tmp_path / 'A'}")
    before = content(tmp_path / "scratch")
    os.kill(late.pid, signal.SIGCONT)
    said = late.communicate(timeout=60)[1]
    assert late.returncode == 65 and "made by another job" in said, said
    assert content(tmp_path / "scratch") == before


@pytest.mark.parametrize("last", [False, True], ids=["in between", "after the last shard"])
def test_run_json_is_removed_meanwhile(job, last):
    job.keys["workers"] = 1
    path = job.write()
    name = "manifest.jsonl" if last else "000003.npy.zst"
    process = subprocess.Popen([FAKE, "run", path], stderr=subprocess.PIPE, text=True, cwd=ROOT,
                               env=environment(LD_PRELOAD=FAULT,
                                               QTAYLOR_FAULTS=f"call=link path={name} n=1 do=SIGSTOP"))
    while open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    (job.run / "run.json").unlink()
    os.kill(process.pid, signal.SIGCONT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 74 and "run.json is gone" in said and "whole" in said, said
    assert not (job.run / "metrics.json").exists()
    before = content(job.run / "samples")
    assert len(before) == 7 if last else 3 <= len(before) < 6
    qtaylor("run", path)
    assert before.items() <= content(job.run / "samples").items()
    assert json.loads((job.run / "metrics.json").read_text())["samples"] == 100

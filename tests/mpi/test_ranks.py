"""The same samples for any number of ranks and workers. What kills and faults do: tests/faults."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import FAKE, HYDRA, LAUNCHER, RANK, RECOVERY, environment, mpirun, qtaylor


def make_job(job, delay=0):
    job.add_evaluation()
    job.model["delay_ms"] = delay
    return job.write()


def fid(job):
    return json.loads((job.run / "metrics.json").read_text())["metrics"]["fid"]


def test_ranks_and_workers_do_not_matter(job):
    path = make_job(job)
    seen = set()
    for ranks, workers in [(0, 1), (1, 2), (2, 1), (2, 2), (5, 1)]:
        qtaylor("run", path, "--set", f"workers={workers}", ranks=ranks)
        seen.add((job.digest(), fid(job)))
        shutil.rmtree(job.run)
    assert len(seen) == 1, seen


def test_second_run_makes_nothing(job):
    path = make_job(job)
    qtaylor("run", path, ranks=2)
    files = {p: p.stat().st_mtime_ns for p in job.run.rglob("*.npy.zst")}
    again = qtaylor("run", path, ranks=1)
    assert "0 made now" in again.stdout
    assert files == {p: p.stat().st_mtime_ns for p in job.run.rglob("*.npy.zst")}


def test_what_all_ranks_find_is_said_once(job):
    path = make_job(job)
    qtaylor("run", path)
    (job.run / "samples/000002.npy.zst").unlink()
    assert qtaylor("evaluate", job.run, ranks=3, code=75).stderr.count("16 of 100 samples are missing") == 1
    del job.keys["evaluate"]
    job.keys["output"]["dir"] += "2"
    qtaylor("run", job.write())
    assert qtaylor("evaluate", job.run, ranks=3).stderr.count("has no evaluate block") == 1
    assert qtaylor("evaluate", job.run, "--count", 5, ranks=3, code=65).stderr.count("has no evaluate block") == 1


def start(path, ranks):
    return subprocess.Popen(mpirun(ranks) + [str(FAKE), "run", str(path)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)


def ranks_of(process):
    """The processes that a launcher started, whatever groups and sessions it puts them into."""
    rows = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout.splitlines()
    above = {int(pid): (int(parent), command) for pid, parent, command in (row.split(None, 2) for row in rows)}

    def below(pid):
        while pid in above and pid != process.pid:
            pid = above[pid][0]
        return pid == process.pid

    return [pid for pid, (_, command) in above.items() if command.startswith(f"{FAKE} ") and below(pid)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    from conftest import Job

    job = Job(tmp_path_factory.mktemp("whole"))
    qtaylor("run", make_job(job))
    return job.digest(), fid(job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("ranks", [0, 3])
def test_signal_stops_between_ops_and_run_continues(job, number, ranks, uninterrupted):
    path = make_job(job, delay=60)
    process = start(path, ranks)
    while process.poll() is None and not (job.run / "run.json").exists():
        time.sleep(0.05)
    time.sleep(0.3)
    if ranks == 0 or number == signal.SIGUSR1:
        process.send_signal(number)  # mpirun forwards USR1
    else:
        for pid in ranks_of(process):
            os.kill(pid, number)
    assert process.wait(timeout=15) == 75
    assert not [p for p in job.run.rglob("*") if ".tmp-" in p.name]
    qtaylor("run", path, ranks=2)
    assert (job.digest(), fid(job)) == uninterrupted


def test_registers_on_a_device_give_the_same_samples(job, uninterrupted):
    """Two pretended GPUs, one a rank: the executor's device path."""
    path = make_job(job)
    qtaylor("run", path, ranks=2, QTAYLOR_FAKE_DEVICES=2)
    assert (job.digest(), fid(job)) == uninterrupted
    hosts = json.loads((job.run / "run.json").read_text())["hosts"]
    assert [host["device"] for host in hosts] == ["fake 0", "fake 1"]
    qtaylor("run", path)  # which makes nothing, so that these two are who made the samples
    qtaylor("evaluate", job.run)
    assert json.loads((job.run / "run.json").read_text())["hosts"] == hosts
    next((job.run / "samples").iterdir()).unlink()
    qtaylor("run", path)
    assert [host["device"] for host in json.loads((job.run / "run.json").read_text())["hosts"]] == ["cpu"]


def test_two_ranks_on_one_gpu_are_refused_unless_asked(job, uninterrupted):
    path = make_job(job)
    done = qtaylor("run", path, ranks=2, code=65, QTAYLOR_FAKE_DEVICES=1)
    assert "share one GPU" in done.stderr and "share_device" in done.stderr
    assert not job.run.exists()
    qtaylor("run", path, "--set", "share_device=true", "--set", "cuda_graphs=true", ranks=2, QTAYLOR_FAKE_DEVICES=1)
    assert (job.digest(), fid(job)) == uninterrupted


def test_no_gpu_where_one_is_asked_for(job):
    job.keys["device"] = "cuda"
    assert "sees no GPU" in qtaylor("run", job.write(), code=65).stderr


def environ(pid):
    with open(f"/proc/{pid}/environ") as file:
        return dict(pair.split("=", 1) for pair in file.read().split("\0") if "=" in pair)


def start_where_others_live_on(job, delay, lease):
    """Three ranks under a launcher that does not end a job because one rank died."""
    path = make_job(job, delay)
    process = subprocess.Popen(mpirun(3, RECOVERY) + [str(FAKE), "run", str(path)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=environment(QTAYLOR_LEASE=lease),
                               start_new_session=True)
    deadline = time.time() + 60
    # all ranks are past their collective calls
    while not list(job.run.glob("samples/*.zst")) and time.time() < deadline:
        time.sleep(0.01)
    return process, {int(environ(pid)[RANK]): pid for pid in ranks_of(process)}


def go_on(job, out, err, ended=HYDRA):
    """MPICH's launcher tells of a dead rank by USR1, which ends the others: another start goes on."""
    if ended:
        assert not (job.run / "metrics.json").exists(), out + err
        qtaylor("run", job.write(), ranks=2)


def test_dead_workers_units_are_given_out_again(job, uninterrupted):
    """The run ends complete although a rank was killed."""
    process, ranks = start_where_others_live_on(job, delay=80, lease=1)
    os.kill(ranks[2], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    go_on(job, out, err)
    assert (job.digest(), fid(job)) == uninterrupted, out + err
    assert HYDRA or "rank 2 has been silent" in err
    qtaylor("verify", job.run)


def test_a_rank_that_comes_back_takes_part_again(job, uninterrupted):
    process, ranks = start_where_others_live_on(job, delay=80, lease=0.5)
    os.kill(ranks[1], signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(ranks[1], signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "rank 1 has been silent" in err and "rank 1 is back" in err
    assert (job.digest(), fid(job)) == uninterrupted


def test_without_the_coordinator_all_leave_and_the_run_continues(job, uninterrupted):
    process, ranks = start_where_others_live_on(job, delay=80, lease=0.5)
    os.kill(ranks[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert HYDRA or "rank 0) is gone" in err, out + err
    qtaylor("verify", job.run, code=75)  # this launcher's own exit code says nothing
    qtaylor("run", job.write(), ranks=2)
    assert (job.digest(), fid(job)) == uninterrupted


def test_a_coordinator_that_comes_back_after_all_left_ends_alone(job, uninterrupted):
    process, ranks = start_where_others_live_on(job, delay=40, lease=0.5)
    os.kill(ranks[0], signal.SIGSTOP)
    deadline = time.time() + 30
    while ranks_of(process) != [ranks[0]] and time.time() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):  # Open MPI 5 may have ended it
        os.kill(ranks[0], signal.SIGCONT)
    try:
        out, err = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            os.kill(ranks[0], signal.SIGKILL)
    version = subprocess.run([*LAUNCHER, "--version"], capture_output=True, text=True).stdout
    five = "(Open MPI) 5" in version  # ends all, in a while, where one rank left with a status
    assert "rank 0) is gone" in err and (HYDRA or five or "rank 1 has been silent" in err), out + err
    go_on(job, out, err, HYDRA or five and not (job.run / "metrics.json").exists())
    assert (job.digest(), fid(job)) == uninterrupted, out + err


def test_ranks_without_a_shard_are_said(job):
    job.keys["seeds"], job.keys["output"]["samples_per_shard"] = "0-31", 16
    assert "nothing to do" not in qtaylor("run", make_job(job), ranks=2).stderr
    said = qtaylor("run", job.write(), "--set", "output.dir=" + str(job.folder / "other"), ranks=3).stderr
    assert "shards to make: 2, by 3 ranks: the others have nothing to do" in said


def test_times_are_of_those_that_worked(job):
    """One shard of two batches: a rank has nothing to do, and a third worker neither."""
    job.keys |= {"seeds": "0-15", "workers": 1}
    qtaylor("run", make_job(job, delay=50), ranks=3)
    made = json.loads((job.run / "metrics.json").read_text())["generation"]
    assert made["seconds"] >= 2 * 6 * 0.05 and made["samples_per_second"] == pytest.approx(16 / made["seconds"])


@pytest.mark.skipif(HYDRA or len(os.sched_getaffinity(0)) < 2, reason="Open MPI's binding, where there is a choice")
def test_ranks_that_mpirun_binds_to_a_few_cores_are_said(job):
    words = [LAUNCHER[0], "-n", "1"]
    cores = len(os.sched_getaffinity(0))
    bound = int(subprocess.run([*words, "nproc"], capture_output=True, text=True, env=environment()).stdout)
    for options, said in (["--bind-to", "none"], False), ([], bound < cores):
        done = subprocess.run([*words, *options, FAKE, "run", job.write()], capture_output=True, text=True,
                              env=environment())
        assert (f"binds each rank here to {bound} of {cores} cores" in done.stderr) == said and done.returncode == 0


def test_too_few_threads_is_said(job):
    done = qtaylor("run", make_job(job), "--set", "workers=3", ranks=2, code=70, OMP_THREAD_LIMIT=2)
    assert "OMP_THREAD_LIMIT" in done.stderr

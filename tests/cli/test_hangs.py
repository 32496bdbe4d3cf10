"""No wait without an end: readers that leave or sleep, stopped terminals, models that never return, little memory."""
import json
import os
import pty
import resource
import signal
import subprocess
import termios
import time

import numpy
import pytest

from conftest import FAKE, environment, mpirun, qtaylor


STARTED = []


def start(path, ranks=0, **streams):
    STARTED.append(subprocess.Popen(mpirun(ranks) + [str(FAKE), "run", str(path)], env=environment(), **streams))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


def shards(job):
    return len(list(job.run.glob("samples/*.zst")))


def wait_for(happened, seconds=30):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def last_log(job):
    return [json.loads(line) for line in (job.run / "log/rank-0000.jsonl").read_text().splitlines()][-1]


# ---- readers ----

@pytest.mark.parametrize("ranks", [0, 2])
def test_a_reader_of_stderr_leaves(job, ranks):
    job.model["delay_ms"] = 5
    process = start(job.write(), ranks, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    process.stderr.readline()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    qtaylor("verify", job.run)


def test_a_terminal_is_stopped(job):
    """What Ctrl-S does: samples go on, a signal ends the run in time, and the log tells what the terminal did not
    take."""
    job.model["delay_ms"] = 10
    job.keys["seeds"] = "0-4999"
    terminal, line = pty.openpty()
    process = start(job.write(), stdout=subprocess.DEVNULL, stderr=line, stdin=subprocess.DEVNULL)
    os.read(terminal, 1000)
    termios.tcflow(line, termios.TCOOFF)
    before = shards(job)
    time.sleep(2)  # several progress lines
    wait_for(lambda: shards(job) > before + 10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 75
    assert "standard error" in last_log(job)["message"]


def test_nobody_reads_stderr(job):
    """A full pipe: 64 KiB before the first line."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    process = start(job.write(), stdout=subprocess.DEVNULL, stderr=writing)
    assert process.wait(timeout=60) == 0
    os.close(reading)
    assert "standard error" in last_log(job)["message"]


@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"], ["plan"], ["plan", "--json"], ["--help"]])
@pytest.mark.parametrize("kind", ["full", "closed", "gone"])
def test_standard_output_takes_nothing(job, arguments, kind):
    command, *options = arguments
    operand = [] if command == "--help" else [str(job.write())]
    reading, writing = os.pipe()
    os.close(reading)
    out = {"full": open("/dev/full", "w"), "gone": writing, "closed": subprocess.DEVNULL}[kind]
    words = [str(FAKE), command, *operand, *options]
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *words] if kind == "closed" else words
    done = subprocess.run(shell, stdout=out, stderr=subprocess.PIPE, text=True, env=environment(), timeout=60)
    os.close(writing)
    assert done.returncode == 74 and "standard output" in done.stderr, done
    if command == "run":
        assert "metrics.json" in done.stderr
        qtaylor("verify", job.run)


def test_a_limit_of_file_sizes(job):
    qtaylor("run", job.write())
    target = job.folder / "all.npy"
    done = subprocess.run([FAKE, "export", job.run, "--to", "npy", "--output", target], capture_output=True, text=True,
                          env=environment(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)))
    assert done.returncode == 74 and "File too large" in done.stderr, done
    assert not [path for path in job.folder.iterdir() if "all.npy" in path.name]


# ---- signals ----

@pytest.mark.parametrize("ranks", [0, 2])
def test_a_second_signal_ends_a_model_that_never_returns(job, ranks):
    job.model["delay_ms"] = 3_600_000
    process = start(job.write(), ranks, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(job.run.glob("log/rank-*.jsonl")))
    time.sleep(1)
    children = subprocess.run(["pgrep", "-P", str(process.pid), "qtaylor"], capture_output=True,
                              text=True).stdout.split()
    pids = [int(pid) for pid in children] if ranks else [process.pid]
    assert len(pids) == max(ranks, 1)
    for _ in range(2):  # the same one twice in a moment is one
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.2)
    time.sleep(2)
    assert process.poll() is None
    os.kill(pids[0], signal.SIGINT)
    if ranks:  # each has its own second one
        os.kill(pids[1], signal.SIGINT)
    assert process.wait(timeout=10) == 75


# ---- memory ----

def limited(mebibytes, *arguments):
    """The status under `ulimit -v`: OpenBLAS by itself asks again for ever."""
    done = subprocess.run([str(FAKE), *map(str, arguments)], capture_output=True, text=True, env=environment(),
                          timeout=30,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20)))
    assert done.returncode == 0 or (done.returncode == 70 and "out of memory" in done.stderr), done
    return done.returncode


def test_little_address_space(job):
    rows = numpy.random.default_rng(0).normal(size=(500, 16)).astype("f4")
    numpy.save(job.folder / "a.npy", rows)
    path = job.folder / "a.npy"
    for least, *command in [(100, "--version"), (150, "compare", path, path, "--metrics", "fid,kid,prdc"),
                            (150, "reference", path, "--output", job.folder / "r.npz"), (150, "diagnose", job.write())]:
        statuses = [limited(mebibytes, *command) for mebibytes in range(least, 651, 50)]
        assert statuses[-1] == 0 and statuses == sorted(statuses, reverse=True), (command, statuses)


def test_little_address_space_is_said_before_anything_is_made(job):
    job.add_evaluation()
    assert limited(400, "run", job.write()) == 70
    assert shards(job) == 0
    qtaylor("run", job.write())


# ---- stacks ----

def test_threads_with_small_stacks(job):
    done = qtaylor("run", job.write(), code=64, OMP_STACKSIZE="64K")
    assert "OMP_STACKSIZE" in done.stderr and "64 KiB" in done.stderr


def test_what_ended_a_run_is_in_its_log(job):
    """mpirun throws away what its ranks print while it ends them."""
    job.model["delay_ms"] = 100
    process = subprocess.Popen([FAKE, "generate", job.write()], stderr=subprocess.PIPE, text=True, env=environment())
    wait_for(lambda: list(job.run.glob("samples/*")))
    process.send_signal(signal.SIGTERM)
    why = "interrupted; what is whole is on disk: run again to continue"
    assert process.communicate(timeout=60)[1].splitlines()[-1] == f"qtaylor: error: {why}" and process.returncode == 75
    assert (last_log(job)["level"], last_log(job)["message"]) == ("error", why)

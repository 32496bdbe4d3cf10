"""How the parts of make bench run the program and measure it."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM, BARE = ROOT / "build/torch/qtaylor", ROOT / "build/torch/bare_calls"
DIGITS = ROOT / "jobs/digits/job.yaml"
CORES = len(os.sched_getaffinity(0))
CACHE = tempfile.TemporaryDirectory()  # of digests
ENVIRONMENT = {**os.environ, "XDG_CACHE_HOME": CACHE.name, "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def output(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=ENVIRONMENT, **options)
    if done.returncode != 0:
        sys.exit(f"bench: {command} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def mpirun(ranks):
    return ["mpirun", "-n", ranks, "--oversubscribe", "--bind-to", "none"]


def generate_command(job, folder, *settings, ranks=1, verb="generate"):
    overrides = [word for setting in (f"output.dir={folder}", *settings) for word in ("--set", setting)]
    return list(map(str, [*mpirun(ranks), PROGRAM, verb, job, *overrides, "--json"]))


def generate(job, folder, *settings, **options):
    """One fresh run; returns its result."""
    shutil.rmtree(folder, ignore_errors=True)
    return json.loads(output(generate_command(job, folder, *settings, **options)))


def seconds(result):
    return result["generation"]["seconds"]


def bare(model, shape, classes, batch, calls, workers):
    return float(output([BARE, model, *shape, classes, batch, calls, workers]))


def best(*measures, repeats=3):
    """The least seconds of each, taken in turns: what else the machine does then hits them alike."""
    return tuple(map(min, zip(*[[measure() for measure in measures] for _ in range(repeats)])))


def show(name, ratio, goal, detail):
    print(f"{name:<58} {ratio:6.3f}   (goal {goal})   {detail}", flush=True)


def peak(command):
    """Most resident memory of a process in MB."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env=ENVIRONMENT)
    said = process.stderr.read().decode()
    status, usage = os.wait4(process.pid, 0)[1:]
    if status != 0:
        sys.exit(f"bench: {command} failed:\n{said}")
    return usage.ru_maxrss / 1024

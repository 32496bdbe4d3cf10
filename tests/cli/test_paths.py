"""Paths as users have them: jobs through pipes, names in other encodings and long ones, what killed processes left, and
shards that are not what their size says."""
import json
import os
import shutil
import subprocess
import time

import pytest

from conftest import FAKE, environment, qtaylor



def shell(command, folder, code=0):
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, errors="replace", timeout=60,
                          cwd=folder, env=environment(Q=FAKE))
    assert done.returncode == code, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# ---- a job through a pipe: its paths are relative to the working directory ----

@pytest.mark.parametrize("command",
                         ["cat job.yaml | $Q plan -", "cat job.yaml | $Q plan /dev/stdin", "$Q plan <(cat job.yaml)",
                          "$Q plan - < job.yaml", "(sleep 0.2; cat job.yaml) | $Q plan -"])
def test_plan_through_a_pipe(job, command):
    job.write()
    assert shell(command, job.folder) == shell("$Q plan job.yaml", job.folder)


def test_run_through_a_pipe(job):
    job.write()
    shell("cat job.yaml | $Q run -", job.folder)
    digest = job.digest()
    shutil.rmtree(job.run)
    shell("mpirun -n 2 --oversubscribe --bind-to none $Q run /dev/stdin < job.yaml", job.folder)
    assert job.digest() == digest


def test_a_sweep_through_a_pipe(job):
    """Every cell reads the job once more."""
    job.keys["sweep"] = {"sampler.nfe": [2, 3]}
    job.write()
    shell("$Q run <(cat job.yaml)", job.folder)
    assert json.loads((job.run / "sweep.json").read_text())["job"]["text"] == (job.folder / "job.yaml").read_text()
    assert (job.run / "nfe=2/metrics.json").exists() and (job.run / "nfe=3/metrics.json").exists()


def test_a_nameless_job_through_a_pipe(job):
    del job.keys["name"], job.keys["output"]["dir"]
    job.write()
    assert "runs/job" in shell("cat job.yaml | $Q plan - --cells", job.folder)


def test_an_empty_pipe_is_not_waited_for(job):
    os.mkfifo(job.folder / "fifo")
    assert "expected YAML, found nothing" in shell("$Q plan fifo", job.folder, code=65)


@pytest.mark.parametrize("command",
                         ["compare x.npy x.npy", "reference x.npy --features none -o made.npz", "plan reference.json",
                          "run reference.json", "plan initial.json", "run initial.json"])
def test_a_fifo_is_no_array(job, command):
    os.mkfifo(job.folder / "x.npy")
    job.write()
    (job.folder / "initial.json").write_text(json.dumps(job.keys | {"initial": "x.npy"}))
    job.add_evaluation()
    job.keys["evaluate"]["reference"] = "x.npy"
    (job.folder / "reference.json").write_text(json.dumps(job.keys))
    assert "x.npy: expected a regular file, found a FIFO" in shell(f"$Q {command}", job.folder, code=74)
    assert not job.run.exists()


# ---- names ----

@pytest.mark.parametrize("key, name", [("evaluate.features", "net.json"), ("model.path", "net.json"),
                                       ("conditions.context", "rows.safetensors#a"), ("labels", "list.txt")])
def test_a_path_as_the_shell_completes_it(job, key, name):
    """It is there where the command was given, not where the job is."""
    job.add_evaluation()
    job.write()
    (job.folder / "here").mkdir()
    (job.folder / "here" / name.partition("#")[0]).write_text("")
    said = shell(f"$Q plan ../job.yaml --set {key}={name}", job.folder / "here", code=65)
    assert f"{key}: {name}: there is none at ../{name}, but one in the working directory" in said
    assert f'say {key}="$PWD/{name}"' in said
    (job.folder / name.partition("#")[0]).write_text("")
    said = shell(f"$Q plan ../job.yaml --set {key}={name} 2>&1 || true", job.folder / "here")
    assert "working directory" not in said


@pytest.mark.parametrize("key", ["features", "reference"])
def test_a_file_that_is_nowhere_is_named_by_its_key(job, key):
    job.add_evaluation()
    job.keys["evaluate"][key] = "nowhere"
    job.write()
    assert f"evaluate.{key}: cannot open" in shell("$Q run job.yaml", job.folder, code=74)


def test_paths_in_another_encoding(job):
    job.keys["output"]["dir"] = "run"
    job.write()
    shell("$Q run job.yaml", job.folder)
    folder = os.fsdecode(os.fsencode(job.folder / "sub") + b"/caf\xe9")
    shutil.copytree(job.folder, folder, ignore=lambda *_: ["sub"])
    for command in ("plan job.yaml", "run job.yaml", "status $PWD/run", "verify $PWD/run", "report $PWD/run",
                    "evaluate $PWD/run", "export $PWD/run --to npy --json -o x.npy"):
        said = shell(f"$Q {command}", folder, code=65)
        assert "UTF-8" in said and "caf" in said and "memory" not in said, said
    shell("$Q export run --to npy -o x.npy", folder)  # JSON is not asked for


def test_long_names(job):
    """Up to the file system's 255 bytes, whatever a temporary is called meanwhile."""
    qtaylor("run", job.write())
    for end in (".npz", ".npy", ".zip"):
        out = job.folder / ("x" * (255 - len(end)) + end)
        qtaylor("export", job.run, "--to", "png" if end == ".zip" else end[1:], "-o", out)
        assert out.exists()
    done = qtaylor("export", job.run, "--to", "npy", "-o", job.folder / ("x" * 252 + ".npy"), code=74)
    assert "File name too long" in done.stderr


def test_what_killed_jobs_left_is_cleared(job):
    """In a sweep's own folders too, and beside the features of another network."""
    job.keys["sweep"] = {"sampler.nfe": [2, 3]}
    job.add_evaluation()
    path = job.write()
    qtaylor("run", path)
    cell = job.run / "nfe=2"
    left = [job.run, job.run / "log", cell, cell / "samples", cell / "features", *cell.glob("features/*"),
            *cell.glob("features/*/*"), cell / "features/0123456789ab/pool"]
    left[-1].mkdir(parents=True)
    for folder in left:
        file = folder / ".a.json.tmp-elsewhere-1-0"
        file.write_text("half")
        os.utime(file, (time.time() - 7200,) * 2)
    qtaylor("run", path)
    assert [str(file) for file in job.run.rglob(".*.tmp-*")] == []


# ---- shards ----

def test_a_sparse_shard_is_damaged(job):
    path = job.write()
    qtaylor("run", path)
    digest = job.digest()
    shard = job.run / "samples/000001.npy.zst"
    with open(shard, "r+b") as file:
        file.truncate(1 << 42)  # 4 TiB of nothing
    done = qtaylor("verify", job.run, code=75)
    assert f"damaged  {shard}" in done.stdout
    qtaylor("run", path)
    assert job.digest() == digest and shard.stat().st_size < 1 << 20

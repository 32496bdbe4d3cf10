"""What every rank reads by itself must be what rank 0 read: /proc/self/cwd is another folder for each of two ranks, as
a node's own disk would be. And what ranks are started with."""
import json
import subprocess

import numpy
import pytest

from conftest import FAKE, HYDRA, environment, qtaylor, two_ranks

LOCAL = "/proc/self/cwd"


def two_nodes(job, names, change):
    """The job with these files on two "nodes", of which rank 1's are changed. The finished process."""
    here, there = job.folder / "here", job.folder / "there"
    for folder in here, there:
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes((job.folder / name).read_bytes())
    change(there)
    rank = [str(FAKE), "run", str(job.folder / "job.yaml")]
    start = two_ranks(["env", "-C", here, *rank], ["env", "-C", there, *rank])
    return subprocess.run(start, capture_output=True, text=True, timeout=120, env=environment())


def edit(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    return change


def write_model(job):
    job.keys["model"]["path"] = f"{LOCAL}/model.json"
    job.keys["model"]["card"] = job.model["card"]


def write_guide(job):
    job.keys["sampler"] |= {"guidance": {"scale": 2, "model": f"{LOCAL}/guide.json"}}
    (job.folder / "guide.json").write_text(json.dumps(job.model))


def write_decoder(job):
    job.keys["decode"] = {"path": f"{LOCAL}/decoder.json"}
    card = {"latent": [1, 4, 4], "image": [3, 8, 8], "scale": 0.5}
    (job.folder / "decoder.json").write_text(json.dumps({"decoder": card}))


def write_conditions(job):
    job.model["card"]["inputs"] = [{"name": "context", "shape": [3]}]
    job.keys["conditions"] = {"context": f"{LOCAL}/context.npy"}
    numpy.save(job.folder / "context.npy", numpy.zeros((5, 3), "<f4"))


def other_conditions(folder):
    numpy.save(folder / "context.npy", numpy.ones((5, 3), "<f4"))


def write_labels(job):
    job.keys["labels"] = f"{LOCAL}/labels.txt"
    (job.folder / "labels.txt").write_text("0\n1\n" * 50)


def write_initial(job):
    job.keys["initial"] = f"{LOCAL}/starts.npy"
    numpy.save(job.folder / "starts.npy", numpy.random.default_rng(0).normal(size=(100, 1, 4, 4)).astype("<f4"))


def other_starts(folder):
    numpy.save(folder / "starts.npy", numpy.random.default_rng(1).normal(size=(100, 1, 4, 4)).astype("<f4"))


def write_network(job):
    job.add_evaluation()
    job.keys["evaluate"]["features"] = f"{LOCAL}/features.json"


def write_reference(job):
    job.add_evaluation()
    job.keys["evaluate"]["reference"] = f"{LOCAL}/reference.npz"


def other_reference(folder):
    numpy.savez(folder / "reference.npz", mu=numpy.zeros(8), sigma=numpy.eye(8))


FILES = {
    "model": (write_model, "model.json", edit("model.json", '"std": 0.2', '"std": 0.6')),
    "guide": (write_guide, "guide.json", edit("guide.json", '"std": 0.2', '"std": 0.6')),
    "decoder": (write_decoder, "decoder.json", edit("decoder.json", '"scale": 0.5', '"scale": 0.6')),
    "conditions": (write_conditions, "context.npy", other_conditions),
    "labels": (write_labels, "labels.txt", edit("labels.txt", "0\n1\n", "1\n0\n")),
    "initial": (write_initial, "starts.npy", other_starts),
    "feature network": (write_network, "features.json", edit("features.json", '"matrix": 7', '"matrix": 8')),
    "reference": (write_reference, "reference.npz", other_reference),
}


@pytest.mark.parametrize("kind", FILES)
def test_another_file_on_a_node_is_refused(job, kind):
    write, name, change = FILES[kind]
    write(job)
    job.write()
    done = two_nodes(job, [name], lambda there: None)
    assert done.returncode == 0, done.stderr
    digest = job.digest()
    subprocess.run(["rm", "-rf", job.run, job.folder / "here", job.folder / "there"], check=True)
    done = two_nodes(job, [name], change)
    assert done.returncode == 65, done.stderr
    assert f"{LOCAL}/{name} is another file on " in done.stderr and "sha256" in done.stderr
    assert not list(job.run.glob("samples/*"))
    subprocess.run([FAKE, "run", job.folder / "job.yaml"], cwd=job.folder / "here", env=environment(), check=True)
    assert job.digest() == digest


def test_ranks_with_other_arguments(job):
    path = str(job.write())
    for other in ["generate", path], ["run", "--set", "seeds=0-9", path]:
        start = two_ranks([FAKE, "run", path], [FAKE, *other])
        done = subprocess.run(start, capture_output=True, text=True, timeout=60, env=environment())
        assert done.returncode == 64 and " ".join(other) in done.stderr, done.stderr
    assert not job.run.exists()


@pytest.mark.parametrize("variables, told", [
    ({"SLURM_STEP_NUM_TASKS": 8, "SLURM_PROCID": 0}, True),
    pytest.param({"PMI_SIZE": 8, "PMI_RANK": 0}, True, marks=pytest.mark.skipif(
        HYDRA, reason="MPICH's ranks look for one another by these")),
    ({"SLURM_STEP_NUM_TASKS": 8, "SLURM_PROCID": 3}, False),
    ({"SLURM_STEP_NUM_TASKS": 1, "SLURM_PROCID": 0}, False),
    ({"SLURM_NTASKS": 8, "SLURM_PROCID": 0}, False),  # a batch script that starts one process
])
def test_processes_that_do_not_know_of_one_another(job, variables, told):
    done = qtaylor("run", job.write(), **variables)
    assert ("8 separate processes" in done.stderr) == told

"""guidance.batched: the evaluations with and without labels in one call of the network, of twice the batch; and what a
job leaves to be measured: that, batch, workers."""
import json
import shutil

import numpy as np
import pytest

from conftest import ROOT, TORCH, qtaylor, stored

GUIDED = {"scale": 2, "interval": [0.05, 40]}  # unguided calls, too


def set_guidance(job, solver="heun", **guidance):
    steps = {} if solver == "rk45" else {"nfe": 5}
    job.keys["sampler"] = {"solver": solver, **steps, "guidance": GUIDED | guidance}
    return job.write()


@pytest.mark.parametrize("solver", ["heun", "rk45"])
def test_the_same_samples_in_one_call(job, solver):
    """The closed-form model computes each row by itself, so that even the bits are the same."""
    job.keys["seeds"] = "0-27"
    qtaylor("generate", set_guidance(job, solver))
    two, fingerprint = job.digest(), json.loads((job.run / "run.json").read_text())["fingerprint"]
    qtaylor("generate", set_guidance(job, solver, batched=False))  # the same job: nothing is made
    path = set_guidance(job, solver, batched=True)
    said = qtaylor("generate", path, code=65).stderr
    assert "was made with sampler.guidance.batched = nothing, this job has true" in said
    shutil.rmtree(job.run)
    for ranks, workers, devices in (0, 2, 0), (2, 1, 2), (3, 2, 0):
        qtaylor("generate", path, "--set", f"workers={workers}", ranks=ranks, QTAYLOR_FAKE_DEVICES=devices)
        assert job.digest() == two and json.loads((job.run / "run.json").read_text())["fingerprint"] != fingerprint
        shutil.rmtree(job.run)


def test_conditions_and_their_nulls(job):
    job.model["card"] |= {"labels": None, "inputs": [{"name": "c", "shape": [3], "dtype": "float32", "null": "zeros"}]}
    np.save(job.folder / "c.npy", np.random.default_rng(1).normal(size=(5, 3)).astype("f4"))
    job.keys |= {"labels": "none", "conditions": {"c": "c.npy"}, "seeds": "0-19"}
    digests = set()
    for batched in False, True:
        qtaylor("generate", set_guidance(job, batched=batched))
        digests.add(job.digest())
        shutil.rmtree(job.run)
    qtaylor("generate", set_guidance(job, scale=1))
    assert len(digests) == 1 and job.digest() not in digests


@pytest.mark.parametrize("fixed, batch, guidance, expected",
                         [(16, 8, {"interval": [0, ".inf"]}, None), (16, None, {"interval": [0, ".inf"]}, None),
                          (16, 8, {}, "where guidance does not act"), (16, 16, {}, "makes calls of 32 rows"),
                          (7, None, {}, "was exported for calls of 7"),
                          (None, 8, {"model": "model.json"}, "cannot be asked in the same call")])
def test_networks_of_a_fixed_batch(job, fixed, batch, guidance, expected):
    job.model["card"]["batch"] = fixed
    job.keys["batch"] = batch
    if not batch:
        del job.keys["batch"]
    done = qtaylor("plan", set_guidance(job, batched=True, **guidance), code=65 if expected else 0)
    assert (expected or "batches of 8") in done.stderr + done.stdout


def test_libtorch(job):
    """Within rounding of two calls; and the same bits whoever computes them."""
    job.keys |= {"model": {"path": str(ROOT / "jobs/fashion/model.pt")}, "seeds": "0-19", "batch": 4}
    job.keys["output"]["dtype"] = "float32"
    made = {}
    for batched, ranks, workers in (False, 1, 2), (True, 1, 1), (True, 1, 2), (True, 2, 1), (True, 3, 1):
        path = set_guidance(job, batched=batched, interval={"t": [0, 0.9]})
        qtaylor("generate", path, "--set", f"workers={workers}", ranks=ranks, program=TORCH)
        made.setdefault(batched, []).append((job.digest(), stored(job.run)))
        shutil.rmtree(job.run)
    assert len({digest for digest, _ in made[True]}) == 1
    one, two = made[True][0][1], made[False][0][1]
    assert np.abs(one - two).max() < 1e-4 * np.abs(two).max()


# ---- auto: measured once ----

def made_with(folder):
    job = json.loads((folder / "run.json").read_text())["job"]
    return job["batch"], job.get("workers"), job["sampler"].get("guidance")


def set_auto(job):
    job.model["delay_ms"] = 20  # a call, of however many rows: the largest batch wins, and one call over two
    job.keys |= {"seeds": "0-11", "batch": "auto", "workers": "auto"}
    del job.keys["output"]["samples_per_shard"]
    return set_guidance(job, batched="auto")


def test_auto_is_measured_once(job):
    path = set_auto(job)
    said = qtaylor("generate", path, ranks=2).stderr
    batch, workers, guidance = made_with(job.run)
    assert batch == 8 and workers >= 1 and guidance["batched"] is True, said  # of 12 samples
    digest = job.digest()
    again = qtaylor("generate", path)  # with what is stored
    assert "0 made now" in again.stdout and "measured" in said and "measured" not in again.stderr
    shutil.rmtree(job.run)
    job.keys |= {"batch": 8, "workers": 2}
    qtaylor("generate", set_guidance(job, batched=True))
    assert job.digest() == digest


def test_auto_makes_whole_shards(job):
    path = set_auto(job)
    job.keys["output"]["samples_per_shard"] = 12
    path = job.write()
    qtaylor("generate", path)
    assert made_with(job.run)[0] == 4


def test_auto_takes_what_the_folder_was_made_with(job):
    path = set_auto(job)
    for chosen, keys in (False, {"batch": 2, "workers": 1}), (True, {"batch": 4}):
        (job.folder / "explicit.yaml").write_text(json.dumps(job.keys | keys | {"sampler": job.keys["sampler"] | {
            "guidance": GUIDED | {"batched": chosen}}}))
        qtaylor("generate", job.folder / "explicit.yaml")
        assert "0 made now" in qtaylor("generate", path).stdout
        assert made_with(job.run)[0] == keys["batch"]
        shutil.rmtree(job.run)


def test_auto_takes_no_number_that_no_run_has(job):
    path = set_auto(job)
    job.keys |= {"batch": 4, "workers": 2}
    qtaylor("generate", set_guidance(job, batched=True))
    document = json.loads((job.run / "run.json").read_text())
    job.keys |= {"batch": "auto", "workers": "auto"}
    set_guidance(job, batched="auto")
    for key, value in ("batch", -5), ("batch", 2**33 + 4), ("workers", 2**33 + 2):
        edited = document | {"job": document["job"] | {key: value}}
        (job.run / "run.json").write_text(json.dumps(edited))
        for command in "generate", "run":
            error = qtaylor(command, path, code=65).stderr
            assert f"{job.run}/run.json: job.{key}: expected a whole number from 1 to" in error
            assert f"found {value}:" in error
        job.keys["sweep"] = {"sampler.nfe": [3, 5]}
        shutil.copytree(job.run, job.run / "nfe=3")
        path.write_text(json.dumps(job.keys))
        error = qtaylor("generate", path, code=65).stderr
        assert f"nfe=3/run.json: job.{key}:" in error and f"found {value}:" in error
        shutil.rmtree(job.run / "nfe=3")
        del job.keys["sweep"]
        path.write_text(json.dumps(job.keys))


def test_a_sweep_measures_once(job):
    path = set_auto(job)
    job.keys |= {"workers": 1, "sweep": {"sampler.nfe": [3, 5], "sampler.guidance.scale": [1, 2]}}
    path.write_text(json.dumps(job.keys))
    said = qtaylor("generate", path, ranks=2).stderr
    cells = [folder for folder in sorted(job.run.iterdir()) if (folder / "run.json").exists()]
    assert len(cells) == 4 and len({str(made_with(cell)[:2]) for cell in cells}) == 1
    assert said.count("measured: batch") == 1 and said.count("measured: guidance") == 1
    job.keys["sweep"]["sampler.nfe"] = [7, 3, 5]  # a new cell takes what the others have
    path.write_text(json.dumps(job.keys))
    assert "measured" not in qtaylor("generate", path).stderr


def test_what_the_file_refuses_is_said_before_anything_is_measured(job):
    set_auto(job)
    job.model["card"]["batch"] = 4
    for batch, batched, expected in ((3, "auto", "batch: 3, but the model file was exported for batches of 4"),
                                     (4, True, "makes calls of 8 rows")):
        job.keys["batch"] = batch
        said = qtaylor("generate", set_guidance(job, batched=batched), code=65).stderr
        assert expected in said and "measur" not in said


def test_nothing_to_measure(job):
    path = set_auto(job)
    assert "measured when the job runs" in qtaylor("plan", path).stdout
    job.model["card"]["batch"] = 4
    job.keys["workers"] = 2
    assert "measured" not in qtaylor("generate", set_guidance(job, batched="auto")).stderr
    assert made_with(job.run)[:2] == (4, 2) and "batched" not in made_with(job.run)[2]
    for key in "batch", "workers":
        assert "or auto, found \"fast\"" in qtaylor("plan", job.write(), "--set", f"{key}=fast", code=65).stderr

"""A file of starts: what it must be, and the deviation it must have."""
import os

import numpy as np
import pytest

from conftest import qtaylor

EDM = {"shape": [1, 4, 4], "range": [-1, 1], "prediction": "x0", "time": {"kind": "sigma"}, "schedule": {"kind": "edm"},
       "labels": {"classes": 2, "null": 2}}


def run(job, starts, edm=False, **more):
    if edm:
        job.model["card"] = EDM
    job.keys["initial"] = "starts.npy"
    np.save(job.folder / "starts.npy", starts)
    return qtaylor("generate", job.write(), **more)


@pytest.mark.parametrize("edm, scale, told",
                         [(False, 1, False), (True, 80, False), (True, 1, True), (False, 80, True), (True, 60, False)])
def test_starts_of_another_deviation_are_told(job, edm, scale, told):
    starts = (scale * np.random.default_rng(0).normal(size=(100, 1, 4, 4))).astype("<f4")
    done = run(job, starts, edm)
    assert ("initial_scale" in done.stderr) == told, done.stderr


@pytest.mark.parametrize("starts, found", [
    (np.zeros((100, 1, 4, 4)), "<f8 [100,1,4,4]"),
    (np.zeros((99, 1, 4, 4), "<f4"), "<f4 [99,1,4,4]"),
    (np.zeros((100, 4, 4, 1), "<f4"), "<f4 [100,4,4,1]"),
    (np.zeros((100, 16), "<f4"), "<f4 [100,16]"),
])
def test_other_files_are_described(job, starts, found):
    done = run(job, starts, code=65)
    assert f"found {found}" in done.stderr and "expected <f4 (float32) [100,1,4,4]" in done.stderr
    assert "in the order of the seed list" in done.stderr and not job.run.exists()


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_starts_that_are_not_finite(job, value, command):
    starts = np.random.default_rng(0).normal(size=(80000, 1, 4, 4)).astype("<f4")  # beyond the first part that is read
    starts[79999, 0, 1, 2] = value
    job.keys |= {"initial": "starts.npy", "seeds": "5-80004"}
    np.save(job.folder / "starts.npy", starts)
    done = qtaylor(command, job.write(), code=65)
    assert "row 79999 (seed 80004) is not finite" in done.stderr and f"{value} at element 6" in done.stderr
    assert not job.run.exists()


@pytest.mark.parametrize("shape, size, words", [((99, 1, 4, 4), None, "expected <f4"),
                                                ((100, 1, 4, 4), 6500, "expected 6400 bytes of elements")])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_plan_says_of_starts_what_run_says(job, shape, size, words, command):
    job.keys["initial"] = "starts.npy"
    np.save(job.folder / "starts.npy", np.zeros(shape, "<f4"))
    if size:
        os.truncate(job.folder / "starts.npy", size)
    assert words in qtaylor(command, job.write(), code=65).stderr and not job.run.exists()


def test_plan_tells_of_another_deviation_and_passes_without_the_file(job):
    job.keys["initial"] = "starts.npy"
    qtaylor("plan", job.write())
    np.save(job.folder / "starts.npy", np.full((100, 1, 4, 4), 9, "<f4"))
    assert "initial_scale" in qtaylor("plan", job.write()).stderr

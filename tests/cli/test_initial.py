"""A file of starts: what it must be, and the deviation it must have."""
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


@pytest.mark.parametrize("edm, scale, told", [(False, 1, False), (True, 80, False), (True, 1, True), (False, 80, True), (True, 60, False)])
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

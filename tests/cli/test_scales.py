"""Guidance with a scale for each row of the conditions."""
import json

import numpy as np
import pytest

from conditions import arrays, expected, give
from conftest import qtaylor, stored


@pytest.mark.parametrize("classes, more", [
    (False, {}), (True, {"rescale": 0.7}), (False, {"interval": [0.1, 1]}), (True, {"form": "cfg-zero*"}),
    (True, {"batched": True}),
])
def test_scales_by_row(job, classes, more):
    """Each sample is, byte for byte, that of the job with its row's scale for all."""
    values, scales = arrays(), np.array([1.5, 0, 1, 3, -0.5, 7.25, 1.5])
    give(job, values, classes)
    made = {}
    for scale in np.unique(scales):
        job.keys["sampler"]["guidance"] = {"scale": float(scale), **more}
        job.keys["output"]["dir"] = str(job.folder / f"run{scale}")
        qtaylor("run", job.write())
        made[scale] = stored(job.run)
    for number, order in enumerate([np.arange(7), np.random.default_rng(2).permutation(7)]):
        for dtype in "<f2", "<f4", "<f8":
            np.save(job.folder / f"scales{number}{dtype[1:]}.npy", scales[order].astype(dtype))
            job.keys["sampler"]["guidance"] = {"scale": f"scales{number}{dtype[1:]}.npy", **more}
            job.keys["output"]["dir"] = str(job.folder / f"rows{number}{dtype[1:]}")
            qtaylor("run", job.write(), ranks=2 * (dtype == "<f8"))
            found = stored(job.run)
            assert all((found[i] == made[scales[order[i % 7]]][i]).all() for i in range(100))
    frame = json.loads(qtaylor("inspect", job.run / "samples/000001.npy.zst").stdout)["frame"]
    assert frame["scales"] == [scales[order[position % 7]] for position in range(16, 32)]
    if "interval" not in more:
        assert np.abs(found - expected(job, np.arange(100) % 7, values, scales=scales[order])).max() < 1e-4
    assert "exactly its 100 samples" in qtaylor("verify", job.run).stdout
    assert "the same as on disk" in qtaylor("sample", job.run, 17, "--recompute", "-o", job.folder / "x.npy").stdout


def test_scales_of_one_size_are_the_scalar_job(job):
    give(job, arrays())
    job.keys["output"]["dtype"] = "uint8"
    np.save(job.folder / "scales.npy", np.full(7, 2.5, "<f4"))
    for solver in "taylor", "rk45":
        job.keys["output"]["dir"] = str(job.folder / solver)
        job.keys["sampler"] = {"solver": solver, **({"nfe": 6} if solver == "taylor" else {})}
        job.keys["sampler"]["guidance"] = 2.5
        qtaylor("run", job.write())
        scalar = stored(job.run)
        job.keys["output"]["dir"] += "-rows"
        job.keys["sampler"]["guidance"] = {"scale": "scales.npy"}
        qtaylor("run", job.write(), ranks=2)
        assert (stored(job.run) == scalar).all()
    before = json.loads((job.run / "run.json").read_text())["keys"]["sampler"]["guidance"]["scale"]
    assert list(before) == ["sha256"]
    environment = json.loads(qtaylor("report", job.run, "--json").stdout)["environment"]
    assert environment["scales of guidance by row (sha256)"] == [before["sha256"]]
    assert "w by row" in qtaylor("plan", job.write(), "--set", "sampler={solver: taylor, nfe: 2, guidance: {scale: "
                                 "scales.npy}}").stdout
    np.save(job.folder / "scales.npy", np.full(7, 3, "<f4"))
    assert "sampler.guidance.scale.sha256" in qtaylor("run", job.write(), code=65).stderr


@pytest.mark.parametrize("scales, words", [
    (np.ones(6), ["shape (7,)", "(6,)"]),
    (np.ones((7, 1)), ["shape (7,)", "(7, 1)"]),
    (np.ones(7, int), ["float16, float32 or float64", "<i8"]),
    (np.array([1, 2, np.nan, 1, 1, 1, 1]), ["finite", "row 2"]),
    (None, ["sampler.guidance.scale", "scales.npy"]),
])
def test_scales_that_do_not_fit(job, scales, words):
    give(job, arrays())
    job.keys["sampler"]["guidance"] = {"scale": "scales.npy"}
    if scales is not None:
        np.save(job.folder / "scales.npy", scales)
    done = qtaylor("run", job.write(), code=65 if scales is not None else 74)
    assert all(word in done.stderr for word in words), done.stderr
    assert not job.run.exists()


def test_scales_need_rows_and_plain_guidance(job):
    np.save(job.folder / "scales.npy", np.ones(7))
    job.keys["sampler"]["guidance"] = {"scale": "scales.npy"}
    assert "for each row of the conditions" in qtaylor("run", job.write(), code=65).stderr
    give(job, arrays())
    assert "diagnose takes one scale" in qtaylor("diagnose", job.write(), "--count", 4, code=65).stderr
    job.keys["sampler"]["guidance"]["form"] = "apg"
    assert "apg takes one scale" in qtaylor("run", job.write(), code=65).stderr

"""compare on samples that are float32: a run's, and those that export wrote."""
import json

import numpy as np
import pytest

from conftest import qtaylor, stored


def frechet(a, b):
    (mu1, s1), (mu2, s2) = [(rows.mean(0), np.cov(rows, rowvar=False)) for rows in (a, b)]
    root = np.sqrt(np.clip(np.linalg.eigvals(s1 @ s2).real, 0, None)).sum()
    return ((mu1 - mu2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root


def fid(*arguments):
    return json.loads(qtaylor("compare", *arguments, "--json").stdout)["metrics"]["fid"]


@pytest.mark.parametrize("low, high", [(-1, 1), (0, 4)])
def test_floats_are_compared_as_they_are(job, tmp_path, low, high):
    job.model["card"]["range"] = [low, high]
    job.keys["output"]["dtype"] = "float32"
    qtaylor("generate", job.write())  # the job has no `evaluate`
    reference = np.random.default_rng(0).uniform(size=(200, 16)).astype(np.float32)
    np.save(tmp_path / "reference.npy", reference)
    rows = (stored(job.run).reshape(-1, 16).astype(float) - low) / (high - low)
    expected = frechet(rows, reference.astype(float))
    assert fid(job.run, tmp_path / "reference.npy", "--features", "none") == pytest.approx(expected, rel=1e-5)
    qtaylor("export", job.run, "--to", "npy", "-o", tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").dtype == np.float32
    again = fid(tmp_path / "a.npy", tmp_path / "reference.npy", "--features", "none", "--range", f"{low},{high}")
    assert again == fid(job.run, tmp_path / "reference.npy", "--features", "none")


def test_floats_are_refused_where_their_meaning_is_open(job, tmp_path):
    job.keys["output"]["dtype"] = "float32"
    job.add_evaluation()
    evaluate = job.keys.pop("evaluate")
    qtaylor("generate", job.write())
    np.save(tmp_path / "a.npy", np.zeros((30, 1, 4, 4), np.float32))
    compare = ["compare", tmp_path / "a.npy", tmp_path / "reference.npz", "--features"]
    assert "say --range LOW,HIGH" in qtaylor(*compare, "none", code=65).stderr
    for text in ("1", "1,1", "1,0", "0,1x", "nan,1", "0,inf"):
        assert f"--range: expected LOW,HIGH such as -1,1, found {text}" in qtaylor(
            *compare, "none", "--range", text, code=64).stderr
    said = qtaylor("compare", job.run, tmp_path / "reference.npz", "--features", tmp_path / evaluate["features"],
                   code=65).stderr
    assert "features.json takes pictures in whole numbers of [0, 255], and" in said and "export --to npz" in said
    np.savez(tmp_path / "a.npz", np.zeros((30, 1, 4, 4), np.float32))
    assert "found <f4: give float32 images as a .npy file" in qtaylor(
        "check", tmp_path / "model.json", tmp_path / "a.npz", code=65).stderr


def test_pixels_of_an_export_are_the_runs(job, tmp_path):
    job.add_evaluation()
    qtaylor("run", job.write())
    qtaylor("export", job.run, "--to", "npy", "-o", tmp_path / "a.npy")
    options = [tmp_path / "reference.npz", "--features", tmp_path / "features.json"]
    assert fid(tmp_path / "a.npy", *options) == fid(job.run, *options)

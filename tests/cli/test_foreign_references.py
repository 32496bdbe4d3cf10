"""tools/reference.py: EDM2's pickles and dgm-eval's features, and files that are neither."""
import io
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT, qtaylor

USAGE, DATA = 64, 65


def convert(source, out, *more, code=0):
    done = subprocess.run([sys.executable, ROOT / "tools/reference.py", source, out, *map(str, more)],
                          capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows_new(count=300, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)) @ np.diag(range(1, dim + 1)) + 3


def compare(a, b, metrics="fid"):
    values = json.loads(qtaylor("compare", a, b, "--metrics", metrics, "--json").stdout)["metrics"]
    return {name: value for name, value in values.items() if isinstance(value, float)}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_edm2(tmp_path, protocol):
    """As its calculate_metrics.py pickles them."""
    rows, others = rows_new(), rows_new(dim=5, seed=1)
    stats = {"num_images": len(rows), "fid": {"mu": rows.mean(0), "sigma": np.cov(rows.T)},
             "fd_dinov2": {"mu": others.mean(0), "sigma": np.cov(others.T)}}
    (tmp_path / "img.pkl").write_bytes(pickle.dumps(stats, protocol))
    error = convert(tmp_path / "img.pkl", tmp_path / "a.npz", code=DATA)
    assert "several statistics, fid, fd_dinov2: say which by --metric" in error and not (tmp_path / "a.npz").exists()
    assert "300 images, 5 features" in convert(tmp_path / "img.pkl", tmp_path / "a.npz", "--metric", "fd_dinov2")
    with np.load(tmp_path / "a.npz") as arrays:
        assert (arrays["mu"] == others.mean(0)).all() and (arrays["sigma"] == np.cov(others.T)).all()
        assert arrays["count"] == 300
    convert(tmp_path / "img.pkl", tmp_path / "b.npz", "--metric", "fid")
    np.save(tmp_path / "rows.npy", rows_new(seed=2).astype(np.float32))
    np.savez(tmp_path / "plain.npz", mu=rows.mean(0), sigma=np.cov(rows.T))
    assert compare(tmp_path / "rows.npy", tmp_path / "b.npz") == compare(tmp_path / "rows.npy", tmp_path / "plain.npz")
    assert "expected one of fid, fd_dinov2" in convert(tmp_path / "img.pkl", tmp_path / "c.npz", "--metric", "kid",
                                                       code=DATA)


@pytest.mark.parametrize("name", ["reps", "feats"])
def test_dgm_eval(tmp_path, name):
    rows, ours = rows_new(), rows_new(seed=3).astype(np.float32)
    np.savez(tmp_path / "theirs.npz", model="dinov2", hparams={"path": "x"}, **{name: rows})
    np.save(tmp_path / "same.npy", rows.astype(np.float32))
    np.save(tmp_path / "ours.npy", ours)
    refused = qtaylor("compare", tmp_path / "ours.npy", tmp_path / "theirs.npz", code=DATA).stderr
    assert name in refused and "hparams" in refused and "model" in refused
    network = tmp_path / "net.pt"
    network.write_bytes(b"a network")
    convert(tmp_path / "theirs.npz", tmp_path / "a.npz", "--network", network)
    metrics = "fid,kid,prdc,mind"
    assert compare(tmp_path / "ours.npy", tmp_path / "a.npz", metrics) == pytest.approx(
        compare(tmp_path / "ours.npy", tmp_path / "same.npy", metrics), rel=1e-6)
    with np.load(tmp_path / "a.npz") as arrays:
        digest = subprocess.run(["sha256sum", network], capture_output=True, text=True, check=True).stdout.split()[0]
        assert arrays["network"] == digest.encode()


STATISTICS = {"mu": np.zeros(3), "sigma": np.eye(3)}


def test_any_layout_is_written_as_qtaylor_reads_it(tmp_path):
    """In Fortran's order, of another byte order, of float32: compare takes it, and has the same number."""
    rows = rows_new()
    np.save(tmp_path / "ours.npy", rows_new(seed=3).astype(np.float32))
    sigma = np.cov(rows.T).astype(np.float32)
    forms = {"plain": np.ascontiguousarray(sigma), "fortran": np.asfortranarray(sigma), "big": sigma.astype(">f4")}
    found = {}
    for name, form in forms.items():
        stats = {"num_images": np.int32(len(rows)), "fid": {"mu": rows.mean(0).astype(form.dtype), "sigma": form}}
        (tmp_path / "img.pkl").write_bytes(pickle.dumps(stats))
        convert(tmp_path / "img.pkl", tmp_path / f"{name}.npz")
        found[name] = compare(tmp_path / "ours.npy", tmp_path / f"{name}.npz")
    assert found["fortran"] == found["big"] == found["plain"]


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("content, said", [
    (pickle.dumps({"fid": {"mu": Harm(), "sigma": 1}}), "found posix.system"),
    (pickle.dumps({"mu": np.zeros(3), "n": 4}), "found members mu (float64[3]), n (int)"),
    (pickle.dumps([1, 2]), "expected a dictionary, found list"),
    (pickle.dumps({"fid": {"mu": np.zeros(3), "sigma": np.eye(4)}}), "found mu (float64[3]), sigma (float64[4, 4])"),
    (pickle.dumps({"fid": {"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}}), "symmetric"),
    (pickle.dumps({"fid": {"mu": np.full(3, np.nan), "sigma": np.eye(3)}}), "finite"),
    (pickle.dumps({"fid": {"mu": np.zeros(3), "sigma": np.eye(3)}})[:-40], "expected a pickle"),
    (pickle.dumps({"fid": STATISTICS, "num_images": -3}), "num_images: expected a whole number of images, two or more, "
                                                          "found -3"),
    (pickle.dumps({"fid": STATISTICS, "num_images": "x"}), "found 'x'"),
    (pickle.dumps({"fid": STATISTICS, "num_images": 2.5}), "found 2.5"),
    (pickle.dumps({"fid": STATISTICS, "num_images": 1}), "found 1"),
    (pickle.dumps({"fid": STATISTICS | {"sigma": np.diag([1, -1, 1])}}), "variances on sigma's diagonal, found -1"),
    (pickle.dumps({"fid": STATISTICS | {"sigma": np.eye(3) * 1j}}), "of numbers"),
    (b"\x80\x04]\x94R.", "expected a pickle"),
    (b"no pickle at all", "expected a pickle"), (b"", "expected a pickle")])
def test_what_is_refused(tmp_path, content, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(content)
    assert said in convert("a.pkl", "b.npz", code=DATA)
    assert sorted(os.listdir(tmp_path)) == ["a.pkl"]


def test_npz_that_is_refused(tmp_path):
    file = io.BytesIO()
    np.savez(file, mu_train=np.zeros(3), reps=np.zeros((4, 3, 2)))
    (tmp_path / "a.npz").write_bytes(file.getvalue())
    assert "found members mu_train (float64[3]), reps (float64[4, 3, 2])" in convert(tmp_path / "a.npz",
                                                                                     tmp_path / "b.npz", code=DATA)
    data = bytearray(file.getvalue())
    data[data.index(b"NUMPY") + 130] ^= 1  # the member's bytes, not those of its checksum
    (tmp_path / "b.npz").write_bytes(data)
    assert "expected an .npz" in convert(tmp_path / "b.npz", tmp_path / "c.npz", code=DATA)
    assert "is there already" in convert(tmp_path / "a.npz", tmp_path / "a.npz", code=USAGE)
    assert "No such file" in convert(tmp_path / "gone.pkl", tmp_path / "c.npz", code=74)


def test_features_beside_statistics_of_nobody_knows_how_many(job):
    """The FID is of these statistics, so its reference is not of as many images as there are features."""
    job.add_evaluation()
    with np.load(job.folder / "reference.npz") as arrays:
        statistics = dict(arrays)
    np.savez(job.folder / "reference.npz", features=rows_new(50).astype(np.float32), **statistics)
    found = json.loads(qtaylor("run", job.write(), "--json").stdout)["metrics"]
    assert found["reference"]["count"] is None and found["samples"] == 100
    compared = json.loads(qtaylor("compare", job.run, job.folder / "reference.npz", "--json").stdout)
    assert compared["samples"] == {"A": 100, "B": None} and compared["metrics"]["fid"] == found["fid"]

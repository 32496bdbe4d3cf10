"""Samples that are kept in floats, with a range or without one: what is stored, what feature networks get of it, and
who refuses it."""
import json

import numpy as np

from conftest import qtaylor, stored
from test_decode import give_decoder


def run_with(job, name, dtype, span=(-1, 1), **more):
    job.model["card"]["range"] = span
    job.keys["output"] = {"dir": str(job.folder / name), "samples_per_shard": 16, "dtype": dtype}
    job.keys |= more
    qtaylor("run", job.write())
    return stored(job.run)


def test_halves_are_the_nearest_of_what_is_made(job):
    single, half = run_with(job, "single", "float32"), run_with(job, "half", "float16")
    assert half.dtype == np.float16 and half.shape == single.shape == (100, 1, 4, 4)
    assert (np.abs(half.astype(float) - single) <= np.spacing(np.abs(half)).astype(float) / 2 + 1e-9).all()
    document = json.loads((job.run / "run.json").read_text())
    assert document["keys"]["output"] == {"dtype": "float16"} | {"rounding": None}


def test_without_a_range_nothing_is_mapped(job):
    job.add_evaluation()
    network = {"features": {"shape": [1, 4, 4], "range": [-1, 1], "outputs": {"pool": 16}}}  # the identity
    (job.folder / "features.json").write_text(json.dumps(network))
    np.savez(job.folder / "reference.npz", mu=np.zeros(16), sigma=np.eye(16))
    job.model["mixture"]["means"] = [[30 * (i % 2) for i in range(16)], [i for i in range(16)]]
    for dtype in "float32", "float16":
        samples = run_with(job, f"free-{dtype}", dtype, None)
        folder, = (job.run / "features").iterdir()
        assert (stored(folder, "pool") == samples.reshape(100, 16).astype(np.float32)).all()
        assert samples.max() > 20
        qtaylor("evaluate", job.run)
    job.keys["evaluate"]["features"] = "none"  # the samples themselves
    samples = run_with(job, "pixels", "float32", None)
    folder, = (job.run / "features").iterdir()
    assert (stored(folder, "pixels") == samples.reshape(100, 16)).all()
    mapped = run_with(job, "mapped", "float32", [-1, 3])
    folder, = (job.run / "features").iterdir()
    assert np.abs(stored(folder, "pixels") - (mapped.reshape(100, 16) + 1) / 4).max() < 1e-5
    assert (mapped == samples).all()


def test_what_is_no_picture_is_refused_as_one(job):
    run_with(job, "free", "float32", None)
    for form in "png", "npz":
        assert "no range" in qtaylor("export", job.run, "--to", form, "-o", job.folder / "x", code=65).stderr
    qtaylor("export", job.run, "--to", "npy", "-o", job.folder / "x.npy")
    assert (np.load(job.folder / "x.npy") == stored(job.run)).all()
    assert "no range" in qtaylor("sample", job.run, 5, "-o", job.folder / "x.png", code=65).stderr
    qtaylor("sample", job.run, 5, "-o", job.folder / "one.npy")
    assert (np.load(job.folder / "one.npy") == stored(job.run)[5]).all()
    qtaylor("report", job.run)
    assert "are no pictures" in (job.run / "report.html").read_text()
    job.keys["output"] |= {"dtype": "uint8", "dir": str(job.folder / "bytes")}
    for command in "plan", "run":
        assert "output.dtype: uint8 needs the range" in qtaylor(command, job.write(), code=65).stderr
    job.keys["output"]["dtype"] = "float32"
    job.keys["sampler"]["clip"] = True
    assert "clip: {range: R}" in qtaylor("plan", job.write(), code=65).stderr
    job.keys["sampler"]["clip"] = {"range": 2}
    qtaylor("run", job.write())


def test_what_is_too_large_for_a_half(job):
    job.model["mixture"]["means"] = [[1e5] * 16, [0] * 16]
    job.model["card"]["range"] = None
    job.keys |= {"labels": "labels.txt", "seeds": "0-47"}
    (job.folder / "labels.txt").write_text("".join("0\n" if i == 20 else "1\n" for i in range(48)))
    job.keys["output"]["dtype"] = "float16"
    done = qtaylor("run", job.write(), code=76)
    assert "seed 20 is not finite as float16" in done.stderr


def test_the_same_rounding_everywhere(job):
    """A float run's pixels, in exports and in the report, are those that the same job stores as bytes."""
    pixels = run_with(job, "bytes", "uint8", [0, 1])
    for dtype in "float32", "float16":
        samples = run_with(job, dtype, dtype, [0, 1])
        qtaylor("export", job.run, "--to", "npz", "-o", job.folder / f"{dtype}.npz")
        found = np.load(job.folder / f"{dtype}.npz")["arr_0"]
        expected = np.clip(127.5 * (2 * samples.astype(float) - 1) + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        assert (found == expected).all()
        assert np.abs(found.astype(int) - pixels).max() <= (0 if dtype == "float32" else 1)
        assert "data:image/png" in (qtaylor("report", job.run), job.run / "report.html")[1].read_text()


def test_decoders_without_a_range(job):
    give_decoder(job, {"range": None})
    assert "decoder's card" in qtaylor("run", job.write(), code=65).stderr
    give_decoder(job)
    pictures = run_with(job, "with", "float32", None)  # a latent needs no range
    give_decoder(job, {"range": None})
    assert (run_with(job, "without", "float32", None) == pictures).all()
    qtaylor("export", job.folder / "with", "--to", "npz", "-o", job.folder / "x.npz")
    done = qtaylor("export", job.folder / "without", "--to", "npz", "-o", job.folder / "y.npz", code=65)
    assert "no range" in done.stderr

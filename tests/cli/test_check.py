"""qtaylor check: of closed-form networks the right reading has the error that numpy finds, and every wrong card is
caught."""
import json
import zlib

import numpy as np
import pytest

from conftest import MEANS, ROOT, TORCH, qtaylor
from oracle import mixture_epsilon, normals

STD, WEIGHTS = 0.2, np.array([0.4, 0.6])
SCHEDULES = {"linear": {"kind": "linear"}, "flow": {"kind": "flow"}, "gvp": {"kind": "gvp"},
             "edm": {"kind": "edm"}, "discrete-linear": {"kind": "discrete-linear", "steps": 1000}}
TIMES = {"continuous": {"kind": "continuous"}, "turned": {"kind": "continuous", "noise_at": 0},
         "discrete": {"kind": "discrete", "steps": 1000}, "sigma": {"kind": "sigma"}, "c_noise": {"kind": "c_noise"}}


def data(count):
    rng = np.random.default_rng(5)
    x = np.array(MEANS)[rng.choice(2, count, p=WEIGHTS)] + STD * rng.normal(size=(count, 16))
    return x.reshape(count, 1, 4, 4).astype(np.float32)


def network(job, schedule, time, prediction, count=48):
    card = {"prediction": prediction, "schedule": SCHEDULES[schedule], "time": TIMES[time], "labels": None}
    job.model["card"] |= card
    job.write()
    np.save(job.folder / "images.npy", data(count))
    return job.folder / "model.json", job.folder / "images.npy"


def found(*arguments, code=0):
    done = qtaylor("check", *arguments, "--json", code=code)
    return json.loads(done.stdout), done.stderr


PLAIN = ("epsilon", "x0", "v", "velocity", "score")


@pytest.mark.parametrize("schedule, time, prediction", [
    *[("linear", "continuous", prediction) for prediction in ("epsilon", "x0", "v", "score")],
    *[("flow", time, prediction) for time in ("continuous", "turned") for prediction in ("velocity", "x0")],
    ("gvp", "turned", "velocity"), ("discrete-linear", "discrete", "epsilon"), ("discrete-linear", "discrete", "v"),
    ("edm", "sigma", "x0"), ("edm", "c_noise", "edm"), ("edm", "c_noise", "edm-vp"), ("edm", "c_noise", "edm-ve")])
def test_the_right_card_wins_and_wrong_ones_are_caught(job, schedule, time, prediction):
    model, images = network(job, schedule, time, prediction)
    result, _ = found(model, images)
    assert result["readings"][0]["card"] and result["readings"][0]["prediction"] == prediction
    for other in PLAIN if prediction in PLAIN else ("edm", "edm-vp", "edm-ve"):
        if other == prediction:
            continue
        result, said = found(model, images, "--set", f"prediction={other}", code=65)
        assert f"its card says {other}" in said and f"but read as {prediction}" in said
        assert sum(reading["card"] for reading in result["readings"]) == 1
    if TIMES[time]["kind"] == "continuous":
        turned = int(time == "turned")
        _, said = found(model, images, "--set", f"time.noise_at={turned}", code=65)
        assert f"but read as {prediction}, noise at {1 - turned}" in said


def test_the_errors_are_numpys(job):
    """Of the noise that its header promises: stream k of seed i."""
    model, images = network(job, "flow", "turned", "velocity")
    result, _ = found(model, images)
    x0 = data(48).reshape(48, 16).astype(np.float64)
    assert len(result["times"]) == 10 and result["images"] == 48
    for k, at in enumerate(result["times"]):
        t, z = at["t"], np.stack([normals(i, k, 16) for i in range(48)])
        assert at["logsnr"] == pytest.approx(np.log((1 - t) / t))
        x = (1 - t) * x0 + t * z
        epsilon = mixture_epsilon(x, 1 - t, t, np.array(MEANS), STD, WEIGHTS)
        estimate = (x - t * epsilon) / (1 - t)
        rms = lambda of: np.sqrt(((of - x0)**2).mean())
        right = result["readings"][0]
        turned = next(r for r in result["readings"] if r["prediction"] == "velocity" and r["noise_at"] == 1)
        assert right["rmse"][k] == pytest.approx(rms(estimate), rel=1e-4)
        # told 1 - t and read the other way, it takes x for one of the other time
        wrong = mixture_epsilon(x, t, 1 - t, np.array(MEANS), STD, WEIGHTS)
        velocity = wrong - (x - (1 - t) * wrong) / t  # dx/dt of the network at its own time 1 - t; it gives -dx/dt
        assert turned["rmse"][k] == pytest.approx(rms(x - t * -velocity), rel=1e-3)
        variance = x0.var(0, ddof=1)
        assert at["pixelwise"] == pytest.approx(np.sqrt((variance * t**2 / ((1 - t)**2 * variance + t**2)).mean()))
    assert right["mean"] == pytest.approx(np.exp(np.log(right["rmse"]).mean()))


def test_no_reading_fits(job):
    """The card's schedule is another than the network's: no reading of it is any good."""
    model, images = network(job, "linear", "continuous", "epsilon")
    _, said = found(model, images, "--set", "time.scale=0.2", code=65)
    assert "no reading comes nearer" in said or "correct the card" in said


@pytest.mark.parametrize("labels", [None, {"classes": 2, "null": 2}, {"classes": 2, "null": None}])
def test_a_network_without_a_finite_output(job, labels):
    model, images = network(job, "linear", "continuous", "epsilon")
    job.model["card"]["labels"] = labels
    job.model["nan_call"] = -1
    job.write()
    _, said = found(model, images, code=65)
    assert "no reading comes nearer" in said and "as the card says has inf" in said


def png(path, pixels):
    """[H,W] uint8, grey."""
    height, width = pixels.shape
    chunk = lambda kind, body: len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) +
                     chunk(b"IEND", b""))


def test_images_as_pngs_or_arrays_are_one(job):
    model, _ = network(job, "linear", "continuous", "epsilon")
    job.model["card"] |= {"range": [-2, 2], "batch": 5, "variance": "learned", "labels": {"classes": 2, "null": None}}
    job.write()
    pixels = np.rint((data(12)[:, 0].clip(-2, 2) + 2) / 4 * 255).astype(np.uint8)
    folder = job.folder / "pngs"
    folder.mkdir()
    for i, image in enumerate(pixels):
        png(folder / f"{i}.png", image)
    np.save(job.folder / "u1.npy", pixels[..., None])
    np.save(job.folder / "f4.npy", (pixels / 255 * 4 - 2).astype(np.float32)[:, None])
    results = [found(model, job.folder / name)[0] for name in ("pngs", "u1.npy", "f4.npy")]
    assert results[0] == results[1] == results[2] and results[0]["images"] == 12
    assert found(model, folder, "--count", 4)[0]["images"] == 4
    for images in folder, job.folder / "images.npy":
        assert "expected two images or more" in qtaylor("check", model, images, "--count", 1, code=64).stderr


@pytest.mark.parametrize("images, said", [
    (np.zeros((5, 4, 4, 3), np.uint8), "expected images of the card's shape [1, 4, 4], found [3, 4, 4]"),
    (np.zeros((5, 1, 4, 5), np.float32), "expected [N,1,4,4], found <f4 of shape (5, 1, 4, 5)"),
    (np.zeros((1, 4, 4, 1), np.uint8), "two images or more, found 1"),
    (np.full((3, 1, 4, 4), np.nan, np.float32), "image 0 is not finite"),
    (np.zeros((5, 7)), "expected images |u1 [N,H,W,C]")])
def test_what_is_refused(job, images, said):
    model, path = network(job, "linear", "continuous", "epsilon")
    np.save(path, images)
    assert said in qtaylor("check", model, path, code=65).stderr


def test_keys_of_the_card(job):
    model, images = network(job, "linear", "continuous", "epsilon")
    said = qtaylor("check", model, images, "--set", "predicton=v", code=65).stderr
    assert "predicton: unknown key; did you mean \"prediction\"?" in said
    card = job.model.pop("card")
    job.write()
    assert "expected a card" in qtaylor("check", model, images, code=65).stderr
    job.model["card"] = card


def test_the_digits(tmp_path):
    """A trained network and the real pictures it knows."""
    from sklearn.datasets import load_digits

    np.save(tmp_path / "digits.npy", np.rint(load_digits().images / 16 * 255).astype(np.uint8)[..., None])
    model = ROOT / "jobs/digits/model.pt"
    text = qtaylor("check", model, tmp_path / "digits.npy", program=TORCH).stdout
    assert "* epsilon, noise at 1" in text and "its card says what fits best: epsilon" in text
    for key in ("prediction=v", "prediction=x0", "time.noise_at=0", "schedule={kind: cosine}", "time.scale=10"):
        said = qtaylor("check", model, tmp_path / "digits.npy", "--set", key, program=TORCH, code=65).stderr
        assert "correct the card" in said or "no reading comes nearer" in said, key


def test_null_is_a_value_of_the_card(job):
    job.model["card"]["labels"] = {"classes": 2, "null": 2}
    job.write()
    np.save(job.folder / "images.npy", data(8))
    without = qtaylor("check", job.folder / "model.json", job.folder / "images.npy", "--set", "labels.null=null")
    assert "the card has no null label" in without.stderr

"""Archives that hold a name twice: some readers take the first and some the last, so nobody may."""
import io
import json
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from conftest import CARD, qtaylor


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def png(value):
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(out, "png")
    return out.getvalue()


def archive(path, *members):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore")
        for name, data in members:
            file.writestr(name, data)
    return path


STATISTICS = [("mu.npy", npy(np.zeros(2))), ("sigma.npy", npy(np.eye(2)))]
PIXELS = ("arr_0.npy", npy(np.zeros((9, 4, 4, 1), np.uint8)))
DOUBLED = {
    "mu.npy": STATISTICS + [("mu.npy", npy(np.ones(2)))],
    "arr_0.npy": [PIXELS, ("arr_0.npy", npy(np.ones((9, 4, 4, 1), np.uint8)))],
    "b/1.png": [("b/0.png", png(0)), ("b/1.png", png(1)), ("b/1.png", png(2))],
}


@pytest.mark.parametrize("name", DOUBLED)
def test_sides_of_a_comparison(tmp_path, name):
    ending = "zip" if name.endswith("png") else "npz"
    one = archive(tmp_path / f"one.{ending}", *dict(DOUBLED[name]).items())
    two = archive(tmp_path / f"two.{ending}", *DOUBLED[name])
    for pair in ([one, two], [two, one]):
        done = qtaylor("compare", *pair, *([] if name == "mu.npy" else ["--features", "none"]), code=65)
        assert f"holds {name} twice" in done.stderr, done.stderr


CARDS = [json.dumps(CARD | {"range": [-1, last]}) for last in (1, 2)]


@pytest.mark.parametrize("names", [("m/extra/diffusion.json",) * 2, ("m/extra/diffusion.json", "extra/diffusion.json"),
                                   ("m/extra/diffusion.json", "m/data/0", "m/data/0")],
                         ids=["card", "two roots", "weights"])
def test_model(job, names):
    path = job.write()
    members = zip(names, CARDS + ["x"])
    archive(job.folder / "model.json", ("m/constants.pkl", b"x"), *members)
    assert f"holds {'extra/diffusion.json' if 'extra/diffusion.json' in names else names[-1]} twice" in qtaylor(
        "plan", path, code=65).stderr

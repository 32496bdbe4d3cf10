"""A job's reference may be images: they go through its feature network once."""
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import qtaylor
from test_decode import give_decoder


def images_new(folder, count, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for index in range(count):
        pixels = Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8))
        pixels.save(folder / f"{index}.{'jpg' if index % 3 else 'png'}")


@pytest.fixture
def with_images(job):
    job.add_evaluation()
    images_new(job.folder / "images", 60)
    job.keys["evaluate"] |= {"reference": "images", "metrics": ["fid", "kid", "prdc"]}
    return job


def metrics(run):
    values = json.loads((run / "metrics.json").read_text())["metrics"]
    return values, {key: value for key, value in values.items() if key not in ("reference", "network", "samples")}


def made(run):
    return sorted((run / "references").iterdir())


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_folder_is_what_compare_makes_of_it(with_images, ranks):
    job = with_images
    qtaylor("run", job.write(), ranks=ranks)
    values, numbers = metrics(job.run)
    assert values["reference"]["path"] == str(job.folder / "images") and values["reference"]["count"] == 60
    options = ["--features", job.folder / "features.json", "--metrics", "fid,kid,prdc", "--json"]
    assert json.loads(qtaylor("compare", job.run, job.folder / "images", *options).stdout)["metrics"] == numbers
    (file,) = made(job.run)
    with np.load(file) as arrays:
        assert arrays["features"].shape == (60, 8) and arrays["count"] == 60
        np.testing.assert_allclose(arrays["sigma"], np.cov(arrays["features"].astype(float).T), rtol=1e-9)
    assert "60 images" not in qtaylor("run", job.write(), ranks=ranks).stderr  # it is there
    assert made(job.run) == [file]


@pytest.mark.parametrize("ranks", [0, 2])
def test_tune_judges_by_images_as_by_their_statistics(with_images, ranks):
    job = with_images
    (job.folder / "images/notes.txt").write_text("no image")
    qtaylor("reference", job.folder / "images", "--features", job.folder / "features.json", "-o",
            job.folder / "made.npz")
    found = []
    for reference in "images", "made.npz":
        job.keys["evaluate"] |= {"reference": reference, "metrics": ["fid"]}
        done = qtaylor("tune", job.write(), "--nfe", 4, "--json", "-o", job.folder / f"tuned-{reference}",
                       ranks=ranks)
        found.append([one["fid"] for one in json.loads(done.stdout)["tuned"]])
        assert done.stderr.count("left out, as hidden or no images") == (reference == "images")
    assert found[0] == found[1] and found[0][0]


def test_other_images_are_another_reference(with_images):
    job = with_images
    qtaylor("run", job.write())
    first = metrics(job.run)[1]
    Image.new("L", (4, 4)).save(job.folder / "images/x.png")
    qtaylor("run", job.write())
    values, numbers = metrics(job.run)
    assert values["reference"]["count"] == 61 and numbers != first and len(made(job.run)) == 2
    (job.folder / "images/x.png").unlink()
    qtaylor("evaluate", job.run)
    assert metrics(job.run)[1] == first and len(made(job.run)) == 2
    made(job.run)[0].unlink()
    made(job.run)[0].unlink()
    qtaylor("evaluate", job.run)
    assert metrics(job.run)[1] == first and len(made(job.run)) == 1


def test_cells_share_what_is_made(with_images):
    job = with_images
    job.keys["sweep"] = {"sampler.nfe": [3, 4]}
    shutil.make_archive(job.folder / "images", "zip", job.folder / "images")
    job.keys["evaluate"] |= {"reference": "images.zip", "metrics": ["fid"]}
    assert qtaylor("run", job.write(), ranks=2).stderr.count("60 images [4,4,1] through") == 1
    (file,) = made(job.run)
    with np.load(file) as arrays:
        assert "features" not in arrays
    numbers = [metrics(job.run / f"nfe={nfe}")[1]["fid"] for nfe in (3, 4)]
    assert numbers[0] != numbers[1]


def test_what_the_images_cannot_give_is_said_before_the_first_sample(with_images):
    job = with_images

    def refused(command="run", code=65):
        said = qtaylor(command, job.write(), code=code).stderr
        assert not (job.run / "samples").exists()
        return said

    path = job.folder / "images/7.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert "evaluate.reference: " in (said := refused()) and "images/7.jpg as a JPEG" in said
    path.write_bytes(whole)
    job.keys["evaluate"]["metrics"] = ["sfid"]
    assert "sfid needs an output `spatial`" in refused()
    job.keys["evaluate"]["metrics"] = ["fid"]
    Image.new("L", (5, 4)).save(job.folder / "images/9.png")
    assert "images/9.png: expected an image of 4 x 4 x 1" in refused()
    Image.new("L", (5, 4)).save(job.folder / "images/0.png")
    assert "/images: feature network" in (said := refused()) and "[1,4,5]" in said
    shutil.rmtree(job.folder / "images")
    images_new(job.folder / "images", 1)
    for command in ("plan", "run"):
        assert "2" in refused(command) and not (job.run / "metrics.json").exists()
    shutil.rmtree(job.folder / "images")
    (job.folder / "images").mkdir()
    for command in ("plan", "run"):
        assert "expected .png, .jpg or .webp images, found none" in refused(command)


@pytest.mark.parametrize("side", [4, 8])
def test_images_of_another_size_than_the_samples_are_told(job, side):
    """Beside a decoder these are its pictures, of 8 x 8, not the latents of 4 x 4."""
    give_decoder(job)
    job.add_evaluation()
    (job.folder / "images").mkdir()
    for index in range(2):
        Image.new("RGB", (side, side), (index, 0, 0)).save(job.folder / f"images/{index}.png")
    job.keys["evaluate"] |= {"features": "none", "reference": "images"}
    done = qtaylor("run", job.write(), code=0 if side == 8 else 65)
    assert ("the images are [3,4,4] (channels, height, width), the samples [3,8,8]" in done.stderr) == (side == 4)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_pixels_of_images_of_another_shape_are_refused(job, command):
    """2 x 8 pixels are as many as 4 x 4."""
    job.add_evaluation()
    np.save(job.folder / "wide.npy", np.random.default_rng(0).integers(0, 256, (60, 2, 8, 1), dtype=np.uint8))
    job.keys["evaluate"] |= {"features": "none", "reference": "wide.npy"}
    said = qtaylor(command, job.write(), code=65).stderr
    assert "evaluate.reference: " in said and "the images are [1,2,8] (channels, height, width)" in said
    assert not (job.run / "samples").exists()
    qtaylor("reference", job.folder / "wide.npy", "--features", "none", "-o", job.folder / "wide.npz")
    job.keys["evaluate"]["reference"] = "wide.npz"
    assert "images of [1,2,8] (channels, height, width), the sample side [1,4,4]" in qtaylor(
        command, job.write(), code=65).stderr


def test_order_of_image_files(tmp_path):
    (tmp_path / "a").mkdir()
    names = ["10.png", "2.png", "1.png", "b/3.png"]
    (tmp_path / "a/b").mkdir()
    for number, name in enumerate(names):
        Image.fromarray(np.full((1, 1), number, np.uint8)).save(tmp_path / "a" / name)

    def rows(*options):
        qtaylor("reference", tmp_path / "a", "--features", "none", "-o", tmp_path / "f.npy", *options)
        return [names[round(row[0] * 255)] for row in np.load(tmp_path / "f.npy").tolist()]

    assert rows() == rows("--order", "natural") == ["1.png", "2.png", "10.png", "b/3.png"]
    assert rows("--order", "name") == sorted(names)

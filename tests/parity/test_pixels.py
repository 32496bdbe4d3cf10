"""The pixels of PNG, JPEG and WebP files are Pillow's, and what would have more than one meaning is refused."""
import io
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from conftest import qtaylor

HEIGHT, WIDTH = 21, 27  # neither is a whole number of JPEG's blocks


def picture(rng, channels=3, height=HEIGHT, width=WIDTH):
    """Smooth colours with edges and noise: some of everything that a codec treats in its own way."""
    coarse = rng.integers(0, 256, (5, 6, channels), dtype=np.uint8)
    planes = [Image.fromarray(coarse[:, :, k]).resize((width, height), Image.BICUBIC) for k in range(channels)]
    pixels = np.stack([np.asarray(plane) for plane in planes], axis=2).astype(int)
    pixels[height // 3:, width // 2:] = rng.integers(0, 256, channels)
    pixels += rng.integers(-12, 13, pixels.shape)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def decoded(place, tmp_path, code=0):
    """The images as qtaylor reads them, [N,H*W*C] as C,H,W; or what it says."""
    out = tmp_path / "pixels.npy"
    done = qtaylor("reference", place, "--features", "none", "-o", out, code=code)
    return (np.load(out) * 255).round().astype(np.uint8) if code == 0 else done.stderr


def pillow(place):
    """The same by Pillow."""
    rows = []
    for path in sorted(place.iterdir()):
        pixels = np.asarray(Image.open(path))
        rows.append((pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)).ravel())
    return np.stack(rows)


def cjpeg(image, path, *options):
    """By libjpeg's own program, which can do what Pillow cannot."""
    pnm = io.BytesIO()
    image.save(pnm, "PPM")
    path.write_bytes(subprocess.run(["cjpeg", *options], input=pnm.getvalue(), capture_output=True, check=True).stdout)


def assert_pillows(folder, tmp_path):
    ours, theirs = decoded(folder, tmp_path), pillow(folder)
    assert ours.shape == theirs.shape
    names = [path.name for path in sorted(folder.iterdir())]
    assert [name for name, a, b in zip(names, ours, theirs) if (a != b).any()] == []


def test_pixels_in_colour_are_pillows(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: neither Pillow's Image.open nor we turn it back
    makers = [("jpg", dict(quality=quality, subsampling=subsampling, progressive=progressive, optimize=optimize))
              for quality in (30, 75, 95) for subsampling in (0, 1, 2) for progressive in (False, True)
              for optimize in (False, True)]
    makers += [("jpg", dict(quality=90, keep_rgb=True)), ("jpg", dict(restart_marker_blocks=1)),
               ("jpg", dict(exif=exif)), ("png", {}), ("png", dict(compress_level=0)),
               ("png", dict(compress_level=1)), ("png", dict(optimize=True)), ("png", dict(dpi=(72, 72)))]
    makers += [("webp", dict(quality=quality, method=method, exact=True))
               for quality in (1, 50, 80, 100) for method in (0, 4, 6)]
    makers += [("webp", dict(lossless=True)), ("webp", dict(exif=exif))]
    for index, (extension, options) in enumerate(makers * 4):
        picture(rng).save(folder / f"{index:03d}.{extension}", **options)
    samplings = ("1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "2x1,1x1,2x1")  # 4x1: 4:1:1
    for index, sampling in enumerate(samplings):
        for kind, options in {"a": (), "b": ("-progressive",), "c": ("-arithmetic",), "d": ("-restart", "1")}.items():
            cjpeg(picture(rng), folder / f"z{index}{kind}.jpg", "-sample", sampling, *options)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "000b.jpg")
    shutil.copy(folder / "000.jpg", folder / "000c.png")  # what a file is called does not matter
    assert len(list(folder.iterdir())) > 200
    assert_pillows(folder, tmp_path)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, "deeper/" + path.name)
    assert (decoded(tmp_path / "images.zip", tmp_path) == pillow(folder)).all()


def test_grey_pixels_are_pillows(tmp_path):
    rng = np.random.default_rng(1)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(24):
        options = dict(quality=30 + 3 * index, progressive=index % 2 == 0) if index % 3 else {}
        picture(rng, 1).save(folder / f"{index:02d}.{'jpg' if index % 3 else 'png'}", **options)
    cjpeg(picture(rng, 1), folder / "99.JPEG", "-grayscale")
    assert_pillows(folder, tmp_path)


def test_sizes_around_whole_blocks_are_pillows(tmp_path):
    rng = np.random.default_rng(2)
    for size in [(1, 1), (1, 9), (8, 8), (15, 17), (16, 16), (33, 2)]:
        folder = tmp_path / f"{size[0]}x{size[1]}"
        folder.mkdir()
        for index, options in enumerate([dict(subsampling=0), dict(subsampling=2), dict(progressive=True)]):
            picture(rng, 3, *size).save(folder / f"{index}.jpg", **options)
        picture(rng, 3, *size).save(folder / "3.webp")
        assert_pillows(folder, tmp_path)


def refused(tmp_path, name, data):
    """As the second image of a folder, by its name."""
    folder = tmp_path / "refused"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    picture(np.random.default_rng(3)).save(folder / "0.png")
    (folder / name).write_bytes(data)
    said = decoded(folder, tmp_path, code=65)
    assert f"refused/{name}" in said
    return said


def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def test_images_of_more_than_one_meaning_are_refused_by_name(tmp_path):
    rng = np.random.default_rng(4)
    image, grey = picture(rng), picture(rng, 1)
    assert "found CMYK" in refused(tmp_path, "1.jpg", encoded(image.convert("CMYK"), "JPEG"))
    assert "found an alpha channel" in refused(tmp_path, "1.webp", encoded(picture(rng, 4), "WEBP"))
    assert "found an alpha channel" in refused(tmp_path, "1.png", encoded(picture(rng, 4), "PNG"))
    assert "found an animation" in refused(
        tmp_path, "1.webp", encoded(image, "WEBP", save_all=True, append_images=[picture(rng)]))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert "at most 8 bits a channel, found 16" in refused(tmp_path, "1.png", encoded(deep, "PNG"))
    for form in ("JPEG", "PNG"):
        assert "found 21 x 27 x 1" in refused(tmp_path, "1.jpg", encoded(grey, form))
    for form in ("JPEG", "WEBP", "PNG"):
        said = refused(tmp_path, "1.jpg", encoded(picture(rng, 3, 20), form))
        assert "found 20 x 27 x 3" in said and "tools/prepare_images.py" in said
    assert "found other first bytes" in refused(tmp_path, "1.jpg", encoded(image, "GIF"))
    assert "found an empty one" in refused(tmp_path, "1.jpg", b"")


@pytest.mark.parametrize("form, options", [("JPEG", {}), ("JPEG", dict(progressive=True)), ("WEBP", {}),
                                           ("WEBP", dict(lossless=True))])
def test_cut_images_are_refused_by_name(tmp_path, form, options):
    data = encoded(picture(np.random.default_rng(5)), form, **options)
    for size in [4, 20, *range(40, len(data), len(data) // 8), len(data) - 3, len(data) - 1]:
        name = f"1.{form.lower()}"
        assert "cannot read" in refused(tmp_path, name, data[:size]), size


def test_what_is_lossy_is_told_by_the_bytes(tmp_path):
    """A lossless WebP is not; a JPEG is, whatever its name."""
    rng = np.random.default_rng(8)
    picture(rng).save(tmp_path / "0.webp", lossless=True)
    picture(rng).save(tmp_path / "1.png", format="JPEG")
    said = qtaylor("reference", tmp_path, "--features", "none", "-o", tmp_path / "out.npz").stderr
    assert "lossily compressed: 1 JPEG of 2 files" in said


def test_what_is_lossy_is_said_and_every_file_left_out_is_named(tmp_path):
    rng = np.random.default_rng(6)
    (tmp_path / "deeper").mkdir()
    for name in ["0.jpg", "deeper/1.JPEG", "2.webp", "10.png"]:
        picture(rng).save(tmp_path / name)
    others = [f"{index}.txt" for index in range(5)]
    for name in others:
        (tmp_path / name).write_text("a caption")
    said = qtaylor("reference", tmp_path, "--features", "none", "-o", tmp_path / "out.npz").stderr
    assert said.count("lossily compressed: 2 JPEG, 1 WebP of 4 files") == 1
    assert "left out, as hidden or no images: 5 (" in said and all(name in said for name in others)

"""tools/prepare_images.py against resampling written down as sums over pixels; labels, omissions, the recipe's name."""
import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, qtaylor

USAGE, DATA = 64, 65


def prepare(source, out, *more, code=0):
    done = subprocess.run([sys.executable, ROOT / "tools/prepare_images.py", source, out, *map(str, more)],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


KERNELS = {"box": (lambda x: float(-0.5 < x <= 0.5), 0.5),
           "bicubic": (lambda x: 1.5 * x ** 3 - 2.5 * x ** 2 + 1 if (x := abs(x)) < 1 else
                       -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 if x < 2 else 0, 2),
           "lanczos": (lambda x: float(np.sinc(x) * np.sinc(x / 3)) if abs(x) < 3 else 0, 3)}


def along(pixels, axis, size, kernel, whole):
    """Each output pixel the weighted mean of those under the kernel, which is as wide as the scale."""
    function, support = KERNELS[kernel]
    length, scale = pixels.shape[axis], max(pixels.shape[axis] / size, 1)
    matrix = np.zeros((size, length))
    for i in range(size):
        middle = (i + 0.5) * length / size
        first = max(int(middle - support * scale + 0.5), 0)
        last = min(int(middle + support * scale + 0.5), length)
        matrix[i, first:last] = [function((k - middle + 0.5) / scale) for k in range(first, last)]
    matrix /= matrix.sum(1, keepdims=True)
    pixels = np.moveaxis(np.tensordot(matrix, pixels.astype(float), (1, axis)), 0, axis)
    return np.clip(np.floor(pixels + 0.5), 0, 255) if whole else pixels


def resample(pixels, width, height, kernel, whole=True):
    """[H,W,C], rows before columns; whole pixels are rounded after each."""
    return along(along(pixels, 1, width, kernel, whole), 0, height, kernel, whole)


def middle(pixels, side_y, side_x):
    y, x = (pixels.shape[0] - side_y) // 2, (pixels.shape[1] - side_x) // 2
    return pixels[y:y + side_y, x:x + side_x]


def adm(pixels, size):
    while min(pixels.shape[:2]) >= 2 * size:
        pixels = resample(pixels, pixels.shape[1] // 2, pixels.shape[0] // 2, "box")
    scale = size / min(pixels.shape[:2])
    pixels = resample(pixels, round(pixels.shape[1] * scale), round(pixels.shape[0] * scale), "bicubic")
    return middle(pixels, size, size)


def square(pixels):
    return middle(pixels, min(pixels.shape[:2]), min(pixels.shape[:2]))


FORMULAS = {"adm-16": lambda pixels: adm(pixels, 16),
            "edm-16": lambda pixels: resample(square(pixels), 16, 16, "lanczos"),
            "center-bicubic": lambda pixels: resample(square(pixels), 16, 16, "bicubic"),
            "clean": lambda pixels: resample(pixels, 16, 16, "bicubic")}


def smooth(rng, height, width):
    """Something with edges and slopes; noise alone would hide a shift by half a pixel."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * rng.uniform(0.05, 0.9) + y * rng.uniform(-0.9, 0.9) + rng.uniform(0, 6)) for _ in range(3)]
    pixels = 128 + 80 * np.stack(waves, -1) + rng.normal(size=(height, width, 3)) * 20
    pixels[: height // 3, : width // 4] = 255
    return pixels.clip(0, 255).astype(np.uint8)


SIZES = [(16, 16), (40, 70), (131, 64), (17, 90), (33, 32), (9, 12), (100, 100)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("images") / "set", np.random.default_rng(1)
    for i, size in enumerate(SIZES):
        (path / "nb"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(rng, *size)).save(path / "nb"[i % 2] / f"{9 + i}.png")
    return path


def in_order(folder):
    """Natural order: b/9 before b/10, and b before n."""
    names = sorted(folder.rglob("*.png"), key=lambda path: (path.parent.name, int(path.stem)))
    return names, [np.array(Image.open(name)) for name in names]


@pytest.mark.parametrize("recipe", FORMULAS)
def test_recipes_are_their_formulas(folder, tmp_path, recipe):
    more = [] if recipe[-1].isdigit() else ["--size", 16]
    said = prepare(folder, tmp_path / "a.zip", "--recipe", recipe, *more)
    assert "7 images by" in said and "1 images: smaller than 16 pixels: enlarged" in said
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        listed = json.loads(archive.read("dataset.json"))
        assert listed["recipe"] == recipe + ("-16" if more else "")
        assert listed["labels"] == [[f"00000/img{i:08d}.png", int(i >= 3)] for i in range(7)]
        assert archive.namelist() == [name for name, _ in listed["labels"]] + ["dataset.json"]
        pictures = [np.array(Image.open(io.BytesIO(archive.read(name)))) for name, _ in listed["labels"]]
    for made, source in zip(pictures, in_order(folder)[1]):
        wanted = FORMULAS[recipe](source)
        assert made.shape == wanted.shape == (16, 16, 3) and np.abs(made - wanted).max() <= 1
        assert (made != wanted).mean() < 0.03  # Pillow's weights have 22 bits
    prepare(folder, tmp_path / "b.npz", "--recipe", recipe, *more, "--workers", 1)
    with np.load(tmp_path / "b.npz") as arrays:
        assert arrays["recipe"] == listed["recipe"].encode() and arrays["arr_1"].tolist() == [0, 0, 0, 1, 1, 1, 1]
        if recipe == "clean":
            wanted = [resample(source, 16, 16, "bicubic", whole=False).transpose(2, 0, 1)
                      for source in in_order(folder)[1]]
            assert arrays["arr_0"].dtype == np.float32 and np.abs(arrays["arr_0"] - wanted).max() < 1e-3
            assert arrays["arr_0"].max() > 255  # not clipped
        else:
            assert (arrays["arr_0"] == pictures).all() and arrays["arr_0"].dtype == np.uint8


def test_every_omission_is_named(folder, tmp_path):
    source = tmp_path / "set"
    rng = np.random.default_rng(2)
    source.mkdir()
    picture = Image.fromarray(smooth(rng, 20, 30))
    for name, mode in (("1.jpg", "RGB"), ("2.png", "L"), ("10.webp", "RGB"), ("3.jpg", "CMYK"), ("4.png", "RGBA")):
        picture.convert(mode).save(source / name)
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (source / name).write_text("x")
    said = prepare(source, tmp_path / "a.zip", "--recipe", "edm-8")
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        assert f"left out: {name}: no image" in said
    assert "5 images by edm-8, no labels; left out: 3 files that are no images, 0 images" in said
    for mode in ("CMYK", "L", "RGBA"):
        assert f"1 images: converted from {mode} to RGB" in said
    again = prepare(tmp_path / "a.zip", tmp_path / "b.npz", "--recipe", "center-bicubic", "--size", 8)
    with np.load(tmp_path / "b.npz") as arrays, zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        assert (arrays["arr_0"] == [np.array(Image.open(io.BytesIO(archive.read(name)))) for name in names]).all()
        assert "arr_1" not in arrays and "5 images" in again
    first = (tmp_path / "a.zip").read_bytes()
    prepare(source, tmp_path / "a.zip", "--recipe", "edm-8", "--force", "--workers", 1)
    assert (tmp_path / "a.zip").read_bytes() == first


def test_what_cannot_be_used(folder, tmp_path):
    source = tmp_path / "set"
    source.mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(source / "1.png")
    (source / "2.jpg").write_bytes((source / "1.png").read_bytes()[:60])
    Image.fromarray(np.full((9, 9), 1000, np.uint16)).save(source / "3.png")
    assert "3.png: expected pixels of 8 bits" in prepare(source, tmp_path / "a.zip", "--recipe", "adm-8", code=DATA)
    (source / "2.jpg").write_bytes((source / "1.png").read_bytes()[:20])
    for out in ("a.zip", "c.npz"):
        assert "2.jpg: " in prepare(source, tmp_path / out, "--recipe", "adm-8", code=DATA)
    said = prepare(source, tmp_path / "a.zip", "--recipe", "adm-8", "--skip-damaged")
    assert "left out: 2.jpg: " in said
    assert "left out: 3.png: expected pixels of 8 bits, found Pillow's mode I;16" in said
    assert "1 images by adm-8" in said and "2 images that can't be used" in said
    assert "is there already" in prepare(source, tmp_path / "a.zip", "--recipe", "adm-8", code=USAGE)
    (tmp_path / "empty").mkdir()
    assert "found none among 0 files" in prepare(tmp_path / "empty", tmp_path / "b.zip", "--recipe", "adm-8", code=DATA)
    for recipe in ("adm", "adm-0", "box-8", "center-bicubic"):
        assert "expected" in prepare(source, tmp_path / "b.zip", "--recipe", recipe, code=USAGE)
    assert "no such folder" in prepare(tmp_path / "gone", tmp_path / "b.zip", "--recipe", "adm-8", code=74)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "empty", "set"]


def pictures(path, count, value=0):
    path.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(np.full((9, 9, 3), value + i, np.uint8)).save(path / f"{i}.png")


def test_links_are_followed(tmp_path):
    """As qtaylor does: folders of classes kept elsewhere; a folder inside itself has no end."""
    pictures(tmp_path / "set/a", 1, 10)
    pictures(tmp_path / "elsewhere/deep", 2, 20)
    pictures(tmp_path / "other", 3, 30)
    (tmp_path / "other/notes.txt").write_text("x")
    (tmp_path / "elsewhere/more").symlink_to("../other")
    (tmp_path / "set/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/.kept").symlink_to(tmp_path / "set")
    (tmp_path / "set/gone").symlink_to("nowhere")
    said = prepare(tmp_path / "set", tmp_path / "a.npz", "--recipe", "adm-8")
    assert "6 images by adm-8, 2 classes; left out: 3 files" in said
    for name in ("b/more/notes.txt", ".kept", "gone"):
        assert f"left out: {name}: no image" in said
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["arr_0"][:, 0, 0, 0].tolist() == [10, 20, 21, 30, 31, 32]
        assert arrays["arr_1"].tolist() == [0, 1, 1, 1, 1, 1]
    (tmp_path / "set/gone").unlink()
    sides = ("reference", tmp_path / "set", "--features", "none", "-o", tmp_path / "r.npz")
    assert ".kept" in qtaylor(*sides).stderr  # hidden, so it is no loop either
    (tmp_path / "elsewhere/up").symlink_to("../elsewhere")
    loop = f"cannot list {tmp_path}/set/b/up: it is a link to a folder that it is in"
    assert loop in prepare(tmp_path / "set", tmp_path / "b.npz", "--recipe", "adm-8", code=74)
    assert loop in qtaylor(*sides, code=74).stderr


@pytest.mark.parametrize("name", ["1.png", "dataset.json"])
def test_a_fifo_is_not_waited_for(tmp_path, name):
    pictures(tmp_path / "set", 1)
    os.mkfifo(tmp_path / "set" / name)
    for workers in (1, 2):
        options = ("--recipe", "edm-8", "--skip-damaged", "--workers", workers)
        wanted = f"cannot read {tmp_path}/set/{name}: expected a regular file, found a FIFO, socket or device"
        assert wanted in prepare(tmp_path / "set", tmp_path / "a.zip", *options, code=74)
    if name == "1.png":
        assert wanted in qtaylor("reference", tmp_path / "set", "--features", "none", "-o", tmp_path / "r.npz",
                                 code=74).stderr
    said = prepare(tmp_path / "set" / name, tmp_path / "a.zip", "--recipe", "edm-8", code=DATA)
    assert "expected a folder or a zip" in said and os.listdir(tmp_path) == ["set"]


def test_what_is_in_memory_is_limited(tmp_path):
    """Where writing is slower than all else, reading waits for it; an error comes in its image's turn."""
    pictures(tmp_path / "set", 150)
    code = f'''
import sys, time
sys.path.insert(0, {str(ROOT / "tools")!r})
import prepare_images as tool
ahead, at = [0], [0]
read, add = tool.Source.read, tool.Zip.add
def reading(*arguments):
    at[0] += 1
    ahead.append(at[0])
    return read(*arguments)
def adding(*arguments):
    time.sleep(0.005)
    add(*arguments)
    at[0] -= 1
tool.Source.read, tool.Zip.add = reading, adding
try:
    tool.main(sys.argv[1:])
finally:
    print("at most", max(ahead))'''
    command = [sys.executable, "-c", code, tmp_path / "set", tmp_path / "a.zip", "--recipe", "edm-8", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 4 < int(done.stdout.split("at most ")[1]) <= 16, done.stdout
    prepare(tmp_path / "set", tmp_path / "b.zip", "--recipe", "edm-8", "--workers", 1)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    (tmp_path / "set/5.png").unlink()
    (tmp_path / "set/5.png").symlink_to("nowhere")
    for workers in (1, 2):
        options = ("--recipe", "edm-8", "--workers", workers)
        assert "5.png" in prepare(tmp_path / "set", tmp_path / "c.zip", *options, code=74)
    (tmp_path / "set/3.png").write_bytes(b"damaged")
    for workers in (1, 2):
        options = ("--recipe", "edm-8", "--workers", workers)
        assert "3.png: cannot identify" in prepare(tmp_path / "set", tmp_path / "c.zip", *options, code=DATA)
    assert not (tmp_path / "c.zip").exists()


@pytest.mark.parametrize("replaced, workers, code, said", [
    ("Image.open = lambda file: os.kill(os.getpid(), 9)", 2, 74, "one of the --workers was killed"),
    ("Image.open = no_memory", 2, 74, "set: 0.png: not enough memory"),
    ("Image.open = no_memory", 1, 74, "set: 0.png: not enough memory"),
    ("Source.read = no_memory", 2, 74, "set: 0.png: not enough memory"),
    ("Zip.add = lambda *pixels: os.kill(os.getpid(), 9)", 2, -9, "")])
def test_processes_are_killed_and_memory_ends(tmp_path, replaced, workers, code, said):
    """No image is left out as damaged, and no process waits for another that is gone (it would hold the pipes)."""
    pictures(tmp_path / "set", 40)
    program = f'''
import multiprocessing, os, sys
sys.path.insert(0, {str(ROOT / "tools")!r})
import prepare_images as tool
def no_memory(*arguments):
    raise MemoryError
tool.{replaced}
multiprocessing.set_start_method("fork")
tool.main(sys.argv[1:])'''
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "set", tmp_path / "a.zip", "--recipe", "edm-8",
                           "--skip-damaged", "--workers", str(workers)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert code < 0 or os.listdir(tmp_path) == ["set"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_member_of_a_zip(tmp_path, workers):
    pictures(tmp_path / "set", 4)
    more = ("--recipe", "edm-8", "--workers", workers)
    prepare(tmp_path / "set", tmp_path / "a.zip", *more)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"IDAT") + 12] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    said = prepare(tmp_path / "a.zip", tmp_path / "b.zip", *more, code=DATA)
    assert "00000/img00000000.png: Bad CRC-32" in said and "Traceback" not in said
    assert "3 images by" in prepare(tmp_path / "a.zip", tmp_path / "b.zip", *more, "--skip-damaged")


def test_a_zip_with_a_name_twice(tmp_path):
    pictures(tmp_path / "set", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        [archive.write(tmp_path / "set" / name, "0.png") for name in ("0.png", "1.png")]
    wanted = f"{tmp_path}/a.zip holds 0.png twice, and readers differ in which of them they take: make it again"
    assert wanted in prepare(tmp_path / "a.zip", tmp_path / "b.zip", "--recipe", "edm-8", code=DATA)
    assert wanted in qtaylor("reference", tmp_path / "a.zip", "--features", "none", "-o", tmp_path / "r.npz",
                             code=DATA).stderr


@pytest.mark.parametrize("options", ["adm-8 --workers 0", "adm-8 --workers -1", "clean --size 0", "clean --size -3",
                                     "center-bicubic --size 0", "center-bicubic --size 100000", "clean --size x"])
def test_numbers_that_are_none(tmp_path, options):
    pictures(tmp_path / "set", 1)
    said = prepare(tmp_path / "set", tmp_path / "a.zip", "--recipe", *options.split(), code=USAGE)
    option, number = options.split()[1:]
    assert f"argument {option}: expected a whole number in 1..99999, found {number}\n" in said
    assert os.listdir(tmp_path) == ["set"]


def test_labels_of_a_source_are_kept(folder, tmp_path):
    prepare(folder, tmp_path / "a.zip", "--recipe", "edm-20")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "tree")
    listed = json.loads((tmp_path / "tree/dataset.json").read_text())
    listed["labels"] = [[name, 40 + i] for i, (name, _) in enumerate(listed["labels"])]
    (tmp_path / "tree/dataset.json").write_text(json.dumps(listed))
    prepare(tmp_path / "tree", tmp_path / "b.npz", "--recipe", "adm-8")
    assert np.load(tmp_path / "b.npz")["arr_1"].tolist() == list(range(40, 47))
    listed["labels"].pop()
    (tmp_path / "tree/dataset.json").write_text(json.dumps(listed))
    assert "found null for 00000/img00000006.png" in prepare(tmp_path / "tree", tmp_path / "c.npz", "--recipe", "adm-8",
                                                             code=DATA)


@pytest.mark.parametrize("text, found", [
    ("true", "true"), ('{"labels":5}', '{"labels": 5}'), ('{"labels":[1,2]}', '{"labels": [1, 2]}'),
    ('{"labels":[[["0.png"],1]]}', '[[["0.png"], 1]]'), pytest.param("[" * 100000, "expected JSON: ", id="deep"),
    ('{"labels":[["0.png",true]]}', "found true for 0.png"), ('{"labels":[["0.png",1%023d]]}' % 0, f"{10 ** 23} for")])
def test_labels_that_are_none(tmp_path, text, found):
    pictures(tmp_path / "set", 1)
    (tmp_path / "set/0.png").write_bytes(b"damaged")  # the labels are looked at first
    (tmp_path / "set/dataset.json").write_text(text)
    said = prepare(tmp_path / "set", tmp_path / "a.npz", "--recipe", "edm-8", code=DATA)
    assert "dataset.json: expected " in said and found in said and "Traceback" not in said


def test_classes_are_of_the_images_used(tmp_path):
    source = tmp_path / "set"
    for name in "abcd":
        (source / name).mkdir(parents=True)
        Image.fromarray(np.full((9, 9, 3), ord(name), np.uint8)).save(source / name / "1.png")
    for name in "ac":
        (source / name / "1.png").write_bytes(b"damaged")
    said = prepare(source, tmp_path / "a.npz", "--recipe", "adm-8", "--skip-damaged")
    assert "2 images by adm-8, 2 classes" in said and "left out: the class c/" in said
    assert "left out: a/1.png: cannot identify image file\n" in said
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["arr_1"].tolist() == [0, 1]
        assert arrays["arr_0"][:, 0, 0, 0].tolist() == [ord("b"), ord("d")]
    (source / "d/1.png").write_bytes(b"damaged")
    assert "no labels" in prepare(source, tmp_path / "b.zip", "--recipe", "adm-8", "--skip-damaged")
    (source / "bad.jpg").write_bytes(b"damaged")
    said = prepare(source, tmp_path / "c.zip", "--recipe", "adm-8", "--skip-damaged", code=DATA)
    assert "found bad.jpg beside the folders (1 such)" in said and not (tmp_path / "c.zip").exists()


def test_the_recipe_travels(job, folder, tmp_path):
    """Out of the images into statistics, metrics, run.json and the card; two that differ are said."""
    job.add_evaluation()
    for recipe, out in (("edm-4", "a.zip"), ("adm-4", "b.npz")):
        prepare(folder, tmp_path / out, "--recipe", recipe)
    network = job.folder / "features.json"
    card = json.loads(network.read_text())
    card["features"]["shape"] = [3, 4, 4]
    network.write_text(json.dumps(card))
    for out in ("a.zip", "b.npz"):
        qtaylor("reference", tmp_path / out, "--features", network, "-o", tmp_path / f"{out}-stats.npz")
    with np.load(tmp_path / "a.zip-stats.npz") as arrays:
        assert arrays["recipe"] == b"edm-4"
    assert json.loads(qtaylor("inspect", tmp_path / "a.zip-stats.npz").stdout)["recipe"] == "edm-4"
    assert "recipe" not in json.loads(qtaylor("inspect", job.folder / "reference.npz").stdout)
    compare = ["compare", "--features", network, tmp_path / "a.zip"]
    other = qtaylor(*compare, tmp_path / "b.npz-stats.npz").stderr
    assert "two recipes, edm-4 of" in other and "adm-4 of" in other
    assert "recipes" not in qtaylor(*compare, tmp_path / "a.zip-stats.npz").stderr
    assert "recipes" not in qtaylor(*compare, job.folder / "reference.npz").stderr
    qtaylor("reference", tmp_path / "b.npz", "--features", network, "-o", tmp_path / "b.npy")
    for cut in ([], ["--count", "2"]):
        assert "two recipes, edm-4 of" in qtaylor(*compare, tmp_path / "b.npy", *cut).stderr
    qtaylor("reference", tmp_path / "b.npy", "-o", tmp_path / "again.npz")
    assert json.loads(qtaylor("inspect", tmp_path / "again.npz").stdout)["recipe"] == "adm-4"
    job.model["card"]["shape"] = [3, 4, 4]
    job.model["mixture"]["means"] = np.linspace(-1, 1, 96).reshape(2, 48).tolist()
    for out, recipe in (("a.zip-stats.npz", "edm-4"), ("b.npz", "adm-4")):
        job.keys["evaluate"]["reference"] = str(tmp_path / out)
        job.keys["output"]["dir"] = str(tmp_path / recipe)
        qtaylor("run", job.write())
        assert json.loads((job.run / "metrics.json").read_text())["metrics"]["reference"]["recipe"] == recipe
        assert json.loads((job.run / "run.json").read_text())["reference_recipe"] == recipe
        assert f"prepared by the recipe {recipe}" in qtaylor("report", job.run, "--card").stdout

"""export and sample beside what reads their files: numpy, PIL, ADM's evaluator and EDM's dataset reader (both written
down again from their formats), and what must not happen to anybody's files."""
import ast
import json
import os
import signal
import struct
import subprocess
import zipfile

import numpy as np
import PIL.Image
import pytest

from conftest import FAKE, FAULT, ROOT, TORCH, Job, environment, qtaylor, stored

AGAIN, DATA, USAGE = 75, 65, 64


def pixels(rows):
    """float32 [N,C,H,W] in [-1, 1] as EDM rounds it, [N,H,W,C]."""
    if rows.dtype == np.uint8:
        return rows
    return np.trunc(np.clip(rows.astype(float) * 127.5 + 128, 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)


def read_adm(path, name="arr_0"):
    """As ADM's evaluator: the member is streamed, its .npy header version 1 or 2, C order."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        assert file.read(6) == b"\x93NUMPY"
        major, _ = file.read(2)
        length, = struct.unpack("<H" if major == 1 else "<I", file.read(2 if major == 1 else 4))
        header = ast.literal_eval(file.read(length).decode("latin1"))
        assert major in (1, 2) and not header["fortran_order"]
        dtype, shape = np.dtype(header["descr"]), header["shape"]
        rows = []
        for first in range(0, shape[0], 64):
            count = min(64, shape[0] - first)
            size = count * int(np.prod(shape[1:])) * dtype.itemsize
            rows.append(np.frombuffer(file.read(size), dtype).reshape(count, *shape[1:]))
        assert file.read(1) == b""
    return np.concatenate(rows)


def read_edm(path):
    """As EDM's ImageFolderDataset: names, images [N,C,H,W] and labels, in its order."""
    if os.path.isdir(path):
        names = {os.path.relpath(os.path.join(root, name), start=path) for root, _, files in os.walk(path)
                 for name in files}
        open_file = lambda name: open(os.path.join(path, name), "rb")
    else:
        archive = zipfile.ZipFile(path)
        names, open_file = set(archive.namelist()), lambda name: archive.open(name)
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert archive.testzip() is None
    PIL.Image.init()
    images = sorted(name for name in names if os.path.splitext(name)[1].lower() in PIL.Image.EXTENSION)
    labels = None
    if "dataset.json" in names:
        labels = dict(json.load(open_file("dataset.json"))["labels"])
        labels = np.array([labels[name.replace("\\", "/")] for name in images])
        labels = labels.astype({1: np.int64, 2: np.float32}[labels.ndim])
    pictures = [np.array(PIL.Image.open(open_file(name))) for name in images]
    pictures = [picture[:, :, np.newaxis] if picture.ndim == 2 else picture for picture in pictures]
    return images, np.stack(pictures).transpose(0, 3, 1, 2), labels


def export(job, to, output, *more, code=0, **env):
    return qtaylor("export", job.run, "--to", to, "-o", output, *more, code=code, **env)


@pytest.fixture
def made(job):
    qtaylor("generate", job.write())
    return job


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_form_holds_the_shards_rows(job, tmp_path, channels, dtype):
    rng = np.random.default_rng(3)
    job.model["card"]["shape"] = [channels, 4, 6]
    job.model["mixture"]["means"] = rng.uniform(-1, 1, (2, channels * 24)).tolist()
    job.keys["seeds"] = "995-1059,7,400-435"
    job.keys["labels"] = "random"
    job.keys["output"]["dtype"] = dtype
    qtaylor("generate", job.write())
    rows, seeds = stored(job.run), [*range(995, 1060), 7, *range(400, 436)]
    about = json.loads(export(job, "npz", tmp_path / "a.npz", "--json").stdout)
    assert about["samples"] == len(seeds) == len(rows) and about["labels"] is True
    images, labels = read_adm(tmp_path / "a.npz"), read_adm(tmp_path / "a.npz", "arr_1")
    assert images.dtype == np.uint8 and labels.dtype == np.int64 and len(set(labels)) == 2
    np.testing.assert_array_equal(images, pixels(rows))
    manifest = [subprocess.run([FAKE, "inspect", path], capture_output=True, check=True).stdout
                for path in sorted((job.run / "samples").iterdir())]
    np.testing.assert_array_equal(labels, sum((json.loads(text)["frame"]["labels"] for text in manifest), []))
    with np.load(tmp_path / "a.npz") as numpy_file:
        assert numpy_file.files == ["arr_0", "arr_1"]
        np.testing.assert_array_equal(numpy_file["arr_0"], images)
    export(job, "npy", tmp_path / "a.npy")
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == rows.dtype
    np.testing.assert_array_equal(array, rows)
    forms = {"flat": "{0:06d}.png", "tree": "{1:06d}/{0:06d}.png", "a.zip": "{2:05d}/img{0:08d}.png"}
    for place, name in forms.items():
        export(job, "png", tmp_path / place, *(["--subdirs"] if place == "tree" else []))
        names, pictures, classes = read_edm(tmp_path / place)
        order = sorted(range(len(seeds)), key=lambda i: seeds[i])
        assert names == [name.format(seeds[i], seeds[i] - seeds[i] % 1000, seeds[i] // 1000) for i in order]
        np.testing.assert_array_equal(pictures.transpose(0, 2, 3, 1), pixels(rows)[order])
        np.testing.assert_array_equal(classes, labels[order])


def test_without_classes_there_are_no_labels(job, tmp_path):
    job.model["card"]["labels"] = None
    job.keys |= {"labels": "none", "seeds": "0-19"}
    qtaylor("generate", job.write())
    done = qtaylor("export", job.run, "--to", "npz")
    name = job.run / "samples_20x4x4x1.npz"
    assert str(name) in done.stdout and np.load(name).files == ["arr_0"]
    qtaylor("export", job.run, "--to", "png")
    assert read_edm(job.run / "png")[2] is None
    assert "holds exactly" in qtaylor("verify", job.run).stdout  # neither is in its way


def test_ids_and_count(made, tmp_path):
    rows = stored(made.run)
    export(made, "npz", tmp_path / "a.npz", "--ids", "90-99,3,17-40")
    wanted = [*range(90, 100), 3, *range(17, 41)]
    np.testing.assert_array_equal(read_adm(tmp_path / "a.npz"), rows[wanted])
    np.testing.assert_array_equal(read_adm(tmp_path / "a.npz", "arr_1"), np.array(wanted) % 2)
    scattered = np.random.default_rng(0).permutation(100)
    export(made, "npy", tmp_path / "b.npy", "--ids", ",".join(map(str, scattered)), "--count", 77)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), rows[scattered[:77]])
    export(made, "npy", tmp_path / "c.npy", "--count", 1)
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), rows[:1])
    for options, code, word in ((["--ids", "4,100"], DATA, "100"), (["--ids", "4,1-5"], USAGE, "4 twice"),
                                (["--ids", "x"], USAGE, "x"),
                                (["--count", 101], DATA, "101"), (["--count", 0], USAGE, "0"),
                                (["--ids", "0-9", "--count", 11], DATA, "11"), (["--subdirs"], USAGE, "--subdirs")):
        assert word in export(made, "npz", tmp_path / "no.npz", *options, code=code).stderr
    assert "png, npz or npy" in export(made, "jpeg", tmp_path / "no.npz", code=USAGE).stderr
    assert not (tmp_path / "no.npz").exists()


@pytest.mark.parametrize("to", ["npz", "npy", "png", "zip"])
def test_gaps_are_named_and_leave_nothing(made, tmp_path, to):
    place = tmp_path / "out" / "a.zip" if to == "zip" else tmp_path / "out" / "a"
    arguments = made, "png" if to == "zip" else to, place
    (made.run / "samples/000002.npy.zst").unlink()
    (made.run / "samples/000003.npy.zst").unlink()
    error = export(*arguments, code=AGAIN).stderr
    assert "32 of the 100 samples" in error and "shards 2-3)" in error
    export(*arguments, "--ids", "0-31,64-70")
    place.rename(tmp_path / "elsewhere")
    path = made.run / "samples/000005.npy.zst"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    error = export(*arguments, "--ids", "0-20,80-99", code=AGAIN).stderr
    assert str(path) in error and "damaged" in error
    assert os.listdir(tmp_path / "out") == []


def test_nothing_that_is_there_is_lost(made, tmp_path):
    rows = stored(made.run)
    for to, name in (("npz", "a.npz"), ("npy", "a.npy"), ("png", "a.zip")):
        (tmp_path / name).write_text("mine")
        assert "--force" in export(made, to, tmp_path / name, code=USAGE).stderr
        assert (tmp_path / name).read_text() == "mine"
        export(made, to, tmp_path / name, "--force")
        assert (tmp_path / name).read_bytes()[:2] in (b"PK", b"\x93N")
    folder = tmp_path / "pictures"
    folder.mkdir()
    export(made, "png", folder, "--count", 3)  # an empty one is free
    assert len(read_edm(folder)[0]) == 3
    for more in ([], ["--force"]):
        assert "not empty" in export(made, "png", folder, *more, code=USAGE).stderr
    assert "is a folder" in export(made, "npz", folder, "--force", code=USAGE).stderr
    assert "is a file" in export(made, "png", tmp_path / "a.npy", "--force", code=USAGE).stderr
    assert len(read_edm(folder)[0]) == 3 and len(np.load(tmp_path / "a.npy")) == len(rows)


def test_labels_drawn_on_a_gpu_come_from_the_shards(made, tmp_path):
    """A login node cannot draw them again."""
    document = json.loads((made.run / "run.json").read_text())
    document["job"] |= {"labels": "edm", "noise": "torch-cuda"}
    (made.run / "run.json").write_text(json.dumps(document))
    export(made, "npz", tmp_path / "a.npz")
    np.testing.assert_array_equal(read_adm(tmp_path / "a.npz", "arr_1"), np.arange(100) % 2)
    qtaylor("verify", made.run)


def content(path):
    if path.is_file():
        return path.read_bytes()
    return {name.relative_to(path): name.read_bytes() for name in path.rglob("*") if name.is_file()}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("large"))
    job.keys |= {"seeds": "0-99999", "batch": 64, "sampler": {"solver": "ddim", "nfe": 1}}
    job.keys["output"]["samples_per_shard"] = 256
    qtaylor("generate", job.write())
    return job


FORMS = {"a.npz": "npz", "a.npy": "npy", "a.zip": "png", "png": "png"}


def test_bytes_depend_on_no_threads(large, tmp_path):
    for name, to in FORMS.items():
        for threads in (1, 2, 5):
            (tmp_path / str(threads)).mkdir(exist_ok=True)
            export(large, to, tmp_path / str(threads) / name, "--ids", "700-1700,0-200,50000", OMP_NUM_THREADS=threads)
        assert content(tmp_path / "1" / name) == content(tmp_path / "2" / name) == content(tmp_path / "5" / name)


def test_memory_does_not_grow_with_the_samples(large, tmp_path):
    def peak(name, count):
        child = subprocess.Popen([FAKE, "export", large.run, "--to", FORMS[name], "-o", tmp_path / f"{count}{name}",
                                  "--count", str(count)],
                                 stdout=subprocess.DEVNULL, env=environment(OMP_NUM_THREADS=2), cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return usage.ru_maxrss * 1024
    for name, a_sample in (("a.npz", 40), ("a.zip", 1000)):  # bytes: its label and place; a member's record
        assert peak(name, 100000) - peak(name, 2000) < 98000 * a_sample + (4 << 20), name


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("fault", ["call=file path=.tmp- n=2", "call=rename n=1"])
def test_killed_in_the_midst(large, tmp_path, name, fault):
    arguments = [FAKE, "export", large.run, "--to", FORMS[name], "-o", tmp_path / name, "--count", "3000"]
    preload = environment(LD_PRELOAD=FAULT, QTAYLOR_FAULTS=f"{fault} do=SIGKILL")
    assert subprocess.run(arguments, stdout=subprocess.DEVNULL, env=preload, cwd=ROOT).returncode == -signal.SIGKILL
    left = os.listdir(tmp_path)
    assert name not in left and all(".tmp-" in other for other in left) and left
    assert subprocess.run(arguments, stdout=subprocess.DEVNULL, cwd=ROOT).returncode == 0
    assert os.listdir(tmp_path) == [name]
    if name == "a.npz":
        assert read_adm(tmp_path / name).shape == (3000, 4, 4, 1)


@pytest.mark.long
def test_an_npz_beyond_4_gib(tmp_path):
    path = tmp_path / "large.npz"
    subprocess.run([ROOT / "build/fake/tests/test_archive"], check=True, env=environment(QTAYLOR_LARGE=path), cwd=ROOT)
    assert path.stat().st_size > 1 << 32
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()
        assert first.file_size == 128 + 4100 * (1 << 20) and second.header_offset > 1 << 32
        assert archive.testzip() is None
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["arr_1"], [7, 8, 9])
        images = arrays["arr_0"]
    assert images.shape == (4100, 512, 1024, 2)
    assert all((images[i] == i % 251).all() for i in (0, 1, 250, 251, 4095, 4096, 4099))
    path.unlink()


# ---- sample ----

def test_sample_from_disk(made, tmp_path):
    rows = stored(made.run)
    qtaylor("sample", made.run, 42, "-o", tmp_path / "a.png")
    qtaylor("sample", made.run, 42, "-o", tmp_path / "a.npy")
    np.testing.assert_array_equal(np.array(PIL.Image.open(tmp_path / "a.png")), rows[42, :, :, 0])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows[42])
    assert "--force" in qtaylor("sample", made.run, 43, "-o", tmp_path / "a.png", code=USAGE).stderr
    assert "100" in qtaylor("sample", made.run, 100, "-o", tmp_path / "b.png", code=DATA).stderr
    assert "one seed" in qtaylor("sample", made.run, "1-2", "-o", tmp_path / "b.png", code=USAGE).stderr
    assert ".npy" in qtaylor("sample", made.run, 1, "-o", tmp_path / "b.jpg", code=USAGE).stderr


@pytest.mark.parametrize("sampler", [{"solver": "ddpm", "nfe": 5}, {"solver": "rk45"}], ids=lambda s: s["solver"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_sample_made_again(job, tmp_path, sampler, dtype):
    job.keys["sampler"] = sampler
    job.keys["seeds"] = "100-147,7-9"  # the last batch has 3 of 8
    job.keys["output"]["dtype"] = dtype
    qtaylor("generate", job.write())
    rows = stored(job.run)
    for seed, position in ((113, 13), (9, 50)):
        done = qtaylor("sample", job.run, seed, "--recompute", "-o", tmp_path / "a.npy", "--force")
        assert "the same as on disk" in done.stdout
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows[position])
    (job.run / "samples/000003.npy.zst").unlink()
    error = qtaylor("sample", job.run, 8, "-o", tmp_path / "b.npy", code=AGAIN).stderr
    assert "--recompute" in error and "shards 3" in error and not (tmp_path / "b.npy").exists()
    qtaylor("sample", job.run, 8, "--recompute", "-o", tmp_path / "b.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), rows[49])
    job.model["mixture"]["std"] = 0.3
    job.write()
    assert "another file" in qtaylor("sample", job.run, 8, "--recompute", "-o", tmp_path / "c.npy", code=DATA).stderr


def test_sample_made_again_with_its_guide(job, tmp_path):
    guide = json.loads(json.dumps(job.model))
    guide["mixture"]["std"] = 0.5
    (tmp_path / "guide.json").write_text(json.dumps(guide))
    job.keys |= {"seeds": "0-15",
                 "sampler": {"solver": "ddim", "nfe": 4, "guidance": {"scale": 2, "model": "guide.json"}}}
    qtaylor("generate", job.write())
    assert "the same as on disk" in qtaylor("sample", job.run, 11, "--recompute", "-o", tmp_path / "a.png").stdout
    (tmp_path / "guide.json").write_text(json.dumps(job.model))
    assert "guide.json is another" in qtaylor("sample", job.run, 11, "--recompute", "-o", tmp_path / "b.png",
                                              code=DATA).stderr


def test_sample_that_differs_from_the_disk_says_so(made, tmp_path):
    document = json.loads((made.run / "run.json").read_text())
    for op in document["plan"]["ops"]:
        if op["op"] == "LINCOMB":
            op["terms"][0][0] *= 1.01
    del document["plan_sha256"]  # as of 0.1, which has none
    (made.run / "run.json").write_text(json.dumps(document))
    error = qtaylor("sample", made.run, 5, "--recompute", "-o", tmp_path / "a.png", code=DATA).stderr
    assert "seed 5" in error and "differ" in error and not (tmp_path / "a.png").exists()


@pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")
def test_a_digit_made_again_by_libtorch(tmp_path):
    run = tmp_path / "run"
    qtaylor("generate", ROOT / "jobs/digits/job.yaml", "--set", f"output.dir={run}", "--set", "seeds=0-99", "--set",
            "sampler.nfe=3", program=TORCH)
    done = qtaylor("sample", run, 77, "--recompute", "-o", tmp_path / "a.png", program=TORCH)
    assert "the same as on disk" in done.stdout
    np.testing.assert_array_equal(np.array(PIL.Image.open(tmp_path / "a.png")), stored(run)[77, :, :, 0])

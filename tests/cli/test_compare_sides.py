"""compare: sides that do not go together, or say less than they seem to, are refused or told."""
import hashlib
import json

import numpy as np
import pytest
from test_compare import compare, save_pngs

from conftest import qtaylor


def words(*arguments, code=0):
    return qtaylor("compare", *arguments, code=code).stderr


def test_an_error_that_is_rounding_is_none(tmp_path):
    """Numbers of 1e60 hide what blocks of samples near 1 do to them; a real error of such a size is told."""
    rng = np.random.default_rng(0)
    near, far = (rng.normal(size=(400, 4)).astype("f4") * np.float32(size) for size in (1, 1e30))
    np.save(tmp_path / "near.npy", near)
    np.save(tmp_path / "far.npy", far)
    np.save(tmp_path / "same.npy", np.ones((400, 4), "f4"))
    for a in ("near", "same"):
        done = qtaylor("compare", tmp_path / f"{a}.npy", tmp_path / "far.npy", "--metrics", "fid,mind", "--json")
        found = json.loads(done.stdout)["metrics"]
        assert found["fid"] > 1e60 and not [key for key in found if key.endswith(("_error", "_low", "_high"))]
        assert "fid: it has no standard error" in done.stderr and "mind: it has no standard error" in done.stderr
    found = compare(tmp_path / "far.npy", tmp_path / "near.npy")
    without = np.array(found["fid_without"])
    assert found["fid_error"] == pytest.approx(np.sqrt(19 / 20 * ((without - without.mean()) ** 2).sum()), rel=1e-9)
    # A difference whose error is lost in the size of either side is left out; of equal sets it is 0.
    said = qtaylor("compare", tmp_path / "near.npy", tmp_path / "far.npy", "--versus", tmp_path / "same.npy", "--json")
    assert "fid_delta is left out" in said.stderr and "fid_delta" not in json.loads(said.stdout)["metrics"]
    equal = compare(tmp_path / "far.npy", tmp_path / "near.npy", "--versus", tmp_path / "far.npy")
    assert (equal["fid_delta"], equal["fid_delta_error"]) == (0, 0)


def describe(path, **changes):
    """A shard's JSON frame; with changes it is written anew, with its check and the seek table's entry."""
    data = path.read_bytes()
    start = data.index(b'{"check":')
    length = int.from_bytes(data[start - 4:start], "little")
    about = json.loads(data[start:start + length])
    if changes:
        new = {key: value for key, value in (about | changes).items() if key != "check" and value is not None}
        bare = json.dumps(new, sort_keys=True, separators=(",", ":")).encode()
        new["check"] = hashlib.sha256(data[:start - 8] + bare).hexdigest()
        text = json.dumps(new, sort_keys=True, separators=(",", ":")).encode()
        table = bytearray(data[start + length:])
        table[-9 - 8:-9 - 4] = (len(text) + 8).to_bytes(4, "little")
        path.write_bytes(data[:start - 4] + len(text).to_bytes(4, "little") + text + table)
    return about


def harm(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_features_are_used_only_of_the_samples_that_are_there(job, tmp_path):
    job.add_evaluation()
    job.keys |= {"seeds": "0-255", "output": {"dir": str(tmp_path / "run"), "samples_per_shard": 64}}
    qtaylor("run", job.write())
    run, reference = tmp_path / "run", tmp_path / "reference.npz"
    good = compare(run, reference)
    kept = {path: path.read_bytes() for path in [*run.glob("samples/*"), *run.glob("features/*/*/*")]}
    samples, features = sorted(run.glob("samples/*")), sorted(run.glob("features/*/*/*"))
    harm(samples[1])
    samples[3].unlink()
    wanted = "64 of 256 samples are missing (shards 3), 64 damaged (shards 1); run again"
    assert wanted in words(run, reference, code=75)
    assert wanted in qtaylor("evaluate", run, code=75).stderr
    qtaylor("run", job.write())
    assert {path: path.read_bytes() for path in kept} == kept and compare(run, reference) == good
    harm(features[2])
    assert "64 of 256 features are damaged (shards 2)" in words(run, reference, code=75)
    features[2].write_bytes(kept[features[2]])
    # Features of other samples, as another machine may have made of the same seeds; those of older versions do not say.
    about = describe(features[0])
    assert about["samples"] == describe(samples[0])["sha256"]
    describe(features[0], samples=about["sha256"])
    assert "stale" in qtaylor("verify", run, code=75).stdout
    assert "64 of 256 features are stale (shards 0)" in words(run, reference, code=75)
    describe(features[0], samples=None)
    assert compare(run, reference) == good
    qtaylor("verify", run)


def test_a_run_is_paired_with_its_pictures_by_seed(job, tmp_path):
    """Also in another order, and as EDM names them; never some of them with others."""
    job.keys |= {"seeds": "300-399,0-299", "output": {"dir": str(tmp_path / "run"), "samples_per_shard": 64}}
    qtaylor("run", job.write())
    run, rng = tmp_path / "run", np.random.default_rng(2)
    qtaylor("export", run, "--to", "png", "-o", tmp_path / "png")
    qtaylor("export", run, "--to", "png", "-o", tmp_path / "png.zip")
    qtaylor("export", run, "--to", "png", "-o", tmp_path / "most", "--ids", "5-399")
    np.save(tmp_path / "reference.npy", rng.integers(0, 256, (400, 4, 4, 1), dtype=np.uint8))
    sides = (run, tmp_path / "reference.npy", "--features", "none", "--json", "--versus")
    for pictures in ("png", "png.zip"):
        done = qtaylor("compare", *sides, tmp_path / pictures)
        found = json.loads(done.stdout)["metrics"]
        assert "paired by position" not in done.stderr
        # As of the same rows in the same order; in another one the blocks differ, and the error with them.
        assert (found["fid_delta"], found["fid_delta_error"]) == (0, 0)
    said = qtaylor("compare", *sides, tmp_path / "most", code=65).stderr
    assert "--versus: a paired difference needs the same samples" in said
    assert f"of the 400 names (or seeds) of {run} 395 are among the 395 of" in said and "say --count" not in said
    qtaylor("export", run, "--to", "png", "-o", tmp_path / "start", "--ids", "0-199")
    qtaylor("export", run, "--to", "png", "-o", tmp_path / "all", "--ids", "0-399")
    said = qtaylor("compare", tmp_path / "all", *sides[1:], tmp_path / "start", code=65).stderr
    assert "the first 200 of both are the same: say --count 200" in said
    first = qtaylor("compare", *sides, tmp_path / "most", "--count", "200", code=65).stderr
    assert f"of the 200 names (or seeds) of {run} 95 are among the 200" in first


def test_copies_are_counted(tmp_path):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    save_pngs(tmp_path / "once", images)
    save_pngs(tmp_path / "twice", np.concatenate([images, images[:40]]))
    save_pngs(tmp_path / "other", rng.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8))
    assert "exact copies" not in words(tmp_path / "once", tmp_path / "other", "--features", "none")
    said = words(tmp_path / "twice", tmp_path / "other", "--features", "none")
    assert f"{tmp_path / 'twice'}: 40 of 100 images are exact copies of others" in said and "also in" not in said
    said = words(tmp_path / "once", tmp_path / "twice", "--features", "none")
    assert f"60 of the 60 images of {tmp_path / 'once'} are also in {tmp_path / 'twice'}" in said
    np.save(tmp_path / "array.npy", images[:7])
    assert "7 of the 7 images" in words(tmp_path / "array.npy", tmp_path / "once", "--features", "none")
    assert "40 of 100 images" in qtaylor("reference", tmp_path / "twice", "--features", "none", "-o",
                                         tmp_path / "r.npz").stderr


def test_features_say_which_network_made_them(tmp_path):
    rng = np.random.default_rng(4)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (240, 4, 4, 3), dtype=np.uint8))
    for width in (6, 7):
        described = {"shape": [3, 4, 4], "range": [0, 255], "outputs": {"pool": 6}}
        (tmp_path / f"net{width}.json").write_text(json.dumps({"features": described, "matrix": width}))
        for name in "ab":
            qtaylor("reference", tmp_path / f"{name}.npy", "--features", tmp_path / f"net{width}.json", "-o",
                    tmp_path / f"{name}{width}.npy")
    digest = hashlib.sha256((tmp_path / "net6.json").read_bytes()).hexdigest()
    a, b = np.load(tmp_path / "a6.npy"), np.load(tmp_path / "b6.npy", mmap_mode="r")  # as numpy reads them
    assert a.shape == b.shape == (240, 6) and a.dtype == np.float32
    assert (tmp_path / "a6.npy").stat().st_size % 64 == 240 * 6 * 4 % 64
    said = words(tmp_path / "a6.npy", tmp_path / "b7.npy", code=65)
    assert "the reference was made with the feature network" in said and digest[:12] in said
    assert "made with" in words(tmp_path / "a6.npy", tmp_path / "b6.npy", "--versus", tmp_path / "a7.npy", code=65)
    assert f"network        {digest[:12]}\n" in qtaylor("compare", tmp_path / "a6.npy", tmp_path / "b6.npy").stdout
    # Copied on, the name goes along; saved by others, it does not.
    qtaylor("reference", tmp_path / "b6.npy", "-o", tmp_path / "copy.npy")
    qtaylor("reference", tmp_path / "b6.npy", "-o", tmp_path / "ref.npz")
    for path in ("copy.npy", "ref.npz"):
        assert "made with" in words(tmp_path / "a7.npy", tmp_path / path, code=65)
    np.save(tmp_path / "bare.npy", b)
    np.savez(tmp_path / "named.npz", features=b, network=np.bytes_(digest))
    assert "made with" in words(tmp_path / "a7.npy", tmp_path / "named.npz", code=65)
    bare = [tmp_path / "a6.npy", tmp_path / "bare.npy"]
    assert f"network        {digest[:12]}; unknown of B\n" in qtaylor("compare", *bare).stdout
    found = json.loads(qtaylor("compare", *bare, "--json").stdout)["network"]
    assert found == {"name": None, "sha256": digest, "unknown": ["B"]}
    assert "network        unknown of A, B\n" in qtaylor("compare", bare[1], bare[1]).stdout
    through = qtaylor("compare", tmp_path / "a.npy", bare[0], "--features", tmp_path / "net6.json").stdout
    assert f"network        net6 {digest[:12]}\n" in through


def test_an_option_that_nothing_has_a_use_for_is_an_error(job, tmp_path):
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(60, 48)).astype("f4")
    images = rng.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "bytes.npy", images)
    np.save(tmp_path / "floats.npy", (images / np.float32(127.5) - 1).astype("f4").transpose(0, 3, 1, 2))
    save_pngs(tmp_path / "png", images)
    np.save(tmp_path / "kid.npy", np.zeros((1, 2, 20), "i8"))
    rows, grey, floats, png = (tmp_path / name for name in ("rows.npy", "bytes.npy", "floats.npy", "png"))
    none = ("--features", "none")
    for options, said in (((grey, png, *none, "--range", "-1,1"), "--range is of arrays of float32 numbers"),
                          ((rows, rows, *none), "--features: there are features or statistics on every side"),
                          ((rows, rows, "--device", "cpu"), "--device: nothing goes through a network"),
                          ((grey, floats, *none, "--range", "-1,1", "--order", "name"), "--order is of folders"),
                          ((rows, rows, "--kid-indices", tmp_path / "kid.npy"), "--kid-indices is of use for kid"),
                          ((rows, rows, "--validation", rows), "--validation is of use for fld or fdr alone"),
                          ((rows, rows, "--text", rows), "--text is of use for clip-score alone")):
        assert said in words(*options, code=64)
    for options in ((grey, floats, *none, "--range", "-1,1", "--device", "cpu"), (png, rows, *none, "--order", "name")):
        words(*options)
    out = ("-o", tmp_path / "r.npz")
    for options, said in (((png, *none, "--range", "-1,1"), "--range is of"), ((rows, *none), "--features: there are")):
        assert said in qtaylor("reference", *options, *out, code=64).stderr
    assert not (tmp_path / "r.npz").exists()
    qtaylor("run", job.write())
    assert "--order and --device" in words("--same", job.run, job.run, "--device", "cpu", code=64)
    assert "--range is of" in words(job.run, job.run, *none, "--range", "0,1", code=64)
    np.savez(tmp_path / "both.npz", arr_0=images, features=np.load(rows))
    assert "holds images (`arr_0`) and features" in words(tmp_path / "both.npz", png, *none, code=65)
    words(tmp_path / "both.npz", rows)


def test_pixels_of_images_of_another_shape_are_refused(job, tmp_path):
    """As many numbers an image, in another order, are other features; a network takes what it takes."""
    rng = np.random.default_rng(6)
    images = rng.integers(0, 256, (240, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    np.save(tmp_path / "flat.npy", images.reshape(240, 192).astype("f4"))
    floats = (images / np.float32(255)).astype("f4")
    np.save(tmp_path / "chw.npy", floats.transpose(0, 3, 1, 2))
    np.save(tmp_path / "hwc.npy", floats)
    np.save(tmp_path / "latents.npy", floats.reshape(240, 12, 4, 4))
    reference, none = tmp_path / "a.npy", ("--features", "none")
    for shape in ((16, 4, 3), (8, 24, 1)):
        np.save(tmp_path / "other.npy", images.reshape(240, *shape))
        said = words(tmp_path / "other.npy", reference, *none, code=65)
        assert "the reference has images of [3,8,8] (channels, height, width), the sample side [" in said
        assert f"[{shape[2]},{shape[0]},{shape[1]}]" in said and "also in" not in said
    unit = (*none, "--range", "0,1")
    assert "floats are expected as [N,C,H,W]" in words(tmp_path / "hwc.npy", reference, *unit, code=65)
    assert compare(tmp_path / "chw.npy", reference, *unit)["fid"] == pytest.approx(0, abs=1e-4)
    assert compare(tmp_path / "latents.npy", tmp_path / "latents.npy", *unit)["fid"] == pytest.approx(0, abs=1e-4)
    assert "images of one shape" not in words(tmp_path / "a.npy", tmp_path / "flat.npy", *none)  # features have none
    # What `reference` writes knows the shape too, and so does a run.
    qtaylor("reference", reference, *none, "-o", tmp_path / "r.npz")
    assert np.load(tmp_path / "r.npz")["shape"].tolist() == [3, 8, 8]
    assert "images of one shape" in words(tmp_path / "other.npy", tmp_path / "r.npz", *none, code=65)
    assert "images of one shape" in words(tmp_path / "latents.npy", tmp_path / "r.npz", *unit, code=65)
    qtaylor("reference", reference, *none, "-o", tmp_path / "r.npy")
    assert np.load(tmp_path / "r.npy").shape == (240, 192)
    assert "images of one shape" in words(tmp_path / "other.npy", tmp_path / "r.npy", *none, code=65)
    assert compare(reference, tmp_path / "r.npy", *none)["fid"] == pytest.approx(0, abs=1e-9)
    qtaylor("run", job.write())
    np.save(tmp_path / "wide.npy", rng.integers(0, 256, (60, 2, 8, 1), dtype=np.uint8))
    assert "[1,2,8]" in words(job.run, tmp_path / "wide.npy", *none, code=65)


def test_the_wrong_number_of_channels_is_not_called_a_size(tmp_path):
    rng = np.random.default_rng(6)
    for name, shape in (("grey", (9, 4, 4, 1)), ("rgb", (9, 4, 4, 3)), ("large", (9, 8, 8, 1))):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, shape, dtype=np.uint8))
    described = {"shape": [1, 4, 4], "range": [0, 255], "outputs": {"pool": 2}}
    (tmp_path / "net.json").write_text(json.dumps({"features": described, "matrix": 1}))
    for name, said in (("rgb", "the size is right, the number of channels is not"),
                       ("large", "choose a feature network made for this size")):
        assert said in words(tmp_path / f"{name}.npy", tmp_path / "grey.npy", "--features", tmp_path / "net.json",
                             code=65)


def test_what_does_not_go_together_is_said_before_images_go_through_a_network(tmp_path):
    rng = np.random.default_rng(7)
    for name, count in (("a", 240), ("few", 3), ("less", 239)):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8))
    np.savez(tmp_path / "ref.npz", mu=np.zeros(48), sigma=np.eye(48))
    np.savez(tmp_path / "other.npz", mu=np.zeros(47), sigma=np.eye(47))
    np.save(tmp_path / "row.npy", np.ones((240, 47), "f4"))
    np.save(tmp_path / "texts.npy", np.ones((239, 48), "f4"))
    for name, row in (("kid", 240), ("fits", 239)):
        np.save(tmp_path / f"{name}.npy", np.array([[[0, row], [1, 2]], [[0, 1], [2, 239]]]))
    save_pngs(tmp_path / "one", np.load(tmp_path / "a.npy"))
    save_pngs(tmp_path / "two", np.load(tmp_path / "a.npy")[:239])
    images, few, less, statistics, other = (tmp_path / name for name in ("a.npy", "few.npy", "less.npy", "ref.npz",
                                                                         "other.npz"))
    for options, said in (((images, statistics, "--metrics", "kid"), "kid needs every sample's features"),
                          ((images, statistics, "--metrics", "sfid"), "sfid needs an output `spatial`"),
                          ((statistics, images, "--metrics", "is"), "is needs an output `logits`"),
                          ((images, images, "--versus", statistics), ": fid needs every sample's features"),
                          ((images, images, "--metrics", "fdr"), "fdr needs a second set of real images"),
                          ((images, images, "--metrics", "fld", "--validation", statistics), "the validation set is"),
                          ((images, images, "--metrics", "clip-score"), "clip-score needs the features of the texts"),
                          ((few, images, "--metrics", "prdc"), "prdc needs at least 4 samples, and the sample side"),
                          ((images, few, "--metrics", "fld"), "fld needs at least 4 samples, and the reference has 3"),
                          ((images, other), "the reference has 47 features a sample, the samples have 48"),
                          ((images, tmp_path / "row.npy", "--metrics", "kid"), "47 features a sample"),
                          ((images, images, "--count", "241"), "expected 241 samples or more in"),
                          ((images, images, "--versus", less), "found 240 and 239 samples"),
                          ((tmp_path / "one", images, "--versus", tmp_path / "two"), "say --count 239"),
                          ((images, images, "--metrics", "kid", "--kid-indices", tmp_path / "kid.npy"),
                           "kid: expected an index in 0..239, a row of A, found 240"),
                          ((images, less, "--metrics", "kid", "--kid-indices", tmp_path / "fits.npy"),
                           "kid: expected an index in 0..238, a row of B, found 239"),
                          ((images, images, "--metrics", "clip-score", "--text", tmp_path / "texts.npy"),
                           "expected a text for each of the 240 samples, found 239")):
        found = words(*options, "--features", "none", code=65)
        assert said in found and "through no network" not in found, (options, found)
    assert "240 images" in words(images, statistics, "--features", "none")
    compare(images, images, "--features", "none", "--metrics", "kid", "--kid-indices", tmp_path / "fits.npy")


@pytest.mark.parametrize("name", ["one.png", "one.JPG", "one.webp"])
def test_one_picture_is_no_set(tmp_path, name):
    np.save(tmp_path / "a.npy", np.zeros((9, 4, 4, 3), "u1"))
    (tmp_path / name).write_bytes(b"any")
    said = f"{name}: expected a set of images or features, found one picture: give the folder"
    for sides in ((name, "a.npy"), ("a.npy", name), ("a.npy", "a.npy", "--versus", name)):
        sides = (word if word.startswith("-") else tmp_path / word for word in sides)
        assert said in words(*sides, "--features", "none", code=65)
    assert said in qtaylor("reference", tmp_path / name, "--features", "none", "-o", tmp_path / "r.npz", code=65).stderr
    assert "No such file" in words(tmp_path / "gone.png", tmp_path / "a.npy", "--features", "none", code=74)


def test_only_the_images_that_count_are_read(tmp_path):
    images = np.random.default_rng(8).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    save_pngs(tmp_path / "png", images)
    np.save(tmp_path / "ref.npy", images[30:])
    sides = (tmp_path / "png", tmp_path / "ref.npy", "--features", "none", "--count", "40")
    expected = compare(*sides)
    last = sorted((tmp_path / "png").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:50])
    assert compare(*sides) == expected and "40 images [4,4,3]" in words(*sides)
    assert last.name in words(*sides[:-2], code=65)

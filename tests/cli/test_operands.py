"""compare: what A, B, A2, V and the texts are of is held against one another, pair by pair and network by network."""
import json

import numpy as np
import pytest
from test_compare import compare, save_pngs
from test_compare_sides import words
from test_conditions import arrays, give

from conftest import qtaylor


def network(folder, name, dim, matrix, shape=(3, 4, 4), low=0, high=255):
    path = folder / f"{name}.json"
    card = {"shape": list(shape), "range": [low, high], "outputs": {"pool": dim}}
    path.write_text(json.dumps({"features": card, "matrix": matrix}))
    return path


@pytest.fixture
def sides(tmp_path):
    """Pictures a, b, c, and the features of each by the networks x and y, of as many features."""
    rng = np.random.default_rng(1)
    networks = {name: network(tmp_path, name, 6, matrix) for matrix, name in enumerate("xy", 3)}
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (240, 4, 4, 3), dtype=np.uint8))
        for by, path in networks.items():
            qtaylor("reference", tmp_path / f"{name}.npy", "--features", path, "-o", tmp_path / f"{name}{by}.npy")
    rows = np.load(tmp_path / "bx.npy").astype(float)
    np.savez(tmp_path / "unknown.npz", mu=rows.mean(0), sigma=np.cov(rows.T))
    return tmp_path


def test_each_two_are_of_one_network(sides):
    """Also where the third does not say of which it is."""
    said = words(sides / "ax.npy", sides / "unknown.npz", "--versus", sides / "cy.npy", code=65)
    assert "the other side of --versus was made with the feature network" in said
    np.save(sides / "plain.npy", np.load(sides / "ax.npy"))
    said = words(sides / "plain.npy", sides / "bx.npy", "--metrics", "fdr", "--validation", sides / "cy.npy", code=65)
    assert "the validation set was made with the feature network" in said and "the reference with" in said
    rng = np.random.default_rng(2)
    for name, shape in (("square", (4, 4, 3)), ("wide", (2, 8, 3))):
        np.save(sides / f"{name}.npy", rng.integers(0, 256, (240, *shape), dtype=np.uint8))
    np.savez(sides / "48.npz", mu=np.zeros(48), sigma=np.eye(48))
    said = words(sides / "square.npy", sides / "48.npz", "--versus", sides / "wide.npy", "--features", "none", code=65)
    assert "images of one shape" in said and "through no network" not in said
    # A2 has what it needs of B, which is looked at before A's pictures go through the network.
    np.save(sides / "five.npy", np.ones((240, 5), "f4"))
    for other, sought in ((sides / "five.npy", "the samples have 5"), (sides / "cy.npy", "feature network")):
        said = words(sides / "a.npy", sides / "bx.npy", "--versus", other, "--features", sides / "x.json", code=65)
        assert sought in said and "240 images" not in said


def test_statistics_beside_features_are_of_as_many(sides):
    rows = np.load(sides / "bx.npy")
    for dim in (5, 9):
        np.savez(sides / f"{dim}.npz", features=rows, mu=np.zeros(dim), sigma=np.eye(dim))
        np.save(sides / f"{dim}.npy", np.ones((240, dim), "f4"))
        for metric in ("cmmd", "kid", "fid"):
            for pair in ((f"{dim}.npz", f"{dim}.npy"), (f"{dim}.npy", f"{dim}.npz")):
                said = words(*(sides / name for name in pair), "--metrics", metric, code=65)
                assert f"expected statistics of its own features, 6 a sample, found a mean of {dim}" in said


def test_images_beside_statistics_of_another_network(sides):
    """ADM's reference batch holds both, and does not say what made the statistics."""
    x, pictures = sides / "x.json", np.load(sides / "b.npy")
    np.savez(sides / "wider.npz", arr_0=pictures, mu=np.zeros(9), sigma=np.eye(9))
    np.savez(sides / "same.npz", arr_0=pictures, mu=np.zeros(6), sigma=np.eye(6))
    through = compare(sides / "a.npy", sides / "b.npy", "--features", x, "--metrics", "fid,kid,cmmd")
    # Those of another width can't be meant: the images alone are.
    assert compare(sides / "a.npy", sides / "wider.npz", "--features", x, "--metrics", "fid,kid,cmmd") == through
    assert "its statistics are of 9 features" in words(sides / "a.npy", sides / "wider.npz", "--features", x)
    # Of the same width they are taken, as ADM does, and nobody says of which network they are.
    done = qtaylor("compare", sides / "a.npy", sides / "same.npz", "--features", x, "--metrics", "fid,kid", "--json")
    found = json.loads(done.stdout)
    assert found["metrics"]["kid"] == through["kid"] and found["metrics"]["fid"] != through["fid"]
    assert found["network"]["unknown"] == ["B"]
    # What `reference` writes is of the images and this network.
    for name in ("wider", "same"):
        qtaylor("reference", sides / f"{name}.npz", "--features", x, "-o", sides / "made.npz")
        assert compare(sides / "ax.npy", sides / "made.npz")["fid"] == pytest.approx(through["fid"], rel=1e-9)
    two = ("--features", f"x={x}", "--features", f"y={sides / 'y.json'}")
    for name in ("wider", "same"):
        assert compare(sides / "a.npy", sides / f"{name}.npz", *two)["x.fid"] == through["fid"]
        assert "its images are taken alone" in words(sides / "a.npy", sides / f"{name}.npz", *two)


def test_reference_says_first_what_it_cannot_write(sides):
    x = ("--features", sides / "x.json", "-o")
    one = sides / "one.npy"
    np.save(one, np.load(sides / "a.npy")[:1])
    before = (sides / "a.npy").read_bytes()
    for source, output, code, said in ((sides / "a.npy", sides / "no/r.npz", 74, "there is no folder"),
                                       (sides / "a.npy", sides / "r.foo", 64, "expected FILE.npz"),
                                       (sides / "a.npy", sides / "a.npy", 64, "is what is read"),
                                       (one, sides / "r.npz", 65, "a covariance needs at least 2 samples")):
        found = qtaylor("reference", source, *x, output, code=code).stderr
        assert said in found and "images [" not in found
    assert (sides / "a.npy").read_bytes() == before
    qtaylor("reference", one, *x, sides / "r.npy")
    assert "vendi" in compare(sides / "a.npy", one, "--features", sides / "x.json", "--metrics", "vendi")
    assert "of a number of samples that is not known" in qtaylor("reference", sides / "unknown.npz", "-o",
                                                                 sides / "r.npz").stdout


def test_each_side_has_its_own_texts(job, tmp_path):
    """By the rows of its own conditions, under each network's name too, and in whatever order it is paired."""
    give(job, arrays(rows=5))
    for matrix, name in enumerate(("one", "two"), 7):
        network(tmp_path, name, 8, matrix, (1, 4, 4), low=-1, high=1)
    rng = np.random.default_rng(4)
    np.save(tmp_path / "texts.npy", rng.normal(size=(5, 8)).astype("f4"))
    np.save(tmp_path / "ref.npy", rng.normal(size=(250, 8)).astype("f4"))
    for name, rows, seeds in (("a", {}, "0-255"), ("c", {"rows": "rows.npy"}, "128-255,0-127")):
        np.save(tmp_path / "rows.npy", np.arange(256) * 3 % 5)
        job.keys["conditions"] = {**job.keys["conditions"], **rows}
        job.keys |= {"seeds": seeds, "output": {**job.keys["output"], "dir": str(tmp_path / name)}}
        qtaylor("run", job.write())
    of = ("--metrics", "clip-score", "--text", tmp_path / "texts.npy", "--features", tmp_path / "one.json")
    alone = [compare(tmp_path / name, tmp_path / "ref.npy", *of) for name in "ac"]
    assert alone[0]["clip-score"] != pytest.approx(alone[1]["clip-score"], abs=0.01)
    for first, second, sign in (("a", "c", 1), ("c", "a", -1)):
        found = compare(tmp_path / first, tmp_path / "ref.npy", *of, "--versus", tmp_path / second)
        assert found["clip-score_delta"] == pytest.approx(
            sign * (alone[0]["clip-score"] - alone[1]["clip-score"]), abs=0.01)
    two = [option for name in ("one", "two") for option in ("--features", f"{name}={tmp_path / name}.json")]
    np.save(tmp_path / "t2.npy", rng.normal(size=(5, 8)).astype("f4"))
    found = compare(f"one={tmp_path / 'c'},two={tmp_path / 'a'}",
                    f"one={tmp_path / 'ref.npy'},two={tmp_path / 'ref.npy'}", *two, *of[:2],
                    "--text", f"one={tmp_path / 'texts.npy'},two={tmp_path / 't2.npy'}")
    assert found["one.clip-score"] == pytest.approx(alone[1]["clip-score"], rel=1e-9)


def test_one_text_and_rows_without_direction(sides):
    np.save(sides / "one.npy", np.ones((1, 6), "f4"))
    np.save(sides / "first.npy", np.load(sides / "ax.npy")[:1])
    assert "clip-score" in compare(sides / "first.npy", sides / "bx.npy", "--metrics", "clip-score", "--text",
                                   sides / "one.npy")
    rows = np.load(sides / "ax.npy")
    rows[7] = 0
    np.save(sides / "zero.npy", rows)
    for metric in ("cmmd", "vendi"):
        said = words(sides / "zero.npy", sides / "b.npy", "--features", sides / "x.json", "--metrics", metric, code=65)
        assert "the features of sample 7 are all 0" in said and "240 images" not in said


def test_what_is_said_of_several_networks_is_said_of_each(sides):
    """The images that two sides share, the side that a warning is about, features of several networks on all sides."""
    two = [option for name in "xy" for option in ("--features", f"{name}={sides / name}.json")]
    said = words(f"x={sides / 'a.npy'},y={sides / 'b.npy'}", f"x={sides / 'b.npy'},y={sides / 'b.npy'}", *two)
    assert said.count("240 of the 240 images of") == 1
    said = words(sides / "a.npy", sides / "b.npy", "--versus", sides / "b.npy", *two[:2])
    assert f"240 of the 240 images of {sides / 'b.npy'} are also in" in said
    save_pngs(sides / "one", np.load(sides / "a.npy"))
    (sides / "one/notes.txt").write_text("")
    assert words(sides / "one", sides / "b.npy", *two[:2]).count("left out, as hidden or no images") == 1
    of = {name: ",".join(f"{by}={sides / (name + by)}.npy" for by in "xy") for name in "ab"}
    found = compare(of["a"], of["b"], *two)
    assert found["x.fid"] == compare(sides / "ax.npy", sides / "bx.npy")["fid"]


def distance(a, mu, sigma):
    from scipy.linalg import sqrtm

    own, cov = a if isinstance(a, tuple) else (a.mean(0), np.cov(a.T))
    return ((own - mu) ** 2).sum() + np.trace(cov + sigma - 2 * sqrtm(cov @ sigma).real)


@pytest.mark.parametrize("count", [150, 300])
def test_own_statistics_are_the_distances_whatever_the_number_of_features(tmp_path, count):
    """Of A, of V and of the reference alike; what is said of them is what was used."""
    rng = np.random.default_rng(6)
    rows, ref = rng.normal(size=(count, 6)), rng.normal(size=(400, 6)).astype("f4").astype(float)
    mu, sigma = np.full(6, 3.0), np.diag(np.arange(1.0, 7))
    np.savez(tmp_path / "own.npz", features=rows.astype("f4"), mu=mu, sigma=sigma)
    np.save(tmp_path / "ref.npy", ref.astype("f4"))
    np.save(tmp_path / "v.npy", rng.normal(1, 1, (300, 6)).astype("f4"))
    truth = distance((mu, sigma), ref.mean(0), np.cov(ref.T))
    done = qtaylor("compare", tmp_path / "own.npz", tmp_path / "ref.npy", "--json")
    found = json.loads(done.stdout)
    assert found["metrics"]["fid"] == pytest.approx(truth, rel=1e-6) and found["samples"]["A"] is None
    assert "fid_error" not in found["metrics"] and "covariance is singular" not in done.stderr
    fdr = compare(tmp_path / "v.npy", tmp_path / "ref.npy", "--metrics", "fdr,fid", "--validation",
                  tmp_path / "own.npz")
    assert fdr["fdr"] == pytest.approx(fdr["fid"] / truth, rel=1e-6)
    if count > 200:
        said = words(tmp_path / "own.npz", tmp_path / "ref.npy", "--versus", tmp_path / "v.npy", "--count", "200")
        assert "unknown" not in said  # of the first 200 features
        assert "statistics of its own" in words(tmp_path / "own.npz", tmp_path / "ref.npy", "--versus",
                                                tmp_path / "own.npz", code=65)
    np.savez(tmp_path / "spatial.npz", features=rows.astype("f4"), mu_s=mu, sigma_s=sigma)
    np.savez(tmp_path / "both.npz", mu=ref.mean(0), sigma=np.cov(ref.T), mu_s=ref.mean(0), sigma_s=np.cov(ref.T))
    assert compare(tmp_path / "spatial.npz", tmp_path / "both.npz", "--metrics", "sfid")["sfid"] == pytest.approx(
        truth, rel=1e-6)


def test_names_that_are_there_twice_pair_nothing(sides):
    pictures = np.load(sides / "a.npy")
    for folder, names in (("one", "bcde"), ("two", "vkha")):  # the same four classes, in another order
        for name, part in zip(names, np.split(pictures, 4), strict=True):
            save_pngs(sides / folder / name, part)
    said = words(sides / "one", sides / "bx.npy", "--versus", sides / "two", "--features", sides / "x.json")
    assert "paired by position, for some names are there twice" in said


def test_each_side_is_held_against_the_texts_and_the_validation_set(sides, job):
    np.save(sides / "plain.npy", np.load(sides / "ax.npy"))
    said = words(sides / "plain.npy", sides / "plain.npy", "--metrics", "fid,fld", "--validation", sides / "bx.npy",
                 "--versus", sides / "cy.npy", code=65)
    assert "the validation set was made with the feature network" in said
    np.save(sides / "texts.npy", np.ones((300, 6), "f4"))
    of = ("--features", sides / "x.json", "--metrics", "clip-score", "--text", sides / "texts.npy")
    assert "clip-score" in compare(sides / "a.npy", sides / "b.npy", *of, "--count", "100")
    give(job, arrays(rows=7))
    network(sides, "grey", 6, 7, (1, 4, 4), low=-1, high=1)
    qtaylor("run", job.write())
    said = words(job.run, sides / "bx.npy", "--features", sides / "grey.json", *of[2:], code=65)
    assert "rows, and there are 300 texts" in said or "feature network" in said
    np.save(sides / "free.npy", np.ones((9, 6), "f4"))
    said = words(job.run, sides / "free.npy", "--features", sides / "grey.json", *of[2:], code=65)
    assert f"the conditions of {job.run} have 7 rows, and there are 300 texts" in said


def test_a_run_gives_what_its_evaluation_did_not(job):
    """Its samples go through the network again, where its features are not all that the metrics take."""
    job.add_evaluation()
    card = json.loads((job.folder / "features.json").read_text())
    card["features"]["outputs"] = {"pool": 8, "spatial": 5}
    (job.folder / "features.json").write_text(json.dumps(card))
    qtaylor("run", job.write())
    rows = np.random.default_rng(1).normal(size=(300, 5))
    with np.load(job.folder / "reference.npz") as made:
        np.savez(job.folder / "both.npz", **made, mu_s=rows.mean(0), sigma_s=np.cov(rows.T))
    of = ("--features", job.folder / "features.json")
    assert compare(job.run, job.folder / "both.npz", *of, "--metrics", "sfid")["sfid"] > 0
    qtaylor("reference", job.run, *of, "-o", job.folder / "made.npz")
    assert "mu_s" in np.load(job.folder / "made.npz")

"""Several feature networks in one job: one pass, metrics named NETWORK.METRIC."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from conftest import FAKE, environment, qtaylor, stored
from test_image_references import images_new

DIMS = {"one": 8, "two": 5}


def network_new(folder, file, dim, matrix, **description):
    card = {"shape": [1, 4, 4], "range": [0, 255], "outputs": {"pool": dim}, **description}
    (folder / f"{file}.json").write_text(json.dumps({"features": card, "matrix": matrix}))


def reference_new(folder, name, dim):
    rows = np.random.default_rng(dim).normal(size=(200, dim)) * 40 + 100
    np.savez(folder / f"{name}.npz", mu=rows.mean(0), sigma=np.cov(rows.T))


@pytest.fixture
def several(job):
    """Networks of 8 and 5 features, and pixels; statistics of each."""
    for matrix, (name, dim) in enumerate(DIMS.items()):
        network_new(job.folder, name, dim, 7 + matrix)
        reference_new(job.folder, name, dim)
    reference_new(job.folder, "pixels", 16)
    job.keys["seeds"] = "0-255"
    job.keys["evaluate"] = {"features": ["one.json", "two.json", "none"],
                            "reference": ["one.npz", "two.npz", "pixels.npz"], "metrics": ["fid", "fid_infinity"]}
    return job


def metrics(run):
    return json.loads((run / "metrics.json").read_text())["metrics"]


def numbers(values):
    return {key: value for key, value in values.items() if "." in key}


def alone(job, name, tmp):
    """The same samples evaluated with one of the networks."""
    keys = json.loads(json.dumps(job.keys))
    job.keys["evaluate"] |= {"features": "none" if name == "pixels" else f"{name}.json", "reference": f"{name}.npz"}
    job.keys["output"]["dir"] = str(tmp)
    qtaylor("run", job.write())
    job.keys = keys
    return {key: value for key, value in metrics(tmp).items() if key not in ("samples", "reference", "network")}


def test_each_network_says_what_it_says_alone(several, tmp_path):
    qtaylor("run", several.write())
    values = metrics(several.run)
    assert list(values["networks"]) == ["one", "two", "pixels"] and values["samples"] == 256
    for name in ("one", "two", "pixels"):
        single = alone(several, name, tmp_path / f"alone-{name}")
        assert single.items() == {key: values[f"{name}.{key}"] for key in single}.items()
        about = values["networks"][name]
        assert about["reference"]["path"] == str(several.folder / f"{name}.npz")
        own = metrics(tmp_path / f"alone-{name}")
        assert about.pop("network") == own["network"] | {"path": str(several.folder / f"{name}.json")
                                                         if name != "pixels" else "none"}
        assert about == {"reference": own["reference"]}
    said = qtaylor("run", several.write()).stdout
    assert "FID         one   " in said and "            two   " in said
    qtaylor("verify", several.run)
    card = qtaylor("report", several.run, "--card", "text").stdout
    assert "feature network two" in card and "reference of pixels" in card and "one.fid" in card


@pytest.mark.parametrize("ranks", [1, 3])
def test_ranks_do_not_matter(several, ranks):
    qtaylor("run", several.write())
    values = metrics(several.run)
    shutil.rmtree(several.run)
    qtaylor("run", several.write(), ranks=ranks)
    assert metrics(several.run) == values


def test_killed_and_resumed(several):
    qtaylor("run", several.write())
    values = metrics(several.run)
    folders = sorted(several.run.glob("features/*/*"))
    assert len(folders) == 3
    shutil.rmtree(several.run)
    several.model["delay_ms"] = 20
    running = subprocess.Popen([str(FAKE), "run", str(several.write())], env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list(several.run.glob("features/*/*/*.zst"))) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    some = next(several.run.glob("features/*/*/*.zst"))
    some.unlink()
    qtaylor("run", several.write())
    assert numbers(metrics(several.run)) == numbers(values)


def test_a_network_more_takes_features_of_it_alone(several):
    whole = several.keys["evaluate"].copy()
    several.keys["evaluate"] |= {"features": "one.json", "reference": "one.npz"}
    qtaylor("run", several.write())
    single, times = metrics(several.run), {p: p.stat().st_mtime_ns for p in several.run.glob("features/*/*/*.zst")}
    several.keys["evaluate"] = whole
    qtaylor("run", several.write())
    assert metrics(several.run)["one.fid"] == single["fid"]
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_names_and_references(several):
    evaluate = several.keys["evaluate"]
    network_new(several.folder, "two", 5, 8, name="deux")
    evaluate["features"] = [{"name": "uno", "path": "one.json"}, "two.json", "none"]
    evaluate["reference"] = {"deux": "two.npz", "pixels": "pixels.npz", "uno": "one.npz"}
    qtaylor("run", several.write())
    assert {key.split(".")[0] for key in numbers(metrics(several.run))} == {"uno", "deux", "pixels"}
    document = json.loads((several.run / "run.json").read_text())["job"]["evaluate"]
    assert document["features"][0] == {"name": "uno", "path": str(several.folder / "one.json")}
    assert document["reference"]["deux"] == str(several.folder / "two.npz")
    qtaylor("evaluate", several.run)  # run.json is read back


@pytest.mark.parametrize("command", ["plan", "run"])
def test_mistakes_are_said_before_the_first_sample(several, command):
    evaluate, good = several.keys["evaluate"], json.dumps(several.keys["evaluate"])

    def refused(**keys):
        several.keys["evaluate"] = json.loads(good) | keys
        said = qtaylor(command, several.write(), code=65).stderr
        assert not (several.run / "samples").exists()
        return said

    assert "reference: expected one for all, or one for each of the 3 networks" in refused(
        reference=["one.npz", "two.npz"])
    assert "two: " in (said := refused(reference=["one.npz", "one.npz", "pixels.npz"])) and "8 features" in said
    assert "no network of evaluate.features is called three" in refused(
        reference={"one": "one.npz", "two": "two.npz", "three": "pixels.npz"})
    assert "none for the network pixels" in refused(reference={"one": "one.npz", "two": "two.npz"})
    assert "two networks are called one" in refused(
        features=["one.json", {"name": "one", "path": "two.json"}, "none"])
    shutil.copy(several.folder / "one.json", several.folder / "copy.json")
    assert "one and copy are the same network" in refused(features=["one.json", "copy.json", "none"])
    assert "letters, digits, _ and -" in refused(features=[{"name": "a.b", "path": "one.json"}, "two.json", "none"])
    assert "expected at most 8" in refused(features=["one.json"] * 9)
    assert evaluate["metrics"] == ["fid", "fid_infinity"]


def test_compare_names_them_too(several, tmp_path):
    images_new(tmp_path / "images", 60)
    evaluate = several.keys["evaluate"]
    evaluate |= {"reference": "images", "metrics": ["fid", "kid"]}
    qtaylor("run", several.write())
    values = numbers(metrics(several.run))
    images = tmp_path / "images"
    assert len(list((several.run / "references").iterdir())) == 3
    options = ["--metrics", "fid,kid", "--json"]
    found = json.loads(qtaylor("compare", several.run, images, *options).stdout)["metrics"]
    assert found == values  # its own networks
    networks = [f"--features={several.folder / name}.json" for name in DIMS] + ["--features=none"]
    said = qtaylor("compare", several.run, images, *networks, *options)
    assert json.loads(said.stdout)["metrics"] == values
    pixels = stored(several.run)
    np.save(tmp_path / "pixels.npy", pixels)
    said = qtaylor("compare", tmp_path / "pixels.npy", images, *networks, *options)
    assert json.loads(said.stdout)["metrics"] == values and said.stderr.count("256 images") == 3
    first = qtaylor("compare", several.run, images, "--features", several.folder / "one.json", *options)
    assert json.loads(first.stdout)["metrics"] == {key[4:]: value for key, value in values.items() if key[:4] == "one."}
    files = [f"{name}={several.folder / name}.npz" for name in ("two", "one", "pixels")]
    by_name = json.loads(qtaylor("compare", several.run, ",".join(files), "--json").stdout)["metrics"]
    evaluate |= {"reference": ["one.npz", "two.npz", "pixels.npz"], "metrics": ["fid"]}
    qtaylor("run", several.write())
    assert by_name == numbers(metrics(several.run))
    assert "\n\ntwo\nfid " in qtaylor("compare", several.run, ",".join(files)).stdout
    assert "holds what one feature network made" in qtaylor("compare", several.run, several.folder / "one.npz",
                                                            code=65).stderr
    for operands in ([",".join([*files, "zz=/nonexistent"])], [",".join([files[0], "two=/nonexistent", *files[1:]])],
                     [",".join(files), "--text=zz=/nonexistent", "--metrics=clip-score"],
                     [",".join(files), "--text=/nonexistent", "--metrics=clip-score"]):
        error = qtaylor("compare", several.run, *operands, code=64).stderr
        assert "two is there twice" in error or "is no network's: they are called one, two, pixels" in error
        assert "/nonexistent" in error
    assert "found none for pixels" in qtaylor("compare", several.run, ",".join(files[:2]), code=64).stderr


def test_sweep_and_report(several):
    several.keys["sweep"] = {"sampler.nfe": [3, 4], "sampler.solver": ["taylor", "ddim"]}
    qtaylor("run", several.write(), ranks=2)
    results = json.loads((several.run / "results.json").read_text())
    assert {"one.fid", "two.fid_corrected", "pixels.fid_infinity"} <= set(results["columns"])
    report = json.loads(qtaylor("report", several.run, "--json").stdout)
    assert {"one.fid", "two.fid_infinity", "pixels.fid_corrected"} <= set(report["metrics"])
    for name in ("one", "two", "pixels"):
        (record,) = [r for r in report["best"] if r["metric"] == f"{name}.fid" and r["nfe"] == 4]
        cells = [cell[f"{name}.fid_corrected"] for cell in report["cells"] if cell["nfe"] == 4]
        assert record["best"]["fid_corrected"] == min(cells) and "fid_delta" in record
    qtaylor("report", several.run, "--plot", several.folder / "two.svg", "--metrics", "two.fid")
    assert "two: FID" in (several.folder / "two.svg").read_text()
    assert "FID of one" in qtaylor("report", several.run, "--text").stdout
    qtaylor("report", several.run)
    page = (several.run / "report.html").read_text()
    assert "pixels: FID" in page and "feature network one (sha256)" in page


def test_what_the_reference_does_not_say_is_said(job):
    job.add_evaluation()
    word = "does not say which feature network it is of"
    assert word in qtaylor("plan", job.write()).stderr
    with np.load(job.folder / "reference.npz") as arrays:
        known = dict(arrays, network=np.bytes_(hashlib.sha256((job.folder / "features.json").read_bytes()).hexdigest()))
    np.savez(job.folder / "reference.npz", **known)
    assert word not in qtaylor("plan", job.write()).stderr


def test_a_run_ends_with_all_its_metrics(job):
    """Each by its name and number, as metrics.json has them; with their errors."""
    job.add_evaluation()
    rows = np.random.default_rng(3).normal(size=(300, 8)).astype("f4") * 40 + 100
    np.save(job.folder / "rows.npy", rows)
    job.keys |= {"seeds": "0-255"}
    job.keys["evaluate"] |= {"reference": "rows.npy", "metrics": ["fid", "kid", "prdc", "cmmd"]}
    lines = [line.split() for line in qtaylor("run", job.write()).stdout.splitlines()]
    found = metrics(job.run)
    for name in ("kid", "kid_full", "precision", "recall", "density", "coverage", "cmmd"):
        [line] = [words for words in lines if name in words[:2]]
        assert f"{found[name]:.6g}" in line and ("+-" in line) == (f"{name}_error" in found)

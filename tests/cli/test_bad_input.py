"""Broken jobs, cards, models, references and shards: each a clear message and its exit code, and nothing is lost."""
import json
import os
import subprocess

import numpy as np
import pytest

from conftest import ROOT, TORCH, qtaylor

DATA, IO, USAGE, AGAIN, QUARANTINE = 65, 74, 64, 75, 76


def put(job, dotted, value):
    target = job.keys
    *parents, last = dotted.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value


def card(job, dotted, value):
    target = job.model["card"]
    *parents, last = dotted.split(".")
    for parent in parents:
        target = target[parent]
    target[last] = value


# name: (change, exit code, words that the one error line must hold)
JOBS = {
    "unknown key": (lambda j: put(j, "smapler", {}), DATA, ["smapler", "sampler", "job.yaml:1:"]),
    "unknown sampler key": (lambda j: put(j, "sampler.etta", 1), DATA, ["etta", "eta"]),
    "order is text": (lambda j: put(j, "sampler.order", "two"), DATA, ["sampler.order", "two"]),
    "negative nfe": (lambda j: put(j, "sampler.nfe", -3), DATA, ["sampler.nfe", "-3"]),
    "nfe and steps": (lambda j: put(j, "sampler.steps", 3), DATA, ["nfe", "steps"]),
    "unknown solver": (lambda j: put(j, "sampler.solver", "tailor"), DATA, ["tailor", "taylor"]),
    "a solver's name in diffusers":
        (lambda j: put(j, "sampler.solver", "DPMSolverMultistepScheduler"), DATA, ["did you mean dpmpp-2m?"]),
    "a solver's name in k-diffusion":
        (lambda j: put(j, "sampler.solver", "sample_euler_ancestral"), DATA, ["did you mean euler-ancestral?"]),
    "a solver's name in pictures' data":
        (lambda j: put(j, "sampler.solver", "DPM++ 2M Karras"), DATA, ["did you mean dpmpp-2m?"]),
    "another tool's name comes first":
        (lambda j: put(j, "sampler.solver", "euler_a"), DATA, ["found euler_a; did you mean euler-ancestral?"]),
    "two letters that changed places": (lambda j: put(j, "sampler.nef", 5), DATA, ["nef", "did you mean \"nfe\"?"]),
    "a limit": (lambda j: put(j, "batch", 2**31), DATA, ["from 1 to 2147483647, or auto, found 2147483648"]),
    "unknown grid": (lambda j: put(j, "sampler.grid", "cubic"), DATA, ["sampler.grid", "cubic", "quadratic"]),
    "nfe below the smallest": (lambda j: put(j, "sampler", {"solver": "rk4", "nfe": 3}), DATA, ["nfe", "4"]),
    "eta for taylor": (lambda j: put(j, "sampler.eta", 0.5), DATA, ["eta", "ddim"]),
    "order 1.5 for taylor": (lambda j: put(j, "sampler.order", 1.5), DATA, ["order", "1.5"]),
    "negative cut variance":
        (lambda j: put(j, "sampler", {"solver": "ito-taylor", "order": 2, "nfe": 10, "grid": "uniform"}),
         DATA, ["variance", "steps"]),
    "t_start beyond the schedule": (lambda j: put(j, "sampler.t_start", 1.5), DATA, ["t_start", "1.5"]),
    "integer grid on continuous time": (lambda j: put(j, "sampler.grid", "leading"), DATA, ["leading"]),
    "rk45 with nfe": (lambda j: put(j, "sampler", {"solver": "rk45", "nfe": 10}), DATA, ["rk45", "nfe"]),
    "no seeds": (lambda j: j.keys.pop("seeds"), DATA, ["seeds"]),
    "seeds backwards": (lambda j: put(j, "seeds", "9-3"), DATA, ["seeds", "9-3"]),
    "seed twice": (lambda j: put(j, "seeds", "0-9,5"), DATA, ["seeds", "5"]),
    "batch 0": (lambda j: put(j, "batch", 0), DATA, ["batch", "0"]),
    "shards of no whole batches":
        (lambda j: put(j, "output.samples_per_shard", 20), DATA, ["samples_per_shard", "20", "16", "24"]),
    "zstd level": (lambda j: put(j, "output.level", 99), DATA, ["level", "99"]),
    "label out of range": (lambda j: put(j, "labels", 7), DATA, ["labels", "7"]),
    "labels for a model without": (lambda j: j.model["card"].pop("labels"), DATA, ["labels"]),
    "label file missing": (lambda j: put(j, "labels", "nowhere.npy"), IO, ["nowhere.npy"]),
    "model missing": (lambda j: put(j, "model.path", "nowhere.pt"), IO, ["nowhere.pt"]),
    "sweep": (lambda j: put(j, "sweep", {"sampler.nfe": 2}), DATA, ["sweep: sampler.nfe", "expected a list of values"]),
    "features without reference": (lambda j: put(j, "evaluate", {"features": "none"}), DATA, ["reference"]),
    "guidance without null label": (lambda j: (put(j, "sampler.guidance", 2), j.model["card"]["labels"].pop("null")),
                                    DATA, ["guidance", "null"]),
    "card: unknown prediction": (lambda j: card(j, "prediction", "noise"), DATA, ["prediction", "noise", "epsilon"]),
    "card: unknown schedule": (lambda j: card(j, "schedule", {"kind": "sinus"}), DATA, ["schedule", "sinus"]),
    "card: betas backwards": (lambda j: card(j, "schedule.beta1", 0.01), DATA, ["beta1"]),
    "card: unknown key": (lambda j: card(j, "predicton", "epsilon"), DATA, ["predicton"]),
    "card: shape": (lambda j: card(j, "shape", [1, 4]), DATA, ["shape"]),
    "card: batch of another size": (lambda j: card(j, "batch", 3), DATA, ["batch", "3"]),
}


@pytest.mark.parametrize("name", JOBS)
def test_broken_job(job, name):
    change, code, words = JOBS[name]
    change(job)
    done = qtaylor("run", job.write(), code=code)
    lines = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    assert not job.run.exists(), "something was created on disk"


def test_malformed_yaml_names_line_and_column(job):
    path = job.write()
    path.write_text("name: x\nmodel: {path: model.json\nseeds: 0-9\n")
    done = qtaylor("run", path, code=DATA)
    assert "job.yaml:" in done.stderr and not job.run.exists()


def test_position_of_a_mistake(job):
    path = job.write()
    path.write_text("name: x\nmodel: {path: model.json}\nseeds: 0-9\nsampler:\n  solver: taylor\n  order: two\n")
    assert "job.yaml:6:10: sampler.order" in qtaylor("run", path, code=DATA).stderr


@pytest.mark.parametrize("arguments",
                         [["run"], ["fly"], ["run", "a", "b"], ["plan", "--sett", "x=1", "job"], [], ["run", "--set"]])
def test_usage(arguments):
    assert "qtaylor" in qtaylor(*arguments, code=USAGE).stderr


def test_override_errors_name_the_override(job):
    path = job.write()
    assert "sampler.nef" in qtaylor("plan", path, "--set", "sampler.nef=3", code=DATA).stderr
    qtaylor("plan", path, "--set", "sampler.nfe", code=USAGE)


def test_another_fingerprint_is_refused_with_both_values(job):
    path = job.write()
    qtaylor("run", path)
    before = job.digest()
    done = qtaylor("run", path, "--set", "sampler.nfe=9", code=DATA)
    assert "sampler.nfe" in done.stderr and "6" in done.stderr and "9" in done.stderr
    qtaylor("verify", job.run)
    assert job.digest() == before


def test_seeds_can_grow_but_not_change(job):
    path = job.write()
    qtaylor("run", path)
    first = {p.name: p.read_bytes() for p in job.run.glob("samples/*")}
    qtaylor("run", path, "--set", "seeds=0-299")
    grown = {p.name: p.read_bytes() for p in job.run.glob("samples/*")}
    whole = [name for name in sorted(first)][:-1]  # the last was a short one
    assert len(grown) == 19 and all(grown[name] == first[name] for name in whole)
    assert "seeds" in qtaylor("run", path, "--set", "seeds=5-299", code=DATA).stderr


def test_model_that_makes_nan_is_quarantined(job):
    job.keys["workers"] = 1
    job.model["nan_call"] = 7  # after proof and warm-up; and the same batch when it is tried again
    path = job.write()
    qtaylor("run", path)
    (job.run / "samples/000003.npy.zst").unlink()
    done = qtaylor("run", path)
    assert "not finite" in done.stderr or "NaN" in done.stderr
    qtaylor("verify", job.run)


def test_model_that_fails_once_is_tried_again(job):
    job.keys["workers"] = 1
    job.model["fail_call"] = 10  # after five to prove the model and one to warm up
    qtaylor("run", job.write())
    qtaylor("verify", job.run)


def test_wrong_reference(job):
    """Said before anything is made, and again when it goes wrong later."""
    job.add_evaluation()
    path, reference = job.write(), job.folder / "reference.npz"
    whole = reference.read_bytes()
    np.savez(reference, mu=np.zeros(5), sigma=np.eye(5))
    assert "5" in qtaylor("run", path, code=DATA).stderr
    assert not job.run.exists()
    reference.write_bytes(whole)
    qtaylor("run", path)
    np.savez(reference, mu=np.zeros(8))
    assert "sigma" in qtaylor("evaluate", job.run, code=DATA).stderr
    reference.write_bytes(b"PK not a zip")
    assert "reference.npz" in qtaylor("evaluate", job.run, code=DATA).stderr
    reference.unlink()
    assert "reference.npz" in qtaylor("evaluate", job.run, code=IO).stderr
    qtaylor("verify", job.run)


# name: (seeds, change of evaluate, words that the error must hold); with an output for logits and all features in the
# reference
IMPOSSIBLE = {
    "one sample": ("0", {}, ["fid needs at least 2 samples", "has 1"]),
    "count 1": ("0-99", {"count": 1}, ["fid needs at least 2 samples", "has 1"]),
    "count above the samples": ("0-99", {"count": 101}, ["evaluate.count: expected at most 100", "found 101"]),
    "fid_infinity": ("0-198", {"metrics": ["fid_infinity"]}, ["fid_infinity needs at least 200 samples", "has 199"]),
    "is": ("0-8", {"metrics": ["is"]}, ["is needs at least 10 samples", "has 9"]),
    "prdc": ("0-2", {"metrics": ["prdc"]}, ["prdc needs at least 4 samples", "has 3"]),
    "prdc of a count": ("0-99", {"metrics": ["prdc"], "count": 3}, ["prdc needs at least 4 samples", "has 3"]),
    "a reference too small": ("0-99", {"reference": "three.npy", "metrics": ["prdc"]},
                              ["prdc needs at least 4 samples", "reference has 3"]),
    "kid of statistics": ("0-99", {"reference": "reference.npz", "metrics": ["kid"]},
                          ["kid needs every sample's features", "qtaylor reference IMAGES", "-o FILE.npy"]),
    "cmmd of statistics": ("0-99", {"reference": "reference.npz", "metrics": ["cmmd"]},
                           ["cmmd needs every sample's features"]),
    "mind of statistics": ("0-99", {"reference": "reference.npz", "metrics": ["mind"]},
                           ["mind needs every sample's features"]),
    "floats as reference": ("0-99", {"reference": "images.npy"}, ["images.npy holds float32", "qtaylor reference"]),
    "no reference": ("0-99", {"reference": "nothing.npz"}, ["nothing.npz"]),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_evaluate_cannot_do_is_said_before_anything_is_made(job, name):
    seeds, change, words = IMPOSSIBLE[name]
    code = IO if name == "no reference" else DATA
    job.add_evaluation()
    network = json.loads((job.folder / "features.json").read_text())
    network["features"]["outputs"]["logits"] = 4
    (job.folder / "features.json").write_text(json.dumps(network))
    rows = np.random.default_rng(0).normal(size=(300, 8))
    np.save(job.folder / "rows.npy", rows)
    np.save(job.folder / "three.npy", rows[:3])
    np.save(job.folder / "images.npy", np.zeros((9, 1, 4, 4), np.float32))
    job.keys["seeds"] = seeds
    job.keys["evaluate"] |= {"reference": "rows.npy"} | change
    path = job.write()
    for command in ("plan", "run"):
        said = qtaylor(command, path, code=code).stderr
        assert all(word in said for word in words), said
    assert not job.run.exists()
    qtaylor("generate", path)  # which does not evaluate
    if "count" in change:
        del job.keys["evaluate"]["count"]
        qtaylor("run", job.write())
        assert all(word in qtaylor("evaluate", job.run, "--count", change["count"], code=code).stderr for word in words)


def test_the_fewest_samples_of_each_metric_suffice(job):
    job.add_evaluation()
    network = json.loads((job.folder / "features.json").read_text())
    network["features"]["outputs"]["logits"] = 4
    (job.folder / "features.json").write_text(json.dumps(network))
    np.save(job.folder / "rows.npy", np.random.default_rng(0).normal(size=(300, 8)))
    for metric, least in {"fid": 2, "kid": 2, "prdc": 4, "is": 10, "fid_infinity": 200, "cmmd": 2, "mind": 2,
                          "vendi": 2}.items():
        job.keys["seeds"] = f"0-{least - 1}"
        job.keys["output"]["dir"] = str(job.folder / metric)
        job.keys["evaluate"] |= {"reference": "rows.npy", "metrics": [metric]}
        qtaylor("plan", job.write())
        qtaylor("run", job.write())


def test_a_job_is_planned_where_its_files_are_not(job):
    job.add_evaluation()
    job.keys["model"] = {"path": "nowhere.pt", "card": job.model["card"]}
    job.keys["evaluate"] |= {"features": "nowhere.json", "reference": "nowhere.npz"}
    qtaylor("plan", job.write())
    job.keys["evaluate"]["count"] = 101
    assert "evaluate.count" in qtaylor("plan", job.write(), code=DATA).stderr


def shards(job):
    return sorted(job.run.glob("samples/*.npy.zst"))


DAMAGE = {
    "truncated": lambda a, b: a.write_bytes(a.read_bytes()[:-7]),
    "cut in half": lambda a, b: a.write_bytes(a.read_bytes()[: a.stat().st_size // 2]),
    "empty": lambda a, b: a.write_bytes(b""),
    "bit flipped": lambda a, b: a.write_bytes(bytes(byte ^ (i == 200) for i, byte in enumerate(a.read_bytes()))),
    "swapped": lambda a, b: a.write_bytes(b.read_bytes()),
    "missing": lambda a, b: a.unlink(),
    "trailing bytes": lambda a, b: a.write_bytes(a.read_bytes() + b"more"),
}
WORDS = {"swapped": "foreign", "missing": "missing"}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_shard_is_found_and_made_again(job, name):
    job.add_evaluation()
    path = job.write()
    qtaylor("run", path)
    before = job.digest()
    a, b = shards(job)[1:3]
    whole = a.read_bytes()
    DAMAGE[name](a, b)
    found = qtaylor("verify", job.run, code=AGAIN)
    assert WORDS.get(name, "damaged") in found.stdout and a.name in found.stdout
    said = qtaylor("evaluate", job.run, code=AGAIN).stderr  # names the gap, gives no FID
    assert f"are {WORDS.get(name, 'damaged')} (shards 1" in said
    qtaylor("run", path)
    assert a.read_bytes() == whole and job.digest() == before


def test_stranger_in_the_folder_is_named(job):
    path = job.write()
    qtaylor("run", path)
    (job.run / "samples/holiday.jpg").write_bytes(b"x")
    assert "holiday.jpg" in qtaylor("verify", job.run, code=DATA).stdout
    assert json.loads(qtaylor("verify", job.run, "--json", code=DATA).stdout)["foreign"] == 1


def test_not_a_run_directory(tmp_path):
    assert "run.json" in qtaylor("verify", tmp_path, code=DATA).stderr
    assert "run.json" in qtaylor("evaluate", tmp_path, code=DATA).stderr


def test_read_only_folder(job):
    path, folder = job.write(), job.folder / "fixed"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0 and not mount("-t", "tmpfs", "-o", "ro", "tmpfs", folder):  # root writes everywhere else
        pytest.skip("mounting a tmpfs needs root in full")
    try:
        assert "cannot" in qtaylor("run", path, "--set", f"output.dir={folder}/run", code=IO).stderr
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True)


def test_folder_that_is_a_file(job):
    path = job.write()
    job.run.write_text("in the way")
    assert "in the way" in qtaylor("run", path, code=IO).stderr
    assert job.run.read_text() == "in the way"


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0


def test_full_disk_stops_with_the_reason_and_continues(job):
    small = job.folder / "small"
    small.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=200k", "tmpfs", small):
        pytest.skip("mounting a tmpfs needs root")
    try:
        job.keys["output"]["dir"] = str(small / "run")
        job.keys["seeds"] = "0-3999"
        job.keys["output"]["dtype"] = "float32"
        path = job.write()
        done = qtaylor("run", path, ranks=2, code=IO)
        assert "No space left" in done.stderr
        assert not [p for p in job.run.rglob("*") if ".tmp-" in p.name]
        kept = {p.name: p.read_bytes() for p in shards(job)}
        assert mount("-o", "remount,size=2m", small)
        qtaylor("run", path)
        assert len(shards(job)) == 250 and all((job.run / "samples" / n).read_bytes() == b for n, b in kept.items())
    finally:
        subprocess.run(["umount", str(small)], check=False)


def torch_job(job, **keys):
    job.keys["model"] = {"path": str(ROOT / "jobs/digits/model.pt")}
    job.keys["seeds"] = "0-15"
    job.keys.update(keys)
    return job.write()


def test_torchscript_damaged(job):
    raw = (ROOT / "jobs/digits/model.pt").read_bytes()
    for name, data in {"cut": raw[: len(raw) // 2], "noise": b"\0" * 100}.items():
        (job.folder / "broken.pt").write_bytes(data)
        job.keys["model"] = {"path": "broken.pt"}
        assert "broken.pt" in qtaylor("run", job.write(), program=TORCH, code=DATA).stderr, name
        assert not job.run.exists()


def test_card_that_contradicts_the_model(job):
    wrong = {**job.model["card"], "shape": [3, 8, 8], "labels": {"classes": 10, "null": 10}}
    path = torch_job(job, model={"path": str(ROOT / "jobs/digits/model.pt"), "card": wrong})
    done = qtaylor("run", path, program=TORCH, code=DATA)
    assert "model" in done.stderr


def test_features_file_that_is_no_network(job):
    path = torch_job(job, evaluate={"features": str(ROOT / "jobs/digits/model.pt"),
                                    "reference": str(ROOT / "jobs/digits/reference.npz")})
    assert "features.json" in qtaylor("run", path, program=TORCH, code=DATA).stderr
    assert not job.run.exists()

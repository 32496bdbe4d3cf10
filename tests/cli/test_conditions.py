"""Conditions: what a model gets besides x, time and labels, row by row, against numpy and PyTorch."""
import hashlib
import json
import os
import subprocess
import time
import zipfile

import numpy as np
import pytest

from conditions import INPUTS, arrays, expected, give, moves
from conftest import FAKE, TORCH, environment, qtaylor, stored
from oracle import run_plan


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("guidance", [1, 2.5])
def test_samples_are_those_of_their_rows(job, classes, guidance):
    values = arrays()
    give(job, values, classes)
    job.keys["sampler"]["guidance"] = guidance
    wanted = expected(job, np.arange(100) % 7, values)
    qtaylor("run", job.write(), ranks=2)
    assert np.abs(stored(job.run) - wanted).max() < 1e-4
    assert np.abs(wanted - expected(job, (np.arange(100) + 1) % 7, values)).max() > 0.1
    frame = json.loads(qtaylor("inspect", job.run / "samples/000001.npy.zst").stdout)["frame"]
    assert frame["rows"] == [position % 7 for position in range(16, 32)]
    record = json.loads((job.run / "manifest.jsonl").read_text().splitlines()[0])
    assert record["rows"] == 16 and record["conditions"] == "0-6,0-6,0-1"
    assert "exactly its 100 samples" in qtaylor("verify", job.run).stdout
    assert "the same as on disk" in qtaylor("sample", job.run, 17, "--recompute", "-o", job.folder / "x.npy").stdout


def test_negative_prompts(job):
    values, negative = arrays(), arrays(seed=5)
    give(job, values)
    job.keys["sampler"]["guidance"] = 2
    np.save(job.folder / "negative.npy", negative["context"])
    job.keys["conditions"]["context"] = {"path": "context.npy", "null": "negative.npy"}
    rows = np.arange(100) % 7
    zeros = {"mask": np.zeros((7, 4)), "size": np.zeros(7)}
    nulls = moves({"context": negative["context"], **zeros})[rows]
    wanted = expected(job, rows, values, nulls)
    qtaylor("run", job.write())
    assert np.abs(stored(job.run) - wanted).max() < 1e-4
    np.save(job.folder / "negative.npy", negative["context"][3:4])  # one for all
    assert "conditions.inputs.context.null.sha256" in qtaylor("run", job.write(), code=65).stderr
    job.keys["output"]["dir"] += "-one"
    qtaylor("run", job.write())
    assert np.abs(stored(job.run) - expected(job, rows, values, np.full(100, nulls[3]))).max() < 1e-4
    one = stored(job.run)
    del job.keys["conditions"]["context"]["null"]  # as the model's own, a file beside it
    job.model["card"]["inputs"] = [INPUTS[0] | {"null": "negative.npy"}, *INPUTS[1:]]
    job.keys["output"]["dir"] += "-own"
    qtaylor("run", job.write())
    assert (stored(job.run) == one).all()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_permuted_rows_give_permuted_samples(job, ranks):
    values = arrays(100)
    give(job, values, rows="each")
    qtaylor("run", job.write(), ranks=ranks)
    plain = stored(job.run)
    order = np.random.default_rng(1).permutation(100)
    give(job, {name: value[order] for name, value in values.items()}, rows="rows.txt")
    (job.folder / "rows.txt").write_text("".join(f"{row}\n" for row in np.argsort(order)))
    job.keys["output"]["dir"] += "-permuted"
    qtaylor("run", job.write(), ranks=ranks)
    assert (stored(job.run) == plain).all()
    give(job, {name: np.repeat(value[3:4], 2, 0) for name, value in values.items()})  # two equal rows
    job.keys["output"]["dir"] += "-equal"
    qtaylor("run", job.write())
    equal = stored(job.run)
    assert (equal[3] == plain[3]).all() and (equal[4] != plain[4]).any()
    give(job, {name: value[3:4] for name, value in values.items()})
    job.keys["output"]["dir"] += "-single"
    qtaylor("run", job.write())
    assert (stored(job.run) == equal).all()


def test_killed_and_continued(job):
    give(job, arrays())
    job.model["delay_ms"] = 3
    qtaylor("run", job.write())
    digest = job.digest()
    for ranks in 1, 2, 3:
        job.keys["output"]["dir"] = str(job.folder / f"run{ranks}")
        process = subprocess.Popen([FAKE, "run", job.write()], env=environment(), stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((job.run / "samples").glob("0*.zst")):
            time.sleep(0.005)
        process.kill()
        process.wait()
        qtaylor("run", job.write(), ranks=ranks)
        assert job.digest() == digest
    qtaylor("run", job.write(), "--set", "seeds=0-119")  # it may grow
    assert "exactly its 120 samples" in qtaylor("verify", job.run).stdout


def test_files_count_by_content(job):
    values = arrays()
    give(job, values)
    qtaylor("run", job.write())
    keys = json.loads((job.run / "run.json").read_text())["keys"]["conditions"]
    assert keys["count"] == 7 and keys["rows"] == "cycle" and keys["inputs"]["mask"]["key"] == "mask"
    os.rename(job.folder / "context.npy", job.folder / "moved.npy")
    job.keys["conditions"]["context"] = "moved.npy"
    assert json.loads(qtaylor("run", job.write(), "--json").stdout)["made_now"] == 0
    values["context"][2, 0, 0] += 1
    np.save(job.folder / "moved.npy", values["context"])
    assert "conditions.inputs.context.sha256" in qtaylor("run", job.write(), code=65).stderr
    (job.run / "samples/000001.npy.zst").unlink()
    done = qtaylor("sample", job.run, 17, "--recompute", "-o", job.folder / "x.npy", code=65)
    assert "moved.npy is another file" in done.stderr
    assert "exactly" not in qtaylor("verify", job.run, code=75).stdout  # needs no conditions
    give(job, values)
    job.keys["conditions"]["rows"] = "each"
    job.keys["seeds"] = "0-6"
    job.keys["output"]["dir"] += "-each"
    qtaylor("run", job.write())
    assert "conditions.rows" in qtaylor("run", job.write(), "--set", "conditions.rows=cycle", code=65).stderr


def test_large_files_are_read_once(job, tmp_path):
    values = arrays(100_000)
    give(job, values)
    path, cache = job.folder / "context.npy", tmp_path / "cache"
    time.sleep(3.1)  # a file just written may be written to again within a tick of its clock
    qtaylor("run", job.write(), XDG_CACHE_HOME=cache)
    entry, = (entry for entry in (cache / "qtaylor/digests").iterdir()
              if entry.read_text()[:64] == hashlib.sha256(path.read_bytes()).hexdigest())
    zeros = "0" * 64
    entry.write_text(f"{zeros} {entry.read_text()[65:]}")  # damaged: not believed
    assert "made now" in qtaylor("run", job.write(), XDG_CACHE_HOME=cache).stdout
    assert entry.read_text()[:64] == hashlib.sha256(path.read_bytes()).hexdigest()
    entry.write_text(f"{zeros} {hashlib.sha256(f'{entry.name} {zeros}'.encode()).hexdigest()}\n")
    for ranks in 0, 3:  # who read the file would find another digest
        job.keys["output"]["dir"] += "-again"
        qtaylor("run", job.write(), ranks=ranks, XDG_CACHE_HOME=cache)
        keys = json.loads((job.run / "run.json").read_text())["keys"]["conditions"]
        assert keys["inputs"]["context"]["sha256"] == "0" * 64
        assert keys["inputs"]["mask"]["sha256"] != "0" * 64
    info = path.stat()
    values["context"][5, 0, 0] += 1
    with open(path, "r+b") as file:
        file.seek(-values["context"].nbytes, os.SEEK_END)
        file.write(values["context"].tobytes())
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (info.st_size, info.st_mtime_ns)
    done = qtaylor("run", job.write(), XDG_CACHE_HOME=cache, code=65)
    assert "conditions.inputs.context.sha256" in done.stderr
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:12] in done.stderr


def test_one_rank_reads_a_large_file(job):
    give(job, arrays(100_000))
    time.sleep(3.1)
    qtaylor("run", job.write(), ranks=3, XDG_CACHE_HOME="/proc/nothing")
    logs = sorted((job.run / "log").glob("rank-*.jsonl"))
    assert len(logs) == 3 and not any("hashed" in log.read_text() for log in logs)  # rank 0 did, before it had a log


@pytest.mark.parametrize("change, words", [
    (lambda job: job.keys.pop("conditions"), ["conditions.context: missing"]),
    (lambda job: job.keys["conditions"].pop("mask"), ["conditions.mask: missing"]),
    (lambda job: job.keys["conditions"].update(other="context.npy"), ["conditions.other", "no such input"]),
    (lambda job: job.keys["conditions"].update(mask="context.npy"),
     ["conditions.mask", "bool of shape [rows, 4]", "<f2"]),
    (lambda job: job.keys["conditions"].update(size="rest.safetensors#sizes"), ["no tensor \"sizes\""]),
    (lambda job: job.keys["conditions"].update(size="rest.safetensors"), ["which tensor, FILE.safetensors#NAME"]),
    (lambda job: job.keys["conditions"].update(rows="each"), ["each", "100 seeds", "7 rows"]),
    (lambda job: job.keys["conditions"].update(rows=3), ["conditions.rows", "cycle, each"]),
    (lambda job: job.keys["conditions"].update(captions="captions.txt"), ["captions", "7 rows, found 2"]),
    (lambda job: job.keys["conditions"].update(captions="zero.txt"), ["zero.txt: expected text", "a zero byte"]),
    (lambda job: np.save(job.folder / "context.npy", np.zeros((6, 2, 3), "<f4")),
     ["conditions.mask", "6 rows", "found 7"]),
    (lambda job: np.save(job.folder / "context.npy", np.zeros((7, 3, 2), "<f4")), ["shape [rows, 2, 3]", "(7, 3, 2)"]),
    (lambda job: os.truncate(job.folder / "context.npy", 150), ["context.npy", "cut short"]),
    (lambda job: os.truncate(job.folder / "rest.safetensors", 150), ["rest.safetensors", "cut short"]),
    (lambda job: job.model["card"].update(inputs=[{"name": "x", "shape": [1]}]), ["inputs[0].name"]),
    (lambda job: job.model["card"].update(inputs=[{"name": "a", "shape": [0]}]), ["inputs[0].shape"]),
    (lambda job: job.model["card"].update(inputs=[INPUTS[0], INPUTS[0]]), ["inputs[0]", "\"context\" twice"]),
    (lambda job: job.model["card"].update(inputs=[INPUTS[0] | {"dtype": "int8"}]), ["inputs[0].dtype"]),
])
def test_mistakes(job, change, words):
    (job.folder / "captions.txt").write_text("a\nb\n")
    (job.folder / "zero.txt").write_bytes(6 * b"a\n" + b"b\0c\n")
    give(job, arrays())
    change(job)
    done = qtaylor("run", job.write(), code=65)
    assert all(word in done.stderr for word in words), done.stderr
    assert not job.run.exists()


def test_plan_looks_at_the_files(job):
    """At those that are there: the plan of a job is wanted before its prompts are encoded, too."""
    give(job, arrays())
    qtaylor("plan", job.write())
    path = job.folder / "context.npy"
    np.save(path, np.zeros((7, 3, 2), "<f4"))
    assert "shape [rows, 2, 3]" in qtaylor("plan", job.write(), code=65).stderr
    path.unlink()
    assert f"conditions.context: cannot open {path}: No such file or directory: a run needs it" in \
        qtaylor("plan", job.write()).stderr


def test_guidance_needs_nulls(job):
    give(job, arrays())
    job.keys["sampler"]["guidance"] = 2
    job.model["card"]["inputs"] = [INPUTS[0] | {"null": None}, *INPUTS[1:]]
    assert "input context has no null" in qtaylor("run", job.write(), code=65).stderr
    np.save(job.folder / "null.npy", np.ones((1, 2, 3), "<f4"))
    job.keys["conditions"]["context"] = {"path": "context.npy", "null": "null.npy"}
    qtaylor("run", job.write())


def test_exports_say_which_rows(job):
    give(job, arrays(), captions="captions.txt")
    captions = [f"the {number}th \"thing\", naïve" for number in range(7)]
    (job.folder / "captions.txt").write_text("\n".join(captions))
    qtaylor("run", job.write())
    png, archive, npz = job.folder / "png", job.folder / "x.zip", job.folder / "x.npz"
    qtaylor("export", job.run, "--to", "png", "-o", png, "--ids", "90-99")
    lines = [json.loads(line) for line in (png / "metadata.jsonl").read_text().splitlines()]
    assert lines == [{"file_name": f"{seed:06d}.png", "row": seed % 7, "text": captions[seed % 7]}
                     for seed in range(90, 100)]
    qtaylor("export", job.run, "--to", "png", "-o", archive, "--count", 3)
    with zipfile.ZipFile(archive) as file:
        lines = [json.loads(line) for line in file.read("metadata.jsonl").decode().splitlines()]
        assert [line["row"] for line in lines] == [0, 1, 2] and lines[1]["file_name"] in file.namelist()
    qtaylor("export", job.run, "--to", "npz", "-o", npz)
    assert (np.load(npz)["rows"] == np.arange(100) % 7).all()


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("value, found", [(np.nan, "nan"), (-np.inf, "-inf"), (1e300, "inf")])
def test_numbers_that_are_none_are_named(job, null, value, found):
    """Where the proof meets them, and where the samples of one row do: these are left out."""
    values = arrays(100)
    give(job, values)
    job.keys["sampler"]["guidance"] = 2
    wrong = values["context"].astype("<f8")
    for row, code in (0, 65), (90, 76):
        wrong[row, 1, 0] = value
        np.save(job.folder / "wrong.npy", wrong)
        job.keys["conditions"]["context"] = {"path": "context.npy", "null": "wrong.npy"} if null else "wrong.npy"
        said = qtaylor("run", job.write(), code=code).stderr
        assert (f"conditions.context{'.null' * null}: row {row}: expected finite numbers within float32, found {found} "
                "as its element 3") in said
        wrong[row] = values["context"][row]
    assert json.loads((job.run / "quarantine.json").read_text())["shards"][0]["seeds"] == "80-95"


def test_captions_of_other_prompts_are_refused(job):
    """They lie outside of the run: whoever encodes other prompts beside its job writes over them."""
    give(job, arrays(), captions="captions.txt")
    del job.keys["output"]["dtype"]
    path, out = job.folder / "captions.txt", job.folder / "png"
    path.write_text("\n".join(map(str, range(7))))
    qtaylor("run", job.write())
    path.write_text("\n".join(map(str, range(7, 0, -1))))
    said = qtaylor("export", job.run, "--to", "png", "-o", out, code=65).stderr
    assert f"conditions.captions: {path} was changed" in said and "put the file back, or run the job again" in said
    path.unlink()
    said = qtaylor("export", job.run, "--to", "png", "-o", out, code=74).stderr
    assert "conditions.captions: cannot open" in said and "run the job again" in said
    assert not out.exists()
    path.write_text("".join(f"caption {row}\n" for row in range(7)))
    assert " 0 made now" in qtaylor("run", job.write()).stdout
    qtaylor("export", job.run, "--to", "png", "-o", out)
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [f"caption {position % 7}" for position in range(100)]


def test_a_file_that_changes_meanwhile(job):
    give(job, arrays())
    job.model["delay_ms"] = 30
    job.keys["workers"] = 1
    process = subprocess.Popen([FAKE, "run", job.write()], env=environment(), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((job.run / "samples").glob("0*.zst")):
        time.sleep(0.005)
    before = (job.folder / "context.npy").stat()
    with open(job.folder / "context.npy", "r+b") as file:
        file.seek(200)
        file.write(b"other")
    os.utime(job.folder / "context.npy", ns=(before.st_atime_ns, before.st_mtime_ns))  # ctime tells all the same
    said = process.communicate()[1]
    assert process.returncode == 74 and "was changed while it was in use" in said
    assert not (job.run / "log/failures.jsonl").exists() or not (job.run / "log/failures.jsonl").read_text()


def test_diagnose_and_latents_with_conditions(job):
    give(job, arrays())
    assert json.loads(qtaylor("diagnose", job.write(), "--count", 4, "--json").stdout)
    card = {"latent": [1, 4, 4], "image": [3, 8, 8]}
    for name, seed in ("a.json", 5), ("b.json", 6):
        (job.folder / name).write_text(json.dumps({"decoder": card, "matrix": seed}))
    job.keys["decode"] = {"path": "a.json"}
    job.keys["output"] |= {"latents": True, "dtype": "uint8"}
    qtaylor("run", job.write())
    qtaylor("decode", job.run, "--decoder", job.folder / "b.json", "-o", job.folder / "b")
    assert "14 files good" in qtaylor("verify", job.folder / "b").stdout


def test_pytorchs_arguments_by_name(tmp_path):
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def forward(self, x, t, labels, mask, context):
            tokens = (context * mask.to(context.dtype)[:, :, None]).sum(1)
            return torch.tanh(x + tokens[:, :, None, None] + 0.1 * labels[:, None, None, None] + t[:, None, None, None])

    card = {"shape": [3, 4, 4], "range": None, "prediction": "epsilon", "time": {"kind": "continuous"},
            "schedule": {"kind": "linear"}, "labels": {"classes": 2, "null": 2},
            "inputs": [{"name": "context", "shape": [5, 3], "null": "zeros"},
                       {"name": "mask", "shape": [5], "dtype": "bool", "null": "zeros"}]}
    network = torch.jit.script(Network())
    torch.jit.save(network, str(tmp_path / "model.pt"), _extra_files={"diffusion.json": json.dumps(card)})
    rng = np.random.default_rng(3)
    context, mask = rng.normal(size=(9, 5, 3)).astype("<f4"), rng.random((9, 5)) < 0.5
    np.save(tmp_path / "context.npy", context)
    np.save(tmp_path / "mask.npy", mask)
    keys = {"model": "model.pt", "seeds": "0-19", "labels": "balanced", "batch": 8,
            "sampler": {"solver": "taylor", "nfe": 4, "guidance": 3},
            "output": {"dir": str(tmp_path / "run"), "dtype": "float32"},
            "conditions": {"context": "context.npy", "mask": "mask.npy"}}
    (tmp_path / "job.yaml").write_text(json.dumps(keys))
    qtaylor("run", tmp_path / "job.yaml", program=TORCH)
    plan = json.loads(qtaylor("plan", tmp_path / "job.yaml", "--json", program=TORCH).stdout)
    rows = np.arange(20) % 9

    def model(x, time, labels):
        null = labels == "null"
        given = [torch.from_numpy(a[rows] * (not null)) for a in (mask, context)]
        label = torch.full((20,), 2) if null else torch.arange(20) % 2
        out = network(torch.from_numpy(x.reshape(20, 3, 4, 4)).float(), torch.full((20,), time), label, *given)
        return out.double().numpy().reshape(20, -1)
    wanted = run_plan(plan, range(20), 48, model).reshape(20, 3, 4, 4)
    assert np.abs(stored(tmp_path / "run") - wanted).max() < 1e-4
    card["inputs"][0]["name"] = "contexts"
    torch.jit.save(network, str(tmp_path / "model.pt"), _extra_files={"diffusion.json": json.dumps(card)})
    keys["conditions"] = {"contexts": "context.npy", "mask": "mask.npy"}
    keys["output"]["dir"] += "-wrong"
    (tmp_path / "job.yaml").write_text(json.dumps(keys))
    done = qtaylor("run", tmp_path / "job.yaml", program=TORCH, code=65)
    assert "the first call of the model failed" in done.stderr and "Tensor context" in done.stderr

"""Decoders: latents to pictures, against numpy and PyTorch on the latents that the same job makes without one."""
import json
import subprocess
import time

import numpy as np
import pytest

from conftest import FAKE, ROOT, TORCH, environment, qtaylor, stored

PER_CHANNEL = {"mean": [0.3], "std": [1.7]}


def give_decoder(job, card=None, batch=3, **network):
    card = {"latent": [1, 4, 4], "image": [3, 8, 8], "scale": 0.7, "shift": 0.1} | (card or {})
    if "mean" in card:
        del card["scale"], card["shift"]
    (job.folder / "decoder.json").write_text(json.dumps({"decoder": card, "matrix": 5} | network))
    job.keys["decode"] = {"path": "decoder.json"} | ({"batch": batch} if batch else {})
    return card


def entries(seed, rows, columns):
    """The closed-form networks' matrix, as shim/fake_shim.c says."""
    mask = (1 << 64) - 1
    matrix = np.empty((rows, columns))
    for r in range(rows):
        for c in range(columns):
            z = (seed * 0x9E3779B97F4A7C15 + r * 0xBF58476D1CE4E5B9 + c * 0x94D049BB133111EB) & mask
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            matrix[r, c] = ((z ^ (z >> 31)) >> 11) * 2.0 ** -52 - 1
    return matrix


def decoded(latents, card):
    """float pictures [N,C,H,W] of float32 latents."""
    z = latents.astype(np.float64)
    if "mean" in card:
        z = z * np.array(card["std"])[:, None, None] + np.array(card["mean"])[:, None, None]
    else:
        z = z / card["scale"] + card["shift"]
    size = np.prod(card["image"])
    rows = z.astype(np.float32).reshape(len(z), -1).astype(np.float64)
    return np.tanh(rows @ entries(5, size, rows.shape[1]).T / np.sqrt(rows.shape[1])).reshape(-1, *card["image"])


def pixels(pictures, low=-1, high=1):
    x = 2 * (pictures.astype(np.float32).astype(np.float64) - low) / (high - low) - 1
    return np.clip(127.5 * x + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def latents_of(job):
    """What the same job ends with when nothing decodes it."""
    keys = {key: value for key, value in job.keys.items() if key not in ("decode", "evaluate")}
    keys["output"] = {"dir": str(job.folder / "latents"), "samples_per_shard": 16, "dtype": "float32"}
    (job.folder / "latents.yaml").write_text(json.dumps(keys))
    qtaylor("run", job.folder / "latents.yaml")
    return stored(job.folder / "latents")


@pytest.mark.parametrize("change", [{}, PER_CHANNEL, {"range": [0, 1]}])
def test_pictures_are_those_of_the_decoder(job, change):
    card = give_decoder(job, change)
    qtaylor("run", job.write())
    low, high = card.get("range", [-1, 1])
    found, expected = stored(job.run), pixels(decoded(latents_of(job), card), low, high)
    assert found.shape == (100, 8, 8, 3) and found.dtype == np.uint8 and found.std() > 20
    assert (found == expected).mean() > 0.9999 and np.abs(found.astype(int) - expected).max() <= 1


def test_float_pictures(job):
    card = give_decoder(job)
    job.keys["output"]["dtype"] = "float32"
    qtaylor("run", job.write())
    assert np.abs(stored(job.run) - decoded(latents_of(job), card)).max() < 1e-6


def kill_at_the_first_shard(job):
    process = subprocess.Popen([FAKE, "run", job.write()], env=environment(), stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((job.run / "samples").glob("0*.zst")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < len(list((job.run / "samples").glob("0*.zst"))) < 7


def test_any_ranks_and_kills_give_the_same(job):
    give_decoder(job, delay_ms=10)
    job.keys["workers"] = 1
    job.add_evaluation()
    features = {"features": {"shape": [3, 8, 8], "range": [0, 255], "outputs": {"pool": 8}}, "matrix": 7}
    (job.folder / "features.json").write_text(json.dumps(features))
    qtaylor("run", job.write())
    digest, metrics = job.digest(), json.loads((job.run / "metrics.json").read_text())["metrics"]
    assert metrics["fid"] > 0
    for ranks in 1, 2, 3:
        job.keys["output"]["dir"] = str(job.folder / f"run{ranks}")
        kill_at_the_first_shard(job)
        qtaylor("run", job.write(), ranks=ranks)
        assert job.digest() == digest
        assert json.loads((job.run / "metrics.json").read_text())["metrics"] == metrics
        assert "exactly its 100 samples" in qtaylor("verify", job.run).stdout


def test_everybody_knows_their_size(job):
    card = give_decoder(job)
    assert "batches of 8" in qtaylor("plan", job.write()).stdout
    qtaylor("run", job.write())
    out = job.folder / "out"
    qtaylor("export", job.run, "--to", "npz", "-o", out.with_suffix(".npz"))
    assert (np.load(out.with_suffix(".npz"))["arr_0"] == stored(job.run)).all()
    qtaylor("export", job.run, "--to", "png", "-o", out)
    assert len(list(out.glob("*.png"))) == 100
    for recompute in [], ["--recompute"]:
        done = qtaylor("sample", job.run, 17, "-o", job.folder / "one.npy", "--force", *recompute)
    assert "the same as on disk" in done.stdout
    assert (np.load(job.folder / "one.npy") == stored(job.run)[17]).all()
    assert "data:image/png" in (qtaylor("report", job.run), job.run / "report.html")[1].read_text()
    described = json.loads(qtaylor("inspect", job.folder / "decoder.json").stdout)
    assert described.get("decoder", described.get("card")) == card
    generation = json.loads((job.run / "metrics.json").read_text())["generation"]
    assert 0 <= generation["decoder_seconds"] < 60


def test_fingerprint(job):
    give_decoder(job)
    qtaylor("run", job.write())
    keys = json.loads((job.run / "run.json").read_text())["keys"]
    assert keys["decode"]["batch"] == 3 and len(keys["decode"]["sha256"]) == 64
    give_decoder(job, batch=4)
    assert "decode.batch = 3" in qtaylor("run", job.write(), code=65).stderr
    give_decoder(job, {"shift": 0.2})
    assert "decode.sha256" in qtaylor("run", job.write(), code=65).stderr
    del job.keys["decode"]
    assert "was made with decode" in qtaylor("run", job.write(), code=65).stderr
    give_decoder(job)
    qtaylor("run", job.write())


@pytest.mark.parametrize("batch, own, expected", [
    (None, None, 8), (None, 5, 5), (5, 5, 5), (2, None, 2), (20, None, 20)])
def test_batches(job, batch, own, expected):
    job.keys["seeds"] = "0-19"
    give_decoder(job, {"batch": own}, batch=batch)
    qtaylor("run", job.write())
    assert json.loads((job.run / "run.json").read_text())["keys"]["decode"]["batch"] == expected


@pytest.mark.parametrize("change, words", [
    ({"latent": [2, 4, 4]}, ["decoder.json", "[2,4,4]", "[1,4,4]"]),
    ({"latent": None}, ["latent", "expected [channels, height, width]"]),
    ({"image": [3, 0, 8]}, ["image", "expected [channels, height, width]"]),
    ({"scale": 0}, ["scale", "above 0"]),
    ({"shift": "a"}, ["shift", "a number"]),
    ({"mean": [0.1, 0.2], "std": [1]}, ["mean", "1 numbers", "found 2"]),
    ({"mean": [0.1]}, ["std", "found 0"]),
    ({"mean": [0.1], "std": [0]}, ["std", "above 0"]),
    ({"batch": 5}, ["decode.batch: 3", "batches of 5"]),
    ({"scalee": 1}, ["scalee", "did you mean \"scale\""]),
])
def test_a_card_that_does_not_fit(job, change, words):
    give_decoder(job, change)
    for command in "plan", "run":
        done = qtaylor(command, job.write(), code=65)
        assert all(word in done.stderr for word in words), done.stderr
    assert not job.run.exists()


def test_scale_beside_means(job):
    give_decoder(job)
    card = json.loads((job.folder / "decoder.json").read_text())
    card["decoder"] |= PER_CHANNEL
    (job.folder / "decoder.json").write_text(json.dumps(card))
    assert "found both" in qtaylor("run", job.write(), code=65).stderr


def test_a_file_that_is_no_decoder(job):
    job.keys["decode"] = {"path": "model.json"}
    assert "decoder.json" in qtaylor("run", job.write(), code=65).stderr
    job.keys["decode"] = {"path": "none.json"}
    assert "decode.path" in qtaylor("run", job.write(), code=74).stderr
    job.keys["decode"] = "decoder.json"
    assert "decode: expected a map" in qtaylor("run", job.write(), code=65).stderr
    job.keys["decode"] = {"batch": 4}
    assert "decode.path: missing" in qtaylor("run", job.write(), code=65).stderr


@pytest.mark.parametrize("member, words", [
    ({"dropout": 0.1}, ["same input again", "dropout", "eval mode"]),
    ({"mixing": 0.5}, ["other samples of the batch", "batch norm"]),
    ({"nan_above": -1e9}, ["not finite"]),
    ({"fail_above": -1e9}, ["does not like", "decoder.json describe it"]),
])
def test_a_decoder_is_proved(job, member, words):
    give_decoder(job, **member)
    done = qtaylor("run", job.write(), code=65)
    assert all(word in done.stderr for word in ["decoder", *words]), done.stderr
    assert not list(job.run.glob("samples/*"))


@pytest.mark.parametrize("member", ["nan_above", "fail_above"])
def test_a_picture_that_fails_is_quarantined(job, member):
    job.model["mixture"]["means"] = [[20 * (i == 0) for i in range(16)], [0] * 16]  # the proof's normals stay below
    job.keys |= {"labels": "labels.txt", "seeds": "0-47"}
    (job.folder / "labels.txt").write_text("".join("0\n" if i == 20 else "1\n" for i in range(48)))
    give_decoder(job, **{member: 15})
    done = qtaylor("run", job.write(), code=76)
    assert "seeds 16-31" in done.stderr
    reason = json.loads((job.run / "quarantine.json").read_text())["shards"][0]["reason"]
    assert ("seed 20 is not finite" if member == "nan_above" else "does not like") in reason
    assert len(list((job.run / "samples").iterdir())) == 2


def test_decoders_of_a_sweep(job):
    give_decoder(job)
    second = json.loads((job.folder / "decoder.json").read_text()) | {"matrix": 6}
    (job.folder / "second.json").write_text(json.dumps(second))
    job.keys["sweep"] = {"decode.path": ["decoder.json", "second.json"]}
    job.keys["sweep"]["sampler.nfe"] = [4, 6]
    qtaylor("run", job.write(), ranks=2)
    digests = {json.loads(path.read_text())["payload_sha256"] for path in job.run.glob("*/metrics.json")}
    assert len(digests) == 4


def test_another_decoder_on_a_node_is_refused(job):
    give_decoder(job)
    qtaylor("generate", job.write())
    (job.run / "samples/000001.npy.zst").unlink()
    give_decoder(job, {"shift": 0.2})
    document = json.loads((job.run / "run.json").read_text())
    assert document["keys"]["decode"]["sha256"]
    done = qtaylor("sample", job.run, 17, "--recompute", "-o", job.folder / "x.npy", code=65)
    assert "decoder.json is another file" in done.stderr, done.stderr


# ---- PyTorch's ----

def test_pytorchs_decoder(tmp_path):
    torch = pytest.importorskip("torch")

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.SiLU(),
                                              torch.nn.ConvTranspose2d(8, 3, 2, stride=2), torch.nn.Tanh())

        def forward(self, z):
            return self.layers(z)

    torch.manual_seed(3)
    network = Decoder().eval()
    card = {"latent": [1, 8, 8], "image": [3, 16, 16], "range": [-1, 1], "scale": 0.18215, "shift": 0.0609}

    def save(changed):
        torch.jit.save(torch.jit.script(network), str(tmp_path / "decoder.pt"),
                       _extra_files={"decoder.json": json.dumps(card | changed)})

    def run(name, *settings, code=0):
        sets = [f"output.dir={tmp_path / name}", "seeds=0-49", "batch=16", "evaluate=null", *settings]
        arguments = [part for one in sets for part in ("--set", one)]
        return qtaylor("run", ROOT / "jobs/digits/job.yaml", *arguments, program=TORCH, code=code, ranks=2)

    save({})
    decode = f"decode={{path: {tmp_path}/decoder.pt, batch: 6}}"
    run("run", decode)
    run("latents", "output.dtype=float32")
    with torch.no_grad():
        latents = torch.from_numpy(stored(tmp_path / "latents"))
        # In float64, as kernels of float32 depend on PyTorch's threads, which other tests of this process may set.
        pictures = network.double()(latents.double() / 0.18215 + 0.0609).numpy()
        network.float()
    found, expected = stored(tmp_path / "run"), pixels(pictures)
    assert found.std() > 20
    assert (found == expected).mean() > 0.999 and np.abs(found.astype(int) - expected).max() <= 1
    assert json.loads(qtaylor("inspect", tmp_path / "decoder.pt").stdout)["kind"] == "decoder"
    save({"image": [3, 16, 8]})
    done = run("wrong", decode, code=65)
    assert "[6, 3, 16, 16]" in done.stderr and "decoder.json" in done.stderr

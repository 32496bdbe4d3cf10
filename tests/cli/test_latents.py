"""Latents that are kept beside the pictures: what is made of them, when they or the pictures are lost, and by whom."""
import hashlib
import json
import subprocess
import time

import numpy as np
import pytest

from conftest import FAKE, environment, qtaylor, stored


def give_decoder(job, name="decoder.json", **network):
    card = {"latent": [1, 4, 4], "image": [3, 8, 8], "scale": 0.7, "shift": 0.1}
    (job.folder / name).write_text(json.dumps({"decoder": card, "matrix": 5} | network))
    job.keys["decode"] = {"path": name, "batch": 3}


def bytes_of(run):
    return {path.relative_to(run): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.glob("*/*.zst")}


def forbid_the_model(job):
    """From here on, whoever loads the model fails."""
    (job.folder / "model.json").rename(job.folder / "model.gone")


def test_latents_are_what_the_same_job_ends_with(job):
    give_decoder(job)
    qtaylor("run", job.write())
    plain = job.digest()
    for kind in True, "float32", "float16":
        job.keys["output"] |= {"dir": str(job.folder / f"run-{kind}"), "latents": kind}
        qtaylor("run", job.write())
        assert (job.digest() == plain) == (kind != "float16")
        kept = stored(job.run, "latents")
        keys = {key: value for key, value in job.keys.items() if key != "decode"}
        keys["output"] = {"dir": str(job.folder / "bare"), "samples_per_shard": 16, "dtype": "float32"}
        (job.folder / "bare.yaml").write_text(json.dumps(keys))
        qtaylor("run", job.folder / "bare.yaml")
        bare = stored(job.folder / "bare")
        assert kept.dtype == (np.float16 if kind == "float16" else np.float32)
        if kind == "float16":  # of doubles, not of these floats: at most the last bit of a half differs
            assert np.abs(kept.astype(float) - bare).max() < 2 ** -11 * np.abs(bare).max()
        else:
            assert (kept == bare).all()
        assert "14 files good" in qtaylor("verify", job.run).stdout
        status = json.loads(qtaylor("status", job.run, "--json").stdout)
        assert status["latents"] == 100 and status["state"] == "complete"
        qtaylor("export", job.run, "--to", "npy", "--latents", "-o", job.folder / f"{kind}.npy")
        assert (np.load(job.folder / f"{kind}.npy") == kept).all()
        qtaylor("sample", job.run, 42, "--latent", "-o", job.folder / f"one-{kind}.npy")
        assert (np.load(job.folder / f"one-{kind}.npy") == kept[42]).all()
        done = qtaylor("sample", job.run, 42, "--recompute", "-o", job.folder / f"{kind}.png")
        assert "the same as on disk" in done.stdout
        assert "latents kept as" in json.loads(qtaylor("report", job.run, "--json").stdout)["environment"]
    keys = json.loads((job.run / "run.json").read_text())["keys"]
    assert keys["decode"]["latents"] == "float16"  # it changes the pictures


def test_a_lost_picture_is_decoded_again(job):
    give_decoder(job)
    job.keys["output"]["latents"] = True
    path = job.write()
    qtaylor("run", path)
    before = bytes_of(job.run)
    for name in "000001", "000006":
        (job.run / f"samples/{name}.npy.zst").unlink()
    assert "2 missing" in qtaylor("verify", job.run, code=75).stdout
    kept = (job.folder / "model.json").read_bytes()
    (job.folder / "model.json").write_bytes(kept.replace(b'"mixture"', b'"gone"'))  # whoever loads it fails
    (job.run / "log/failures.jsonl").unlink()
    qtaylor("decode", job.run, ranks=2)
    assert bytes_of(job.run) == before
    (job.folder / "model.json").write_bytes(kept)
    for name in "latents/000002", "latents/000004", "samples/000004":
        (job.run / f"{name}.npy.zst").unlink()
    assert json.loads(qtaylor("status", job.run, "--json", code=75).stdout)["latents"] == 68
    done = qtaylor("decode", job.run, code=75)
    assert "32 of 100 latents are missing (shards 2, 4); run the job again" in done.stderr
    qtaylor("run", path, ranks=3)
    assert bytes_of(job.run) == before


def test_latents_can_be_had_later(job):
    give_decoder(job)
    qtaylor("run", job.write())
    before = bytes_of(job.run)
    assert "keeps no latents" in qtaylor("export", job.run, "--to", "npy", "--latents", code=65).stderr
    done = qtaylor("decode", job.run, "--decoder", job.folder / "decoder.json", "-o", job.folder / "other", code=65)
    assert "keeps no latents" in done.stderr and not (job.folder / "other").exists()
    qtaylor("run", job.write(), "--set", "output.latents=true")
    after = bytes_of(job.run)
    assert len(after) == 14 and before.items() <= after.items()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_another_decoder(job, ranks):
    give_decoder(job, "second.json", matrix=6)
    job.keys["output"]["dir"] = str(job.folder / "straight")
    qtaylor("run", job.write())
    straight = job.digest()
    give_decoder(job)
    job.keys["output"] |= {"dir": str(job.folder / "run"), "latents": True}
    qtaylor("run", job.write())
    before = bytes_of(job.run)
    kept = (job.folder / "model.json").read_bytes()
    (job.folder / "model.json").write_bytes(kept.replace(b'"mixture"', b'"gone"'))
    command = ["decode", job.run, "--decoder", job.folder / "second.json", "-o", job.folder / "other"]
    done = qtaylor(*command, "--json", ranks=ranks)
    assert json.loads(done.stdout)["payload_sha256"] == straight != job.digest()
    other = job.folder / "other"
    document = json.loads((other / "run.json").read_text())
    assert document["latents_of"] == str(job.run / "latents")
    assert document["job"]["decode"]["path"].endswith("second.json")
    assert "14 files good" in qtaylor("verify", other).stdout
    (other / "samples/000003.npy.zst").unlink()
    qtaylor(*command, ranks=ranks)  # goes on
    assert json.loads((other / "metrics.json").read_text())["payload_sha256"] == straight
    (other / "samples/000003.npy.zst").unlink()
    qtaylor("decode", other)
    assert bytes_of(job.run) == before
    give_decoder(job, "third.json", matrix=8)
    done = qtaylor("decode", job.run, "--decoder", job.folder / "third.json", "-o", other, code=65)
    assert "holds the pictures of another decoder" in done.stderr
    (job.folder / "model.json").write_bytes(kept)
    assert "the same as on disk" in qtaylor("sample", other, 42, "--recompute", "-o", job.folder / "x.png").stdout


def test_usage(job):
    give_decoder(job)
    job.keys["output"]["latents"] = True
    path = job.write()
    qtaylor("run", path)
    assert "belong together" in qtaylor("decode", job.run, "--decoder", "x", code=64).stderr
    assert "belong together" in qtaylor("decode", job.run, "-o", job.folder / "x", code=64).stderr
    assert "--to npy" in qtaylor("export", job.run, "--to", "png", "--latents", code=64).stderr
    assert "FILE.npy" in qtaylor("sample", job.run, 3, "--latent", code=64).stderr
    assert "no run directory" in qtaylor("decode", job.folder, code=65).stderr
    del job.keys["decode"]
    job.keys["output"]["dir"] += "-bare"
    assert "output.latents: expected a decoder beside it" in qtaylor("run", job.write(), code=65).stderr
    job.keys["output"]["latents"] = "float64"
    assert "true, false, float32 or float16" in qtaylor("run", job.write(), code=65).stderr


@pytest.mark.parametrize("member", ["nan_above", "fail_above"])
def test_a_picture_fails_and_its_latents_stay(job, member):
    job.model["mixture"]["means"] = [[20 * (i == 0) for i in range(16)], [0] * 16]  # the proof's normals stay below
    job.keys |= {"labels": "labels.txt", "seeds": "0-47"}
    (job.folder / "labels.txt").write_text("".join("0\n" if i == 20 else "1\n" for i in range(48)))
    give_decoder(job, **{member: 15})
    job.keys["output"]["latents"] = True
    done = qtaylor("run", job.write(), code=76, ranks=2)
    assert "seeds 16-31" in done.stderr
    reason = json.loads((job.run / "quarantine.json").read_text())["shards"][0]["reason"]
    assert ("seed 20 is not finite" if member == "nan_above" else "does not like") in reason
    assert sorted(path.name[:6] for path in (job.run / "samples").iterdir()) == ["000000", "000002"]
    assert len(list((job.run / "latents").iterdir())) == 3
    assert "all but 1 quarantined" in qtaylor("verify", job.run, code=76).stderr
    give_decoder(job, "good.json")
    qtaylor("decode", job.run, "--decoder", job.folder / "good.json", "-o", job.folder / "good", ranks=2)
    assert stored(job.folder / "good").shape == (48, 8, 8, 3)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_killed_at_any_time(job, ranks):
    give_decoder(job)
    job.keys["output"]["latents"] = "float16"
    job.keys["workers"] = 2
    qtaylor("run", job.write())
    expected = bytes_of(job.run)
    give_decoder(job, delay_ms=4)
    job.model["delay_ms"] = 2
    for folder, wanted in ("latents", 1), ("latents", 3), ("samples", 2):
        job.keys["output"]["dir"] = str(job.folder / f"{folder}{wanted}")
        job.write()
        command = [FAKE, "generate", job.folder / "job.yaml"]
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((job.run / folder).glob("0*.zst"))) < wanted:
            time.sleep(0.001)
        process.kill()
        process.wait()
        qtaylor("run", job.folder / "job.yaml", ranks=ranks)
        assert "exactly its 100 samples" in qtaylor("verify", job.run).stdout
        assert bytes_of(job.run).keys() == expected.keys()
        assert (stored(job.run) == stored(job.folder / "run")).all()
        assert (stored(job.run, "latents") == stored(job.folder / "run", "latents")).all()
        assert not [path for path in job.run.rglob(".*") if path.is_file()]

"""Several decoders in one job: one sampling, and a run of each decoder's pictures of the same latents."""
import json
import shutil
import subprocess
import time

import pytest

from conftest import FAKE, environment, qtaylor

NAMES = ("first", "second", "third")
FILES = ("decoder.json", "second.json", "b/decoder.json")


def give(job, **third):
    (job.folder / "b").mkdir(exist_ok=True)
    card = {"latent": [1, 4, 4], "image": [3, 8, 8], "scale": 0.7, "shift": 0.1}
    for number, file in enumerate(FILES):
        network = {"decoder": card, "matrix": 5 + number} | (third if number == 2 else {})
        (job.folder / file).write_text(json.dumps(network))
    job.keys["decode"] = [{"path": FILES[0], "batch": 3}, {"path": FILES[1]},
                          {"path": FILES[2], "batch": 5, "name": "third"}]


def folders(job):
    return [job.run, job.run / "decoded/second", job.run / "decoded/third"]


def give_pictures_metrics(job):
    job.add_evaluation()
    network = {"features": {"shape": [3, 8, 8], "range": [0, 255], "outputs": {"pool": 8}}, "matrix": 7}
    (job.folder / "features.json").write_text(json.dumps(network))


def digests(job):
    return [json.loads((folder / "metrics.json").read_text())["payload_sha256"] for folder in folders(job)]


def straight(job):
    """What jobs with one of them give."""
    made, keys = [], json.loads(json.dumps(job.keys))
    for decoder in keys["decode"]:
        job.keys["decode"] = {key: value for key, value in decoder.items() if key != "name"}
        job.keys["output"]["dir"] = str(job.folder / f"straight{len(made)}")
        qtaylor("run", job.write())
        made.append(job.digest())
    job.keys = keys
    return made


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_each_is_the_job_with_it_alone(job, ranks):
    give(job)
    job.keys["evaluate"] = {"features": "features.json", "reference": "reference.npz"}
    give_pictures_metrics(job)
    alone = straight(job)
    fids = [json.loads((job.folder / f"straight{i}/metrics.json").read_text())["metrics"]["fid"] for i in range(3)]
    result = json.loads(qtaylor("run", job.write(), "--json", ranks=ranks).stdout)
    assert digests(job) == alone and len(set(alone)) == 3
    assert result["payload_sha256"] == alone[0] and result["metrics"]["fid"] == fids[0]
    for number, name in (1, "second"), (2, "third"):
        assert result["decoded"][name]["payload_sha256"] == alone[number]
        assert result["decoded"][name]["metrics"]["fid"] == fids[number]
        keys = json.loads((job.run / f"decoded/{name}/run.json").read_text())["keys"]["decode"]
        assert keys["batch"] == {"second": 8, "third": 5}[name]
    said = qtaylor("verify", job.run).stdout
    assert said.count("holds exactly its 100 samples") == 3 and all(digest in said for digest in alone)
    status = json.loads(qtaylor("status", job.run, "--json").stdout)
    assert [cell["cell"] for cell in status["decoders"]] == ["second", "third"] and status["state"] == "complete"
    report = json.loads(qtaylor("report", job.run, "--json").stdout)["environment"]["other decoders"]
    assert ["decoded/second" in report[0], f"FID {fids[2]:.4f}" in report[1]] == [True, True]
    assert "decoder     third" in qtaylor("run", job.write()).stdout
    qtaylor("export", job.run / "decoded/third", "--to", "npy", "-o", job.folder / "third.npy")
    moved = job.folder / "moved"
    shutil.move(job.run, moved)
    (moved / "decoded/third/samples/000002.npy.zst").unlink()
    assert "1 missing" in qtaylor("verify", moved, code=75).stdout
    assert json.loads(qtaylor("status", moved, "--json", code=75).stdout)["decoders"][1]["done"] == 84
    (job.folder / "model.json").write_text((job.folder / "model.json").read_text().replace('"mixture"', '"gone"'))
    result = json.loads(qtaylor("decode", moved, "--json", ranks=ranks).stdout)
    assert result["decoded"]["third"]["payload_sha256"] == alone[2]


def test_one_more_later_needs_no_sampling(job):
    give(job)
    alone = straight(job)
    last = job.keys["decode"].pop()
    qtaylor("run", job.write())
    job.keys["decode"].append(last)
    assert json.loads(qtaylor("run", job.write(), "--json").stdout)["made_now"] == 0
    assert digests(job) == alone
    assert "decoder" not in json.loads(qtaylor("evaluate", job.run, "--json").stdout)["decoded"]


def test_killed_and_continued(job):
    give(job)
    job.model["delay_ms"] = 3
    alone = straight(job)
    for ranks, last in enumerate(["samples", "decoded/second/samples", "decoded/third/samples"], 1):
        job.keys["output"]["dir"] = str(job.folder / f"run{ranks}")
        process = subprocess.Popen([FAKE, "run", job.write()], env=environment(), stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        while process.poll() is None and not list((job.run / last).glob("0*.zst")):
            time.sleep(0.002)
        process.kill()
        process.wait()
        qtaylor("run", job.write(), ranks=ranks)
        assert digests(job) == alone
    qtaylor("run", job.write(), "--set", "seeds=0-119")  # they grow with it
    assert qtaylor("verify", job.run).stdout.count("holds exactly its 120 samples") == 3


def give_one_large(job):
    """The latent of seed 20 is far above all others."""
    job.model["mixture"]["means"] = [[20 * (i == 0) for i in range(16)], [0] * 16]
    job.keys |= {"labels": "labels.txt", "seeds": "0-47"}
    (job.folder / "labels.txt").write_text("".join("0\n" if i == 20 else "1\n" for i in range(48)))


@pytest.mark.parametrize("ranks", [0, 2])
def test_the_first_decoder_fails_at_one_picture(job, ranks):
    give_one_large(job)
    give(job)
    network = json.loads((job.folder / FILES[0]).read_text()) | {"nan_above": 15}
    (job.folder / FILES[0]).write_text(json.dumps(network))
    done = qtaylor("run", job.write(), ranks=ranks, code=76)
    assert done.stderr.count("shards failed twice") == 1 and "seeds 16-31" in done.stderr
    assert [len(list((folder / "samples").iterdir())) for folder in folders(job)] == [2, 3, 3]
    made = job.folder / "made.npy"
    again = qtaylor("sample", job.run, 20, "--recompute", "-o", made, code=65)
    assert "the picture of seed 20 is not finite" in again.stderr and not made.exists()


@pytest.mark.parametrize("ranks", [0, 2])
def test_latents_of_a_quarantined_shard_are_missing(job, ranks):
    give(job)
    job.model["card"]["labels"] = {"classes": 4, "null": 4}
    job.keys |= {"labels": "labels.txt", "seeds": "0-47", "workers": 1}
    (job.folder / "labels.txt").write_text("".join("2\n" if i == 20 else "1\n" for i in range(48)))
    done = qtaylor("run", job.write(), ranks=ranks, code=76, QTAYLOR_FAKE_POISON="2:fail")
    assert done.stderr.count("1 shards failed twice") == 1 and "seeds 16-31" in done.stderr
    assert all(f"decoder {name}: " in done.stderr for name in NAMES[1:])
    (job.run / "log/failures.jsonl").unlink()
    qtaylor("run", job.write(), ranks=ranks)
    assert qtaylor("verify", job.run).stdout.count("holds exactly its 48 samples") == 3


def test_a_decoder_that_fails_at_one_picture(job):
    give_one_large(job)
    give(job, nan_above=15)
    done = qtaylor("run", job.write(), code=76)
    assert "seeds 16-31" in done.stderr and "decoded/third" in done.stderr
    assert len(list((job.run / "decoded/third/samples").iterdir())) == 2
    for folder in folders(job)[:2]:
        assert len(list((folder / "samples").iterdir())) == 3
    assert len(list((job.run / "latents").iterdir())) == 3
    assert "48 samples" in qtaylor("verify", job.run, code=76).stdout
    assert json.loads(qtaylor("status", job.run, "--json", code=76).stdout)["state"] == "quarantined"


def test_a_list_in_a_sweep(job):
    give(job)
    job.keys["sweep"] = {"sampler.nfe": [4, 6]}
    qtaylor("run", job.write(), ranks=2)
    # Without mpirun: it is long, and Open MPI 5's may lose a line (docs/cluster.md).
    result = json.loads(qtaylor("run", job.write(), "--json").stdout)
    assert set(result["decoded"]) == {f"nfe={nfe}/{name}" for nfe in (4, 6) for name in ("second", "third")}
    assert "exactly the samples" in qtaylor("verify", job.run).stdout
    qtaylor("status", job.run)
    (job.run / "nfe=6/decoded/third/samples/000001.npy.zst").unlink()
    cells = json.loads(qtaylor("status", job.run, "--json", code=75).stdout)["cells"]
    assert [cell["state"] for cell in cells] == ["complete", "stopped"]
    assert "1 of its 2 cells" in qtaylor("verify", job.run, code=75).stderr
    qtaylor("run", job.write())
    qtaylor("status", job.run)


def test_features_of_another_size(job):
    """Said before anything is made."""
    give(job)
    job.add_evaluation()
    network = {"features": {"shape": [3, 8, 8], "range": [0, 255], "outputs": {"pool": 8}}, "matrix": 7}
    (job.folder / "features.json").write_text(json.dumps(network))
    wide = {"decoder": {"latent": [1, 4, 4], "image": [3, 16, 16]}, "matrix": 5}
    (job.folder / "second.json").write_text(json.dumps(wide))
    done = qtaylor("run", job.write(), code=65)
    assert "second.json" in done.stderr and "16" in done.stderr and not job.run.exists()


@pytest.mark.parametrize("change, words", [
    (lambda list: [list[2].pop("name"), list[1].update(path="b/decoder.json")],
     ["decode[2]", "\"decoder\" is another decoder's"]),
    (lambda list: list[1].update(name="third"), ["decode[2]", "\"third\" is another decoder's"]),
    (lambda list: list[1].update(name="a/b"), ["decode[1]", "for a folder"]),
    (lambda list: list[0].update(name="a"), ["decode[0].name"]),
    (lambda list: list.append("second.json"), ["decode[3]", "a map"]),
    (lambda list: list.clear(), ["decode", "list of 1 to 16"]),
    (lambda list: list[1].update(path="wide.json"), ["wide.json", "[1,8,8]"]),
])
def test_mistakes(job, change, words):
    give(job)
    wide = {"decoder": {"latent": [1, 8, 8], "image": [3, 8, 8]}, "matrix": 5}
    (job.folder / "wide.json").write_text(json.dumps(wide))
    change(job.keys["decode"])
    done = qtaylor("run", job.write(), code=65)
    assert all(word in done.stderr for word in words), done.stderr
    assert not job.run.exists()


def test_a_name_that_is_another_decoders(job):
    """In the folder it is, of an earlier list or of `decode`."""
    give(job)
    qtaylor("run", job.write())
    job.keys["decode"][1] = {"path": "b/decoder.json", "name": "second"}
    del job.keys["decode"][2]
    said = qtaylor("run", job.write(), code=65).stderr
    assert (f"{job.run}/decoded/second holds the pictures of another decoder (or of another `batch` of it) than "
            f"{job.folder}/b/decoder.json: give this one another name in the list") in said
    decode = ["decode", job.run, "--decoder", job.folder / "second.json", "-o"]
    for folder in (job.run, job.run / "decoded/third"):
        said = qtaylor(*decode, folder, code=65).stderr
        assert f"{folder} holds the pictures of another decoder" in said and "choose another --output" in said
    qtaylor(*decode, job.folder / "elsewhere")
    job.keys["decode"][1]["name"] = "fourth"
    qtaylor("run", job.write())


def test_who_decided_that_it_was_enough(job):
    """evaluate.until looks at the first decoder's FID; the others' runs are as long, whatever theirs is."""
    give(job)
    give_pictures_metrics(job)
    job.keys |= {"seeds": "0-1999"}
    job.keys["output"]["latents"] = True
    job.keys["evaluate"]["until"] = {"fid_error": 1e9}
    qtaylor("run", job.write())
    assert json.loads((job.run / "metrics.json").read_text())["samples"] < 2000
    said = qtaylor("status", job.run).stdout.splitlines()
    [stopped] = [line for line in said if line.startswith("stopped")]
    assert stopped.endswith(", its FID is exact enough")
    others = [line for line in said if "second" in line or "third" in line]
    assert len(others) == 2 and all(line.endswith(", as the run of its latents was") for line in others)
    one = qtaylor("status", job.run / "decoded/third").stdout
    assert "seeds, as the run of its latents was" in one and "exact enough" not in one
    assert "decided for the run of its latents" in qtaylor("report", job.run / "decoded/third", "--card").stdout
    said = qtaylor("decode", job.run, "--decoder", job.folder / FILES[1], "-o", job.folder / "again").stdout
    assert "2000 seeds, as the run of its latents was\n" in said and "standard error" not in said
    assert "2000 seeds: FID's standard error is at most" in qtaylor("evaluate", job.run).stdout


def test_status_of_a_sweep_names_the_decoder_that_lacks_pictures(job):
    give(job)
    job.keys["output"]["latents"] = True
    job.keys["sweep"] = {"sampler.nfe": [4, 6]}
    qtaylor("run", job.write())
    assert "decoder third: 100 of 100, complete" in qtaylor("status", job.run).stdout
    (job.run / "nfe=6/decoded/third/samples/000002.npy.zst").unlink()
    said = qtaylor("status", job.run, code=75).stdout
    assert [line.split() for line in said.splitlines() if "decoder third" in line] == \
        ["decoder third: 100 of 100, complete".split(), "decoder third: 84 of 100, stopped".split()]
    cells = json.loads(qtaylor("status", job.run, "--json", code=75).stdout)["cells"]
    assert [[(d["cell"], d["done"]) for d in cell["decoders"]] for cell in cells] == \
        [[("second", 100), ("third", 100)], [("second", 100), ("third", 84)]]

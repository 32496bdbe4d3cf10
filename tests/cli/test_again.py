"""A run's run.json as a job that makes the same set again, and compare --same, which says whether it is the same."""
import json
import shutil

import numpy as np
import pytest

from conftest import qtaylor, stored
from test_conditions import arrays, give
from test_decoders import give as give_decoders
from test_latents import give_decoder

SAME, ROUNDED, DIFFERENT, USAGE, DATA, AGAIN = 0, 1, 2, 64, 65, 75


def same(a, b, code, *more):
    return qtaylor("compare", "--same", a, b, *more, code=code).stdout


def again(job, *more, code=0, **how):
    return qtaylor("run", job.run / "run.json", "--set", f"output.dir={job.folder}/again", *more, code=code, **how)


def everything(job):
    """A job with a guide, labels, conditions, latents and a decoder of its own."""
    give(job, arrays(), classes=True)
    guide = json.loads(json.dumps(job.model))
    guide["mixture"]["std"] = 0.5
    (job.folder / "guide.json").write_text(json.dumps(guide))
    give_decoder(job)
    job.keys["output"] |= {"latents": True, "dtype": "uint8"}
    job.keys["labels"] = "random"
    job.keys["sampler"] = {"solver": "ddim", "nfe": 4, "eta": 0.5, "grid": {"times": [1, 0.7, 0.4, 0.2, 0.01]},
                           "guidance": {"scale": 2, "model": "guide.json"}}
    del job.keys["sampler"]["nfe"]


@pytest.mark.parametrize("add", [lambda job: None, everything, lambda job: job.add_evaluation()],
                         ids=["plain", "everything", "evaluated"])
def test_the_same_set_again(job, add):
    add(job)
    qtaylor("run", job.write())
    made = again(job, ranks=2)
    assert "will be others" not in made.stderr
    assert (stored(job.folder / "again") == stored(job.run)).all()
    first, second = (json.loads((folder / "run.json").read_text()) for folder in (job.run, job.folder / "again"))
    assert first["fingerprint"] == second["fingerprint"] and first["name"] == second["name"] == "small"
    said = same(job.run, job.folder / "again", SAME)
    assert "verdict      the same bytes" in said and "100 of the same seeds, of which 0 differ" in said
    assert "differs" not in said
    assert "all found" not in qtaylor("run", job.run / "run.json").stdout  # in its own folder it goes on
    assert "100 on disk, 0 made now" in qtaylor("run", job.run / "run.json").stdout


def test_another_group_names_its_own_files(job, tmp_path):
    job.add_evaluation()
    qtaylor("run", job.write())
    before = stored(job.run)
    home = tmp_path / "theirs $HOME"
    home.mkdir()
    for path in [job.run, job.folder / "model.json", job.folder / "features.json", job.folder / "reference.npz"]:
        shutil.move(path, home)
    theirs, mine = home / "run/run.json", f"output.dir={tmp_path}/mine"
    error = qtaylor("run", theirs, "--set", mine, code=DATA).stderr
    assert f"model.path: expected the file that the run was made with, found none at {job.folder}/model.json" in error
    assert "--set model.path=FILE" in error and not (tmp_path / "mine").exists()
    model = f"model.path={home}/model.json".replace("$", "$$")
    error = qtaylor("run", theirs, "--set", mine, "--set", model, code=DATA).stderr
    assert "evaluate.features: expected" in error and "--set evaluate=null" in error
    without = ["--set", model, "--set", "evaluate=null"]
    error = qtaylor("run", theirs, *without, code=USAGE).stderr
    assert f"the run was made in {job.run}: say --set output.dir=DIR" in error and not job.run.exists()
    qtaylor("plan", theirs, *without)  # makes nothing, so needs no folder
    done = qtaylor("run", theirs, "--set", mine, *without)
    assert "will be others" not in done.stderr and (stored(tmp_path / "mine") == before).all()
    same(home / "run", tmp_path / "mine", SAME)


def test_paths_stand_for_themselves(job, tmp_path):
    """A dollar in a path of run.json is no variable."""
    job.write()
    shutil.move(job.folder / "model.json", job.folder / "$model.json")
    job.keys["model"] = {"path": "$$model.json"}
    (job.folder / "job.yaml").write_text(json.dumps(job.keys))
    qtaylor("run", job.folder / "job.yaml")
    again(job)
    assert (stored(job.folder / "again") == stored(job.run)).all()


def test_a_later_format_is_refused(job):
    qtaylor("run", job.write())
    document = json.loads((job.run / "run.json").read_text())
    (job.folder / "later.json").write_text(json.dumps(document | {"format": document["format"] + 1}))
    error = qtaylor("run", job.folder / "later.json", "--set", f"output.dir={job.folder}/again", code=DATA).stderr
    assert "later.json" in error and "format" in error and not (job.folder / "again").exists()


def test_what_is_other_is_said(job):
    qtaylor("run", job.write())
    done = again(job, "--set", "sampler.nfe=4", "--set", "batch=4")
    for said in ("it has batch = 8, this job 4", "it has sampler.nfe = 6, this job 4"):
        assert f"the samples will be others than that run's: {said}" in done.stderr
    said = same(job.run, job.folder / "again", DIFFERENT)
    assert "verdict      different" in said and "differs      sampler.nfe: A has 6, B has 4" in said
    assert "differs      batch: A has 8, B has 4" in said and "labels" not in said
    result = json.loads(same(job.run, job.folder / "again", DIFFERENT, "--json"))
    difference = np.abs(stored(job.run).astype(int) - stored(job.folder / "again"))
    assert result["largest"] == difference.max() and result["share"] == (difference > 0).mean()
    assert result["differing"] == (difference.reshape(100, -1).max(1) > 0).sum()
    assert {one["key"] for one in result["differences"]} == {"batch", "sampler.nfe", "sampler.steps"}


def test_within_rounding(job):
    """Floats of a model that is a little off: levels apart by one at most, found by numpy too."""
    qtaylor("run", job.write())
    job.model["mixture"]["std"] = 0.2002
    job.keys["output"]["dir"] = str(job.folder / "off")
    qtaylor("run", job.write())
    difference = np.abs(stored(job.folder / "run").astype(int) - stored(job.run))
    assert difference.max() == 1
    said = same(job.folder / "run", job.run, ROUNDED)
    assert "the same within rounding" in said and "largest difference is 1 of 255 levels" in said
    assert f"{100 * (difference > 0).mean():.4g} % of the values differ" in said and "model.sha256" in said
    job.keys["output"] |= {"dir": str(job.folder / "floats"), "dtype": "float32"}
    qtaylor("run", job.write())
    said = same(job.folder / "off", job.run, ROUNDED)  # other types, the same pixels
    assert "largest difference is 0" in said and "output.dtype" in said and "100 differ in their bytes" in said


def test_other_seeds_are_another_set(job):
    qtaylor("run", job.write())
    job.keys["seeds"] = "90-119,5-20"
    job.keys["output"]["dir"] = str(job.folder / "more")
    qtaylor("run", job.write())
    said = same(job.folder / "run", job.run, DIFFERENT)
    assert "26 of the same seeds, of which 0 differ in their bytes" in said and "differs      seeds" in said
    job.keys["seeds"] = "1000-1015"
    job.keys["output"]["dir"] = str(job.folder / "apart")
    qtaylor("run", job.write())
    assert "no seed in common" in qtaylor("compare", "--same", job.folder / "run", job.run, code=DATA).stderr
    (job.run / "samples/000000.npy.zst").unlink()
    assert "missing" in qtaylor("compare", "--same", job.run, job.run, code=AGAIN).stderr
    assert "no run directory" in qtaylor("compare", "--same", job.folder, job.run, code=DATA).stderr


def test_every_decoder_is_compared(job):
    give_decoders(job)
    qtaylor("run", job.write())
    again(job)
    run, other = job.run, job.folder / "again"
    assert same(run, other, SAME).count("the same bytes") == 3
    for options in (["--count", "10"], ["--metrics", "kid"]):
        assert "leave out --count, --metrics" in qtaylor("compare", "--same", run, other, *options,
                                                         code=USAGE).stderr
    shutil.rmtree(other)
    job.keys["decode"][1] = {"path": "b/decoder.json", "name": "second"}
    del job.keys["decode"][2]
    job.keys["output"]["dir"] = str(other)
    qtaylor("run", job.write())
    said = same(run, other, DIFFERENT)
    assert "verdict      different" in said and "100 of the same seeds, of which 0 differ" in said
    assert "decoder      second: different\n" in said and "decoder      third: different: only in A" in said
    result = json.loads(same(other, run, DIFFERENT, "--json"))
    assert result["verdict"] == "different" and result["differing"] == 0
    first, second = (stored(one / "decoded/second").astype(int) for one in (run, other))
    assert result["decoded"]["second"]["largest"] == np.abs(first - second).max() > 1
    assert result["decoded"]["third"] == {"verdict": "different", "only": "B"}
    shutil.rmtree(other / "decoded/second")
    assert "decoded/second" in qtaylor("compare", "--same", run, other, code=DATA).stderr

"""A report says why a number, a row or a difference isn't there, and what brings it back."""
import json
import shutil

import numpy as np
import pytest

from conftest import qtaylor
from reports import make_sweep, read_page, results

AGAIN, DATA = 75, 65
CELLS = {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]}


@pytest.fixture
def swept(tmp_path):
    job = make_sweep(tmp_path, CELLS)
    qtaylor("run", job.write())
    return job


def told(run, *words):
    """On the page, in the terminal's text, on stderr."""
    text = qtaylor("report", run, "--text")
    qtaylor("report", run)
    assert max(map(len, text.stdout.splitlines())) <= 80
    for word in words:
        assert word in text.stderr and word in " ".join(text.stdout.split())
        assert word in read_page(run).text_content()


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_rows_that_were_left_out_are_not_called_unfinished(swept, tmp_path):
    np.savez(tmp_path / "other.npz", mu=np.full(8, 90.0), sigma=np.eye(8))
    swept.keys["evaluate"]["reference"] = "other.npz"
    swept.keys["sweep"]["sampler.solver"] = ["ddim"]
    qtaylor("run", swept.write())
    data = json.loads(qtaylor("report", swept.run, "--json").stdout)
    assert data["missing"] == [] and data["unlisted"] == ["solver=heun,nfe=4"]
    told(swept.run, "1 cells are finished, but the results have no row of them: run the sweep again with")
    assert "not finished" not in qtaylor("report", swept.run, "--text").stdout
    swept.keys["sweep"]["sampler.solver"] = ["ddim", "heun"]  # what the words tell to do helps
    qtaylor("run", swept.write())
    assert json.loads(qtaylor("report", swept.run, "--json").stdout)["unlisted"] == []


@pytest.mark.parametrize("harm, said", [
    (lambda cell: (cell / "metrics.json").unlink(), "/metrics.json is missing"),
    (lambda cell: (cell / "run.json").unlink(), "/run.json is missing"),
    (shutil.rmtree, "the folder solver=heun,nfe=4 is missing or empty")])
def test_a_difference_says_which_file_it_lacks(swept, harm, said):
    harm(swept.run / "solver=heun,nfe=4")
    (best,) = json.loads(qtaylor("report", swept.run, "--json").stdout)["best"]
    assert best["unpaired"].endswith(said) and "solver=heun,nfe=4" in best["unpaired"]


def test_results_that_are_gone_are_named_and_come_back(swept):
    rows = results(swept.run)
    (swept.run / "results.json").unlink()
    said = qtaylor("report", swept.run, code=AGAIN).stderr
    assert f"{swept.run} has no results.json, though 2 of its cells are finished: run the sweep again" in said
    qtaylor("run", swept.write())
    assert results(swept.run) == rows


def test_metrics_that_were_changed_are_told(swept):
    cell = swept.run / "solver=ddim,nfe=4"
    assert "changed" not in qtaylor("report", cell, "--card", "text").stdout
    edit(cell / "metrics.json", lambda found: found["metrics"].update(fid=0.1))
    words = "1 of these metrics.json were changed since they were written (metrics_sha256)"
    told(swept.run, words)
    told(cell, words)
    data = json.loads(qtaylor("report", swept.run, "--json").stdout)
    assert data["changed"] == [cell.name] and data["stale"] == []
    for form in "text", "markdown", "latex":
        assert "metrics.json was changed since it was written" in qtaylor("report", cell, "--card", form).stdout
    qtaylor("run", swept.write())
    assert "changed since" not in qtaylor("report", swept.run, "--text").stdout


def test_how_the_metrics_of_all_samples_come_back(swept):
    run = swept.run / "solver=ddim,nfe=4"
    said = qtaylor("run", swept.write(), "--cell", "0", "--set", "evaluate.count=200").stderr
    assert "now of the first 200 samples, no longer of 300: for those again run it without evaluate.count" in said
    qtaylor("run", swept.write(), "--cell", "0")
    assert json.loads((run / "metrics.json").read_text())["metrics"]["samples"] == 300


NONSENSE = [{}, [], {"metric": 5}, {"rounds": 3}, {"rounds": [{}]}, {"in": [None]}, {"next": "soon"}, {"of": None},
            {"rounds": [{"samples": 1, "cells": 2, "leader": "a", "left": [{"cell": "b"}]}]}]


@pytest.mark.parametrize("by", NONSENSE, ids=map(str, NONSENSE))
def test_a_race_that_is_none_is_said_and_not_shown(swept, by):
    race = {"metric": "fid", "confidence": 0.95, "seeds": 300, "cells": 2, "rounds": [], "samples": 600, "of": 600,
            "in": ["solver=ddim,nfe=4"]}
    path = swept.run / "race.json"
    path.write_text(json.dumps(race))
    assert "race " in qtaylor("status", swept.run).stdout and "race: " in qtaylor("report", swept.run, "--text").stdout
    path.write_text(json.dumps(race | by if by else by))
    for command in ("report", swept.run, "--text"), ("report", swept.run):
        assert f"{path} is not the record of a race" in qtaylor(*command, code=DATA).stderr
    done = qtaylor("status", swept.run)
    assert f"{path} is not the record of a race" in done.stderr and "race " not in done.stdout

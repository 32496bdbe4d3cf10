"""What is told of a table that qtaylor tune wrote, where it is used."""

import hashlib
import json
import re
import shutil

import pytest

from conftest import qtaylor
from test_tune import tune


def warned(job, **changes):
    """What plan, run and run.json say of the table of this job with other keys."""
    shutil.rmtree(job.folder / "used", ignore_errors=True)
    keys = job.keys | changes | {"output": {"dir": str(job.folder / "used")}}
    job.write()
    (job.folder / "used.yaml").write_text(json.dumps(keys))
    planned, made = (
        re.findall(r"sampler\.table: .*", qtaylor(verb, job.folder / "used.yaml").stderr) for verb in ("plan", "run")
    )
    assert planned == made == json.loads((job.folder / "used/run.json").read_text()).get("warnings", [])
    return made


def test_where_a_table_is_used_is_compared_with_where_it_was_fitted(job):
    """With its seeds, and with the keys that tune.json has."""
    job.keys |= {"seeds": "0-9", "labels": "balanced"}
    job.keys["sampler"] |= {"guidance": 2, "t_end": 0.01}
    found = tune(job, "--nfe", 4, thorough=False)["tuned"][0]
    made = json.loads((job.folder / "tuned/tuned-nfe4.json").read_text())["made"]
    assert made["seeds"] == found["seeds"] == "10-33" and made["chosen_by"] == {"metric": "distance"}
    assert made["keys"] == json.loads((job.folder / "tuned/tune.json").read_text())["keys"]
    use = {"solver": "table", "table": "tuned/tuned-nfe4.json", "guidance": 2}
    job.keys["sampler"] = use
    assert warned(job) == []
    [said] = warned(job, seeds="0-19")
    assert "by seeds 10-33, and 10 of this job's seeds are of them (the first is 10)" in said
    [said] = warned(job, sampler=use | {"guidance": 1})
    assert "it was fitted with sampler.guidance = 2.0, this job has 1.0" in said
    [said] = warned(job, labels=1)
    assert "it was fitted with labels.label = nothing, this job has 1" in said
    job.model["card"]["schedule"] |= {"beta0": 0.2}
    other, keys = warned(job, labels=1)
    assert "another model" in other and "card.schedule" in keys


def test_the_seeds_of_fids_are_of_those_that_a_table_took(job):
    job.add_evaluation()
    job.keys |= {"seeds": "0-9"}
    [one] = tune(job, "--nfe", 4, "--samples", 240, thorough=False)["tuned"]
    assert one["seeds"] == "10-273" and one["chosen_by"] == {
        "metric": "fid",
        "samples": 240,
        "reference_sha256": hashlib.sha256((job.folder / "reference.npz").read_bytes()).hexdigest(),
    }


def solver_of(run):
    card = qtaylor("report", run, "--card").stdout
    return re.search(r"^solver +(.*)$", card, re.M)[1]


def sha256_of_numbers(table):
    """As jobs/README.md says it."""
    number = "{:.17g}".format
    [kind] = set(table["steps"][0]) - {"x"}
    text = "".join(f"{number(time)} " for time in table["times"]) + kind
    text += "".join("; " + " ".join(map(number, [step["x"], *step[kind]])) for step in table["steps"])
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("fid", [True, False])
def test_the_card_says_what_a_table_is(job, fid):
    if fid:
        job.add_evaluation()
    job.keys |= {"seeds": "0-9", "labels": "none"}
    tune(job, "--nfe", "4,5,6,8,10", thorough=False)
    path = min((job.folder / "tuned").glob("tuned-nfe*.json"))
    file = json.loads(path.read_text())
    digest = file["made"]["table_sha256"]
    assert digest == sha256_of_numbers(file)
    job.keys["sampler"] = {"solver": "table", "table": str(path)}
    qtaylor("run", job.write())
    chosen = "the distance to fine samples"
    if fid:
        reference = hashlib.sha256((job.folder / "reference.npz").read_bytes()).hexdigest()
        samples = file["made"]["chosen_by"]["samples"]
        chosen = f"the FID of {samples} samples against the reference of sha256 {reference[:12]}"
    said = f"fitted by qtaylor tune for NFE {len(file['steps'])}, chosen by {chosen}"
    assert solver_of(job.run) == f"table of coefficients {said}, table_sha256 {digest[:12]} (of its numbers)"
    file["steps"][0]["x"] += 1e-6  # not what was fitted
    path.write_text(json.dumps(file))
    job.keys["output"]["dir"] += "-2"
    qtaylor("run", job.write())
    assert solver_of(job.run) == f"table of coefficients, table_sha256 {sha256_of_numbers(file)[:12]} (of its numbers)"


@pytest.mark.parametrize(
    "paths, names",
    [
        (["A/tuned-nfe2.json", "B/tuned-nfe2.json", "A/tuned-nfe4.json"], {"A/tuned": 2, "B/tuned": 1}),
        (["A/T/my-nfe2.json", "B/T/my-nfe2.json", "B/U/my-nfe2.json"], {"A/T/my": 1, "B/T/my": 1, "U/my": 1}),
        (["A/tuned-nfe2.json", "A/tuned-nfe4.json"], {"tuned": 2}),
        (["tuned-nfe2.json", "A/tuned-nfe2.json"], {"tuned": 1, "A/tuned": 1}),
    ],
)
def test_tables_of_several_folders_are_lines_of_their_own(job, paths, names):
    for path in paths:
        nfe = int(path[-6])
        step = {"x": 1, "epsilon": [0.1 + len(path) / 100]}
        table = {"times": [1 - i / (nfe + 1) for i in range(nfe + 1)], "steps": [step] * nfe}
        (job.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (job.folder / path).write_text(json.dumps(table))
    job.keys |= {"seeds": "0-7", "sampler": {}}
    job.keys["sweep"] = {"sampler": [{"solver": "table", "table": path} for path in paths]}
    qtaylor("run", job.write())
    series = json.loads(qtaylor("report", job.run, "--json").stdout)["series"]
    assert {one["name"]: len(one["cells"]) for one in series} == names


def test_how_sure_a_recommendation_is_is_said(job):
    job.add_evaluation()
    job.keys["labels"] = "none"
    options = ("--nfe", "4,5,6,8,10,16")
    found = tune(job, *options, thorough=False)["tuned"]
    said = qtaylor("tune", job.write(), *options, "-o", job.folder / "tuned").stdout
    assert "as of tables that are no better one in six is by chance" in said
    errors = {one["nfe"]: one["delta"]["fid_delta"] / one["delta"]["fid_delta_error"] for one in found}
    comments = dict(re.findall(r"^use at NFE (\d+):.*\}(?:  # of the registry: (.+))?$", said, re.M))
    for one in found:
        worse = "the table is worse" if errors[one["nfe"]] > 2 else "no table is surely better"
        assert comments[str(one["nfe"])] == ("" if one["wins"] else worse)
    unsure = [str(nfe) for nfe, away in errors.items() if abs(away) < 2]
    lines = re.findall(r"^NFE (.+): the difference is within 2 of its errors; --samples (\d+) halves them$", said, re.M)
    assert lines == ([(", ".join(unsure), str(4 * max(one["samples"] for one in found)))] if unsure else [])
    assert any(away > 2 for away in errors.values())

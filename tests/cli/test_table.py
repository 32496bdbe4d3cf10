"""sampler.table: a multistep formula from its coefficients does what numpy does of them; wrong ones are refused."""

import hashlib
import html
import json

import numpy as np
import pytest

from conftest import ROOT, qtaylor
from oracle import linear_alpha_sigma, normals
from test_plan import output_of, stored_samples

PUBLISHED = sorted((ROOT / "jobs/solvers").glob("*-flow-*.json"))
FLOW = {"prediction": "velocity", "schedule": {"kind": "flow"}, "labels": None}


def use_table(job, /, given, **sampler):
    (job.folder / "table.json").write_text(given if isinstance(given, str) else json.dumps(given))
    job.keys["sampler"] = {"solver": "table", "table": "table.json"} | sampler
    return job.write()


def a_table(kind="epsilon", to_zero=False):
    """Some steps of two and three terms: no formula of anybody's."""
    times = [1.0, 0.6, 0.3, 0.1, 0 if to_zero else 0.01]
    steps = [{"x": 0.9 + 0.1 * i, kind: [-0.3 * 0.5**j * (-1) ** j for j in range(min(i + 1, 3))]} for i in range(4)]
    return {"times": times, "steps": steps, "source": "this test"}


def by_numpy(job, table, kind):
    model = output_of(job.model["card"] | {"prediction": "epsilon"}, job.model["mixture"], np.arange(100) % 2)
    x, history = np.stack([normals(seed, 0, 16) for seed in range(100)]), []
    for t, step in zip(table["times"], table["steps"]):
        alpha, sigma = linear_alpha_sigma(t)
        epsilon = model(x, t, "given")
        x0 = (x - sigma * epsilon) / alpha
        beta = 0.1 + 19.9 * t
        slopes = -beta / 2 * alpha, beta / 2 * alpha**2 / sigma  # d alpha/dt, d sigma/dt
        history.insert(0, {"epsilon": epsilon, "x0": x0, "velocity": slopes[0] * x0 + slopes[1] * epsilon}[kind])
        x = step["x"] * x + sum(b * F for b, F in zip(step[kind], history))
    return x


@pytest.mark.parametrize("kind, to_zero", [("epsilon", False), ("x0", True), ("velocity", True)])
def test_a_table_does_what_it_says(job, kind, to_zero):
    table = a_table(kind, to_zero)
    job.keys["output"]["dtype"] = "float32"
    result = json.loads(qtaylor("run", use_table(job, table), "--json").stdout)
    assert (result["solver"], result["nfe"]) == ("table", 4)
    expected = by_numpy(job, table, kind)
    assert np.abs(stored_samples(job.run) - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("prediction", ["v", "x0", "score"])
def test_what_the_network_predicts_does_not_matter(job, prediction):
    job.keys["output"]["dtype"] = "float32"
    qtaylor("run", use_table(job, a_table()))
    theirs = stored_samples(job.run)
    job.model["card"]["prediction"] = prediction
    job.keys["output"]["dir"] += "-2"
    qtaylor("run", job.write())
    assert np.abs(stored_samples(job.run) - theirs).max() < 1e-4


def test_guidance_acts_on_what_is_combined(job):
    plan = json.loads(qtaylor("plan", use_table(job, a_table(), guidance=3), "--json").stdout)
    assert (plan["nfe"], plan["model_calls"]) == (4, 8)


def test_the_run_holds_the_table_and_not_its_path(job):
    qtaylor("run", use_table(job, a_table()))
    qtaylor("run", use_table(job, a_table() | {"source": "elsewhere"}))
    (job.folder / "table.json").unlink()
    qtaylor("verify", job.run)
    inline = {key: a_table()[key] for key in ("times", "steps")}
    job.keys["sampler"]["table"] = inline
    qtaylor("run", job.write())
    inline["steps"][0]["x"] = 0.7
    assert "sampler.table.steps" in qtaylor("run", job.write(), code=65).stderr


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_the_published_tables(job, path):
    """Each compiles on a flow, names its source, and is exact where the velocity does not change."""
    job.model["card"] |= FLOW
    job.keys |= {"labels": "none", "sampler": {"solver": "table", "table": str(path)}}
    done = qtaylor("plan", job.write(), "--json")
    table, plan = json.loads(path.read_text()), json.loads(done.stdout)
    assert "warning" not in done.stderr
    assert table["source"] and path.stem.endswith(f"nfe{plan['nfe']}") and len(table["steps"]) == plan["nfe"]
    assert abs(table["times"][-1]) < 4e-4
    for t, s, step in zip(table["times"], table["times"][1:], table["steps"]):
        assert step["x"] == 1 and sum(step["velocity"]) == pytest.approx(s - t, abs=4e-4)


def test_adams_bashforths_rows(job):
    """Exact for velocities that are polynomials in t of the degree below its order."""
    for order in (2, 3, 4):
        table = json.loads((ROOT / f"jobs/solvers/adams-bashforth-{order}-flow-nfe10.json").read_text())
        for i in range(order - 1, 10):
            for power in range(order):
                step = sum(b * table["times"][i - j] ** power for j, b in enumerate(table["steps"][i]["velocity"]))
                ends = [table["times"][k] ** (power + 1) / (power + 1) for k in (i, i + 1)]
                assert step == pytest.approx(ends[1] - ends[0], abs=1e-9)


STEP = {"x": 1, "epsilon": [1]}
BROKEN = [
    ("{", "table.json:1:1: not JSON"),
    ([], "expected a map of times and steps"),
    ({"tims": []}, "tims: unknown key"),
    ({"times": [1]}, "times: expected a list of two or more times"),
    ({"times": [1, 2, 0.3, 0.1, 0]}, "times[1]: expected a time below the one before, found 2"),
    ({"times": [1, "a", 0.3, 0.1, 0]}, 'times[1]: expected a time of 0 or more, found "a"'),
    ({"times": [1, 0.5, 0.3, 0.1, -1]}, "times[4]: expected a time of 0 or more, found -1"),
    ({"steps": {}}, "steps: expected a list"),
    ({"steps": [STEP] * 3}, "steps: expected 4, one less than the times, found 3"),
    ({"steps": [STEP, {"x": 1}, STEP, STEP]}, "steps[1]: expected {x: a, epsilon (or x0, or velocity): [b0, b1, ...]}"),
    ({"steps": [STEP, STEP | {"x0": [1]}, STEP, STEP]}, "steps[1]: expected {x: a"),
    ({"steps": [STEP, {"x": 1, "x0": [1]}, STEP, STEP]}, "steps[1]: expected the same of epsilon, x0 and velocity"),
    ({"steps": [STEP, STEP | {"x": "1"}, STEP, STEP]}, 'steps[1].x: expected a number from -1e8 to 1e8, found "1"'),
    ({"steps": [STEP | {"epsilon": [1, 2]}, STEP, STEP, STEP]}, "steps[0].epsilon: expected a list of 1 to 1 numbers"),
    ({"steps": [STEP, STEP | {"epsilon": []}, STEP, STEP]}, "steps[1].epsilon: expected a list of 1 to 2 numbers"),
    (
        {"steps": [STEP, STEP | {"epsilon": [None]}, STEP, STEP]},
        "steps[1].epsilon: expected a number from -1e8 to 1e8, found null",
    ),
    ("", "table.json: not JSON: the file is empty"),
    ("\ufeff{}", "it begins with a byte-order mark: save it as UTF-8 without one"),
    ('{"times": [1, NaN]}', "not JSON: invalid token near 'NaN'"),
    ('{"times": [1, 1e999]}', "not JSON: real number overflow"),
    ('{"times": [1], "times": [2]}', "not JSON: duplicate object key"),
    ('"table"', "not JSON"),
    ({"ops": []}, "ops: a table has none: a plan is sampler: {plan: FILE}"),
    ({"times": "1, 0"}, 'times: expected a list of two or more times from noise to data, found "1, 0"'),
    ({"times": [1, 0.5, 0.5, 0.1, 0]}, "times[2]: expected a time below the one before, found 0.5"),
    ({"times": [1, None, 0.3, 0.1, 0]}, "times[1]: expected a time of 0 or more, found null"),
    ({"steps": [STEP] * 5}, "steps: expected 4, one less than the times, found 5"),
    ({"steps": [STEP, None, STEP, STEP]}, "steps[1]: expected {x: a, epsilon"),
    ({"steps": [STEP, STEP | {"y": 1}, STEP, STEP]}, "steps[1]: expected {x: a, epsilon"),
    ({"steps": [STEP, {"epsilon": [1]}, STEP, STEP]}, "steps[1]: expected {x: a, epsilon"),
    ({"steps": [STEP, {"x": 1, "score": [1]}, STEP, STEP]}, "steps[1]: expected {x: a, epsilon"),
    ({"steps": [STEP, STEP | {"epsilon": 1}, STEP, STEP]}, "steps[1].epsilon: expected a list of 1 to 2 numbers"),
    ({"steps": [STEP, STEP | {"epsilon": ["1"]}, STEP, STEP]}, "steps[1].epsilon: expected a number from -1e8 to 1e8"),
    ({"steps": [STEP, STEP, STEP | {"x": 1e308}, STEP]}, "steps[2].x: expected a number from -1e8 to 1e8, found 1e308"),
    ({"steps": [STEP, STEP | {"epsilon": [-2e8]}, STEP, STEP]}, "steps[1].epsilon: expected a number from -1e8 to 1e8"),
    ({"times": [1, 0.8, 0.6, 0.3, 0.1, 0], "steps": [{"x": 1e8, "epsilon": [1]}] * 5},
     "it makes samples that are not finite as float32: see the size of its coefficients"),
    ({"times": [1.5, 0.5, 0.3, 0.1, 0]}, "sampler.t_start: expected a time of the schedule"),
]


@pytest.mark.parametrize("change, said", BROKEN, ids=lambda v: v[:40] if isinstance(v, str) else "")
def test_a_wrong_table_is_refused(job, change, said):
    table = change if isinstance(change, str) else [] if change == [] else a_table() | change
    assert said in qtaylor("run", use_table(job, table), code=65).stderr
    assert not job.run.exists()


def test_a_table_that_makes_nothing_is_warned_about(job):
    table = a_table() | {"steps": [{"x": 0, "epsilon": [0]}] * 4}
    assert "samples that are 0 times as wide as they should be" in qtaylor("plan", use_table(job, table)).stderr


@pytest.mark.parametrize(
    "sampler, said",
    [
        ({"nfe": 4}, "sampler.nfe: grid: {times: ...} says how many steps there are"),
        ({"grid": "uniform"}, "sampler.grid: the table says all of that"),
        ({"final": "zero"}, "sampler.final: the table says all of that"),
        ({"t_end": 0.2}, "sampler.t_end: the table says all of that"),
        ({"clock": "logsnr"}, "sampler.clock: the table says all of that"),
        ({"clip": {}}, "sampler.clip: expected true, false or {range, epsilon, threshold, threshold_max}, found {}"),
        ({"t_start": 0.5}, "sampler.t_start: the table says all of that"),
        ({"shift": 2}, "sampler.shift: the table says all of that"),
        ({"order": 2}, "sampler.order: table has order the table's, found 2"),
        ({"solver": "ddim", "nfe": 4}, "sampler.table: ddim takes none"),
        ({"table": None}, "sampler.table: expected the path of a table"),
        ({"table": "none.json"}, "none.json"),
    ],
)
def test_keys_beside_a_table(job, sampler, said):
    assert (
        said
        in qtaylor(
            "plan", use_table(job, a_table(), **sampler), code=65 if sampler.get("table") != "none.json" else 74
        ).stderr
    )


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_table_of_another_model_or_of_other_numbers_says_so(job):
    """In plan, in run, in run.json, on the page and on the card; the samples are those of the same table by hand."""
    qtaylor("run", use_table(job, a_table()))
    made, warned = digest_of(job.folder / "model.json"), "sampler.table: it was made for another model, of sha256 "
    for sha256, said in (made, False), ("0" * 64, True), (7, False), (None, False):
        path = use_table(job, a_table() | {"made": {"model_sha256": sha256, "by": "this test"}})
        assert (warned in qtaylor("plan", path).stderr) == said == (warned in qtaylor("run", path).stderr)
    path = use_table(job, a_table() | {"made": {"model_sha256": "0" * 64, "table_sha256": "1" * 64}})
    job.keys["output"]["dir"] += "-2"
    job.add_evaluation()
    done = qtaylor("run", job.write())
    document = json.loads((job.run / "run.json").read_text())
    other, changed = document["warnings"]
    assert other.startswith(f"{warned}000000000000..., and this job's has {made[:12]}...")
    assert changed.startswith("sampler.table: its times or coefficients were changed since it was made")
    assert all(warning in done.stderr for warning in (other, changed))
    first = json.loads((job.folder / "run/run.json").read_text())
    assert "warnings" not in first and first["fingerprint"] == document["fingerprint"]
    qtaylor("report", job.run)
    assert html.escape(other) in (job.run / "report.html").read_text().replace("&#39;", "&#x27;")
    assert other in qtaylor("report", job.run, "--card", "text").stdout
    assert warned in qtaylor("plan", job.run / "run.json").stderr
    assert "made" not in qtaylor("run", use_table(job, a_table() | {"made": "by hand"})).stderr


@pytest.mark.parametrize(
    "made, said",
    [
        ({"seeds": "8-40"}, "by seeds 8-40, and 3 of this job's seeds are of them (the first is 8)"),
        ({"seeds": "40,9,3"}, "by seeds 40,9,3, and 2 of this job's seeds are of them (the first is 3)"),
        ({"seeds": "11-40"}, None),
        ({"seeds": "eight"}, 'made.seeds: expected seeds such as 0-9999 or 0-99,200, found "eight"'),
        ({"seeds": 8}, None),
        ({"keys": "all"}, None),
    ],
)
def test_seeds_that_a_table_was_chosen_by_are_told(job, made, said):
    job.keys |= {"seeds": "5-10,3"}
    path = use_table(job, a_table() | {"made": made})
    warnings = [line for line in qtaylor("plan", path).stderr.splitlines() if "made" in line or "chosen" in line]
    done = qtaylor("run", path).stderr
    told = json.loads((job.run / "run.json").read_text()).get("warnings", [])
    assert len(warnings) == len(told) == (said is not None)
    assert all(said in text for text in (*warnings, *told)) and (not said or done.count(said) == 1)


def test_a_plan_of_another_model_says_so(job):
    plan = json.loads(qtaylor("plan", use_table(job, a_table()), "--json").stdout)
    for sha256, said in (digest_of(job.folder / "model.json"), False), ("0" * 64, True):
        (job.folder / "plan.json").write_text(json.dumps(plan | {"made": {"model_sha256": sha256}}))
        job.keys["sampler"] = {"plan": "plan.json"}
        assert ("sampler.plan: it was made for another model" in qtaylor("plan", job.write()).stderr) == said


def test_whole_timesteps(job):
    job.model["card"] |= {"time": {"kind": "discrete"}, "schedule": {"kind": "discrete-cosine"}}
    table = a_table()
    assert qtaylor("plan", use_table(job, table))
    table["times"][1] = 0.6001
    assert "times[1]: the model takes whole timesteps n" in qtaylor("plan", use_table(job, table), code=65).stderr

"""sampler.plan: a plan of plan --json given back makes the same bytes; a broken one is refused before all else."""

import json
import re

import numpy as np
import pytest

from conftest import CARD, qtaylor
from test_plan import stored_samples

SOLVERS = [line.split("|")[1].strip() for line in qtaylor("plan", "--list").stdout.splitlines()[2:]]
SOLVERS = [name for name in SOLVERS if name not in ("rk45", "table", "restart")]  # that need nothing but nfe
MORE = [
    {"solver": "ddim", "nfe": 6, "eta": 0.7, "guidance": {"scale": 3, "rescale": 0.7, "interval": [0.1, 20]}},
    {"solver": "unipc", "nfe": 7, "clip": {"threshold": 0.9, "range": 1, "epsilon": "kept"}},
    {"solver": "taylor", "nfe": 6, "guidance": {"scale": 2, "form": "apg", "momentum": -0.5, "norm_threshold": 2}},
    {"solver": "taylor", "nfe": 6, "guidance": {"scale": 2, "channels": 2}},
    {"solver": "restart", "nfe": 16, "restart": [{"steps": 3, "times": 2, "low": 0.3, "high": 2}]},
]
LEARNED = [
    {"solver": "ddpm", "variance": "learned"},
    {"solver": "ddpm", "variance": "learned", "guidance": {"scale": 2, "rescale": 0.5}},
]


def write_plan(job, plan, **sampler):
    (job.folder / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    job.keys["sampler"] = {"plan": "plan.json"} | sampler
    return job.write()


def test_every_registry_plan_given_back_makes_the_same_bytes(job):
    for card, samplers in (
        ({"shape": [4, 2, 2]}, [{"solver": name} for name in SOLVERS] + MORE),
        ({"shape": [4, 2, 2], "variance": "learned"}, LEARNED),
    ):
        job.model["card"] |= card
        job.keys |= {
            "seeds": "0-15",
            "sampler": {"state": "float64"},
            "output": {"dir": str(job.folder / f"solvers-{len(samplers)}"), "dtype": "float32"},
        }
        job.keys["sweep"] = {"sampler": [{"nfe": 13 if s["solver"] == "pndm" else 8} | s for s in samplers]}
        path = job.write()
        plans = list(json.loads(qtaylor("plan", path, "--json").stdout).items())
        qtaylor("run", path)
        for i, (_, plan) in enumerate(plans):
            (job.folder / f"{i}.json").write_text(json.dumps(plan))
        theirs = job.run
        job.keys["output"]["dir"] = str(job.folder / f"plans-{len(samplers)}")
        job.keys["sweep"] = {"sampler.plan": [f"{i}.json" for i in range(len(plans))]}
        path = job.write()
        assert list(json.loads(qtaylor("plan", path, "--json").stdout).values()) == [plan for _, plan in plans]
        qtaylor("run", path)
        for i, (cell, plan) in enumerate(plans):
            if plan["ops"] in [other["ops"] for _, other in plans[:i]]:  # the same samples, made once
                assert not (job.run / f"plan={i}.json" / "samples").exists()
                continue
            digests = [
                json.loads((run / name / "metrics.json").read_text())["payload_sha256"]
                for run, name in ((theirs, cell), (job.run, f"plan={i}.json"))
            ]
            assert digests[0] == digests[1], cell


def a_plan():
    """DDIM in two steps over the linear schedule, as somebody else would write it."""

    def at(t):
        integral = 0.1 * t + 19.9 * t * t / 2
        return np.exp(-integral / 2), np.sqrt(-np.expm1(-integral))

    times, ops = [1.0, 0.5, 1e-3], []
    for t, s in zip(times, times[1:]):
        (alpha, sigma), (alpha_s, sigma_s) = at(t), at(s)
        ops += [
            {"op": "EVAL", "dst": 1, "src": 0, "time": t, "labels": "given"},
            {"op": "LINCOMB", "dst": 0, "terms": [[alpha_s / alpha, 0], [sigma_s - alpha_s / alpha * sigma, 1]]},
        ]
    return {"solver": "mine", "registers": 2, "initial_scale": 1, "ops": ops}


def test_a_short_plan_is_ddim(job):
    job.keys["output"]["dtype"] = "float32"
    job.keys["sampler"] = {"solver": "ddim", "grid": {"times": [1, 0.5, 1e-3]}, "final": "none"}
    qtaylor("run", job.write())
    theirs = stored_samples(job.run)
    job.keys["output"]["dir"] += "-plan"
    result = json.loads(qtaylor("run", write_plan(job, a_plan()), "--json", ranks=2).stdout)
    assert (result["solver"], result["nfe"]) == ("mine", 2)
    assert np.abs(stored_samples(job.run) - theirs).max() < 1e-5


def test_the_fingerprint_has_what_the_plan_does(job):
    plan = a_plan()
    qtaylor("run", write_plan(job, plan))
    write_plan(job, json.dumps(plan | {"solver": "renamed"}, indent=1))  # another text of the same program
    qtaylor("run", job.folder / "job.yaml")
    plan["ops"][1]["terms"][0][0] *= 1 + 1e-15
    said = qtaylor("run", write_plan(job, plan), code=65).stderr
    assert "sampler.plan.sha256" in said
    assert "plan.json" not in json.dumps(json.loads((job.run / "run.json").read_text())["keys"])


def test_a_plan_that_makes_something_else_of_gaussian_data_is_warned_about(job):
    assert "Gaussian" not in qtaylor("plan", write_plan(job, a_plan())).stderr
    plan = a_plan()
    plan["ops"].append({"op": "LINCOMB", "dst": 0, "terms": [[60, 0]]})
    assert re.search(
        r"mean 1 and standard deviation 0.5 samples with mean 60 and standard deviation 4.9.*unstable",
        qtaylor("plan", write_plan(job, plan)).stderr,
    )
    plan["ops"][-1]["terms"] = [[0.5, 0]]
    assert "samples with mean 0.5" in qtaylor("plan", write_plan(job, plan)).stderr


OP = [
    {"op": "EVAL", "dst": 1, "src": 0, "time": 0.5, "labels": "given"},
    {"op": "LINCOMB", "dst": 0, "terms": [[1, 1]]},
]
BROKEN = [  # what is changed, and what must be said
    ("{", "plan.json:1:1: not JSON"),
    ([], "expected a map with registers"),
    ({"registers": 0}, "registers: expected a whole number from 1 to 64, found 0"),
    ({"registers": "2"}, 'registers: expected a whole number from 1 to 64, found "2"'),
    ({"initial_scale": 0}, "initial_scale: expected a number above 0, found 0"),
    ({"solver": 3}, "solver: expected a name"),
    ({"nfe": 3}, "nfe: expected 1 to 2, the number of EVAL ops"),
    ({"nfe": 1.5}, "nfe: expected a whole number"),
    ({"model_calls": 1}, "model_calls: expected 2"),
    ({"ops": {}}, "ops: expected a list"),
    ({"ops": []}, "ops: expected an EVAL, found none"),
    ({"adaptive": {"method": "rk45"}}, "say sampler.solver: rk45"),
    ({"steps": [{"t": 1}]}, "step 1: s: expected a number, found none"),
    (OP[:1], "register 0, which becomes the sample, is never written"),
    ([OP[0], {"op": "FMA", "dst": 0}], "op 2 (FMA): op: expected EVAL, LINCOMB, NOISE"),
    ([{**OP[0], "dst": 2}, OP[1]], "op 1 (EVAL): dst: expected a register from 0 to 1, found 2"),
    ([{**OP[0], "src": 1}, OP[1]], "op 1 (EVAL): register 1 is read before anything is written to it"),
    (
        [{**OP[0], "time": 1.5}, OP[1]],
        "op 1 (EVAL): time: expected a number from 0 to 1, which the model knows, found 1.5",
    ),
    ([{**OP[0], "time": "0.5"}, OP[1]], 'time: expected a number, found "0.5"'),
    ([{**OP[0], "labels": "some"}, OP[1]], 'labels: expected given, null or none, found "some"'),
    ([{**OP[0], "labels": "none"}, OP[1]], "labels: none, but the model takes labels"),
    ([{**OP[0], "model": 1}, OP[1]], "model: 1 is the guiding model, and the job has none"),
    ([{**OP[0], "dst2": 1}, OP[1]], "dst2: the model predicts no variance"),
    ([{**OP[0], "tme": 1}, OP[1]], "op 1 (EVAL): tme: EVAL has no such field"),
    (
        [OP[0], {"op": "LINCOMB", "dst": 0, "terms": [[1]]}],
        "terms: expected pairs of a coefficient and a register, found [1]",
    ),
    (
        [OP[0], {"op": "LINCOMB", "dst": 0, "terms": [[1, 7]]}],
        "op 2 (LINCOMB): terms: expected registers of the plan, found [1.0,7]".replace("1.0", "1"),
    ),
    ([OP[0], {**OP[1], "channels": [0, 4]}], "op 2 (LINCOMB): channels: expected at most the model's 1, found [0, 4]"),
    ([OP[0], {**OP[1], "channels": [1, 1]}], "channels: expected [first, beyond]"),
    ([OP[0], {"op": "NOISE", "dst": 0, "stream": 5}], "op 2 (NOISE): stream: expected 1 to 1"),
    ([*OP, {"op": "CLAMP", "dst": 0, "lo": 1, "hi": -1}], "op 3 (CLAMP): hi: expected more than lo"),
    (
        [*OP, {"op": "THRESHOLD", "dst": 0, "lo": 1, "hi": 2, "quantile": 2}],
        "quantile: expected a number from 0 to 1, found 2",
    ),
    ([*OP, {"op": "LIMIT", "dst": 0, "norm": 0}], "norm: expected a number above 0, found 0"),
    (
        [*OP, {"op": "RESCALE", "dst": 0, "src": 0, "like": 1}],
        "op 3 (RESCALE): phi: expected a number from 0 to 1, found none",
    ),
    ("", "plan.json: not JSON: the file is empty"),
    ("\ufeff{}", "it begins with a byte-order mark: save it as UTF-8 without one"),
    ('{"registers": 1, "registers": 2}', "not JSON: duplicate object key"),
    ('{"registers": NaN}', "not JSON: invalid token near 'NaN'"),
    ("[" * 3000, "not JSON: maximum parsing depth reached"),
    ({"registers": 10**25}, "not JSON: too big integer"),
    ({"registers": 65}, "registers: expected a whole number from 1 to 64, found 65"),
    ({"opz": []}, 'opz: unknown key; did you mean "ops"?'),
    ({"temperature": 1}, "temperature: unknown key; expected registers, initial_scale, ops"),
    ({"times": [1, 0]}, "times: a plan has none: a table of times and steps is sampler: {solver: table, table: FILE}"),
    ({"initial_scale": 1e308}, "samples that are not finite as float32: see its initial_scale"),
    ([OP[0], {"op": "LINCOMB", "dst": 0, "terms": [[1e30, 1]]}] * 3, "samples that are not finite as float32"),
    ([OP[0], {"op": "LINCOMB", "dst": 0, "terms": [[1e300, 1]]}],
     "op 2 (LINCOMB): terms: expected coefficients that float32 can hold, found [1e300,1]"),
    ([None, OP[1]], "op 1: op: expected EVAL, LINCOMB, NOISE"),
    ([{**OP[0], "op": "eval"}, OP[1]], "op 1 (eval): op: expected EVAL, LINCOMB, NOISE"),
    ([{k: v for k, v in OP[0].items() if k != "labels"}, OP[1]], "labels: missing; expected given, null or none"),
    ([{k: v for k, v in OP[0].items() if k != "dst"}, OP[1]], "dst: expected a register from 0 to 1, found none"),
    ([OP[0], {"op": "LINCOMB", "dst": 0}], "terms: expected a list of [coefficient, register], found none"),
    ([*OP, {"op": "CLAMP", "dst": 0, "lo": 1, "hi": 1}], "op 3 (CLAMP): hi: expected more than lo, 1, found 1"),
    ([*OP, {"op": "PROJECT", "dst": 0, "src": 1}], "op 3 (PROJECT): onto: expected a register from 0 to 1, found none"),
    (
        [OP[0], *[{"op": "NOISE", "dst": 1, "stream": 1}] * 2, OP[1]],
        "op 3 (NOISE): stream: 1 was drawn before, and would be the same noise again",
    ),
    ([{"op": "NOISE", "dst": 0, "stream": 1}] * 1000001, "ops: expected at most 1000000, found 1000001"),
]


@pytest.mark.parametrize("change, said", BROKEN, ids=lambda v: v[:40] if isinstance(v, str) else "")
def test_a_broken_plan_is_refused(job, change, said):
    plan = a_plan()
    if isinstance(change, dict):
        plan |= change
    elif change:
        plan["ops"] = change
    text = change if isinstance(change, str) else json.dumps([] if change == [] else plan)
    found = qtaylor("run", write_plan(job, text), code=65).stderr
    assert said in found and str(job.folder / "plan.json") in found
    assert not job.run.exists()


@pytest.mark.parametrize(
    "sampler, said",
    [
        ({"solver": "ddim"}, "sampler.solver: sampler.plan stands for the solver, found ddim"),
        ({"nfe": 2}, "sampler.nfe: sampler.plan says all of that"),
        ({"clip": True}, "sampler.clip: sampler.plan says all of that"),
        ({"guidance": 2}, "sampler.guidance: sampler.plan says how it guides"),
        ({"guidance": {"scale": 1, "model": "model.json"}}, "no op evaluates model 1"),
    ],
)
def test_keys_beside_a_plan(job, sampler, said):
    assert said in qtaylor("plan", write_plan(job, a_plan(), **sampler), code=65).stderr


def test_integer_times(job):
    job.model["card"] |= {"time": {"kind": "discrete"}, "schedule": {"kind": "discrete-cosine"}}
    plan = a_plan()
    for op, time in zip(plan["ops"][::2], (999, 499)):
        op["time"] = time
    qtaylor("plan", write_plan(job, plan))
    plan["ops"][2]["time"] = 0.5
    assert (
        "op 3 (EVAL): time: expected a whole number from 0 to 999"
        in qtaylor("plan", write_plan(job, plan), code=65).stderr
    )
    plan["ops"][2]["time"] = 1000
    assert "found 1000" in qtaylor("plan", write_plan(job, plan), code=65).stderr


def test_the_guiding_models_plan(job):
    guide = {
        "card": CARD | {"labels": None, "prediction": "v"},
        "mixture": {"means": [[0.1] * 16], "std": 0.6, "weights": [1]},
    }
    (job.folder / "guide.json").write_text(json.dumps(guide))
    job.keys["sampler"] = {"solver": "ddim", "nfe": 4, "guidance": {"scale": 2, "model": "guide.json"}}
    path = job.write()
    plan = json.loads(qtaylor("plan", path, "--json").stdout)
    qtaylor("run", path)
    digest = job.digest()
    job.keys["output"]["dir"] += "-plan"
    qtaylor("run", write_plan(job, plan, guidance={"scale": 1, "model": "guide.json"}))
    assert job.digest() == digest

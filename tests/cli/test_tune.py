"""qtaylor tune: tables fitted to a model, against closed forms and the registry's solvers on other paths."""

import json
import os
import re
import signal
import statistics
import subprocess
import time

import numpy as np
import pytest

from conftest import FAKE, ROOT, TORCH, environment, mpirun, qtaylor
from oracle import linear_alpha_sigma

FLOW = {"prediction": "velocity", "schedule": {"kind": "flow"}, "labels": None}


def tune(job, *options, ranks=0, folder="tuned", thorough=True):
    path = job.write()
    options = ("-o", job.folder / folder, "--json", *(["--thorough"] if thorough else []), *options)
    return json.loads(qtaylor("tune", path, *options, ranks=ranks, timeout=300).stdout)


@pytest.mark.parametrize("nfe", [1, 4])
def test_on_gaussian_data_the_fit_of_order_1_is_the_exact_solution(job, nfe):
    """x' = alpha' m + sqrt(v'/v) (x - alpha m), v = alpha^2 s^2 + sigma^2, in x and epsilon = sigma (x - alpha m)/v."""
    job.model["card"]["labels"], job.keys["labels"] = None, "none"
    std, job.model["mixture"] = 0.4, {"means": [np.linspace(-1, 1.5, 16).tolist()], "std": 0.4, "weights": [1]}
    job.keys["sampler"] |= {
        "t_start": 0.3,
        "t_end": 0.01,
    }  # where what the network's float32 rounds off is not magnified
    found = tune(job, "--nfe", nfe, "--order", 1, "--teacher", 600, "--paths", 256)
    [one] = found["tuned"]
    table = one["table"]
    for t, s, step in zip(table["times"], table["times"][1:], table["steps"]):
        (alpha, sigma), (alpha_s, sigma_s) = linear_alpha_sigma(t), linear_alpha_sigma(s)
        v, v_s = alpha**2 * std**2 + sigma**2, alpha_s**2 * std**2 + sigma_s**2
        on_x = alpha_s / alpha
        on_epsilon = v / sigma * (np.sqrt(v_s / v) - on_x)
        assert step["x"] == pytest.approx(on_x, rel=1e-8, abs=1e-8)
        assert step["epsilon"] == [pytest.approx(on_epsilon, rel=1e-8, abs=1e-8)]
    assert one["error"] < 1e-6 < one["rival"]["error"] and one["wins"]


def test_on_a_mixture_it_is_nearer_than_every_solver(job):
    job.keys["labels"] = "none"  # the mixture of both classes
    found = tune(job, "--nfe", "4,5,6,8,10")
    assert [one["nfe"] for one in found["tuned"]] == [4, 5, 6, 8, 10]
    assert found["teacher"]["error"] < 0.2 * min(one["error"] for one in found["tuned"])
    for one in found["tuned"]:
        assert one["wins"] and one["ratio"] < 1 and one["rival"]["tried"] > 50
        assert one["ratio"] == pytest.approx(one["error"] / one["rival"]["error"], rel=1e-9)
        file = json.loads((job.folder / f"tuned/tuned-nfe{one['nfe']}.json").read_text())
        assert {key: file[key] for key in ("times", "steps")} == one["table"] and file["made"]["by"] == "qtaylor tune"
    qtaylor("run", job.folder / "tuned/compare.yaml", "--set", "seeds=0-7")
    [compared] = (job.folder / "tuned").glob("compare-*")
    assert len(list(compared.glob("*/metrics.json"))) == 10
    report = json.loads(qtaylor("report", compared, "--json").stdout)
    [line] = [series for series in report["series"] if series["name"] == "tuned"]
    assert [report["cells"][cell]["nfe"] for cell in line["cells"]] == [4, 5, 6, 8, 10]
    assert not any("table" in series["name"] or "t_end" in series["name"] for series in report["series"])


def test_what_is_promised_is_what_the_table_makes(job):
    """The error that is told, measured again: the table's samples against those of many steps, on the same seeds."""
    from test_plan import stored_samples

    job.keys["labels"] = "none"
    found = tune(job, "--nfe", 4, "--paths", 64)
    job.keys |= {"seeds": "148-163", "sampler": {"solver": "table", "table": "tuned/tuned-nfe4.json"}}
    job.keys["output"] = {"dir": str(job.folder / "table"), "dtype": "float32"}
    said = qtaylor("run", job.write()).stderr
    assert "16 of this job's seeds are of them" in said and "since it was made" not in said
    path = job.folder / "tuned/tuned-nfe4.json"
    file = json.loads(path.read_text())
    path.write_text(json.dumps(file).replace("1.0,", "1,"))  # the same numbers
    assert "since it was made" not in qtaylor("plan", job.write()).stderr
    file["steps"][1]["x"] += 1e-6
    path.write_text(json.dumps(file))
    assert "its times or coefficients were changed since it was made" in qtaylor("plan", job.write()).stderr
    tables = stored_samples(job.run)
    job.keys["sampler"] = {"solver": "rk4", "nfe": 800, "clock": "logsnr"}
    job.keys["output"]["dir"] = str(job.folder / "fine")
    qtaylor("run", job.write())
    error = np.sqrt(((tables - stored_samples(job.run)) ** 2).mean())
    assert found["tuned"][0]["error"] == pytest.approx(error, rel=0.05)


@pytest.mark.parametrize("rows", ["cycle", "each"])
def test_conditions(job, rows):
    """The same under conditions, which move the samples: paths get their rows, and other rows another table."""
    from test_conditions import arrays, give
    from test_plan import stored_samples

    values = arrays(4 if rows == "cycle" else 100)
    give(job, values, **({"rows": "each"} if rows == "each" else {}))
    [one] = tune(job, "--nfe", 4, "--paths", 64)["tuned"]
    assert one["ratio"] < 1
    give(job, {name: np.zeros_like(value) for name, value in values.items()})
    [plain] = tune(job, "--nfe", 4, "--paths", 64, folder="plain")["tuned"]
    assert np.abs(np.subtract(one["table"]["steps"][0]["epsilon"], plain["table"]["steps"][0]["epsilon"])) > 1e-4
    used = np.arange(48, 64) % 4 if rows == "cycle" else np.arange(16) * 100 // 16
    np.savetxt(job.folder / "rows.txt", used, "%d")
    give(job, values, rows="rows.txt")
    job.keys |= {"seeds": "148-163", "sampler": {"solver": "table", "table": one["table"]}}
    job.keys["output"]["dir"] = str(job.folder / "table")
    qtaylor("run", job.write())
    tables = stored_samples(job.run)
    job.keys["sampler"] = {"solver": "rk4", "nfe": 800, "clock": "logsnr"}
    job.keys["output"]["dir"] = str(job.folder / "fine")
    qtaylor("run", job.write())
    error = np.sqrt(((tables - stored_samples(job.run)) ** 2).mean())
    assert one["error"] == pytest.approx(error, rel=0.02)


def test_any_number_of_ranks_and_workers_finds_the_same(job):
    options = ("--nfe", "3,4", "--paths", "40")
    texts = []
    for ranks, workers in ((0, 1), (1, 3), (3, 1)):
        job.keys["workers"] = workers
        found = tune(job, *options, ranks=ranks, folder=f"ranks-{ranks}")
        texts.append(
            [json.dumps(found)] + [(job.folder / f"ranks-{ranks}/tuned-nfe{nfe}.json").read_text() for nfe in (3, 4)]
        )
    assert texts[0] == texts[1] == texts[2]


def outcome(job, folder):
    files = sorted(path for path in (job.folder / folder).iterdir() if path.is_file())
    return {path.name: path.read_text().replace(folder, "") for path in files}


def test_killed_at_any_time_it_goes_on_to_the_same_bytes(job):
    job.add_evaluation()
    options = ("--nfe", "2,3", "--paths", 24, "--samples", 240)
    found = tune(job, *options, folder="whole")
    whole = outcome(job, "whole")
    assert "compare.yaml" in whole
    pieces = {path.name: path.read_bytes() for path in (job.folder / "whole/kept").iterdir()}
    for ranks, parts in (1, (0.02, 0.5)), (2, (0.2, 0.7)), (3, (0.1, 0.9)):
        folder = job.folder / f"killed-{ranks}"
        for part in parts:
            command = [*mpirun(ranks), FAKE, "tune", job.folder / "job.yaml", "-o", folder, "--thorough"]
            command += map(str, options)
            process = subprocess.Popen(
                command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            while process.poll() is None and len(list(folder.glob("kept/*"))) < part * len(pieces):
                time.sleep(0.002)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        before = {path.name: path.stat().st_mtime_ns for path in folder.glob("kept/*.bin")}
        assert 0.9 * parts[-1] * len(pieces) <= len(before) < len(pieces) and not list(folder.glob("*.json"))
        assert tune(job, *options, ranks=ranks, folder=folder.name) == found
        assert outcome(job, folder.name) == whole
        after = {path.name: path for path in folder.glob("kept/*.bin")}
        assert all(after[name].stat().st_mtime_ns == when for name, when in before.items())
        assert {name: path.read_bytes() for name, path in after.items()} == pieces


def test_what_is_kept_is_used_for_what_it_was_computed_for_alone(job):
    options = ("--nfe", "2", "--paths", 16)
    found = tune(job, *options)
    kept = job.folder / "tuned/kept"
    pieces = {path: path.read_bytes() for path in kept.iterdir()}
    damaged = max(pieces, key=lambda path: len(pieces[path]))
    damaged.write_bytes(pieces[damaged][:-1] + b"?")
    job.model["mixture"]["std"] = 0.3
    assert tune(job, *options, "--force") == tune(job, *options, folder="fresh") != found
    assert not {path.name for path in pieces} & {path.name for path in (job.folder / "fresh/kept").iterdir()}
    job.model["mixture"]["std"] = 0.2
    assert tune(job, *options, "--force") == found and damaged.read_bytes() == pieces[damaged]


def test_a_table_that_is_recommended_no_longer_goes(job):
    job.add_evaluation()
    assert [one["wins"] for one in tune(job, "--nfe", "4,5", "--no-fid", thorough=False)["tuned"]] == [True, True]
    done = qtaylor("tune", job.write(), "-o", job.folder / "tuned", "--nfe", 4)  # by FID it is worse
    assert f"removed {job.folder}/tuned/tuned-nfe4.json: this tuning recommends no table at its NFE" in done.stderr
    assert [path.name for path in (job.folder / "tuned").glob("tuned-*")] == ["tuned-nfe5.json"]
    assert "tuned-nfe4" not in (job.folder / "tuned/compare.yaml").read_text() + done.stdout


@pytest.mark.parametrize("change", ["model", "guidance", "unknown"])
def test_a_folder_is_of_one_job(job, change):
    """What another one left there is replaced only by force, and none of it stays."""
    tune(job, "--nfe", "4,5", thorough=False)
    job.keys |= {"seeds": "0-9", "batch": 4}  # still the same
    tune(job, "--nfe", "4", thorough=False)
    before = outcome(job, "tuned")
    assert {"compare.yaml", "tuned-nfe4.json", "tuned-nfe5.json"} < set(before)
    if change == "model":
        job.model["mixture"]["std"] = 0.3
    elif change == "guidance":
        job.keys["sampler"]["guidance"] = 2
    else:
        (job.folder / "tuned/tune.json").unlink()
        before.pop("tune.json")
    options = ("tune", job.write(), "-o", job.folder / "tuned", "--nfe", 4)
    said = qtaylor(*options, code=65).stderr
    why = {"model": "made with model.sha256 = ", "guidance": "made with sampler.guidance = 1.0, this job has 2.0",
           "unknown": "there is no tune.json that says what for"}[change]
    assert f"{job.folder}/tuned/compare.yaml is there already, and not of this job" in said and why in said
    assert "--force" in said and outcome(job, "tuned") == before
    said = qtaylor(*options, "--force").stderr
    assert f"removed {job.folder}/tuned/tuned-nfe5.json: " in said and why in said
    after = outcome(job, "tuned")
    assert "tuned-nfe5.json" not in after and "tune.json" in after
    qtaylor(*options)


@pytest.mark.parametrize(
    "card, sampler",
    [
        (FLOW, {"solver": "euler", "nfe": 10}),
        ({}, {"solver": "ddim", "nfe": 10, "guidance": 2.5}),
        ({}, {"solver": "ddim", "nfe": 10, "final": "denoise", "clip": True}),
        ({"schedule": {"kind": "discrete-cosine"}, "time": {"kind": "discrete"}}, {"solver": "ddim", "nfe": 10}),
        (
            {"schedule": {"kind": "edm"}, "time": {"kind": "sigma"}, "prediction": "x0", "labels": None},
            {"solver": "edm", "nfe": 11},
        ),
        (
            {"schedule": {"kind": "table", "alphas": [0.9, 0.5, 0], "sigmas": [0.1, 0.5, 1]}, "prediction": "v"},
            {"solver": "ddim", "nfe": 5, "clock": "t", "grid": "uniform"},
        ),
    ],
    ids=["flow", "guided", "clipped", "whole-timesteps", "edm", "no-signal"],
)
def test_every_kind_of_model(job, card, sampler):
    job.model["card"] |= card
    job.keys["sampler"] = sampler
    if job.model["card"]["labels"] is None:
        job.keys["labels"] = "none"
    found = tune(job, "--nfe", "4,6", thorough=False)["tuned"] + tune(job, "--nfe", "6", "--paths", 64)["tuned"]
    for one in found:
        assert one["error"] is not None and one["ratio"] < 1.1
        if one["wins"]:
            job.keys["sampler"] = {"solver": "table", "table": one["table"]} | {
                key: sampler[key] for key in ("guidance", "clip") if key in sampler
            }
            assert json.loads(qtaylor("plan", job.write(), "--json").stdout)["nfe"] == one["nfe"]


@pytest.mark.parametrize(
    "options, keys, code, said",
    [
        (["--nfe", "4,x"], {}, 64, "--nfe 4,x: expected a list such as 4,5,6,8,10"),
        (["--nfe", "4,5,4"], {}, 64, "--nfe 4,5,4: expected each number once, found 4 twice"),
        (["--nfe", "0"], {}, 64, "of at most 32 numbers from 1 to 100"),
        (["--paths", "4"], {}, 64, "--paths 4: expected a number from 8"),
        (["--teacher", "1"], {}, 64, "--teacher 1: expected a number of steps"),
        (["--order", "9"], {}, 64, "--order 9: expected 1 to 4"),
        ([], {"sweep": {"sampler.nfe": [4, 5]}}, 65, "sweep: tune takes one job, found 2"),
        ([], {"sampler": {"solver": "rk45"}}, 65, "sampler.solver: tune needs the range of a sampler with a grid"),
        ([], {"initial": "x.npy"}, 65, "x.npy"),
        (
            [],
            {"sampler": {"solver": "ddim", "nfe": 4, "guidance": {"scale": 2, "form": "apg", "momentum": -0.5}}},
            65,
            "sampler.guidance.momentum",
        ),
        ([], {"noise": "torch-cpu", "seeds": "4294967290"}, 65, "there are no 24 behind the largest"),
    ],
)
def test_mistakes(job, options, keys, code, said):
    job.keys |= keys
    done = qtaylor("tune", job.write(), *options, code=74 if "initial" in keys else code)
    assert said in done.stderr
    assert not (job.folder / "run-tuned").exists()


@pytest.mark.parametrize("nfes, scale", [("4", 1), ("4,5,6,8,10", 1), ("10", 2.5)])
def test_by_default_it_takes_2_percent_of_50000_samples(job, nfes, scale):
    """Of model calls; and there is FID's veto all the same."""
    job.add_evaluation()
    job.keys["sampler"] |= {"guidance": scale}
    found = tune(job, "--nfe", nfes, thorough=False)
    calls = 1 if scale == 1 else 2
    part = found["model_rows"] / (50000 * calls * sum(map(int, nfes.split(","))))
    assert found["calls"] == calls and 0.01 < part <= 0.02
    said = qtaylor("tune", job.write(), "--nfe", nfes, "-o", job.folder / "tuned").stdout
    assert f"{found['model_rows']} model evaluations of a sample, {100 * part:.1f} % of what 50000" in said
    assert f"of few samples (at most {max(one['samples'] for one in found['tuned'])})" in said
    uses = re.findall(r"^use at NFE (\d+):  sampler: (\{.+\})(  # of the registry: .+)?$", said, re.M)
    assert [(int(nfe), not more) for nfe, _, more in uses] == [(one["nfe"], one["wins"]) for one in found["tuned"]]
    for (nfe, sampler, more), one in zip(uses, found["tuned"]):
        assert (f'table: "{job.folder}/tuned/tuned-nfe{nfe}.json"' in sampler) == one["wins"] == (not more)
        assert one["wins"] or f"solver: {one['rival']['sampler']['solver']}" in sampler
        (job.folder / "use.yaml").write_text(f"{{{json.dumps(job.keys)[1:-1]}, 'sampler': {sampler}}}".replace(
            f'"sampler": {json.dumps(job.keys["sampler"])}, ', ""))
        plan = json.loads(qtaylor("plan", job.folder / "use.yaml", "--json").stdout)
        assert (plan["nfe"], plan["model_calls"]) == (one["nfe"], calls * one["nfe"])
    for one in found["tuned"]:
        assert one["samples"] >= 200 and one["rival"]["tried"] <= 12
        assert one["margin"] == 1 and one["wins"] == (one["delta"]["fid_delta"] < -one["delta"]["fid_delta_error"])


def test_on_the_digits_a_difference_within_its_error_recommends_no_table(tmp_path):
    """Of 272 samples -0.003 +- 0.024 at NFE 6: of 5,000 the table is worse (0.072 against 0.053)."""
    options = ("tune", ROOT / "jobs/digits/job.yaml", "--nfe", 6, "-o", tmp_path)
    [one] = json.loads(qtaylor(*options, "--json", program=TORCH).stdout)["tuned"]
    delta = one["delta"]
    assert -delta["fid_delta_error"] < delta["fid_delta"] < 0 and not one["wins"]
    assert not list(tmp_path.glob("tuned-*"))


def test_by_default_it_is_nearer_too(job):
    job.keys["labels"] = "none"
    found = tune(job, "--nfe", "4,5,6,8,10,16", thorough=False)["tuned"]
    assert found[-1]["ratio"] < 1 and not found[-1]["wins"]  # 0.87 +- 0.46
    for one in found:
        assert one["wins"] == (one["ratio"] + one["ratio_error"] < 1) and one["ratio"] < 1.1
        assert (job.folder / f"tuned/tuned-nfe{one['nfe']}.json").exists() == one["wins"]


@pytest.mark.parametrize("kind", ["pixels", "decoded", "float16"])
def test_where_the_job_evaluates_its_fid_judges(job, kind):
    """The FIDs told are those that `run` finds of the same seeds; a table wins that leads by more than the best of so
    many may by chance."""
    from test_decode import give_decoder

    job.add_evaluation()
    if kind == "decoded":
        give_decoder(job)
        features = {"features": {"shape": [3, 8, 8], "range": [0, 255], "outputs": {"pool": 8}}, "matrix": 7}
        (job.folder / "features.json").write_text(json.dumps(features))
    if kind == "float16":
        features = {"features": {"shape": [1, 4, 4], "range": [-1, 1], "outputs": {"pool": 8}}, "matrix": 7}
        (job.folder / "features.json").write_text(json.dumps(features))
        job.keys["output"]["dtype"] = "float16"
    job.keys["labels"] = "none"
    [one] = tune(job, "--nfe", 4, "--paths", 32, "--samples", 240)["tuned"]
    tail = 1 - statistics.NormalDist().cdf(one["margin"])
    tables = (1 - statistics.NormalDist().cdf(1)) / tail
    assert tables == pytest.approx(round(tables)) and 4 <= tables <= 5
    assert one["wins"] == (one["delta"]["fid_delta"] < -one["margin"] * one["delta"]["fid_delta_error"])
    assert one["delta"]["fid_delta"] == pytest.approx(
        one["fid"]["fid_corrected"] - one["rival"]["fid"]["fid_corrected"]
    )
    for number, (sampler, fid) in enumerate(
        (({"solver": "table", "table": one["table"]}, one["fid"]), (one["rival"]["sampler"], one["rival"]["fid"]))
    ):
        job.keys |= {"seeds": f"132-{131 + one['samples']}", "sampler": sampler, "batch": 16}
        job.keys["output"]["dir"] = str(job.folder / f"run-{number}")
        found = json.loads(qtaylor("run", job.write(), "--json").stdout)["metrics"]
        assert found["fid"] == pytest.approx(fid["fid"], rel=1e-9) and found["fid_error"] == pytest.approx(
            fid["fid_error"], rel=1e-6
        )
    assert "delta" not in tune(job, "--nfe", 4, "--paths", 32, "--no-fid")["tuned"][0]
    del job.keys["evaluate"]
    assert "the job evaluates none" in qtaylor("tune", job.write(), "--samples", 400, code=64).stderr
    assert "--samples 5: expected at least 200" in qtaylor("tune", job.write(), "--samples", 5, code=64).stderr

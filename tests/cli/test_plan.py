"""`plan --json` run by an independent numpy interpreter gives the program's own samples."""
import json
import subprocess

import numpy as np
import pytest

from conftest import ROOT, qtaylor
from oracle import linear_alpha_sigma, mixture_epsilon, run_plan

SAMPLERS = [
    {"solver": "taylor", "nfe": 6},
    {"solver": "taylor", "order": 4, "nfe": 9, "clock": "logsnr", "grid": "uniform-logsnr"},
    {"solver": "taylor", "order": ".inf", "nfe": 5, "final": "denoise"},
    {"solver": "ito-taylor", "order": 1.5, "nfe": 40},
    {"solver": "ito-taylor", "order": ".inf", "nfe": 10},
    {"solver": "ddim", "nfe": 6, "eta": 0.7},
    {"solver": "ddpm", "nfe": 12, "variance": "large"},
    {"solver": "euler", "nfe": 8, "clip": True},
    {"solver": "euler-maruyama", "nfe": 40},
    {"solver": "heun", "nfe": 9},
    {"solver": "rk4", "nfe": 12},
    {"solver": "taylor", "nfe": 6, "guidance": 2.5},
    {"solver": "ddim", "nfe": 6, "guidance": {"scale": 3, "rescale": 0.7, "interval": [0.1, 20]}},
    {"solver": "dpmpp-3m", "nfe": 7},
    {"solver": "unipc", "order": 3, "nfe": 7, "guidance": 2},
    {"solver": "sa-solver", "nfe": 8},
    {"solver": "er-sde", "nfe": 8},
    {"solver": "edm", "nfe": 9, "churn": {"s_churn": 5, "s_max": 20}},
    {"solver": "pndm", "nfe": 15},
    {"solver": "ddpm", "nfe": 9, "variance": "learned"},
    {"solver": "ddpm", "nfe": 9, "clip": True, "guidance": {"scale": 3, "channels": 1}, "variance": "learned"},
    {"solver": "unipc", "nfe": 7, "guidance": {"scale": 2, "model": "guide.json"}},
    {"solver": "ddpm", "nfe": 9, "variance": "learned",
     "guidance": {"scale": 2, "channels": 2, "rescale": 0.5, "interval": [0.1, ".inf"], "model": "guide.json"}},
]


def stored_samples(run):
    raw = [subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
           for path in sorted((run / "samples").glob("*.npy.zst"))]
    header = 128
    return np.concatenate([np.frombuffer(data[header:], dtype=np.float32).reshape(-1, 16) for data in raw])


def output_of(card, mixture, classes):
    """The fake shim's model: epsilon or v on a mixture, and the variance channels of its header comment."""
    means, std, weights = (np.array(mixture[key]) for key in ("means", "std", "weights"))

    def model(x, time, labels):
        alpha, sigma = linear_alpha_sigma(time)
        x = x.astype(np.float32).astype(np.float64)  # what the model gets
        known = {"given": classes, "null": np.full(len(x), 2), "none": np.zeros(len(x), int)}[labels]
        if labels == "given":
            output = np.stack([mixture_epsilon(row[None], alpha, sigma, means[k][None], std, [1.0])[0]
                               for row, k in zip(x, known)])
        else:
            output = mixture_epsilon(x, alpha, sigma, means, std, weights)
        if card["prediction"] == "v":
            output = (output - sigma * x) / alpha
        return (output, np.cos(np.arange(16) + time + known[:, None])) if card.get("variance") else output

    return model


@pytest.mark.parametrize("sampler", SAMPLERS,
                         ids=lambda s: "-".join(str(v) for v in s.values() if not isinstance(v, dict)))
def test_interpreter_gives_the_samples(job, sampler):
    job.keys["sampler"] = sampler
    job.keys["output"]["dtype"] = "float32"
    job.keys["seeds"] = "0-20,7000000000"
    job.model["card"] |= {"shape": [4, 2, 2]}
    if sampler.get("variance") == "learned":
        job.model["card"]["variance"] = "learned"
    guide = {"card": job.model["card"] | {"prediction": "v", "labels": None},
             "mixture": {"means": [[0.1] * 16], "std": 0.6, "weights": [1]}}
    guide["card"].pop("variance", None)
    (job.folder / "guide.json").write_text(json.dumps(guide))
    path = job.write()
    plan = json.loads(qtaylor("plan", path, "--json").stdout)
    seeds = [*range(21), 7000000000]
    model = output_of(job.model["card"], job.model["mixture"], np.array(seeds) % 2)
    ours = run_plan(plan, seeds, 16, model, guide=output_of(guide["card"], guide["mixture"], None), channels=4)
    assert plan["nfe"] <= sampler["nfe"]
    assert plan["model_calls"] == sum(op["op"] == "EVAL" for op in plan["ops"])
    qtaylor("generate", path)
    theirs = stored_samples(job.run)
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1, np.abs(ours).max())


def test_readme_has_the_table_of_solvers():
    assert qtaylor("plan", "--list").stdout in (ROOT / "docs/solvers.md").read_text()


def test_guidance_acts_in_its_interval(job):
    job.keys["sampler"] = {"solver": "ddim", "nfe": 12, "guidance": {"scale": 2.5, "interval": [0.3, 4]}}
    plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
    guided = [op["time"] for op in plan["ops"] if op["op"] == "EVAL" and op["labels"] == "null"]
    inside = [step["t"] for step in plan["steps"] if 0.3 <= step["sigma"] / step["alpha"] <= 4]
    assert guided == inside and 0 < len(guided) < 12
    assert (plan["nfe"], plan["model_calls"]) == (12, 12 + len(guided))
    qtaylor("generate", job.write())


def test_karras_grid_of_any_rho(job):
    job.keys["sampler"] = {"solver": "edm", "steps": 9, "grid": {"karras": 3.5}}
    job.model["card"] |= {"prediction": "x0", "time": {"kind": "sigma"},
                          "schedule": {"kind": "edm", "sigma_min": 0.01, "sigma_max": 50}}
    plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
    ends = 50 ** (1 / 3.5), 0.01 ** (1 / 3.5)
    assert [step["sigma"] for step in plan["steps"]] == pytest.approx(
        (ends[0] + np.arange(9) / 8 * (ends[1] - ends[0])) ** 3.5, rel=1e-12)


def test_the_job_of_all_solvers_has_all():
    listed = [line.split("|")[1].strip() for line in qtaylor("plan", "--list").stdout.splitlines()[2:]]
    plans = json.loads(qtaylor("plan", ROOT / "jobs/digits/solvers.yaml", "--json").stdout)
    assert sorted(plan["solver"] for plan in plans.values()) == sorted(set(listed) - {"table"}) and len(listed) > 35


def test_labels_that_a_run_refuses(job):
    for command in "plan", "run":
        assert "labels: expected a class in 0..1, found 17" in qtaylor(command, job.write(), "--set", "labels=17",
                                                                       code=65).stderr
    job.model["card"]["labels"] = None
    assert "the model takes none" in qtaylor("plan", job.write(), code=65).stderr

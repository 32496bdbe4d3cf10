"""What tuned tables are worth on seeds that nobody saw: against every solver of the registry, and with more paths."""

import json

import numpy as np
import pytest

from conftest import qtaylor, stored

ONE_EVALUATION = [
    *("taylor", "taylor-2m", "ddim", "euler", "dpm-1", "dpm-2m", "dpm-3m", "dpmpp-1", "dpmpp-2m", "dpmpp-3m"),
    *("dpmpp-3m-common", "unipc", "unipc-bh1", "unip", "deis", "deis-rho", "deis-t", "lms", "ipndm", "res-2m"),
    "gradient-estimation",
]
TWO_EVALUATIONS = ["heun", "midpoint", "ralston", "dpm-2", "dpmpp-2", "dpm-2s", "dpmpp-2s"]
GRIDS = ["quadratic", "uniform-logsnr", "karras"]


def errors(job, samplers, seeds="1000000-1000127"):
    """Mean squares over a sample of each sampler's distance to the fine solution: [samplers][seeds]."""
    fine = {"solver": "rk4", "nfe": 400, "clock": "logsnr"}
    job.keys |= {"seeds": seeds, "sampler": {}, "sweep": {"sampler": [fine, *samplers]}}
    job.keys["output"] = {"dir": str(job.folder / "sweep"), "dtype": "float32", "samples_per_shard": 128}
    qtaylor("run", job.write(), timeout=600)
    cells = json.loads((job.folder / "sweep/sweep.json").read_text())["cells"]
    folders = [job.folder / "sweep" / (cell["same_as"] or cell["cell"]) for cell in cells]
    exact, *others = [stored(folder).reshape(-1, 16) for folder in folders]
    return np.array([((other - exact) ** 2).mean(1) for other in others])


def table(job, nfe, folder, *options):
    keys = json.loads(json.dumps(job.keys))
    done = qtaylor("tune", job.write(), "--nfe", nfe, "-o", job.folder / folder, "--json", *options, timeout=600)
    job.keys = keys
    (job.folder / f"{folder}.json").write_text(json.dumps(json.loads(done.stdout)["tuned"][0]["table"]))
    return {"solver": "table", "table": f"{folder}.json"}


@pytest.fixture
def mixture(job):
    """Of both classes, which overlap: else errors are those of the few paths that end at the other one."""
    job.keys["labels"] = "none"
    job.model["mixture"]["std"] = 0.6
    return job


def test_more_paths_never_make_it_worse(mixture):
    mixture.model["mixture"]["std"] = 0.4
    few, more, most = errors(mixture, [table(mixture, 5, f"of-{n}", "--paths", n) for n in (16, 64, 256)])
    for less, better in (few, more), (more, most), (few, most):
        worse = better - less
        assert worse.mean() < 2 * worse.std(ddof=1) / np.sqrt(len(worse))
    assert most.mean() < few.mean()


@pytest.mark.parametrize("nfe", [4] + [pytest.param(nfe, marks=pytest.mark.long) for nfe in (5, 6, 8, 10)])
def test_no_solver_is_nearer(mixture, nfe):
    solvers = ONE_EVALUATION + (TWO_EVALUATIONS if nfe % 2 == 0 else [])
    samplers = [{"solver": solver, "nfe": nfe, "grid": grid} for solver in solvers for grid in GRIDS]
    ours, *theirs = errors(mixture, [table(mixture, nfe, "tuned"), *samplers])
    means = np.array(theirs).mean(1)
    assert np.isfinite(means).sum() >= 60 and ours.mean() <= means.min()

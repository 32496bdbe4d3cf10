"""The ready tables of jobs/solvers that are no flow's (those: tests/cli/test_table.py): each makes what a solver of the
registry makes on the same points, whose formula test_solvers.py has, or diffusers; and their points are the published
ones."""
import json

import numpy as np
import pytest

from conftest import ROOT, qtaylor, stored

LINEAR = {"schedule": {"kind": "linear", "beta0": 0.1, "beta1": 20}}
EDM = {"time": {"kind": "sigma"}, "schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80}}
VIDEO = {"time": {"kind": "sigma"}, "schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 700}}
STABLE = {"time": {"kind": "discrete", "steps": 1000, "dtype": "int64"},
          "schedule": {"kind": "discrete-scaled-linear", "steps": 1000, "beta0": 0.00085, "beta1": 0.012}}
TABLES = {
    "deis-tab3-linear-nfe10": (LINEAR, {"solver": "deis-t", "order": 4, "lower_order_final": False}),
    "ipndm-4-linear-nfe10": (LINEAR, {"solver": "ipndm", "order": 4}),
    "gits-cifar10-edm-nfe6": (EDM, {"solver": "ipndm", "order": 4}),
    "ays-svd-edm-nfe10": (VIDEO, {"solver": "dpmpp-2m"}),
    "ays-sd15-nfe10": (STABLE, {"solver": "dpmpp-2m"}),
    "ays-sdxl-nfe10": (STABLE, {"solver": "dpmpp-2m"}),
}


def read(name):
    return json.loads((ROOT / f"jobs/solvers/{name}.json").read_text())


def test_each_table_is_tried():
    assert sorted(TABLES) == sorted(path.stem for path in (ROOT / "jobs/solvers").glob("*.json")
                                    if "-flow-" not in path.stem)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_makes_what_its_solver_makes(job, name):
    card, solver = TABLES[name]
    table = read(name)
    to_zero = table["times"][-1] == 0
    job.model["card"] |= {"labels": None} | card
    job.keys |= {"labels": "none", "seeds": "0-31"}
    job.keys["output"]["dtype"] = "float32"
    job.keys["sampler"] = {"solver": "table", "table": str(ROOT / f"jobs/solvers/{name}.json")}
    result = json.loads(qtaylor("run", job.write(), "--json").stdout)
    assert table["source"] and name.endswith(f"nfe{result['nfe']}")
    ours = stored(job.run)
    job.keys["sampler"] = solver | {"grid": {"times": table["times"][:-1] if to_zero else table["times"]},
                                    "final": "zero" if to_zero else "none"}
    job.keys["output"]["dir"] += "-solver"
    assert json.loads(qtaylor("run", job.write(), "--json").stdout)["nfe"] == result["nfe"]
    theirs = stored(job.run)
    assert np.isfinite(ours).all() and np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()


def test_points_are_the_published_ones():
    from diffusers.schedulers import AysSchedules

    for name, key in ("ays-sd15-nfe10", "StableDiffusionTimesteps"), ("ays-sdxl-nfe10", "StableDiffusionXLTimesteps"):
        assert [round(t * 1000) - 1 for t in read(name)["times"][:-1]] == AysSchedules[key]
    assert read("ays-svd-edm-nfe10")["times"] == AysSchedules["StableDiffusionVideoSigmas"]
    assert read("gits-cifar10-edm-nfe6")["times"] == [80, 10.9836, 3.8811, 1.584, 0.5666, 0.1698, 0.002]
    for name in "deis-tab3-linear-nfe10", "ipndm-4-linear-nfe10":
        roots = np.sqrt(read(name)["times"])  # quadratic
        assert np.allclose(np.diff(roots), (np.sqrt(1e-3) - 1) / 10, atol=1e-9)

"""diagnose's fits: what qtaylor tune could gain, against the errors of one-step formulas and a closed form."""

import json

from conftest import qtaylor
from test_diagnose import Gaussian


def test_what_a_fitted_sampler_could_gain(job):
    job.keys |= {"labels": "none", "sampler": {"solver": "taylor", "nfe": 5}}
    found = json.loads(qtaylor("diagnose", job.write(), "--json", "--count", 64).stdout)
    fits = found["fits"]
    assert fits["nfe"] == 5 and fits["paths"] == {"fit": 32, "select": 16, "judge": 16}
    one, two, three = fits["orders"]
    assert [fit["order"] for fit in fits["orders"]] == [1, 2, 3] and one["grid"].startswith("uniform in ")
    one_step = [entry["rmse"] for entry in found["samples"] if entry["nfe"] == 5 and entry["solver"] == "taylor"]
    assert one["error"] <= min(one_step) + 2 * one["uncertainty"]  # other paths
    assert 2 * two["error"] < one["error"] and two["error"] < fits["registry"]["error"] < one["error"]
    assert 0 < one["uncertainty"] < one["error"]
    out = qtaylor("diagnose", job.write(), "--count", 64).stdout
    assert "What qtaylor tune could gain at NFE 5" in out and f"{two['error']:.5f} +- {two['uncertainty']:.5f}" in out
    Gaussian(job, 0.4)
    job.keys["sampler"] |= {"t_start": 0.3, "t_end": 0.01}  # as in test_tune.py
    gaussian = json.loads(qtaylor("diagnose", job.write(), "--json", "--count", 64).stdout)
    assert gaussian["fits"]["orders"][0]["error"] < 1e-5 < 1e-3 < min(
        entry["rmse"] for entry in gaussian["samples"] if entry["nfe"] == 5 and entry["solver"] == "taylor")
    few = json.loads(qtaylor("diagnose", job.write(), "--json", "--count", 5).stdout)
    assert "fits" not in few and "no sampler was fitted: fits need 8 paths" in few["notes"][-1]

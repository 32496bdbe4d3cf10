"""rk45 against scipy's solve_ivp(method="RK45") on the same probability-flow ODE, batch by batch."""
import json

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from conftest import qtaylor
from oracle import linear_alpha_sigma, mixture_epsilon, normals
from test_plan import stored_samples


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
@pytest.mark.parametrize("count", [5, 8])  # 5: three filler rows, which the error norm must leave out
def test_steps_and_samples_are_scipys(job, tolerance, count):
    job.keys["sampler"] = {"solver": "rk45", "rtol": tolerance, "atol": tolerance}
    job.keys["output"]["dtype"] = "float32"
    job.keys["seeds"] = f"0-{count - 1}"
    result = json.loads(qtaylor("generate", job.write(), "--json").stdout)
    means = np.array(job.model["mixture"]["means"])

    def slope(t, flat):
        x = flat.reshape(count, 16)
        alpha, sigma = linear_alpha_sigma(t)
        seen = x.astype(np.float32).astype(np.float64)
        epsilon = np.stack([mixture_epsilon(row[None], alpha, sigma, means[i % 2][None], 0.2, [1.0])[0]
                            for i, row in enumerate(seen)]).astype(np.float32)
        beta = 0.1 + 19.9 * t
        return (-beta / 2 * (x - epsilon / sigma)).reshape(-1)

    start = np.stack([normals(seed, 0, 16) for seed in range(count)]).reshape(-1)
    theirs = solve_ivp(slope, (1, 1e-3), start, method="RK45", rtol=tolerance, atol=tolerance)
    assert result["generation"]["nfe"] == theirs.nfev
    assert np.abs(stored_samples(job.run) - theirs.y[:, -1].reshape(count, 16)).max() <= 1e-5


@pytest.mark.parametrize("kind, time", [("flow", {"kind": "continuous", "noise_at": 0}),
                                        ("gvp", {"kind": "continuous"})])
def test_a_velocity_is_followed_from_1_to_0(job, kind, time):
    """The whole way, as torchcfm and flow_matching integrate: one Gaussian has the solution in closed form."""
    job.model["mixture"] = {"means": [[0.3] * 16], "std": 0.5}
    job.model["card"] |= {"prediction": "velocity", "schedule": {"kind": kind}, "time": time, "labels": None}
    job.keys |= {"labels": "none", "seeds": "0-4", "sampler": {"solver": "rk45", "rtol": 1e-7, "atol": 1e-7}}
    job.keys["output"]["dtype"] = "float32"
    qtaylor("generate", job.write())
    document = json.loads((job.run / "run.json").read_text())
    assert document["sampler"]["t_start"] == 1 and document["sampler"]["t_end"] == 0
    start = np.stack([normals(seed, 0, 16) for seed in range(5)])  # N(0, 1) is taken to N(0.3, 0.5^2)
    assert stored_samples(job.run) == pytest.approx(0.3 + 0.5 * start, abs=2e-6)


@pytest.mark.parametrize("more", [{}, {"clip": True}, {"clock": "logsnr", "t_start": 0.9}], ids=str)
def test_where_the_slope_is_divided_by_sigma_it_stops_before(job, more):
    job.model["card"] |= {"prediction": "velocity" if more else "x0", "schedule": {"kind": "flow"}}
    job.keys["sampler"] = {"solver": "rk45"} | more
    job.keys["seeds"] = "0-4"
    qtaylor("generate", job.write())
    assert json.loads((job.run / "run.json").read_text())["sampler"]["t_end"] == 1e-3
    assert "sampler.t_end: expected a time" in qtaylor("plan", job.write(), "--set", "sampler.t_end=0", code=65).stderr

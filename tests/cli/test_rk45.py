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

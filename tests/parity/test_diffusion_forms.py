"""euler-maruyama with SiT's and REPA's diffusion forms, beside their formulas written again in numpy."""
import numpy as np
import pytest

from test_any_path import ALPHA_SIGMA, FLOW, SLOPES, X, plan_of, run, velocity

FORMS = ["constant", "sbdm", "sigma", "linear", "decreasing", "increasing-decreasing"]


def diffusion(kind, form, norm, u):
    """SiT's compute_diffusion in its own time u: 0 noise, 1 data."""
    (alpha, sigma), (d_alpha, d_sigma) = ALPHA_SIGMA[kind](1 - u), SLOPES[kind](1 - u)
    d_alpha, d_sigma = -d_alpha, -d_sigma
    return {"constant": norm, "sbdm": norm * (d_alpha / alpha * sigma**2 - sigma * d_sigma) if alpha else np.inf,
            "sigma": norm * sigma, "linear": norm * (1 - u), "decreasing": 0.25 * (norm * np.cos(np.pi * u) + 1)**2,
            "increasing-decreasing": norm * np.sin(np.pi * u)**2}[form]


def sit(kind, form, norm, steps, last, x, noise, start=0.0, last_step=0.04):
    """SiT's sample_sde: v and the score of the network, N - 1 steps of Euler-Maruyama from u = start to 1 - last_step,
    and one more."""
    def parts(x, u):
        v = -velocity(kind)(x, 1 - u, None)
        (alpha, sigma), (d_alpha, d_sigma) = ALPHA_SIGMA[kind](1 - u), SLOPES[kind](1 - u)
        ratio = alpha / -d_alpha
        score = (ratio * v - x) / (sigma**2 + ratio * d_sigma * sigma)
        return v, score, diffusion(kind, form, norm, u)
    times = np.linspace(start, 1 - last_step, steps)
    for i, u in enumerate(times[:-1]):
        step = times[i + 1] - u
        v, score, d = parts(x, u)
        x = x + step * (v + d * score) + np.sqrt(2 * d * step) * noise[i]
    v, score, d = parts(x, times[-1])
    alpha, sigma = ALPHA_SIGMA[kind](1 - times[-1])
    return x + last_step * (v + d * score) if last == "mean" else x / alpha + sigma**2 / alpha * score


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["flow", "gvp"])
@pytest.mark.parametrize("last", ["mean", "tweedie"])
def test_beside_sit(tmp_path, kind, form, last, steps):
    norm = 0.7
    sampler = {"solver": "euler-maruyama", "nfe": steps, "diffusion": {"form": form, "norm": norm}, "final": last}
    plan = plan_of(tmp_path, sampler, {"kind": kind})
    noise = np.random.default_rng(3).normal(size=(steps, *X.shape))
    them = sit(kind, form, norm, steps, last, X, noise, 0.001 if form == "sbdm" else 0)
    us = run(plan, velocity(kind), X, lambda stream: noise[stream - 1])
    assert plan["nfe"] == steps and plan["steps"][-1]["t"] == pytest.approx(0.04, abs=1e-15)
    assert plan["steps"][-1]["s"] == 0
    assert np.abs(us - them).max() < 1e-12 * max(1, np.abs(them).max())


def test_sits_defaults(tmp_path):
    """sbdm from t = 0.999, the mean's step from 0.04; the schedule's own SDE stays where variance is preserved."""
    plain = plan_of(tmp_path, {"solver": "euler-maruyama", "nfe": 9}, FLOW)
    said = plan_of(tmp_path, {"solver": "euler-maruyama", "steps": 9, "diffusion": {"form": "sbdm", "norm": 1},
                              "final": "mean",
                              "last_step": 0.04, "t_start": 0.999, "grid": "uniform", "clock": "t"}, FLOW)
    assert plain == said and plain["steps"][0]["t"] == pytest.approx(0.999)
    linear = {"kind": "linear"}
    own = plan_of(tmp_path, {"solver": "euler-maruyama", "nfe": 9, "grid": "uniform"}, linear, "epsilon")
    sbdm = plan_of(tmp_path, {"solver": "euler-maruyama", "nfe": 9, "diffusion": {"form": "sbdm"}, "final": "none"},
                   linear, "epsilon")
    noise = np.random.default_rng(3).normal(size=(9, *X.shape))
    a, b = (run(plan, lambda x, t, _: np.tanh(x), X, lambda stream: noise[stream - 1]) for plan in (own, sbdm))
    assert a == pytest.approx(b, rel=1e-12) and own["steps"][-1]["s"] > 0


@pytest.mark.parametrize("steps, variance", [(10, 0.235104488754), (50, 0.242117817460), (250, 0.244375106475)])
def test_variance_of_repas_sde(tmp_path, steps, variance):
    """REPA: D = sigma from t = 1, on data N(0, 1/4), where everything is affine."""
    plan = plan_of(tmp_path, {"solver": "euler-maruyama", "nfe": steps, "diffusion": {"form": "sigma"}}, FLOW)
    basis = np.eye(steps)
    sample = run(plan, velocity("flow", 0.5), basis[:, :1], lambda stream: basis[:, stream:stream + 1])
    assert (sample**2).sum() == pytest.approx(variance, abs=1e-12)

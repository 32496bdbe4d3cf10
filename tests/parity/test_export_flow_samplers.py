"""tools/export.py sit, repa and torchcfm with every sampler that their scripts have: the exported job run by the
program beside the repositories' own formulas (SiT's transport, REPA's samplers.py, torchdiffeq's fixed steps), written
again here, from the same noise, that of the steps too. The stand-ins for the repositories are those of
test_export_flows.py."""
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from conftest import TORCH
from exporter import assert_same_pictures, export, one_thread, run_exported, shake
from export.checkpoints import import_code, import_inside
from oracle import normals
from test_export_flows import HEADS, REPA, SIT, SIZES, UNET, checkout, guided, start

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")
HALF = np.pi / 2
# alpha, sigma and their slopes in the data's time u: 0 noise, 1 data.
PATHS = {"Linear": lambda u: (u, 1 - u, 1, -1),
         "GVP": lambda u: (np.sin(HALF * u), np.cos(HALF * u), HALF * np.cos(HALF * u), -HALF * np.sin(HALF * u))}
# Runge-Kutta's nodes, rows and weights.
TABLEAUS = {"euler": ([0], [[]], [1]), "heun2": ([0, 1], [[], [1]], [0.5, 0.5]),
            "midpoint": ([0, 0.5], [[], [0.5]], [0, 1])}


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def sit(tmp_path_factory):
    """options of export, and the network's velocity with its guidance, velocity(x, u)."""
    folder = tmp_path_factory.mktemp("sit")
    code = checkout(folder / "SiT", "models.py", SIT)
    models, = import_code(code, "models")
    network = shake(models.SiT(**SIZES))
    torch.save({"ema": network.state_dict()}, folder / "sit.pt")
    return (folder / "sit.pt", "--code", code, *HEADS, "--cfg-scale", 2), \
        lambda x, u: guided(network, x.float(), u, 2, 3).double()


def drawn(stream, shape=(3, 4, 8, 8)):
    """The noise that a job adds in its steps, of seeds 0 to 2."""
    return torch.from_numpy(np.stack([normals(seed, stream, int(np.prod(shape[1:]))) for seed in range(3)])
                            ).reshape(shape)


def compare(tmp_path, expected):
    found = run_exported(tmp_path / "out/job.yaml", start(), tmp_path, "labels=balanced")
    assert expected.std() > 0.5
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=2e-5 * expected.abs().max().item())


def fixed_steps(velocity, x, times, method):
    """torchdiffeq's, whose last step is like the others."""
    nodes, rows, weights = TABLEAUS[method]
    for u, v in zip(times, times[1:]):
        slopes = []
        for node, row in zip(nodes, rows):
            slopes.append(velocity(x + (v - u) * sum(a * k for a, k in zip(row, slopes)), u + node * (v - u)))
        x = x + (v - u) * sum(w * k for w, k in zip(weights, slopes))
    return x


@pytest.mark.parametrize("path, method", [("Linear", "heun2"), ("GVP", "euler"), ("GVP", "midpoint"),
                                          *(pytest.param(*each, marks=pytest.mark.long) for each in (
                                              ("Linear", "euler"), ("Linear", "midpoint"), ("GVP", "heun2")))])
def test_sits_fixed_steps(tmp_path, sit, path, method):
    asked, velocity = sit
    export("sit", asked[0], tmp_path / "out", *asked[1:], "--path-type", path, "--sampling-method", method,
           "--steps", 6)
    compare(tmp_path, fixed_steps(velocity, start().double(), np.linspace(0, 1, 6), method))


@pytest.mark.parametrize("path, tolerance", [("Linear", ()),
                                             pytest.param("GVP", ("--rtol", 1e-6), marks=pytest.mark.long)])
def test_sits_dopri5(tmp_path, sit, path, tolerance):
    """To its tolerance: each sample takes steps of its own, and torchdiffeq's whole batch the same ones."""
    asked, velocity = sit
    export("sit", asked[0], tmp_path / "out", *asked[1:], "--path-type", path, *tolerance)
    slope = lambda u, x: velocity(torch.from_numpy(x).reshape(3, 4, 8, 8), u).numpy().reshape(-1)
    exact = solve_ivp(slope, (0, 1), start().double().numpy().reshape(-1), rtol=1e-8, atol=1e-8).y[:, -1]
    found = run_exported(tmp_path / "out/job.yaml", start(), tmp_path, "labels=balanced")
    assert np.abs(found.reshape(-1) - exact).max() < 10 * (tolerance or (0, 1e-3))[1] * np.abs(exact).max()


def sits_sde(velocity, path, form, norm, last, x, steps, u0, last_step):
    """Transport.sample_sde: compute_diffusion, get_score_from_velocity and both last steps."""
    def parts(x, u):
        alpha, sigma, d_alpha, d_sigma = PATHS[path](u)
        drift = velocity(x, u)
        ratio = alpha / d_alpha
        score = (ratio * drift - x) / (sigma**2 - ratio * d_sigma * sigma)
        diffusion = {"constant": lambda: norm, "SBDM": lambda: norm * (d_alpha / alpha * sigma**2 - sigma * d_sigma),
                     "sigma": lambda: norm * sigma, "linear": lambda: norm * (1 - u),
                     "decreasing": lambda: 0.25 * (norm * np.cos(np.pi * u) + 1)**2,
                     "increasing-decreasing": lambda: norm * np.sin(np.pi * u)**2}[form]()
        return drift + diffusion * score, score, diffusion
    times = np.linspace(u0, 1 - last_step, steps)
    for i, (u, v) in enumerate(zip(times, times[1:])):
        drift, _, diffusion = parts(x, u)
        x = x + (v - u) * drift + np.sqrt(2 * diffusion * (v - u)) * drawn(i + 1)
    drift, score, _ = parts(x, times[-1])
    alpha, sigma, *_ = PATHS[path](times[-1])
    return x + last_step * drift if last == "Mean" else x / alpha + sigma**2 / alpha * score


@pytest.mark.parametrize("path, form, last", [
    ("Linear", "sigma", "Mean"), ("GVP", "SBDM", "Tweedie"),
    *(pytest.param(path, form, last, marks=pytest.mark.long) for path in PATHS for last in ("Mean", "Tweedie")
      for form in ("constant", "linear", "decreasing", "increasing-decreasing"))])
def test_sits_sde(tmp_path, sit, path, form, last):
    asked, velocity = sit
    export("sit", asked[0], tmp_path / "out", *asked[1:], "--path-type", path, "--mode", "SDE", "--steps", 7,
           "--diffusion-form", form, "--diffusion-norm", 0.7, "--last-step", last, "--last-step-size", 0.05)
    compare(tmp_path, sits_sde(velocity, path, form, 0.7, last, start().double(), 7, 0.001 if form == "SBDM" else 0,
                               0.05))


def repas_sde(velocity, x, steps, cosine):
    """euler_maruyama_sampler of samplers.py, in its own time: 1 noise."""
    times = [*np.linspace(1, 0.04, steps), 0]
    for i, (t, s) in enumerate(zip(times, times[1:])):
        v = velocity(x, t)
        alpha, sigma, d_alpha, d_sigma = PATHS["GVP" if cosine else "Linear"](1 - t)
        ratio = alpha / -d_alpha
        score = (ratio * v - x) / (sigma**2 - ratio * -d_sigma * sigma)
        x = x + (s - t) * (v - t * score)
        if s > 0:
            x = x + np.sqrt(2 * t * (t - s)) * drawn(i + 1)
    return x


@pytest.fixture(scope="module")
def repa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repa")
    code = checkout(folder / "REPA", "models/sit.py", REPA)
    module, = import_code(code, "models.sit")
    network = shake(module.SiT("linear", 16, [5], 7, 1, False, False, **SIZES))
    torch.save({"ema": network.state_dict()}, folder / "last.pt")

    def velocity(x, t):
        scale = 1.8 if 0.25 <= t <= 0.8 else 1
        return guided(lambda *given: network(*given)[0], x.float(), t, scale, 4).double()
    return (folder / "last.pt", "--code", code, *HEADS, "--cfg-scale", 1.8, "--guidance-low", 0.25, "--guidance-high",
            0.8), velocity


@pytest.mark.parametrize("path", ["linear", pytest.param("cosine", marks=pytest.mark.long)])
def test_repas_sde(tmp_path, repa, path):
    asked, velocity = repa
    export("repa", asked[0], tmp_path / "out", *asked[1:], "--path-type", path, "--steps", 7)
    compare(tmp_path, repas_sde(velocity, start().double(), 7, path == "cosine"))


def test_repas_ode_on_the_cosine_path(tmp_path, repa):
    asked, velocity = repa
    export("repa", asked[0], tmp_path / "out", *asked[1:], "--path-type", "cosine", "--mode", "ode", "--steps", 6)
    compare(tmp_path, fixed_steps(velocity, start().double(), np.linspace(1, 0, 7), "euler"))


def test_what_no_job_makes(tmp_path, capsys, sit, repa):
    for family, asked, words, said in (("sit", sit[0], ("--mode", "SDE", "--sampling-method", "Heun"), "Heun"),
                                       ("sit", sit[0], ("--sampling-method", "rk4"), "heun2"),
                                       ("repa", repa[0][:-4], ("--mode", "ode", "--heun", "--path-type", "cosine"),
                                        "--heun with --path-type cosine")):
        export(family, asked[0], tmp_path / "out", *asked[1:], *words, code=65)
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("model, method", [("si", "euler"), ("otcfm", "dopri5")])
def test_torchcfm(tmp_path, model, method):
    """compute_fid.py: Euler along the slope on either path, dopri5 at a tolerance of 1e-5."""
    code = checkout(tmp_path / "cfm", "torchcfm/models/unet/unet.py", UNET)
    checkout(code, "torchcfm/models/unet/neighbour.py", "from torch.nn import Conv2d as LAYER\n")
    unet = import_inside(str(code / "torchcfm/models/unet"), "unet")
    network = shake(unet.UNetModelWrapper((3, 8, 8), 16, 1, [1, 2], 1, 8, "4", False, False, False, None))
    torch.save({"ema_model": network.state_dict()}, tmp_path / "net.pt")
    export("torchcfm", tmp_path / "net.pt", tmp_path / "out", "--code", code, "--image-size", 8, "--model", model,
           "--integration-method", method, "--steps", 6)

    def velocity(x, u):
        with torch.no_grad():
            return network(torch.full([3], u, dtype=torch.float32), x.float()).double()
    x = start(3).double()
    if method == "euler":
        x = fixed_steps(velocity, x, np.linspace(0, 1, 7), "euler")
    else:
        slope = lambda u, x: velocity(torch.from_numpy(x).reshape(3, 3, 8, 8), u).numpy().reshape(-1)
        x = torch.from_numpy(solve_ivp(slope, (0, 1), x.numpy().reshape(-1), rtol=1e-7, atol=1e-7).y[:, -1]
                             ).reshape(3, 3, 8, 8)
    theirs = (x * 127.5 + 128).clip(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert_same_pictures(run_exported(tmp_path / "out/job.yaml", start(3), tmp_path), theirs)

"""tools/export.py adm on guided-diffusion's UNetModel, as the package azula carries it, with random weights: the
file against the network, and a whole run against guided-diffusion's p_sample."""
import importlib
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from conftest import TORCH
from exporter import assert_same, export, load, one_thread, run_job, shake
from oracle import normals

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


ADM_FLAGS = ("--attention_resolutions 8,4 --class_cond True --diffusion_steps 1000 --dropout 0.1 --image_size 16 "
             "--channel_mult 1,2,2 "
             "--learn_sigma True --noise_schedule cosine --num_channels 32 --num_head_channels 16 --num_res_blocks 1 "
             "--resblock_updown True "
             "--use_new_attention_order True --use_fp16 True --use_scale_shift_norm True").split()


@pytest.fixture
def adm_code():
    place, = importlib.util.find_spec("azula").submodule_search_locations
    return f"{place}/plugins/adm/_src"


def adm_network(code):
    package = types.ModuleType("adm_peer")
    package.__path__ = [code]
    sys.modules["adm_peer"] = package
    torch.manual_seed(0)
    return shake(importlib.import_module("adm_peer.unet").UNetModel(
        image_size=16, in_channels=3, model_channels=32, out_channels=6, num_res_blocks=1, attention_resolutions=(2, 4),
        dropout=0.1,
        channel_mult=(1, 2, 2), num_classes=10, num_head_channels=16, use_scale_shift_norm=True, resblock_updown=True,
        use_new_attention_order=True))


def respaced(steps, count):
    """guided-diffusion's cosine schedule in `count` of `steps`: the integers and the betas between them."""
    bar = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    cumprod = np.cumprod([1 - min(1 - bar((i + 1) / steps) / bar(i / steps), 0.999) for i in range(steps)])
    chosen = [round(i * (steps - 1) / (count - 1)) for i in range(count)]
    kept = cumprod[chosen]
    return chosen, kept, 1 - kept / np.concatenate([[1], kept[:-1]])


def test_adm_is_sampled_as_guided_diffusion_does(tmp_path, adm_code):
    network = adm_network(adm_code)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    export("adm", tmp_path / "state.pt", tmp_path / "out", "--code", adm_code, *ADM_FLAGS)
    file, card = load(tmp_path / "out/model.pt")
    assert card["variance"] == "learned" and card["labels"]["classes"] == 10
    arguments = lambda batch, rng: (torch.randn(batch, 3, 16, 16, generator=rng), torch.randint(1000, [batch],
                                                                                                generator=rng),
                                    torch.randint(10, [batch], generator=rng))
    assert_same(file, network, arguments, lambda net, x, t, labels: net(x, t, labels))
    # p_sample: eq. 15 of Nichol & Dhariwal for the variance, x0 clipped, the posterior's mean, no noise in the last
    # step.
    ours = run_job(tmp_path, "out/model.pt", seeds="0-2", labels=4, sampler={"solver": "ddpm", "variance": "learned",
                                                                             "grid": "linspace", "nfe": 8,
                                                                         "clip": True})
    chosen, bar, betas = respaced(1000, 8)
    # The first step multiplies the network's rounding by 1/alpha = 2e4: so the same batch through the same file, on one
    # thread as a worker has.
    x, threads = np.stack([normals(seed, 0, 768).reshape(3, 16, 16) for seed in range(3)]), torch.get_num_threads()
    torch.set_num_threads(1)
    for step, i in enumerate(reversed(range(8))):
        before = bar[i - 1] if i else 1.0
        with torch.no_grad():
            out = file(torch.tensor(x, dtype=torch.float32), torch.tensor([chosen[i]] * 3),
                       torch.tensor([4] * 3)).double().numpy()
        eps, v = out[:, :3], out[:, 3:]
        x0 = np.clip((x - np.sqrt(1 - bar[i]) * eps) / np.sqrt(bar[i]), -1, 1)
        x = np.sqrt(before) * betas[i] / (1 - bar[i]) * x0 + np.sqrt(1 - betas[i]) * (1 - before) / (1 - bar[i]) * x
        if i:
            small = betas[i] * (1 - before) / (1 - bar[i])
            log_variance = (v + 1) / 2 * np.log(betas[i]) + (1 - v) / 2 * np.log(small)
            x = x + np.exp(log_variance / 2) * np.stack([normals(seed, step + 1, 768).reshape(3, 16, 16) for seed
                                                         in range(3)])
    torch.set_num_threads(threads)
    np.testing.assert_allclose(ours, x, atol=3e-3)

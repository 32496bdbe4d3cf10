"""tools/export.py dit and edm2 with --vae, on stand-ins of their repositories: the exported jobs' pixels beside those
of the scripts' own loops, written again here."""
import pickle

import numpy as np
import pytest
import torch

from conftest import TORCH
from exporter import assert_same_pictures, export, load, normals, one_thread, run_exported, shake
from oracle import normals as philox_normals
from test_export_flows import TRANSFORMER, checkout
from export.checkpoints import import_code
from text_pipelines import autoencoder

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")
DIT = TRANSFORMER.replace("torch.cos(t.unsqueeze(1) * 3)", "torch.cos(t.unsqueeze(1) / 300)") + """
class DiT(Transformer):  # its variance is handed on
    def __init__(self, **sizes):
        super().__init__(**sizes, learn_sigma=True)
        self.learn_sigma = False

    def forward(self, x, t, y):  # near the epsilon of unit normals: unclipped, other networks blow up
        s = (t / 1000).reshape(-1, 1, 1, 1)
        eps, v = torch.tanh(super().forward(x, t, y)).chunk(2, 1)
        return torch.cat([(1 - torch.exp(-0.1 * s - 9.95 * s * s)).sqrt() * x + 0.3 * s * eps, v], 1)
"""
EDM2 = """
import numpy as np
import torch

class UNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.label, self.time = torch.nn.Linear(5, 16), torch.nn.Linear(1, 16)
        self.enc, self.out = torch.nn.Conv2d(4, 16, 3, padding=1), torch.nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x, noise_labels, class_labels):
        emb = self.time(noise_labels[:, None]) + self.label(class_labels * np.sqrt(class_labels.shape[1]))
        return self.out(torch.nn.functional.silu(self.enc(x) * (1 + emb[:, :, None, None])))

class Precond(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.img_resolution, self.img_channels, self.label_dim, self.sigma_data = 8, 4, 5, 0.5
        self.unet = UNet()

    def forward(self, x, sigma, class_labels):
        sigma = sigma.reshape(-1, 1, 1, 1)
        total = (sigma ** 2 + self.sigma_data ** 2).sqrt()
        F = self.unet(x / total, (sigma.log() / 4).flatten(), class_labels)
        return self.sigma_data ** 2 / total ** 2 * x + sigma * self.sigma_data / total * F

class StabilityVAEEncoder:
    def __init__(self):
        self.scale = np.float32(0.5) / np.float32([4.17, 4.62, 3.71, 3.28])
        self.bias = -np.float32([0.81, 0.25, 0.12, -0.15]) * self.scale
"""


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


def pixels(decoder, latents, of):
    with torch.no_grad():
        made = of(decoder.decode(latents.float()).sample.double().numpy())
    return made.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def ddpm(network, x, labels, scale, count):
    """sample_ddp.py's p_sample_loop: respaced, unclipped, the conditional half's variance, the seeds' noise."""
    cumprod = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    chosen = [round(i * 999 / (count - 1)) for i in range(count)]
    bar = cumprod[chosen]
    betas = 1 - bar / np.concatenate([[1], bar[:-1]])
    for step, i in enumerate(reversed(range(count))):
        time = torch.full([len(x)], chosen[i])
        with torch.no_grad():
            given, none = (network(torch.tensor(x, dtype=torch.float32), time, one).double().numpy()
                           for one in (labels, torch.full_like(labels, 10)))
        eps, v = given[:, :4], given[:, 4:]
        eps = np.concatenate([(none + scale * (given - none))[:, :3], eps[:, 3:]], 1)
        before = bar[i - 1] if i else 1.0
        x0 = (x - np.sqrt(1 - bar[i]) * eps) / np.sqrt(bar[i])
        x = np.sqrt(before) * betas[i] / (1 - bar[i]) * x0 + np.sqrt(1 - betas[i]) * (1 - before) / (1 - bar[i]) * x
        if i:
            log_variance = (v + 1) / 2 * np.log(betas[i]) \
                + (1 - v) / 2 * np.log(betas[i] * (1 - before) / (1 - bar[i]))
            noise = [philox_normals(seed, step + 1, 256).reshape(4, 8, 8) for seed in range(len(x))]
            x = x + np.exp(log_variance / 2) * np.stack(noise)
    return torch.tensor(x)


def test_dit_with_learned_variance_and_guidance(tmp_path):
    code = checkout(tmp_path / "DiT", "models.py", DIT)
    torch.manual_seed(0)
    network = shake(import_code(str(code), "models")[0].DiT(input_size=8, patch_size=2, in_channels=4, hidden_size=16,
                                                            depth=2, num_heads=2, num_classes=10), 0.1)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    decoder = autoencoder()
    decoder.save_pretrained(tmp_path / "vae")
    export("dit", tmp_path / "net.pt", tmp_path / "out", "--code", code, "--num-heads", 2, "--cfg-scale", 1.5,
           "--steps", 10, "--vae", tmp_path / "vae")
    assert load(tmp_path / "out/model.pt")[1]["variance"] == "learned"
    ours = run_exported(tmp_path / "out/job.yaml", normals(3, (4, 8, 8)), tmp_path, "labels=balanced")
    made = ddpm(network, normals(3, (4, 8, 8)).double().numpy(), torch.arange(3), 1.5, 10)
    assert_same_pictures(ours, pixels(decoder, made / 0.18215, lambda y: 127.5 * y + 128))


def test_edm2_with_the_statistics_of_its_decoder(tmp_path):
    code = checkout(tmp_path / "edm2", "edm2_double.py", EDM2)
    double, = import_code(str(code), "edm2_double")
    torch.manual_seed(0)
    network, encoder = shake(double.Precond()), double.StabilityVAEEncoder()
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"ema": network, "encoder": encoder}))
    decoder = autoencoder()
    with torch.no_grad():  # pictures in [0, 1]
        decoder.decoder.conv_out.bias.fill_(0.5)
        decoder.decoder.conv_out.weight.mul_(0.3)
    decoder.save_pretrained(tmp_path / "vae")
    export("edm2", tmp_path / "net.pkl", tmp_path / "out", "--code", code, "--steps", 8, "--vae", tmp_path / "vae")
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start * 80, tmp_path, "labels=balanced")
    grid = (80 ** (1 / 7) + np.arange(8) / 7 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    x, labels = start.double() * 80, torch.eye(5)[:3]
    with torch.no_grad():
        for t, s in zip(grid, [*grid[1:], 0]):
            slope = lambda y, at: (y - network(y.float(), torch.tensor([at]).float(), labels).double()) / at
            d = slope(x, t)
            x, euler = x + (s - t) * d, x + (s - t) * d
            if s > 0:
                x = euler + (s - t) / 2 * (slope(euler, s) - d)
    per_channel = lambda values: torch.tensor(values).reshape(1, 4, 1, 1)
    raw = (x.float() - per_channel(encoder.bias)) / per_channel(encoder.scale)
    assert_same_pictures(ours, pixels(decoder, raw, lambda y: 255 * y.clip(0, 1)))

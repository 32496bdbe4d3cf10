"""The loop a researcher would write: the default digits job in plain PyTorch, PNGs saved, FID by scipy. Prints seconds
of steady work (imports, loading and compiling left out), samples and FID, once for each line that it reads after it
said that it is ready. plain_pytorch.py OUT-FOLDER SAMPLES THREADS torchscript|float32|bfloat16
(the two: torch.compile'd in this precision)"""
import pathlib
import sys
import time

import numpy as np
import scipy.linalg
import torch
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
out, samples, threads = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
out.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(threads)
if sys.argv[4] == "torchscript":
    model = torch.jit.load(str(ROOT / "jobs/digits/model.pt"))
else:
    from digits_forms import make
    from export.model_file import Inside

    model = make()
    if sys.argv[4] != "float32":
        model = Inside(model, getattr(torch, sys.argv[4])).eval()
    model = torch.compile(model)
network = torch.jit.load(str(ROOT / "jobs/digits/features.pt"))
reference = np.load(ROOT / "jobs/digits/reference.npz")


def beta_integral(t):
    return 0.1 * t + 9.95 * t * t


def quasi_taylor2(x, labels, steps=10):
    """Order 2, clock t, quadratic grid: x(t-h) from x and epsilon by the table of the paper."""
    times = [(1 + i / steps * (1e-3**0.5 - 1)) ** 2 for i in range(steps + 1)]
    for t, s in zip(times, times[1:]):
        h, beta, slope = t - s, 0.1 + 19.9 * t, 19.9
        nu = 1 - np.exp(-beta_integral(t))
        score = -model(x, torch.full((len(x),), t), labels) / nu**0.5
        a = 1 + beta / 2 * h + (beta**2 - 2 * slope) / 4 * h * h / 2
        b = beta / 2 * h + (beta**2 / nu - 2 * slope) / 4 * h * h / 2
        x = a * x + b * score
    return x


def run(count, folder):
    features = []
    for start in range(0, count, 64):
        rows = min(64, count - start)
        generator = torch.Generator().manual_seed(start)
        x = torch.randn(rows, 1, 8, 8, generator=generator)
        x = quasi_taylor2(x, torch.arange(start, start + rows) % 10)
        pixels = (x * 127.5 + 128).clip(0, 255).to(torch.uint8)
        features.append(network(pixels).numpy())
        if folder:
            for i, picture in enumerate(pixels.numpy()[:, 0]):
                Image.fromarray(picture).save(folder / f"{start + i:06d}.png")
    return np.concatenate(features).astype(np.float64)


with torch.inference_mode():
    run(640 + samples % 64, None)  # warm-up
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        found = run(samples, out)
        mu, sigma = found.mean(0), np.cov(found.T)
        root = scipy.linalg.sqrtm(sigma @ reference["sigma"]).real
        fid = ((mu - reference["mu"]) ** 2).sum() + np.trace(sigma + reference["sigma"] - 2 * root)
        print(time.perf_counter() - begin, samples, fid, flush=True)

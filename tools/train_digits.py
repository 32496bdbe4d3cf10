#!/usr/bin/env python3
"""Train the digits model of jobs/digits and write its three files.

  model.pt       conditional diffusion model, forward(x, t, labels) -> epsilon
  features.pt    feature network for the FID, forward(uint8 images) -> [B, 64]
  reference.npz  moments of the features of the 1,797 real images

The data are scikit-learn's digits: real 8x8 grey images with values 0..16.
Training goes by the count of steps on one thread, so a run repeats on the
same kind of processor and the same version of torch. It takes about a quarter
of an hour. Both networks are frozen TorchScript with their card inside.

Throughout, x_t = alpha x + sigma epsilon with alpha^2 + sigma^2 = 1, and
logsnr means lambda = log(alpha / sigma).
"""

import argparse
import copy
import hashlib
import json
import math
import os
import time

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from digits_networks import CLASSES, NULL_LABEL, T_MIN, Classifier, UNet, logsnr_range, schedule

TRAIN_IMAGES = 1500

MODEL_CARD = {
    "shape": [1, 8, 8], "range": [-1, 1], "prediction": "epsilon",
    "time": {"kind": "continuous"},
    "schedule": {"kind": "linear", "beta0": 0.1, "beta1": 20},
    "labels": {"classes": 10, "null": 10}, "batch": None,
}
FEATURE_CARD = {"shape": [1, 8, 8], "range": [0, 255], "outputs": {"pool": 64}}


# ---------------------------------------------------------------- what is exported

class Epsilon(nn.Module):
    """The exported interface: time in, epsilon = sigma x + alpha v out."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, t, labels):
        alpha, sigma, logsnr = schedule(t)
        v = self.unet(x, logsnr.float(), labels)
        alpha = alpha.float()[:, None, None, None]
        sigma = sigma.float()[:, None, None, None]
        return (sigma * x + alpha * v).contiguous()


class Features(nn.Module):
    """The exported part of the classifier."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images):
        return self.classifier.features(images)


# ---------------------------------------------------------------- data

def load_data():
    """Images in [-1, 1] and labels: (train, held out, all), each a pair."""
    digits = load_digits()
    x = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    y = torch.from_numpy(digits.target).long()
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))
    train, held = order[:TRAIN_IMAGES], order[TRAIN_IMAGES:]
    return (x[train], y[train]), (x[held], y[held]), (x, y)


def quantise(x):
    """To uint8 by EDM's rule: scale, clip, truncate."""
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


def warp(x, parameters):
    """Rotate, scale and shift by parameters [B, 4] in [-1, 1]; 0 is the identity."""
    turn, zoom, dx, dy = (parameters * torch.tensor([0.15, 0.10, 0.125, 0.125])).unbind(1)
    cos, sin = turn.cos() * (1 + zoom), turn.sin() * (1 + zoom)
    theta = torch.stack([cos, -sin, dx, sin, cos, dy], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1   # the background is -1


# ---------------------------------------------------------------- training

def sample_logsnr(n, generator):
    """Half uniform over the schedule's range, half normal around 0.2."""
    low, high = logsnr_range()
    uniform = low + (high - low) * torch.rand(n // 2, generator=generator)
    normal = 0.2 + 1.3 * torch.randn(n - n // 2, generator=generator)
    return torch.cat([uniform, normal.clip(low, high)])


def v_loss(unet, x, labels, generator, augment=None):
    logsnr = sample_logsnr(len(x), generator)
    alpha = torch.sigmoid(2 * logsnr).sqrt()[:, None, None, None]
    sigma = torch.sigmoid(-2 * logsnr).sqrt()[:, None, None, None]
    epsilon = torch.randn(x.shape, generator=generator)
    v = unet(alpha * x + sigma * epsilon, logsnr, labels, augment)
    return F.mse_loss(v, alpha * epsilon - sigma * x)


def augmented_batch(x, y, size, generator):
    index = torch.randint(len(x), (size,), generator=generator)
    x, y = x[index], y[index]
    drop = torch.rand(size, generator=generator) < 0.15
    y = torch.where(drop, torch.full_like(y, NULL_LABEL), y)
    parameters = 2 * torch.rand(size, 4, generator=generator) - 1
    apply = torch.rand(size, generator=generator) < 0.5
    parameters = parameters * apply[:, None]
    x = torch.where(apply[:, None, None, None], warp(x, parameters), x)
    return x, y, parameters


def learning_rate(progress):
    """Flat for 30 %, then a cosine to zero."""
    return 0.5 + 0.5 * math.cos(math.pi * max(0.0, (progress - 0.3) / 0.7))


def train_unet(data, steps, batch, seed):
    """Returns the exponential moving average of the weights."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    unet = UNet().to(memory_format=torch.channels_last)
    ema = copy.deepcopy(unet).eval().requires_grad_(False)
    weights, averages = list(unet.parameters()), list(ema.parameters())
    optimiser = torch.optim.AdamW(weights, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: learning_rate(s / steps))
    start, total = time.time(), 0.0
    for step in range(1, steps + 1):
        x, labels, parameters = augmented_batch(*data, batch, generator)
        loss = v_loss(unet, x, labels, generator, parameters)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        scheduler.step()
        with torch.no_grad():
            decay = min(0.9995, (1 + step) / (10 + step))
            torch._foreach_lerp_(averages, weights, 1 - decay)
        total += loss.item()
        if step % 200 == 0:
            print(f"step {step}/{steps}  loss {total / 200:.4f}  {time.time() - start:.0f} s",
                  flush=True)
            total = 0.0
    return ema


@torch.no_grad()
def held_out_loss(unet, data, repeats=20):
    generator = torch.Generator().manual_seed(1)
    return sum(v_loss(unet, *data, generator).item() for _ in range(repeats)) / repeats


def train_classifier(data, epochs, seed):
    """Label smoothing keeps the features, and so the FID, on a moderate scale."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x, y = data
    net = Classifier()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=generator).split(64):
            parameters = 2 * torch.rand(len(index), 4, generator=generator) - 1
            logits = net(quantise(warp(x[index], parameters)))
            loss = F.cross_entropy(logits, y[index], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        scheduler.step()
    return net.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(net, data):
    x, y = data
    return (net(quantise(x)).argmax(1) == y).double().mean().item()


# ---------------------------------------------------------------- export

def model_inputs(batch):
    generator = torch.Generator().manual_seed(batch)
    t = T_MIN + (1 - T_MIN) * torch.rand(batch, generator=generator)
    labels = torch.randint(CLASSES + 1, (batch,), generator=generator)
    return torch.randn(batch, 1, 8, 8, generator=generator), t, labels


def feature_inputs(batch):
    generator = torch.Generator().manual_seed(batch)
    return (torch.randint(256, (batch, 1, 8, 8), generator=generator, dtype=torch.uint8),)


def drop_debug_records(path):
    """Rewrite without the source positions: smaller, and free of local paths."""
    reader = torch._C.PyTorchFileReader(path)
    own = ("version", "byteorder", ".data/serialization_id")     # the writer adds these
    records = [r for r in reader.get_all_records() if r not in own and not r.endswith(".debug_pkl")]
    contents = {r: reader.get_record(r) for r in records}
    del reader
    writer = torch._C.PyTorchFileWriter(path)
    for name, content in contents.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()


def outputs_of(module, inputs):
    outputs = module(*inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


@torch.no_grad()
def export(module, inputs, path, card_name, card):
    """Script, freeze, write, read back and compare with the eager module.

    A trace would fix the device and TF32 settings of convolutions; a script
    leaves them to the program that loads the file.
    """
    module = module.eval()
    frozen = torch.jit.freeze(torch.jit.script(module))
    if 'value="cpu"' in str(frozen.inlined_graph):
        raise RuntimeError(f"{path}: a device is baked into the graph")
    temporary = path + ".tmp"
    torch.jit.save(frozen, temporary, _extra_files={card_name: json.dumps(card)})
    drop_debug_records(temporary)
    loaded = torch.jit.load(temporary)
    for batch in (1, 5, 64):
        for expected, got in zip(outputs_of(module, inputs(batch)), outputs_of(loaded, inputs(batch)), strict=True):
            difference = (expected - got).abs().max().item()
            if got.shape != expected.shape or not got.is_contiguous() or not difference <= 1e-5:
                raise RuntimeError(f"{path}: differs from eager at batch {batch} by {difference}")
    os.replace(temporary, path)
    return loaded


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


# ---------------------------------------------------------------- evaluation

@torch.no_grad()
def moments(features, images):
    """Mean and covariance of the features of uint8 images, in float64."""
    f = torch.cat([features(part) for part in images.split(256)]).double().numpy()
    return f.mean(axis=0), np.cov(f, rowvar=False)


def fid(moments1, moments2):
    """The covariances may be singular: eigenvalues instead of a Cholesky factor."""
    (mu1, sigma1), (mu2, sigma2) = moments1, moments2
    root = np.sqrt(scipy.linalg.eigvals(sigma1 @ sigma2).real.clip(0)).sum()
    return ((mu1 - mu2) ** 2).sum() + np.trace(sigma1) + np.trace(sigma2) - 2 * root


@torch.no_grad()
def ddim(model, x, labels, nfe):
    """Plain DDIM (eta 0) on the quadratic grid from t = 1 to 1e-3."""
    grid = (1 + torch.arange(nfe + 1) / nfe * (math.sqrt(T_MIN) - 1)) ** 2
    alphas, sigmas, _ = (v.float() for v in schedule(grid))
    for i in range(nfe):
        epsilon = model(x, grid[i].expand(len(x)), labels)
        x0 = (x - sigmas[i] * epsilon) / alphas[i]
        x = alphas[i + 1] * x0 + sigmas[i + 1] * epsilon
    return x


def sample(model, n, nfe, seed=0):
    """n images with balanced labels, quantised."""
    noise = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(n) % CLASSES
    parts = [ddim(model, *part, nfe) for part in zip(noise.split(64), labels.split(64))]
    return quantise(torch.cat(parts))


# ---------------------------------------------------------------- main

def parse_arguments():
    parser = argparse.ArgumentParser(description="Train the digits model and write model.pt, "
                                     "features.pt and reference.npz.")
    parser.add_argument("--out", default="jobs/digits", help="output folder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=6000,
                        help="training steps (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="batch size (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=40,
                        help="epochs of the feature network (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="training seed (default: %(default)s)")
    parser.add_argument("--check", type=int, default=2000, metavar="N",
                        help="FID of N DDIM samples at the end, 0 for none (default: %(default)s)")
    parser.add_argument("--nfe", type=int, default=20,
                        help="NFE of that check (default: %(default)s)")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    os.makedirs(arguments.out, exist_ok=True)
    model_path, features_path, reference_path = (
        os.path.join(arguments.out, name) for name in ("model.pt", "features.pt", "reference.npz"))
    train, held, (images, _) = load_data()

    classifier = train_classifier(train, arguments.epochs, arguments.seed)
    print(f"classifier: held-out accuracy {accuracy(classifier, held):.4f}", flush=True)
    features = export(Features(classifier), feature_inputs, features_path,
                      "features.json", FEATURE_CARD)
    reference = moments(features, quantise(images))
    np.savez(reference_path, mu=reference[0], sigma=reference[1],
             count=np.int64(len(images)), network=np.bytes_(sha256(features_path)))

    unet = train_unet(train, arguments.steps, arguments.batch, arguments.seed)
    print(f"model: {sum(p.numel() for p in unet.parameters())} parameters, "
          f"held-out v-loss {held_out_loss(unet, held):.4f}", flush=True)
    model = export(Epsilon(unet), model_inputs, model_path, "diffusion.json", MODEL_CARD)

    for path in (model_path, features_path, reference_path):
        print(f"{sha256(path)}  {os.path.getsize(path):8d}  {path}")
    if arguments.check:
        value = fid(moments(features, sample(model, arguments.check, arguments.nfe)), reference)
        print(f"FID {value:.4f} ({arguments.check} samples, DDIM, {arguments.nfe} NFE, "
              "quadratic grid)")


if __name__ == "__main__":
    main()

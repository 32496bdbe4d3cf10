#!/usr/bin/env python3
"""Train the Fashion-MNIST model of jobs/fashion and write its three files.

  model.pt       class-conditional flow-matching model, forward(x, t, labels) -> velocity
  features.pt    classifier, forward(uint8 images) -> (features [B, 128], logits [B, 10])
  reference.npz  moments of the features of the 60,000 training images

The data are Debian's package dataset-fashion-mnist: 60,000 + 10,000 real 28x28 grey images in ten classes.
Training goes by the count of steps, on one thread, so a run repeats on the same kind of processor and the same
version of torch. It takes about twenty minutes. Stopped in any way and started again with the same --out, it goes on
from its last checkpoint, OUT/checkpoint.pt, and ends with the same weights. Both networks are frozen TorchScript with
their card inside.

Throughout, x_t = (1 - t) x0 + t z with z unit normals: t = 1 is noise, and the velocity is dx/dt = z - x0.
"""

import argparse
import copy
import gzip
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from digits_networks import Attention, Block, GroupNorm, zeroed
from train_digits import export, fid, moments, quantise, sha256

DATA = "/usr/share/datasets/fashion-mnist"
CLASSES, NULL_LABEL = 10, 10
STEPS = 2000
NO_FLIP = (5, 7, 9)         # sandals, sneakers and boots all point to the left
FEATURES = 128
DECAY = 0.999               # of the moving average of the weights
RATE = 1.5e-3               # learning rate
FLAT = 0.4                  # share of the steps at the full learning rate

MODEL_CARD = {
    "shape": [1, 28, 28], "range": [-1, 1], "prediction": "velocity",
    "time": {"kind": "continuous"}, "schedule": {"kind": "flow"},
    "labels": {"classes": CLASSES, "null": NULL_LABEL}, "batch": None,
}
FEATURE_CARD = {"shape": [1, 28, 28], "range": [0, 255], "outputs": {"pool": FEATURES, "logits": CLASSES}}


# ---------------------------------------------------------------- networks

class UNet(nn.Module):
    """Works on the image's 2x2 patches: two resolutions, 14x14 and 7x7. Predicts the velocity z - x0."""

    def __init__(self, channels=48, width=192):
        super().__init__()
        c = channels
        self.register_buffer("frequencies", torch.logspace(0, math.log10(60), 32))
        self.embed_time = nn.Linear(64, width)
        self.embed_label = nn.Embedding(CLASSES + 1, width)
        self.embed_out = nn.Linear(width, width)
        self.conv_in = nn.Conv2d(4, c, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, c, 14, 14))
        self.high1 = Block(c, c, width, dropout=0.0)
        self.down = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.low1 = Block(2 * c, 2 * c, width, dropout=0.0)
        self.attention1 = Attention(2 * c, side=7)
        self.low2 = Block(2 * c, 2 * c, width, dropout=0.0)
        self.attention2 = Attention(2 * c, side=7)
        self.low3 = Block(4 * c, 2 * c, width, dropout=0.0)
        self.up = nn.Conv2d(2 * c, 4 * c, 1)
        self.high2 = Block(2 * c, c, width, dropout=0.0)
        self.norm_out = GroupNorm(8, c)
        self.conv_out = zeroed(nn.Conv2d(c, 4, 3, padding=1))

    def forward(self, x, t, labels):
        angle = t.float()[:, None] * self.frequencies
        e = self.embed_time(torch.cat([angle.sin(), angle.cos()], dim=1)) + self.embed_label(labels)
        e = F.silu(self.embed_out(F.silu(e)))
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        high = self.high1(self.conv_in(x) + self.position, e)
        low = self.down(high)
        h = self.attention1(self.low1(low, e))
        h = self.attention2(self.low2(h, e))
        h = self.low3(torch.cat([h, low], dim=1), e)
        h = F.pixel_shuffle(self.up(h), 2)
        h = self.high2(torch.cat([h, high], dim=1), e)
        h = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(h, 2).contiguous()


class Classifier(nn.Module):
    """Classifier of uint8 images: its last hidden layer, which is the features, and the logits."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 48, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(48, 64, 3, padding=1, stride=2)
        self.conv4 = nn.Conv2d(64, 96, 3, padding=1, stride=2)
        self.fc = nn.Linear(96 * 4 * 4, FEATURES)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, images):
        h = images.float() / 127.5 - 1
        h = F.relu(self.conv2(F.relu(self.conv1(h))))
        h = F.relu(self.conv4(F.relu(self.conv3(h))))
        features = F.relu(self.fc(h.flatten(1)))
        return features, self.head(self.dropout(features))


# ---------------------------------------------------------------- data

def read_idx(path, dimensions):
    """The array of bytes in a gzipped IDX file: magic 0, 0, 8, dimensions, then big-endian sizes."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except FileNotFoundError:
        sys.exit(f"{path}: no such file; install Debian's package dataset-fashion-mnist (no root: apt-get download "
                 "dataset-fashion-mnist, then dpkg -x FILE.deb DIR), or name the folder that has it by --data")
    sizes = np.frombuffer(content, ">u4", dimensions, 4).tolist()
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) != 4 + 4 * dimensions + math.prod(sizes):
        sys.exit(f"{path}: expected an IDX file of bytes with {dimensions} dimensions {sizes}, "
                 f"found {len(content)} bytes in all; fetch it anew")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(sizes).copy())


def load_data(folder, part):
    """uint8 images [N, 1, 28, 28] and labels of `train` or `t10k`."""
    return (read_idx(os.path.join(folder, f"{part}-images-idx3-ubyte.gz"), 3)[:, None],
            read_idx(os.path.join(folder, f"{part}-labels-idx1-ubyte.gz"), 1).long())


def batch_of(data, index, generator):
    """Those images, half of them mirrored where that makes another image of the class."""
    images, labels = data[0][index], data[1][index]
    flip = torch.rand(len(index), generator=generator) < 0.5
    for label in NO_FLIP:
        flip &= labels != label
    return torch.where(flip[:, None, None, None], images.flip(3), images), labels


# ---------------------------------------------------------------- training

def velocity_loss(unet, images, labels, generator):
    """Mean squared error of the velocity, t the sigmoid of a unit normal."""
    x = images.float() / 127.5 - 1
    t = torch.randn(len(x), generator=generator).sigmoid()
    z = torch.randn(x.shape, generator=generator)
    weight = t[:, None, None, None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        velocity = unet((1 - weight) * x + weight * z, t, labels)
    return F.mse_loss(velocity.float(), z - x)


def learning_rate(progress):
    """Flat, then a cosine to zero. While it is flat, the number of steps can still be changed."""
    return 0.5 + 0.5 * math.cos(math.pi * max(0.0, (progress - FLAT) / (1 - FLAT)))


class Training:
    """Weights, their exponential moving average, optimiser and random state: all that a checkpoint holds."""

    def __init__(self, arguments):
        torch.manual_seed(arguments.seed)
        self.step, self.steps = 0, arguments.steps
        self.settings = {"channels": arguments.channels, "batch": arguments.batch, "seed": arguments.seed}
        self.path = os.path.join(arguments.out, "checkpoint.pt")
        self.generator = torch.Generator().manual_seed(arguments.seed)
        self.unet = UNet(arguments.channels).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.unet).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self.unet.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
        if os.path.exists(self.path):
            self.load()

    def save(self):
        state = {"settings": self.settings, "step": self.step, "steps": self.steps,
                 "generator": self.generator.get_state(), "unet": self.unet.state_dict(),
                 "average": self.average.state_dict(), "optimiser": self.optimiser.state_dict()}
        torch.save(state, self.path + ".tmp")
        os.replace(self.path + ".tmp", self.path)

    def load(self):
        state = torch.load(self.path, weights_only=True)
        if state["settings"] != self.settings:
            sys.exit(f"{self.path}: made with {state['settings']}, this run has {self.settings}; "
                     "give those, or remove the file to start again")
        if state["steps"] != self.steps and state["step"] > FLAT * min(state["steps"], self.steps):
            sys.exit(f"{self.path}: at step {state['step']} of {state['steps']} the learning rate is not that of "
                     f"--steps {self.steps}; give those steps, or remove the file to start again")
        self.step = state["step"]
        self.generator.set_state(state["generator"])
        for name in ("unet", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        print(f"goes on from {self.path}, step {self.step}", flush=True)

    def advance(self, data):
        """One step; returns its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * learning_rate(self.step / self.steps)
        index = torch.randint(len(data[0]), (self.settings["batch"],), generator=self.generator)
        images, labels = batch_of(data, index, self.generator)
        drop = torch.rand(len(labels), generator=self.generator) < 0.1
        loss = velocity_loss(self.unet, images, labels.masked_fill(drop, NULL_LABEL), self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        weights = list(self.unet.parameters())
        nn.utils.clip_grad_norm_(weights, 1.0)
        self.optimiser.step()
        self.step += 1
        with torch.no_grad():
            decay = min(DECAY, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.average.parameters()), weights, 1 - decay)
        return loss.item()


def train_unet(training, data, every):
    """Returns the moving average of the weights after all steps."""
    start, losses = time.time(), []
    while training.step < training.steps:
        losses.append(training.advance(data))
        if training.step % every == 0 or training.step == training.steps:
            training.save()
            print(f"step {training.step}/{training.steps}  loss {sum(losses) / len(losses):.4f}  "
                  f"{time.time() - start:.0f} s", flush=True)
            losses = []
    return training.average


@torch.no_grad()
def held_out_loss(unet, data, count=2560):
    generator = torch.Generator().manual_seed(1)
    parts = zip(data[0][:count].split(128), data[1][:count].split(128), strict=True)
    losses = [velocity_loss(unet, images, labels, generator).item() for images, labels in parts]
    return sum(losses) / len(losses)


def train_classifier(data, epochs, seed):
    """Label smoothing keeps the features, and so the FID, on a moderate scale."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = Classifier()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    batches = -(-len(data[0]) // 128)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for _ in range(epochs):
        for index in torch.randperm(len(data[0]), generator=generator).split(128):
            images, labels = batch_of(data, index, generator)
            loss = F.cross_entropy(net(images)[1], labels, label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            scheduler.step()
    return net.eval().requires_grad_(False)


# ---------------------------------------------------------------- export and evaluation

def model_inputs(batch):
    generator = torch.Generator().manual_seed(batch)
    t = torch.rand(batch, generator=generator)
    labels = torch.randint(CLASSES + 1, (batch,), generator=generator)
    return torch.randn(batch, 1, 28, 28, generator=generator), t, labels


def feature_inputs(batch):
    generator = torch.Generator().manual_seed(batch)
    return (torch.randint(256, (batch, 1, 28, 28), generator=generator, dtype=torch.uint8),)


@torch.no_grad()
def moments_of(network, images):
    return moments(lambda part: network(part)[0], images)


@torch.no_grad()
def sample(model, n, steps, seed=0):
    """n images with balanced labels by Euler's method with uniform steps from t = 1 to 0, quantised."""
    x = torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(n) % CLASSES
    for step in range(steps, 0, -1):
        parts = zip(x.split(100), labels.split(100), strict=True)
        t = torch.tensor(step / steps)
        x = x - torch.cat([model(part, t.expand(len(part)), which) for part, which in parts]) / steps
    return quantise(x)


# ---------------------------------------------------------------- main

def parse_arguments():
    parser = argparse.ArgumentParser(description="Train the Fashion-MNIST model and write model.pt, features.pt and "
                                     "reference.npz.", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default=DATA, help="folder of the four files of dataset-fashion-mnist")
    parser.add_argument("--out", default="jobs/fashion", help="output folder")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps")
    parser.add_argument("--batch", type=int, default=128, help="batch size")
    parser.add_argument("--channels", type=int, default=48, help="width of the network")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of the feature network")
    parser.add_argument("--seed", type=int, default=0, help="training seed")
    parser.add_argument("--every", type=int, default=100, help="steps from one checkpoint to the next")
    parser.add_argument("--check", type=int, default=2000, metavar="N",
                        help="FID of N samples by Euler's method at the end, 0 for none")
    parser.add_argument("--nfe", type=int, default=20, help="NFE of that check")
    return parser.parse_args()


def make_features(arguments, train, test, features_path, reference_path):
    classifier = train_classifier(train, arguments.epochs, arguments.seed)
    features = export(classifier, feature_inputs, features_path, "features.json", FEATURE_CARD)
    with torch.no_grad():
        right = [(features(images)[1].argmax(1) == labels).sum().item()
                 for images, labels in zip(test[0].split(256), test[1].split(256), strict=True)]
    reference = moments_of(features, train[0])
    np.savez(reference_path, mu=reference[0], sigma=reference[1], count=np.int64(len(train[0])),
             network=np.bytes_(sha256(features_path)))
    print(f"classifier: {sum(right)} of {len(test[0])} test images right, whose FID is "
          f"{fid(moments_of(features, test[0]), reference):.4f}", flush=True)


def main():
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    os.makedirs(arguments.out, exist_ok=True)
    paths = [os.path.join(arguments.out, name) for name in ("model.pt", "features.pt", "reference.npz")]
    train, test = load_data(arguments.data, "train"), load_data(arguments.data, "t10k")

    training = Training(arguments)
    if training.step == 0:
        make_features(arguments, train, test, *paths[1:])
    unet = train_unet(training, train, arguments.every)
    print(f"model: {sum(p.numel() for p in unet.parameters())} parameters, "
          f"loss on test images {held_out_loss(unet, test):.4f}", flush=True)
    model = export(unet, model_inputs, paths[0], "diffusion.json", MODEL_CARD)

    for path in paths:
        print(f"{sha256(path)}  {os.path.getsize(path):8d}  {path}")
    if arguments.check:
        features, reference = torch.jit.load(paths[1]), np.load(paths[2])
        made = moments_of(features, sample(model, arguments.check, arguments.nfe))
        print(f"FID {fid(made, (reference['mu'], reference['sigma'])):.4f} ({arguments.check} samples, Euler, "
              f"{arguments.nfe} NFE)")
    os.remove(training.path)


if __name__ == "__main__":
    main()

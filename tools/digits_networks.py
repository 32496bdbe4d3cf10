"""The networks of the digits job (tools/train_digits.py): a class-conditional U-Net and a classifier of 8x8 images, and
the schedule under which the U-Net learns."""

import math
from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn

BETA0, BETA1 = 0.1, 20.0
T_MIN = 1e-3
CLASSES, NULL_LABEL = 10, 10


# ---------------------------------------------------------------- schedule

def schedule(t, beta0: float = BETA0, beta1: float = BETA1):
    """alpha, sigma and logsnr of the linear VP schedule, in float64.

    With B the integral of beta from 0 to t, alpha^2 = exp(-B) and
    sigma^2 = 1 - exp(-B); expm1 keeps sigma and logsnr exact for small t.
    """
    t = t.double()
    integral = t * (beta0 + 0.5 * (beta1 - beta0) * t)
    alpha = torch.exp(-0.5 * integral)
    sigma = torch.sqrt(-torch.expm1(-integral))
    logsnr = -0.5 * torch.log(torch.expm1(integral))
    return alpha, sigma, logsnr


def logsnr_range():
    ends = schedule(torch.tensor([1.0, T_MIN]))[2]
    return ends[0].item(), ends[1].item()


# ---------------------------------------------------------------- networks

def zeroed(layer):
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class GroupNorm(nn.GroupNorm):
    """Without the shape checks of the standard one, which would be exported too."""

    def forward(self, x):
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class Block(nn.Module):
    """Residual block, modulated per channel (FiLM) by the conditioning."""

    def __init__(self, inputs, outputs, width, dropout=0.1):
        super().__init__()
        self.norm1 = GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(width, 2 * outputs)
        self.norm2 = GroupNorm(8, outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, condition):
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        h = h * (1 + scale) + shift
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.skip(x) + h


class Attention(nn.Module):
    """Self-attention over the positions of a square, in digits 4x4 = 16."""

    def __init__(self, channels, side=4, heads=4):
        super().__init__()
        self.side, self.heads, self.size = side, heads, channels // heads
        self.norm = GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x):
        qkv = self.qkv(self.norm(x)).flatten(2)             # [B, 3 C, side^2]
        qkv = qkv.unflatten(1, (3, self.heads, self.size)).transpose(3, 4)
        q, k, v = qkv.unbind(1)                             # [B, heads, side^2, size]
        weight = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(self.size), dim=-1)
        h = (weight @ v).transpose(2, 3).flatten(1, 2).unflatten(2, (self.side, self.side))
        return x + self.out(h.contiguous(memory_format=torch.channels_last))


class UNet(nn.Module):
    """Two resolutions, 8x8 and 4x4; predicts v = alpha epsilon - sigma x."""

    def __init__(self, channels=32, width=128):
        super().__init__()
        c = channels
        self.register_buffer("frequencies", torch.logspace(math.log10(0.15), math.log10(6), 16))
        self.embed_logsnr = nn.Linear(32, width)
        self.embed_label = nn.Embedding(CLASSES + 1, width)
        self.embed_augment = nn.Linear(4, width, bias=False)
        self.embed_out = nn.Linear(width, width)
        self.conv_in = nn.Conv2d(1, c, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, c, 8, 8))
        self.high1 = Block(c, c, width)
        self.down = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.low1 = Block(2 * c, 2 * c, width)
        self.attention = Attention(2 * c)
        self.low2 = Block(2 * c, 2 * c, width)
        self.low3 = Block(4 * c, 2 * c, width)
        self.up = nn.Conv2d(2 * c, 4 * c, 1)
        self.high2 = Block(2 * c, c, width)
        self.norm_out = GroupNorm(8, c)
        self.conv_out = zeroed(nn.Conv2d(c, 1, 3, padding=1))

    def condition(self, logsnr, labels, augment: Optional[torch.Tensor] = None):
        angle = logsnr[:, None] * self.frequencies
        h = self.embed_logsnr(torch.cat([angle.sin(), angle.cos()], dim=1))
        h = h + self.embed_label(labels)
        if augment is not None:
            h = h + self.embed_augment(augment)
        return F.silu(self.embed_out(F.silu(h)))

    def forward(self, x, logsnr, labels, augment: Optional[torch.Tensor] = None):
        e = self.condition(logsnr, labels, augment)
        x = x.contiguous(memory_format=torch.channels_last)
        high = self.high1(self.conv_in(x) + self.position, e)
        low = self.down(high)
        h = self.low2(self.attention(self.low1(low, e)), e)
        h = self.low3(torch.cat([h, low], dim=1), e)
        h = F.pixel_shuffle(self.up(h), 2)
        h = self.high2(torch.cat([h, high], dim=1), e)
        return self.conv_out(F.silu(self.norm_out(h)))


class Classifier(nn.Module):
    """Classifier of uint8 images; its last hidden layer gives the features."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 48, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(48, 64, 3, padding=1, stride=2)
        self.fc = nn.Linear(64 * 2 * 2, 64)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(64, CLASSES)

    def features(self, images):
        h = images.float() / 127.5 - 1
        h = F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(h))))))
        return F.relu(self.fc(h.flatten(1)))

    def forward(self, images):
        return self.head(self.dropout(self.features(images)))

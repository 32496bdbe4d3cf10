"""The network of jobs/digits/model.pt as a module again, for tools/export.py:
  digits_forms.py --card CARD                       writes its card
  tools/export.py module tools/digits_forms.py:make OUT --card CARD [options]"""
import json
import pathlib
import sys

import torch

from digits_networks import UNet
from train_digits import MODEL_CARD, Epsilon

MODEL = pathlib.Path(__file__).resolve().parent.parent / "jobs/digits/model.pt"
FIRST = ["frequencies", "embed_logsnr.weight", "embed_logsnr.bias", "embed_label.weight", "embed_out.weight",
         "embed_out.bias", "conv_in.weight", "conv_in.bias", "position"]


def make():
    """A frozen file has its weights as constants, in the order in which forward uses them."""
    file, unet = torch.jit.load(str(MODEL)), UNet().eval()
    own = unet.state_dict()
    names = FIRST + [name for name in own if name not in (*FIRST, "embed_augment.weight")]
    nodes = [node.output() for node in file.graph.findAllNodes("prim::Constant", recurse=True)
             if node.output().type().kind() == "TensorType"]
    weights = [node.toIValue() for node in sorted(nodes, key=lambda node: int(node.debugName()))]
    found = {name: weight.reshape(own[name].shape) for name, weight in zip(names, weights, strict=True)}
    unet.load_state_dict(found | {"embed_augment.weight": own["embed_augment.weight"]})
    network = Epsilon(unet).eval()
    arguments = torch.randn(5, 1, 8, 8), torch.rand(5), torch.arange(5)
    with torch.no_grad():
        assert (network(*arguments) - file(*arguments)).abs().max() < 1e-5
    return network


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_text(json.dumps(MODEL_CARD))

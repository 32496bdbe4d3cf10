"""edm: a pickle of EDM's. --code: a clone of NVlabs/edm, for its torch_utils and dnnlib; unpickling runs the code in
the file, so take only files that you trust. The raw network is exported, and the card names its preconditioning:
EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond. The job is that of EDM's generate.py with its defaults: 18 steps of
Heun."""
import pickle
import sys

import torch

from export.checkpoints import few, first_line
from export.frame import Refusal
from export.writer import write
from export.model_file import Network


class Attention:
    """For EDM's AttentionOp, an autograd.Function, which TorchScript cannot hold: q, k [N,C,T] -> weights [N,T,T]."""

    @staticmethod
    def apply(q, k):
        return torch.einsum("ncq,nck->nqk", q.float(), k.float() / k.shape[1] ** 0.5).softmax(dim=2).to(q.dtype)


def edm_card(net):
    kind = type(net).__name__
    if kind not in ("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"):
        raise Refusal(f"expected EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond in the pickle, found {kind}")
    card = {"shape": [net.img_channels, net.img_resolution, net.img_resolution], "range": [-1, 1],
            "time": {"kind": "c_noise"},
            "labels": {"classes": net.label_dim, "null": net.label_dim} if net.label_dim else None, "batch": None,
            "schedule": {"kind": "edm", "sigma_min": max(0.002, float(net.sigma_min)),
                         "sigma_max": min(80.0, float(net.sigma_max))}}
    expected = {"VPPrecond": {"beta_d": 19.9, "beta_min": 0.1, "M": 1000}, "iDDPMPrecond": {"C_1": 0.001, "C_2": 0.008}}
    for name, value in expected.get(kind, {}).items():
        if getattr(net, name) != value:
            raise Refusal(f"{kind}.{name}: expected {value}, found {getattr(net, name)}: its card would not be true")
    if kind == "EDMPrecond":
        card |= {"prediction": "edm", "sigma_data": float(net.sigma_data)}
    elif kind in ("VPPrecond", "VEPrecond"):
        card |= {"prediction": "edm-vp" if kind == "VPPrecond" else "edm-ve"}
    else:
        card |= {"prediction": "edm-iddpm", "schedule": {"kind": "discrete-cosine", "steps": net.M}}
    return card


def read_pickle(options):
    """The network of a pickle, under `ema` in most, and what else is in it."""
    sys.path.insert(0, options.code)
    with open(options.source, "rb") as file:
        try:
            net = pickle.load(file)
        except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, KeyError, ValueError) as error:
            raise Refusal(f"{options.source}: expected a pickle of the code in {options.code}: "
                          f"{first_line(error)}") from error
    if isinstance(net, dict) and "ema" not in net:
        raise Refusal(f"{options.source}: expected a network under `ema`, found {few(net)}")
    return (net["ema"], net) if isinstance(net, dict) else (net, {})


def export(options):
    net, _ = read_pickle(options)
    card = edm_card(net)
    for module in net.model.modules():  # classes unpickle into a module of their own
        names = getattr(type(module).forward, "__globals__", {})
        if "AttentionOp" in names:
            names["AttentionOp"] = Attention
    call = lambda network, x, t, labels: network(x, t, class_labels=labels)
    sampler = {"solver": "edm", "steps": options.steps or 18}
    job = {"labels": "edm" if net.label_dim else "none", "noise": "torch-cpu", "rounding": "edm", "sampler": sampler}
    write(options, Network(net.model.float(), call, net.label_dim), card, job)


def add_options(parser):
    parser.add_argument("--code", required=True, help="a clone of NVlabs/edm")
    parser.add_argument("--steps", type=int, help="as generate.py has it (18)")

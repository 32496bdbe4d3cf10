#!/usr/bin/env python3
"""Turns checkpoints as their authors distribute them into model files: TorchScript with its card.

  export_model.py edm       NETWORK.pkl OUT.pt --code EDM
  export_model.py adm       STATE.pt    OUT.pt --code guided-diffusion/guided_diffusion [its MODEL_FLAGS]
  export_model.py diffusers FOLDER      OUT.pt

edm: a pickle of EDM's (EDM: a clone of NVlabs/edm, for its torch_utils and dnnlib; unpickling runs the code in the file, so
take only files that you trust). The raw network is exported, and the card names its preconditioning: EDMPrecond, VPPrecond,
VEPrecond or iDDPMPrecond. adm: a state dict of guided-diffusion's UNetModel, with the flags of its README's commands (those of
training alone are passed over). diffusers: a folder of UNet2DModel's, or of a pipeline around one.

Every file is compared with its network at batches of 1, 5 and 64 before it gets its name. Weights and arithmetic are float32.

Tried on randomly initialised networks: diffusers' own, guided-diffusion's architecture, and a small double of what EDM's
pickles hold (tests/parity/test_export_model.py). No published checkpoint has been through it yet."""
import argparse
import importlib.util
import json
import os
import pathlib
import sys
import warnings

import torch

EPSILON = {"range": [-1, 1], "prediction": "epsilon", "batch": None}


class Network(torch.nn.Module):
    """forward(x, t) or, with classes, forward(x, t, labels). call: the checkpoint's own way; one_hot: labels as rows of numbers,
    where a label beyond the classes is none of them."""

    def __init__(self, network, call, one_hot=0):
        super().__init__()
        self.network, self.call, self.one_hot = network, call, one_hot

    def forward(self, x, t, labels=None):
        if labels is not None and self.one_hot:
            labels = (labels.unsqueeze(1) == torch.arange(self.one_hot, device=labels.device)).to(x.dtype)
        return self.call(self.network, x, t, labels)


def arguments_of(card, batch):
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn([batch, *card["shape"]], generator=generator)
    steps = card["time"].get("steps", 0)
    t = torch.randint(steps, [batch], generator=generator) if steps else torch.rand(batch, generator=generator) * 3 - 1
    labels = card["labels"]
    if not labels:
        return x, t
    return x, t, torch.randint(max(labels["classes"], (labels["null"] or -1) + 1), [batch], generator=generator)


def check(traced, network, card):
    for batch in (1, 5, 64):
        arguments = arguments_of(card, batch)
        with torch.no_grad():
            ours, theirs = traced(*arguments), network(*arguments)
        difference, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
        print(f"batch {batch}: the file differs from the network by {difference:.2g} of {scale:.3g}", file=sys.stderr)
        if not difference <= 1e-4 * scale:
            sys.exit(f"batch {batch}: expected differences of rounding, found {difference:.3g} of {scale:.3g}: nothing written")


def free_of_devices(traced):
    """A trace remembers the device it was made on wherever the network made a tensor: freezing folds those that depend on nothing
    (they move with the weights); the others are made to ask where x is."""
    graph = traced.graph
    left = [node for node in graph.findAllNodes("prim::Constant", recurse=True) if str(node.output().type()) == "Device"]
    if left:
        device = graph.create("prim::device", [list(graph.inputs())[1]], 1)
        device.output().setType(torch._C.DeviceObjType.get())
        graph.prependNode(device)
        for node in left:
            node.output().replaceAllUsesWith(device.output())
            node.destroy()
    return traced


def save(network, card, path):
    network = network.eval().requires_grad_(False)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's: what it warns of is what check() looks for
        traced = free_of_devices(torch.jit.freeze(torch.jit.trace(network, arguments_of(card, 3), check_trace=False)))
        temporary = f"{path}.tmp-{os.getpid()}"
        torch.jit.save(traced, temporary, _extra_files={"diffusion.json": json.dumps(card)})
        try:
            check(torch.jit.load(temporary), network, card)
        except BaseException:
            os.unlink(temporary)
            raise
    os.replace(temporary, path)
    print(f"{path}: {json.dumps(card)}")


# ---- EDM ----

class Attention:
    """For EDM's AttentionOp, an autograd.Function, which TorchScript cannot hold: q, k [N,C,T] -> weights [N,T,T]."""

    @staticmethod
    def apply(q, k):
        return torch.einsum("ncq,nck->nqk", q.float(), k.float() / k.shape[1] ** 0.5).softmax(dim=2).to(q.dtype)


def edm_card(net):
    kind = type(net).__name__
    card = {"shape": [net.img_channels, net.img_resolution, net.img_resolution], "range": [-1, 1], "time": {"kind": "c_noise"},
            "labels": {"classes": net.label_dim, "null": net.label_dim} if net.label_dim else None, "batch": None,
            "schedule": {"kind": "edm", "sigma_min": max(0.002, float(net.sigma_min)), "sigma_max": min(80.0, float(net.sigma_max))}}
    expected = {"VPPrecond": {"beta_d": 19.9, "beta_min": 0.1, "M": 1000}, "iDDPMPrecond": {"C_1": 0.001, "C_2": 0.008}}
    for name, value in expected.get(kind, {}).items():
        if getattr(net, name) != value:
            sys.exit(f"{kind}.{name}: expected {value}, found {getattr(net, name)}: its card would not be true")
    if kind == "EDMPrecond":
        card |= {"prediction": "edm", "sigma_data": float(net.sigma_data)}
    elif kind in ("VPPrecond", "VEPrecond"):
        card |= {"prediction": "edm-vp" if kind == "VPPrecond" else "edm-ve"}
    elif kind == "iDDPMPrecond":
        card |= {"prediction": "edm-iddpm", "schedule": {"kind": "discrete-cosine", "steps": net.M}}
    else:
        sys.exit(f"expected EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond in the pickle, found {kind}")
    return card


def export_edm(options):
    import pickle

    sys.path.insert(0, options.code)
    with open(options.checkpoint, "rb") as file:
        net = pickle.load(file)
    net = net["ema"] if isinstance(net, dict) else net
    card = edm_card(net)
    for module in net.model.modules():  # classes unpickle into a module of their own
        names = getattr(type(module).forward, "__globals__", {})
        if "AttentionOp" in names:
            names["AttentionOp"] = Attention
    call = lambda network, x, t, labels: network(x, t, class_labels=labels)
    save(Network(net.model.float(), call, net.label_dim), card, options.out)


# ---- guided-diffusion ----

def export_adm(options):
    spec = importlib.util.spec_from_file_location("adm_code", os.path.join(options.code, "__init__.py"),
                                                  submodule_search_locations=[options.code])
    sys.modules["adm_code"] = importlib.util.module_from_spec(spec)
    unet = importlib.import_module("adm_code.unet")
    state = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    learned, size = options.learn_sigma == "True", options.image_size
    usual = {512: "0.5,1,1,2,2,4,4", 256: "1,1,2,2,4,4", 128: "1,1,2,3,4", 64: "1,2,3,4"}
    if not options.channel_mult and size not in usual:
        sys.exit(f"--image_size: expected 64, 128, 256 or 512, or --channel_mult with it, found {size}")
    classes = len(state["label_emb.weight"]) if options.class_cond == "True" else None
    network = unet.UNetModel(
        image_size=size, in_channels=3, model_channels=options.num_channels, out_channels=6 if learned else 3,
        num_res_blocks=options.num_res_blocks, num_classes=classes, num_heads=options.num_heads,
        attention_resolutions=tuple(size // int(side) for side in options.attention_resolutions.split(",")),
        channel_mult=tuple(float(m) if "." in m else int(m) for m in (options.channel_mult or usual[size]).split(",")),
        num_head_channels=options.num_head_channels, num_heads_upsample=options.num_heads_upsample,
        use_scale_shift_norm=options.use_scale_shift_norm == "True", resblock_updown=options.resblock_updown == "True",
        use_new_attention_order=options.use_new_attention_order == "True")
    network.load_state_dict({name: value.float() for name, value in state.items()})
    for module in network.modules():
        if hasattr(module, "_forward"):  # forward is _forward within a checkpoint, which has no use without gradients
            module.forward = module._forward
    schedule = {"linear": {"kind": "discrete-linear", "beta0": 0.1 / options.diffusion_steps, "beta1": 20 / options.diffusion_steps},
                "cosine": {"kind": "discrete-cosine"}}[options.noise_schedule]
    card = EPSILON | {"shape": [3, size, size], "time": {"kind": "discrete", "steps": options.diffusion_steps, "dtype": "int64"},
                      "schedule": schedule | {"steps": options.diffusion_steps},
                      "labels": {"classes": classes, "null": None} if classes else None, "variance": "learned" if learned else "fixed"}
    call = lambda net, x, t, labels: net(x, t) if labels is None else net(x, t, labels)
    save(Network(network, call), card, options.out)


# ---- diffusers ----

def read_config(*places):
    for place in places:
        if os.path.exists(place):
            return json.loads(pathlib.Path(place).read_text())
    sys.exit(f"expected the scheduler's config in {' or '.join(places)}, found none: it says which betas the network learnt")


def export_diffusers(options):
    from diffusers import UNet2DModel
    from diffusers.utils import logging

    logging.set_verbosity_error()
    folder = options.checkpoint
    inside = os.path.join(folder, "unet")
    network = UNet2DModel.from_pretrained(inside if os.path.isdir(inside) else folder)
    config = read_config(os.path.join(folder, "scheduler", "scheduler_config.json"), os.path.join(folder, "scheduler_config.json"))
    kinds = {"linear": "discrete-linear", "scaled_linear": "discrete-scaled-linear", "squaredcos_cap_v2": "discrete-cosine"}
    predictions = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
    kind, steps = kinds.get(config.get("beta_schedule", "linear")), config.get("num_train_timesteps", 1000)
    prediction = predictions.get(config.get("prediction_type", "epsilon"))
    if not kind or not prediction or config.get("trained_betas") or config.get("rescale_betas_zero_snr"):
        sys.exit(f"expected beta_schedule of {', '.join(kinds)} and prediction_type of {', '.join(predictions)}, and neither trained_betas "
                 f"nor rescale_betas_zero_snr, found {json.dumps(config)}")
    betas = {} if kind == "discrete-cosine" else {"beta0": config.get("beta_start", 1e-4), "beta1": config.get("beta_end", 0.02)}
    size = network.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    classes = network.config.num_class_embeds
    card = EPSILON | {"shape": [network.config.in_channels, height, width], "prediction": prediction,
                      "time": {"kind": "discrete", "steps": steps, "dtype": "int64"},
                      "schedule": {"kind": kind, "steps": steps} | betas,
                      "labels": {"classes": classes, "null": None} if classes else None}
    call = lambda net, x, t, labels: net(x, t, class_labels=labels, return_dict=False)[0]
    save(Network(network.float(), call), card, options.out)
    if config.get("clip_sample"):
        print("its scheduler clips: say sampler: {clip: true} in the job", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="edm|adm|diffusers")
    for name, function in (("edm", export_edm), ("adm", export_adm), ("diffusers", export_diffusers)):
        kind = kinds.add_parser(name)
        kind.set_defaults(function=function)
        kind.add_argument("checkpoint")
        kind.add_argument("out")
        if name != "diffusers":
            kind.add_argument("--code", required=True, help="the folder with the authors' code")
        if name == "adm":  # guided-diffusion's names and defaults
            for flag, usual in (("image_size", 64), ("num_channels", 128), ("num_res_blocks", 2), ("num_heads", 4), ("num_heads_upsample", -1),
                                ("num_head_channels", -1), ("diffusion_steps", 1000)):
                kind.add_argument(f"--{flag}", type=int, default=usual)
            for flag, usual in (("attention_resolutions", "16,8"), ("channel_mult", ""), ("dropout", "0")):
                kind.add_argument(f"--{flag}", default=usual)
            kind.add_argument("--noise_schedule", choices=["linear", "cosine"], default="linear")
            for flag, usual in (("class_cond", "False"), ("learn_sigma", "False"), ("use_scale_shift_norm", "True"), ("resblock_updown", "False"),
                                ("use_new_attention_order", "False"), ("use_fp16", "False")):
                kind.add_argument(f"--{flag}", choices=["True", "False"], default=usual)
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Turns checkpoints as their authors distribute them into model files: TorchScript with its card.

  export_model.py edm       NETWORK.pkl OUT.pt --code EDM
  export_model.py adm       STATE.pt    OUT.pt --code guided-diffusion/guided_diffusion [its MODEL_FLAGS]
  export_model.py diffusers FOLDER      OUT.pt [--steps N]

edm: a pickle of EDM's (EDM: a clone of NVlabs/edm, for its torch_utils and dnnlib; unpickling runs the code in the file, so
take only files that you trust). The raw network is exported, and the card names its preconditioning: EDMPrecond, VPPrecond,
VEPrecond or iDDPMPrecond. adm: a state dict of guided-diffusion's UNetModel, with the flags of its README's commands (those of
training alone are passed over; heads, attention order and noise schedule leave no mark in the state, so they can't be checked).
diffusers: a folder of UNet2DModel's, or of a pipeline around one; it prints the job's sampler that does what the pipeline does at
N steps, or in what the nearest one differs.

Before a file gets its name it is compared with its network at batches of 1, 5 and 64; its numbers must be finite, the same bits
at every call, and those of a row independent of the other rows. Weights and arithmetic are float32.

Exit codes: 64 wrong command line, 65 a checkpoint that is not what it should be (nothing is written), 74 a file can't be read or
written, 70 a bug.

Tried on randomly initialised networks: diffusers' own, guided-diffusion's architecture, and a small double of what EDM's
pickles hold (tests/parity/test_export_model.py). No published checkpoint has been through it yet."""
import argparse
import errno
import importlib.util
import json
import os
import pathlib
import pickle
import sys
import traceback

import torch

from diffusers_jobs import hint
from model_file import Network, Refusal, few, first_line, save

EPSILON = {"range": [-1, 1], "prediction": "epsilon", "batch": None}


# ---- EDM ----

class Attention:
    """For EDM's AttentionOp, an autograd.Function, which TorchScript cannot hold: q, k [N,C,T] -> weights [N,T,T]."""

    @staticmethod
    def apply(q, k):
        return torch.einsum("ncq,nck->nqk", q.float(), k.float() / k.shape[1] ** 0.5).softmax(dim=2).to(q.dtype)


def edm_card(net):
    kind = type(net).__name__
    if kind not in ("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"):
        raise Refusal(f"expected EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond in the pickle, found {kind}")
    card = {"shape": [net.img_channels, net.img_resolution, net.img_resolution], "range": [-1, 1], "time": {"kind": "c_noise"},
            "labels": {"classes": net.label_dim, "null": net.label_dim} if net.label_dim else None, "batch": None,
            "schedule": {"kind": "edm", "sigma_min": max(0.002, float(net.sigma_min)), "sigma_max": min(80.0, float(net.sigma_max))}}
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


def export_edm(options):
    sys.path.insert(0, options.code)
    with open(options.checkpoint, "rb") as file:
        try:
            net = pickle.load(file)
        except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, KeyError, ValueError) as error:
            raise Refusal(f"{options.checkpoint}: expected a pickle of the code in {options.code}: {first_line(error)}") from error
    if isinstance(net, dict) and "ema" not in net:
        raise Refusal(f"{options.checkpoint}: expected a network under `ema`, found {few(net)}")
    net = net["ema"] if isinstance(net, dict) else net
    card = edm_card(net)
    for module in net.model.modules():  # classes unpickle into a module of their own
        names = getattr(type(module).forward, "__globals__", {})
        if "AttentionOp" in names:
            names["AttentionOp"] = Attention
    call = lambda network, x, t, labels: network(x, t, class_labels=labels)
    save(Network(net.model.float(), call, net.label_dim), card, options.out)


# ---- guided-diffusion ----

def read_state(path):
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise Refusal(f"{path}: expected a state dict of torch.save: {first_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        found = few(state) if isinstance(state, dict) else type(state).__name__
        raise Refusal(f"{path}: expected a state dict, names of tensors, found {found}")
    return {name: value.float() for name, value in state.items()}


def refuse_weights(what, **differences):
    """differences: missing, unexpected, mismatched: names."""
    found = [f"{kind}: {few(sorted(map(str, names)))}" for kind, names in differences.items() if names]
    if found:
        raise Refusal(f"{what}: expected exactly the network's weights, found {'; '.join(found)}")


def load_strictly(network, state):
    wanted = network.state_dict()
    refuse_weights("the state under these flags", missing=wanted.keys() - state.keys(), unexpected=state.keys() - wanted.keys(),
                   mismatched=[f"{name} {list(state[name].shape)} for {list(wanted[name].shape)}" for name in wanted.keys() & state.keys()
                               if state[name].shape != wanted[name].shape])
    network.load_state_dict(state)


def export_adm(options):
    if not os.path.exists(os.path.join(options.code, "unet.py")):
        raise Usage(f"--code: expected the folder guided_diffusion with its unet.py, found {options.code}")
    spec = importlib.util.spec_from_file_location("adm_code", os.path.join(options.code, "__init__.py"),
                                                  submodule_search_locations=[options.code])
    sys.modules["adm_code"] = importlib.util.module_from_spec(spec)
    unet = importlib.import_module("adm_code.unet")
    state = read_state(options.checkpoint)
    learned, size = options.learn_sigma == "True", options.image_size
    usual = {512: (0.5, 1, 1, 2, 2, 4, 4), 256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}
    if not options.channel_mult and size not in usual:
        raise Usage(f"--image_size: expected 64, 128, 256 or 512, or --channel_mult with it, found {size}")
    if ("label_emb.weight" in state) != (options.class_cond == "True"):
        raise Refusal(f"--class_cond {options.class_cond}, and the state {'has' if 'label_emb.weight' in state else 'has no'} label_emb.weight")
    classes = len(state["label_emb.weight"]) if options.class_cond == "True" else None
    network = unet.UNetModel(
        image_size=size, in_channels=3, model_channels=options.num_channels, out_channels=6 if learned else 3,
        num_res_blocks=options.num_res_blocks, num_classes=classes, num_heads=options.num_heads,
        attention_resolutions=tuple(size // side for side in options.attention_resolutions),
        channel_mult=options.channel_mult or usual[size],
        num_head_channels=options.num_head_channels, num_heads_upsample=options.num_heads_upsample,
        use_scale_shift_norm=options.use_scale_shift_norm == "True", resblock_updown=options.resblock_updown == "True",
        use_new_attention_order=options.use_new_attention_order == "True")
    load_strictly(network, state)
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

SCHEDULES = {"linear": "discrete-linear", "scaled_linear": "discrete-scaled-linear", "squaredcos_cap_v2": "discrete-cosine"}
PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}


def read_json(path):
    try:
        return json.loads(pathlib.Path(path).read_text())
    except ValueError as error:
        raise Refusal(f"{path}: expected JSON: {error}") from error


def load_unet(folder):
    from diffusers import UNet2DModel

    path = os.path.join(folder, "config.json")
    found = read_json(path)
    if found.get("_class_name") != "UNet2DModel":
        raise Refusal(f"{path}: expected _class_name UNet2DModel, found {found.get('_class_name')}: no other network is exported yet")
    try:
        network, info = UNet2DModel.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise Refusal(f"{folder}: diffusers does not load it: {' '.join(str(error).split())[:300]}") from error
    refuse_weights(folder, missing=info["missing_keys"], unexpected=info["unexpected_keys"], mismatched=info["mismatched_keys"],
                   errors=info["error_msgs"])
    return network


def load_scheduler(folder):
    """The scheduler and the card's schedule, which the scheduler's own table has to agree with."""
    import diffusers

    places = [os.path.join(folder, "scheduler", "scheduler_config.json"), os.path.join(folder, "scheduler_config.json")]
    place = next(filter(os.path.exists, places), None)
    if not place:
        raise Refusal(f"expected the scheduler's config in {' or '.join(places)}, found none: it says which betas the network learnt")
    read = read_json(place)
    name = read.get("_class_name", "DDPMScheduler")
    if not hasattr(getattr(diffusers, name, None), "from_config"):
        raise Refusal(f"{place}: expected a scheduler of diffusers {diffusers.__version__}, found {name}")
    try:
        scheduler = getattr(diffusers, name).from_config(read)
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise Refusal(f"{place}: diffusers makes no {name} of it: {first_line(error)}") from error
    config = scheduler.config
    kind = SCHEDULES.get(config.get("beta_schedule"))
    refused = [key for key in ("trained_betas", "rescale_betas_zero_snr", "use_flow_sigmas") if config.get(key)]
    if not kind or config.get("prediction_type", "epsilon") not in PREDICTIONS or refused or not hasattr(scheduler, "alphas_cumprod"):
        raise Refusal(f"{place}: expected a scheduler with alphas_cumprod, beta_schedule of {', '.join(SCHEDULES)} and prediction_type of "
                      f"{', '.join(PREDICTIONS)}, and neither trained_betas nor rescale_betas_zero_snr nor use_flow_sigmas, found {name} "
                      f"{json.dumps(read)}")
    ends = {} if kind == "discrete-cosine" else {"beta_start": config.beta_start, "beta_end": config.beta_end}
    plain = diffusers.DDPMScheduler(config.num_train_timesteps, beta_schedule=config.beta_schedule, **ends)
    if not torch.allclose(scheduler.alphas_cumprod.double().log(), plain.alphas_cumprod.double().log(), rtol=1e-3, atol=1e-5):
        raise Refusal(f"{place}: {name} changes the table of its betas: no card describes it")
    return scheduler, {"kind": kind, "steps": config.num_train_timesteps} | dict(zip(("beta0", "beta1"), ends.values()))


def warn_of_decoder(folder):
    path = os.path.join(folder, "model_index.json")
    decoders = [name for name in (read_json(path) if os.path.exists(path) else {}) if name in ("vae", "vqvae", "movq", "image_encoder")]
    if decoders:
        print(f"the pipeline decodes what this network makes ({few(decoders)}): these samples are latents, not pictures", file=sys.stderr)


def export_diffusers(options):
    from diffusers.utils import logging

    logging.set_verbosity_error()
    folder = options.checkpoint
    if not os.path.isdir(folder):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
    inside = os.path.join(folder, "unet")
    network = load_unet(inside if os.path.isdir(inside) else folder)
    scheduler, schedule = load_scheduler(folder)
    config = network.config
    learned = config.out_channels == 2 * config.in_channels and scheduler.config.get("variance_type") == "learned_range"
    if config.out_channels != config.in_channels and not learned:
        raise Refusal(f"{folder}: expected as many out_channels as in_channels ({config.in_channels}), or twice as many with variance_type "
                      f"learned_range, found {config.out_channels}")
    if config.class_embed_type:
        raise Refusal(f"{folder}: class_embed_type: expected none, found {config.class_embed_type}: its classes are no labels")
    if not config.sample_size:
        raise Refusal(f"{folder}: sample_size: expected the pictures' side, found {config.sample_size}")
    height, width = [config.sample_size] * 2 if isinstance(config.sample_size, int) else config.sample_size
    classes = config.num_class_embeds
    card = EPSILON | {"shape": [config.in_channels, height, width], "prediction": PREDICTIONS[scheduler.config.get("prediction_type", "epsilon")],
                      "time": {"kind": "discrete", "steps": schedule["steps"], "dtype": "int64"}, "schedule": schedule,
                      "labels": {"classes": classes, "null": None} if classes else None} | ({"variance": "learned"} if learned else {})
    call = lambda net, x, t, labels: net(x, t, class_labels=labels, return_dict=False)[0]
    save(Network(network.float(), call), card, options.out)
    warn_of_decoder(folder)
    usual = min(1000 if type(scheduler).__name__ == "DDPMScheduler" else 50, schedule["steps"])  # the pipelines' own
    print(hint(scheduler, options.steps or usual), file=sys.stderr)


def numbers(text):
    return tuple(float(word) if "." in word else int(word) for word in text.split(",")) if text else ()


class Usage(Exception):
    """Exit 64."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")


def main(arguments=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="edm|adm|diffusers")
    for name, function in (("edm", export_edm), ("adm", export_adm), ("diffusers", export_diffusers)):
        kind = kinds.add_parser(name)
        kind.set_defaults(function=function)
        kind.add_argument("checkpoint")
        kind.add_argument("out")
        if name == "diffusers":
            kind.add_argument("--steps", type=int, help="num_inference_steps of the pipeline that the printed sampler stands for")
        else:
            kind.add_argument("--code", required=True, help="the folder with the authors' code")
        if name == "adm":  # guided-diffusion's names and defaults
            for flag, usual in (("image_size", 64), ("num_channels", 128), ("num_res_blocks", 2), ("num_heads", 4), ("num_heads_upsample", -1),
                                ("num_head_channels", -1), ("diffusion_steps", 1000)):
                kind.add_argument(f"--{flag}", type=int, default=usual)
            kind.add_argument("--attention_resolutions", type=numbers, default="16,8")
            kind.add_argument("--channel_mult", type=numbers, default="")
            kind.add_argument("--dropout", default="0")
            kind.add_argument("--noise_schedule", choices=["linear", "cosine"], default="linear")
            for flag, usual in (("class_cond", "False"), ("learn_sigma", "False"), ("use_scale_shift_norm", "True"), ("resblock_updown", "False"),
                                ("use_new_attention_order", "False"), ("use_fp16", "False")):
                kind.add_argument(f"--{flag}", choices=["True", "False"], default=usual)
    options = parser.parse_args(arguments)
    try:
        options.function(options)
    except Usage as error:
        parser.error(str(error))
    except Refusal as error:
        print(f"export_model: {error}: nothing written", file=sys.stderr)
        sys.exit(65)
    except OSError as error:
        print(f"export_model: {error}", file=sys.stderr)
        sys.exit(74)
    except Exception:
        traceback.print_exc()
        sys.exit(70)


if __name__ == "__main__":
    main()

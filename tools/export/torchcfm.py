"""torchcfm: a checkpoint of atong01/conditional-flow-matching's image examples (`ema_model`): UNetModelWrapper of
its models/unet. The job is that of compute_fid.py: dopri5 with its tolerance, or --integration-method euler at
--steps. torchdiffeq chooses its adaptive steps in another way: the pictures agree to the tolerance."""
import os

from export.checkpoints import import_inside, load_strictly, read_state
from export.flows import along_slopes
from export.frame import Refusal, Usage
from export.model_file import Network
from export.writer import write


def add_options(parser):
    parser.add_argument("--code", required=True, help="a clone of atong01/conditional-flow-matching")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--num-res-blocks", type=int, default=2)
    parser.add_argument("--channel-mult", default="1,2,2,2")
    parser.add_argument("--num-heads", type=int, default=4)
    parser.add_argument("--num-head-channels", type=int, default=64)
    parser.add_argument("--attention-resolutions", default="16")
    parser.add_argument("--use-scale-shift-norm", action="store_true")
    parser.add_argument("--resblock-updown", action="store_true")
    parser.add_argument("--model", choices=["otcfm", "icfm", "fm", "si"], default="otcfm",
                        help="how it was trained; si: on cos, sin")
    parser.add_argument("--integration-method", choices=["dopri5", "euler"], default="dopri5")
    parser.add_argument("--steps", type=int, default=100, help="of Euler (100)")
    parser.add_argument("--tol", type=float, default=1e-5, help="of dopri5 (1e-5)")


def make_network(unet, state, options):
    try:
        width, channels = state["input_blocks.0.0.weight"].shape[:2]
        multiples = [int(word) for word in options.channel_mult.split(",")]
    except KeyError as error:
        raise Refusal(f"{options.source}: expected the weights of its U-Net, found none named {error}") from error
    except ValueError as error:
        raise Usage(f"--channel-mult: expected whole numbers such as 1,2,2,2, found {options.channel_mult}") from error
    classes = len(state["label_emb.weight"]) if "label_emb.weight" in state else None
    network = unet.UNetModelWrapper(
        dim=(channels, options.image_size, options.image_size), num_channels=width,
        num_res_blocks=options.num_res_blocks,
        channel_mult=multiples, num_heads=options.num_heads, num_head_channels=options.num_head_channels,
        attention_resolutions=options.attention_resolutions, use_scale_shift_norm=options.use_scale_shift_norm,
        resblock_updown=options.resblock_updown, class_cond=classes is not None, num_classes=classes)
    load_strictly(network, state)
    for module in network.modules():
        if hasattr(module, "_forward"):  # forward is _forward within a checkpoint, of no use without gradients
            module.forward = module._forward
    return network, channels, classes


def export(options):
    unet = import_inside(os.path.join(options.code, "torchcfm", "models", "unet"), "unet")
    network, channels, classes = make_network(unet, read_state(options.source, "ema_model"), options)
    path = "gvp" if options.model == "si" else "flow"
    card = {"shape": [channels, options.image_size, options.image_size], "range": [-1, 1], "prediction": "velocity",
            "time": {"kind": "continuous", "noise_at": 0}, "schedule": {"kind": path},
            "labels": {"classes": classes, "null": None} if classes else None, "batch": None}
    if options.integration_method == "euler":
        sampler = along_slopes("euler", options.steps)
    else:
        sampler = {"solver": "rk45", "rtol": options.tol, "atol": options.tol}
    call = lambda net, x, t, labels: net(t, x) if labels is None else net(t, x, labels)
    write(options, Network(network, call), card, {"sampler": sampler, "labels": "balanced" if classes else "none"},
          [f"What compute_fid.py makes ({options.integration_method})."])

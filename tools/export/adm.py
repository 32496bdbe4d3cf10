"""adm: a state dict of guided-diffusion's UNetModel, with the flags of its README's commands (those of training
alone are passed over; heads, attention order and noise schedule leave no mark in the state, so they can't be
checked). --code: its folder guided_diffusion. The job is that of image_sample.py at --steps respaced steps."""
from export.checkpoints import import_inside, load_strictly, read_state
from export.frame import Refusal, Usage
from export.model_file import Network
from export.writer import write

USUAL_MULTIPLES = {512: (0.5, 1, 1, 2, 2, 4, 4), 256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}
NUMBERS = {"image_size": 64, "num_channels": 128, "num_res_blocks": 2, "num_heads": 4, "num_heads_upsample": -1,
           "num_head_channels": -1, "diffusion_steps": 1000}  # guided-diffusion's names and defaults
SWITCHES = {"class_cond": "False", "learn_sigma": "False", "use_scale_shift_norm": "True", "resblock_updown": "False",
            "use_new_attention_order": "False", "use_fp16": "False"}


def numbers(text):
    return tuple(float(word) if "." in word else int(word) for word in text.split(",")) if text else ()


def add_options(parser):
    parser.add_argument("--code", required=True, help="the folder guided_diffusion")
    parser.add_argument("--steps", type=int, default=250, help="timestep_respacing of image_sample.py (250)")
    for flag, usual in NUMBERS.items():
        parser.add_argument(f"--{flag}", type=int, default=usual)
    for flag, usual in SWITCHES.items():
        parser.add_argument(f"--{flag}", choices=["True", "False"], default=usual)
    parser.add_argument("--attention_resolutions", type=numbers, default="16,8")
    parser.add_argument("--channel_mult", type=numbers, default="")
    parser.add_argument("--dropout", default="0")
    parser.add_argument("--noise_schedule", choices=["linear", "cosine"], default="linear")


def make_network(unet, options, classes):
    size = options.image_size
    if not options.channel_mult and size not in USUAL_MULTIPLES:
        raise Usage(f"--image_size: expected 64, 128, 256 or 512, or --channel_mult with it, found {size}")
    return unet.UNetModel(
        image_size=size, in_channels=3, model_channels=options.num_channels,
        out_channels=6 if options.learn_sigma == "True" else 3,
        num_res_blocks=options.num_res_blocks, num_classes=classes, num_heads=options.num_heads,
        attention_resolutions=tuple(size // side for side in options.attention_resolutions),
        channel_mult=options.channel_mult or USUAL_MULTIPLES[size],
        num_head_channels=options.num_head_channels, num_heads_upsample=options.num_heads_upsample,
        use_scale_shift_norm=options.use_scale_shift_norm == "True",
        resblock_updown=options.resblock_updown == "True",
        use_new_attention_order=options.use_new_attention_order == "True")


def card_of(options, classes):
    steps, learned = options.diffusion_steps, options.learn_sigma == "True"
    schedule = {"linear": {"kind": "discrete-linear", "beta0": 0.1 / steps, "beta1": 20 / steps},
                "cosine": {"kind": "discrete-cosine"}}[options.noise_schedule]
    return {"shape": [3, options.image_size, options.image_size], "range": [-1, 1], "prediction": "epsilon",
            "time": {"kind": "discrete", "steps": steps, "dtype": "int64"}, "schedule": schedule | {"steps": steps},
            "labels": {"classes": classes, "null": None} if classes else None, "batch": None,
            "variance": "learned" if learned else "fixed"}


def export(options):
    unet, state = import_inside(options.code, "unet"), read_state(options.source)
    conditional, there = options.class_cond == "True", "label_emb.weight" in state
    if there != conditional:
        raise Refusal(f"--class_cond {options.class_cond}, and the state {'has' if there else 'has no'} "
                      "label_emb.weight")
    classes = len(state["label_emb.weight"]) if conditional else None
    network = make_network(unet, options, classes)
    load_strictly(network, state)
    for module in network.modules():
        if hasattr(module, "_forward"):  # forward is _forward within a checkpoint, of no use without gradients
            module.forward = module._forward
    call = lambda net, x, t, labels: net(x, t) if labels is None else net(x, t, labels)
    sampler = {"solver": "ddpm", "variance": "learned" if options.learn_sigma == "True" else "large",
               "grid": "linspace", "steps": min(options.steps, options.diffusion_steps), "clip": True}
    job = {"labels": "random" if conditional else "none", "rounding": "adm", "sampler": sampler}
    write(options, Network(network, call), card_of(options, classes), job)

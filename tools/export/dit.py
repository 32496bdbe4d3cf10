"""dit: a state dict of facebookresearch/DiT, or a checkpoint of its train.py (`ema`). --code: a clone of it. The job is
that of sample_ddp.py: DDPM with the learned variance in --steps of 1000 steps, x0 unclipped, guidance on the first
three channels as forward_with_cfg has it. With --vae its samples are pictures, else latents."""
from export.checkpoints import import_code, load_strictly, read_state
from export.flows import add_transformer_options, add_vae, guided, stability_decoder, transformer_sizes
from export.model_file import Network
from export.writer import write


def add_options(parser):
    add_transformer_options(parser, "facebookresearch/DiT")
    add_vae(parser)


def export(options):
    models, = import_code(options.code, "models")
    state = read_state(options.source, "ema")
    sizes = transformer_sizes(state, options)
    network = models.DiT(**sizes)
    load_strictly(network, state, options.source)
    classes, side = sizes["num_classes"], sizes["input_size"]
    card = {"shape": [sizes["in_channels"], side, side], "range": [-1, 1], "prediction": "epsilon",
            "variance": "learned", "time": {"kind": "discrete", "steps": 1000, "dtype": "int64"},
            "schedule": {"kind": "discrete-linear", "steps": 1000, "beta0": 0.0001, "beta1": 0.02},
            "labels": {"classes": classes, "null": classes}, "batch": None}
    sampler = guided({"solver": "ddpm", "variance": "learned", "grid": "linspace", "steps": options.steps},
                     options.cfg_scale, channels=3)
    write(options, Network(network, lambda net, x, t, labels: net(x, t, labels)), card,
          {"sampler": sampler, "labels": "random", "latents": True},
          ["What sample_ddp.py makes; its samples are latents, of which its decoder takes those divided by 0.18215."],
          stability_decoder(options, card))

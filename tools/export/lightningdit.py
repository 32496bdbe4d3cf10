"""lightningdit: a checkpoint of hustvl/LightningDiT (`ema`). The job is that of inference.py: Euler on the N - 1
steps between N points, with timestep_shift and cfg_interval_start of its configs, guidance on the first three
channels. The samples are latents: times the standard deviation plus the mean of latents_stats.pt, and decode."""
import contextlib

import torch

from export.checkpoints import import_code, load_strictly, read_state
from export.flows import add_transformer_options, guided, latent_card, latent_job, learns_sigma, transformer_sizes
from export.model_file import Network
from export.writer import write


def add_options(parser):
    add_transformer_options(parser, "hustvl/LightningDiT")
    parser.add_argument("--timestep-shift", type=float, default=0.3, help="0: none (0.3)")
    parser.add_argument("--cfg-interval-start", type=float, default=0.11,
                        help="the data's time from which it guides (0.11)")


@contextlib.contextmanager
def uncompiled():
    """Its functions are compiled where they are defined, and what is compiled can't be traced."""
    kept = torch.compile
    torch.compile = lambda function=None, **_: function or (lambda it: it)
    try:
        yield
    finally:
        torch.compile = kept


def switches(state, sizes):
    return {"learn_sigma": learns_sigma(state, sizes), "use_qknorm": "blocks.0.attn.q_norm.weight" in state,
            "use_swiglu": "blocks.0.mlp.w12.weight" in state, "use_rmsnorm": "blocks.0.norm1.weight" in state,
            "use_rope": "feat_rope.freqs_cos" in state,
            "wo_shift": len(state["blocks.0.adaLN_modulation.1.weight"]) == 4 * sizes["hidden_size"]}


def sampler_of(options):
    shift = {"shift": 1 / options.timestep_shift} if options.timestep_shift > 0 else {}  # in the noise's time
    return {"solver": "euler", "grid": "uniform", "steps": options.steps - 1} | shift


def export(options):
    with uncompiled():
        module, = import_code(options.code, "models.lightningdit")
    state = read_state(options.source, "ema")
    sizes = transformer_sizes(state, options)
    network = module.LightningDiT(**sizes, **switches(state, sizes))
    load_strictly(network, state, options.source)
    start = options.cfg_interval_start
    interval = {"interval": {"t": [0, 1 - start]}} if start > 0 else {}
    sampler = guided(sampler_of(options), options.cfg_scale, channels=3, **interval)
    write(options, Network(network, lambda net, x, t, labels: net(x, t, labels)), latent_card(sizes, noise_at=0),
          latent_job(sampler),
          ["What inference.py makes; latents, of which its decoder takes x std / multiplier + mean of "
                                "latents_stats.pt."])

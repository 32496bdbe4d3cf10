"""repa: a checkpoint of sihyun-yu/REPA (`ema`). The job is that of generate.py: --mode sde (the default there), or
ode, with --heun; guidance on all channels where guidance-low <= t <= guidance-high. Its time is 1 at the noise, and
its velocity noise minus data; the projectors have no part in sampling. The samples are latents: divide by 0.18215
and decode."""
import torch

from export.checkpoints import import_code, load_strictly, read_state
from export.flows import (
    add_transformer_options,
    add_vae,
    along_slopes,
    guided,
    latent_card,
    latent_job,
    stability_decoder,
    transformer_sizes,
)
from export.frame import Refusal
from export.model_file import Network
from export.writer import write


def add_options(parser):
    add_transformer_options(parser, "sihyun-yu/REPA")
    add_vae(parser)
    parser.add_argument("--mode", choices=["sde", "ode"], default="sde")
    parser.add_argument("--heun", action="store_true", help="of the ODE, with an Euler last step")
    parser.add_argument("--path-type", choices=["linear", "cosine"], default="linear")
    parser.add_argument("--guidance-low", type=float, default=0.0)
    parser.add_argument("--guidance-high", type=float, default=1.0)


def sampler_of(options):
    if options.heun and options.mode == "ode" and options.path_type == "linear":
        return {"solver": "heun", "grid": "uniform", "steps": options.steps}  # whose last step is Euler's
    if options.heun and options.mode == "ode":
        raise Refusal("--heun with --path-type cosine: its last step is one of Euler, and there no job has one")
    if options.mode == "ode":  # the same linear steps on either path
        return along_slopes("euler", options.steps)
    form = "sigma" if options.path_type == "linear" else "linear"  # D = t on both
    return {"solver": "euler-maruyama", "diffusion": {"form": form}, "final": "mean", "t_start": 1, "last_step": 0.04,
            "nfe": options.steps}


def make_network(module, state, sizes):
    projectors = sorted({name.split(".")[1] for name in state if name.startswith("projectors.")})
    network = module.SiT(
        **sizes, path_type="linear", decoder_hidden_size=state["final_layer.linear.weight"].shape[1],
        z_dims=[len(state[f"projectors.{i}.4.weight"]) for i in projectors],
        projector_dim=len(state["projectors.0.0.weight"]) if projectors else 2048,
        encoder_depth=min(8, sizes["depth"]), fused_attn=False, qk_norm="blocks.0.attn.q_norm.weight" in state)
    load_strictly(network, state)
    network.projectors = torch.nn.ModuleList()
    return network


def export(options):
    module, = import_code(options.code, "models.sit")
    state = read_state(options.source, "ema")
    sizes = transformer_sizes(state, options)
    network = make_network(module, state, sizes)
    card = latent_card(sizes, noise_at=1, schedule="flow" if options.path_type == "linear" else "gvp")
    low, high = options.guidance_low, options.guidance_high
    interval = {} if (low, high) == (0, 1) else {"interval": {"t": [low, high]}}
    if options.heun and interval and options.cfg_scale != 1:
        raise Refusal("--heun with --guidance-low or -high: its second evaluation is guided where the first is, at "
                      "another time than "
                      "its own, which no job does")
    sampler = guided(sampler_of(options), options.cfg_scale, **interval)
    write(options, Network(network, lambda net, x, t, labels: net(x, t, labels)[0]), card, latent_job(sampler),
          [f"What generate.py makes ({options.mode}); latents, of which REPA's decoder takes those divided by "
           "0.18215."], stability_decoder(options, card))

"""sit: a state dict of willisma/SiT, or a checkpoint of its train.py (`ema`). The job is that of sample_ddp.py:
dopri5 at its tolerances unless --sampling-method or --mode SDE say otherwise, guidance on the first three channels
as forward_with_cfg has it. torchdiffeq chooses its adaptive steps in another way: the pictures agree to the
tolerance. What the network learnt of the variance is dropped, as its forward does. The samples are latents, and
pictures with --vae."""
from export.checkpoints import import_code, load_strictly, read_state
from export.frame import Refusal
from export.flows import (
    ODE,
    add_transformer_options,
    add_vae,
    along_slopes,
    guided,
    latent_card,
    latent_job,
    learns_sigma,
    stability_decoder,
    transformer_sizes,
)
from export.model_file import Network
from export.writer import write

FORMS = ["constant", "SBDM", "sigma", "linear", "decreasing", "increasing-decreasing"]


def add_options(parser):
    add_transformer_options(parser, "willisma/SiT")
    add_vae(parser)
    parser.add_argument("--mode", choices=["ODE", "SDE"], default="ODE")
    parser.add_argument("--path-type", choices=["Linear", "GVP"], default="Linear")
    parser.add_argument("--sampling-method",
                        help="of the ODE: dopri5 (default), euler, heun2, midpoint; of the SDE: Euler")
    parser.add_argument("--rtol", type=float, default=1e-3)
    parser.add_argument("--atol", type=float, default=1e-6)
    parser.add_argument("--diffusion-form", choices=FORMS, default="sigma")
    parser.add_argument("--diffusion-norm", type=float, default=1.0)
    parser.add_argument("--last-step", choices=["Mean", "Tweedie"], default="Mean")
    parser.add_argument("--last-step-size", type=float, default=0.04)


def sampler_of(options):
    """Its N fixed steps are the N - 1 between N points, and in the SDE the last step besides."""
    if options.mode == "SDE":
        if options.sampling_method not in (None, "Euler"):
            raise Refusal(f"--sampling-method {options.sampling_method}: of the SDE expected Euler: no job makes its "
                          "other one")
        diffusion = {"form": options.diffusion_form.lower(), "norm": options.diffusion_norm}
        return {"solver": "euler-maruyama", "diffusion": diffusion, "final": options.last_step.lower(),
                "last_step": options.last_step_size, "nfe": options.steps}
    if options.sampling_method in (None, "dopri5"):
        return {"solver": "rk45", "rtol": options.rtol, "atol": options.atol}
    if options.sampling_method not in ODE:
        raise Refusal(f"--sampling-method {options.sampling_method}: expected dopri5, {', '.join(ODE)}")
    return along_slopes(ODE[options.sampling_method], options.steps - 1)


def export(options):
    models, = import_code(options.code, "models")
    state = read_state(options.source, "ema")
    sizes = transformer_sizes(state, options)
    network = models.SiT(**sizes, learn_sigma=learns_sigma(state, sizes))
    load_strictly(network, state, options.source)
    card = latent_card(sizes, noise_at=0, schedule="flow" if options.path_type == "Linear" else "gvp")
    sampler = guided(sampler_of(options), options.cfg_scale, channels=3)
    write(options, Network(network, lambda net, x, t, labels: net(x, t, labels)), card, latent_job(sampler),
          [f"What sample_ddp.py makes ({options.mode}); latents, of which SiT's decoder takes those divided by "
           "0.18215."], stability_decoder(options, card))

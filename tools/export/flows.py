"""What the families of flow-matching networks share: transformers on latents whose sizes are read off their weights,
and how their samplers are said in a job."""
from export.frame import Refusal
from export.pipelines import decoder_with

# The published sizes: hidden size to heads, which leave no mark in the weights.
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16, 1536: 24, 1792: 28}
ODE = {"euler": "euler", "heun2": "heun", "midpoint": "midpoint"}  # torchdiffeq's names; its rk4 is the 3/8 rule


def along_slopes(solver, steps):
    """Equal steps of one formula from noise to data, the last one too: final: zero would make that in x0."""
    return {"solver": solver, "grid": "uniform", "steps": steps, "t_end": 0, "final": "none"}


def add_transformer_options(parser, code, null="the class after the last"):
    parser.add_argument("--code", required=True, help=f"a clone of {code}")
    parser.add_argument("--num-heads", type=int, help="of networks other than the published sizes")
    parser.add_argument("--cfg-scale", type=float, default=1.0,
                        help=f"classifier-free guidance (1: none); its null label is {null}")
    parser.add_argument("--steps", type=int, default=250, help="num_sampling_steps (250)")


def add_vae(parser):
    parser.add_argument("--vae", metavar="FOLDER", help="diffusers' folder of the autoencoder, for decoder.pt")


def stability_decoder(options, card):
    """--vae: that of Stable Diffusion 1, whose latents these networks learnt times 0.18215."""
    return decoder_with(options.vae, card["shape"], scale=0.18215, shift=0) if options.vae else None


def transformer_sizes(state, options):
    """Of a DiT-like state dict: the constructor's arguments that SiT, REPA and LightningDiT have in common."""
    wanted = ("pos_embed", "x_embedder.proj.weight", "y_embedder.embedding_table.weight", "final_layer.linear.weight")
    missing = [name for name in wanted if name not in state]
    if missing:
        raise Refusal(f"{options.source}: expected the weights of a diffusion transformer, found none named "
                      f"{', '.join(missing)}")
    hidden, tokens = state["pos_embed"].shape[-1], state["pos_embed"].shape[-2]
    channels, patch = state["x_embedder.proj.weight"].shape[1:3]
    heads = options.num_heads or HEADS.get(hidden)
    if not heads:
        raise Refusal(f"{options.source}: hidden size {hidden}: its number of heads is not known: say --num-heads")
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    return {"input_size": round(tokens**0.5) * patch, "patch_size": patch, "in_channels": channels,
            "hidden_size": hidden,
            "depth": depth, "num_heads": heads, "num_classes": len(state["y_embedder.embedding_table.weight"]) - 1}


def learns_sigma(state, sizes):
    """Are there as many output channels again, which forward drops?"""
    return len(state["final_layer.linear.weight"]) == 2 * sizes["patch_size"] ** 2 * sizes["in_channels"]


def latent_card(sizes, noise_at, schedule="flow"):
    classes = sizes["num_classes"]
    return {"shape": [sizes["in_channels"], sizes["input_size"], sizes["input_size"]], "range": [-1, 1],
            "prediction": "velocity",
            "time": {"kind": "continuous", "noise_at": noise_at}, "schedule": {"kind": schedule},
            "labels": {"classes": classes, "null": classes}, "batch": None}


def guided(sampler, scale, **more):
    return sampler if scale == 1 else sampler | {"guidance": {"scale": scale} | more}


def latent_job(sampler):
    return {"sampler": sampler, "labels": "random", "latents": True}

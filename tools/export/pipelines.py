"""What pipelines of diffusers have around a network: text that it is given, its guidance, and the decoder of its
latents."""
import os

import torch

from export.checkpoints import first_line, read_json
from export.frame import Refusal

# _class_name of a pipeline: its usual guidance_scale, and its usual number of steps (None: its scheduler's).
PIPELINES = {"StableDiffusionPipeline": (7.5, 50), "StableDiffusion3Pipeline": (7.0, 28), "DiTPipeline": (4.0, 50),
             "PixArtAlphaPipeline": (4.5, 20), "PixArtSigmaPipeline": (4.5, 20), "LDMPipeline": (1.0, 50)}
DECODERS = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC", "VQModel")


def index_of(folder):
    path = os.path.join(folder, "model_index.json")
    return read_json(path) if os.path.exists(path) else {}


def floats(name, *shape):
    return {"name": name, "shape": list(shape), "dtype": "float32", "null": "zeros"}


def tokens_of(folder, config, pipeline):
    """How many tokens a row of text has, as encode_prompts.py makes them."""
    if pipeline == "StableDiffusion3Pipeline":
        return clip_tokens(folder) + 256  # and T5's
    if pipeline.startswith("PixArt"):
        return 300 if pipeline == "PixArtSigmaPipeline" else 120
    return clip_tokens(folder)


def clip_tokens(folder):
    path = os.path.join(folder, "tokenizer", "tokenizer_config.json")
    length = read_json(path).get("model_max_length", 77) if os.path.exists(path) else 77
    return length if length <= 4096 else 77  # transformers writes 1e30 for none


def refuse_options(folder, config, wanted):
    """Options of a network that ask for more than the inputs here."""
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise Refusal(f"{folder}: {key}: expected {value}, found {config.get(key)}: no job gives what it needs")


def describe_text_unet(folder, config, tokens):
    refuse_options(folder, config, {"addition_embed_type": None, "class_embed_type": None, "num_class_embeds": None,
                                    "encoder_hid_dim_type": None, "time_cond_proj_dim": None,
                                    "in_channels": config.out_channels})  # more: of inpainting, a picture and its mask
    inputs = [floats("context", tokens, config.cross_attention_dim)]
    return inputs, lambda net, x, t, context: net(x, t, encoder_hidden_states=context, return_dict=False)[0]


def describe_sd3(folder, config, tokens):
    inputs = [floats("context", tokens, config.joint_attention_dim), floats("pooled", config.pooled_projection_dim)]
    return inputs, lambda net, x, t, context, pooled: net(
        x, timestep=t, encoder_hidden_states=context, pooled_projections=pooled, return_dict=False)[0]


def describe_pixart(folder, config, tokens):
    """What it learnt of the variance is dropped, as its pipeline does. Networks of 1024 pixels get the size of the
    picture besides."""
    channels, side = config.in_channels, config.sample_size
    inputs = [floats("context", tokens, config.caption_channels),
              {"name": "mask", "shape": [tokens], "dtype": "bool", "null": "zeros"}]
    sized = config.use_additional_conditions

    def call(net, x, t, context, mask):
        size = {"resolution": None, "aspect_ratio": None}
        if sized:
            size = {"resolution": torch.full([1, 2], 8.0 * side, device=x.device).expand(x.shape[0], 2),
                    "aspect_ratio": torch.ones([1, 1], device=x.device).expand(x.shape[0], 1)}
        out = net(x, timestep=t, encoder_hidden_states=context, encoder_attention_mask=mask.to(x.dtype),
                  added_cond_kwargs=size, return_dict=False)[0]
        return out[:, :channels]
    return inputs, call


TEXT = {"UNet2DConditionModel": describe_text_unet, "SD3Transformer2DModel": describe_sd3,
        "PixArtTransformer2DModel": describe_pixart}


class Decode(torch.nn.Module):
    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, z):
        return self.autoencoder.decode(z, return_dict=False)[0]


def load_decoder(place):
    """A folder of an autoencoder of diffusers."""
    import diffusers

    name = read_json(os.path.join(place, "config.json")).get("_class_name")
    if name not in DECODERS:
        raise Refusal(f"{place}: expected _class_name {', '.join(DECODERS)}, found {name}")
    try:
        return getattr(diffusers, name).from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise Refusal(f"{place}: diffusers does not load it: {first_line(error)}") from error


def decoder_with(place, shape, **scaling):
    """The decoder in a folder, of latents that were scaled in the card's way, which the checkpoint's own code says."""
    return Decode(load_decoder(place)), {"latent": shape, "range": [-1, 1], **scaling}


def decoder_of(folder, shape):
    """The pipeline's decoder and its card, or None. The pipelines here pass over latents_mean and latents_std."""
    places = [os.path.join(folder, name) for name in ("vae", "vqvae")]
    place = next(filter(os.path.isdir, places), None)
    if not place:
        return None
    autoencoder = load_decoder(place)
    config = autoencoder.config
    for key in ("latents_mean", "latents_std"):
        if config.get(key) is not None:
            raise Refusal(f"{place}: {key}: expected none, found {config.get(key)}: its pipeline passes it over")
    return Decode(autoencoder), {"latent": shape, "range": [-1, 1], "scale": config.get("scaling_factor") or 1,
                                 "shift": config.get("shift_factor") or 0}


def conditions_of(inputs):
    """Where encode_prompts.py -o OUT/conditions puts them."""
    files = {one["name"]: {"path": f"conditions/{one['name']}.npy", "null": f"conditions/null-{one['name']}.npy"}
             for one in inputs}
    return files | {"captions": "conditions/captions.txt"}

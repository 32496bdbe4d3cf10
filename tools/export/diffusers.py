"""diffusers: a folder of a model (UNet2DModel, DiTTransformer2DModel) or of a pipeline around one, with its
scheduler: also of StableDiffusionPipeline, StableDiffusion3Pipeline, PixArt's, DiTPipeline and LDMPipeline, whose
decoder becomes decoder.pt; tools/encode_prompts.py makes the conditions of those that take text. job.yaml makes the
pictures that the pipeline makes at --steps steps (the pipelines' own number unless
said): the class of scheduler_config.json is translated key by key, and what no job can say is refused by name.
--list prints what is translated and what is not."""
import argparse
import errno
import os

from export import pipelines, schedulers
from export.checkpoints import few, read_json, refuse_weights
from export.frame import Refusal
from export.model_file import Network
from export.writer import write

NETWORKS = ("UNet2DModel", "DiTTransformer2DModel", *pipelines.TEXT)


class List(argparse.Action):
    def __call__(self, parser, *_):
        print(schedulers.table())
        parser.exit()


def add_options(parser):
    parser.add_argument("--list", action=List, nargs=0, help="the table of schedulers, and nothing else")
    parser.add_argument("--steps", type=int, help="num_inference_steps")
    parser.add_argument("--scheduler", metavar="CLASS",
                        help="this class with the folder's config, as from_config has it")
    parser.add_argument("--guidance", type=float, metavar="SCALE",
                        help="guidance_scale (1, or less, as in diffusers: none; the pipeline's usual one unless said)")


def load_network(folder):
    import diffusers

    path = os.path.join(folder, "config.json")
    name = read_json(path).get("_class_name")
    if name not in NETWORKS:
        raise Refusal(f"{path}: expected _class_name {' or '.join(NETWORKS)}, found {name}: no other network is "
                      "exported yet")
    try:
        network, info = getattr(diffusers, name).from_pretrained(folder, output_loading_info=True,
                                                                 local_files_only=True)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise Refusal(f"{folder}: diffusers does not load it: {' '.join(str(error).split())[:300]}") from error
    refuse_weights(folder, missing=info["missing_keys"], unexpected=info["unexpected_keys"],
                   mismatched=info["mismatched_keys"], errors=info["error_msgs"])
    return network


def load_scheduler(folder, other):
    places = [os.path.join(folder, "scheduler", "scheduler_config.json"), os.path.join(folder, "scheduler_config.json")]
    place = next(filter(os.path.exists, places), None)
    if not place:
        raise Refusal(f"expected the scheduler's config in {' or '.join(places)}, found none: it says which betas the "
                      "network "
                      "learnt")
    return schedulers.read_scheduler(place, other)


def shape_of(folder, config):
    if not config.sample_size:
        raise Refusal(f"{folder}: sample_size: expected the pictures' side, found {config.sample_size}")
    size = config.sample_size
    return [config.in_channels, *([size, size] if isinstance(size, int) else size)]


def describe_unet(folder, config):
    """labels and call."""
    if config.class_embed_type:
        raise Refusal(f"{folder}: class_embed_type: expected none, found {config.class_embed_type}: its classes are "
                      "no labels")
    classes = config.num_class_embeds
    return {"classes": classes, "null": None} if classes else None, \
        lambda net, x, t, labels: net(x, t, class_labels=labels, return_dict=False)[0]


def describe_dit(folder, config):
    """Its last label but one is the null label; what it learnt of the variance is passed over, as DiTPipeline does."""
    classes = config.num_embeds_ada_norm
    return {"classes": classes, "null": classes}, \
        lambda net, x, t, labels: net(x, timestep=t, class_labels=labels, return_dict=False)[0]


def card_of(folder, network, scheduler, translation, pipeline):
    config = network.config
    if type(network).__name__ in pipelines.TEXT:
        return text_card_of(folder, network, translation, pipeline)
    unet = type(network).__name__ == "UNet2DModel"
    labels, call = (describe_unet if unet else describe_dit)(folder, config)
    out = config.out_channels or config.in_channels
    learned = out == 2 * config.in_channels
    if out != config.in_channels and not learned:
        raise Refusal(f"{folder}: expected as many out_channels as in_channels ({config.in_channels}), or twice as "
                      f"many, found {out}")
    if learned and unet and scheduler.config.get("variance_type") not in ("learned", "learned_range"):
        raise Refusal(f"{folder}: {out} out_channels of {config.in_channels} in_channels: expected variance_type "
                      "learned_range, found "
                      f"{scheduler.config.get('variance_type')}")
    if translation.sampler.get("variance") == "learned" and not (learned and unet):
        raise Refusal(f"{folder}: variance_type {scheduler.config.variance_type}: expected a UNet2DModel with twice as "
                      "many out_channels as in_channels, whose pipeline hands the variance on")
    card = {"shape": shape_of(folder, config), "range": [-1, 1], **translation.card, "labels": labels, "batch": None}
    return card | ({"variance": "learned"} if learned else {}), call


def text_card_of(folder, network, translation, pipeline):
    if pipeline and pipeline not in pipelines.PIPELINES:
        raise Refusal(f"{folder}: {pipeline}: expected {', '.join(pipelines.PIPELINES)}: what "
                      "another one does with this network is not known here")
    config, around = network.config, os.path.dirname(os.path.abspath(folder))
    tokens = pipelines.tokens_of(around, config, pipeline)
    inputs, call = pipelines.TEXT[type(network).__name__](folder, config, tokens)
    return {"shape": shape_of(folder, config), "range": [-1, 1], **translation.card, "labels": None, "inputs": inputs,
            "batch": None}, call


def job_of(folder, card, translation, options, pipeline):
    usual = pipelines.PIPELINES.get(pipeline, (1.0, None))[0]
    scale = max(usual if options.guidance is None else options.guidance, 1.0)  # below 1 its pipelines do not guide
    guidance = {"guidance": scale} if scale != 1 and (card["labels"] or card.get("inputs")) else {}
    job = {"sampler": translation.sampler | guidance, "noise": "torch-cpu", "rounding": "diffusers",
           "labels": "balanced" if card["labels"] else "none"}
    if card.get("inputs"):
        job["conditions"] = pipelines.conditions_of(card["inputs"])
    return job


def comments_of(scheduler, steps, translation):
    what = f"What its pipeline makes with {type(scheduler).__name__} at {steps} steps."
    start = [] if abs(translation.start - 1) < 1e-3 else [
        f"Its pipeline starts from unit normals times {translation.start:.6g}, and this job from unit normals."]
    return [what, *start, *translation.notes]


def export(options):
    from diffusers.utils import logging

    logging.set_verbosity_error()
    folder = options.source
    if not os.path.isdir(folder):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
    inside = next((path for path in (os.path.join(folder, name) for name in ("unet", "transformer"))
                   if os.path.isdir(path)), folder)
    network, scheduler = load_network(inside), load_scheduler(folder, options.scheduler)
    pipeline = pipelines.index_of(folder).get("_class_name", "")
    usual = pipelines.PIPELINES.get(pipeline, (1.0, None))[1]
    steps = options.steps or usual or schedulers.usual_steps(scheduler)
    translation = schedulers.translate(scheduler, steps)
    card, call = card_of(inside, network, scheduler, translation, pipeline)
    decoder = pipelines.decoder_of(folder, card["shape"])
    job = job_of(folder, card, translation, options, pipeline)
    comments = comments_of(scheduler, steps, translation)
    if (pipelines.index_of(folder).get("safety_checker") or [None])[0]:
        comments.append("Its safety checker is left out: pictures that it would black out are kept.")
    lacking = [name for name in ("vae", "vqvae", "movq") if name in pipelines.index_of(folder)] if not decoder else []
    if lacking:
        job |= {"latents": True}
        comments.append(f"The pipeline decodes what this network makes ({few(lacking)}), and the folder has no "
                        "decoder: these samples are latents, not pictures.")
    if card.get("inputs"):
        comments.append(f"Its conditions: tools/encode_prompts.py {folder} PROMPTS.txt -o {options.out}/conditions")
    model = Network(network.float(), translation.wrap(call) if translation.wrap else call)
    write(options, model, card, job, comments, decoder)

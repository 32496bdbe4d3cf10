"""The folder of an export: model.pt (or model.pt2) with its card, and job.yaml beside it."""
import errno
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile

from torch.nn.parameter import is_lazy

from export.decoder_file import save_decoder
from export.forms import shorter_types
from export.frame import Refusal, replacing
from export.model_file import ROUNDING, save, save_fastest


def flow(value):
    """YAML on one line, as the jobs of this project are written; JSON's scalars are YAML's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    plain = isinstance(value, str) and value.replace("-", "").replace("_", "").replace(".", "").isalnum()
    others = ("null", "true", "false", "yes", "no", "on", "off", "inf", "nan")
    return value if plain and value[0].isalpha() and value.lower() not in others else json.dumps(value)


def job_text(name, card, job, comments, model="model.pt"):
    keys = {"name": name, "model": {"path": model}, "seeds": "0-63", "labels": job.get("labels", "none"),
            "batch": card["batch"] or 16}
    if card["labels"] is None:
        keys["labels"] = "none"
    keys |= {"noise": job["noise"]} if "noise" in job else {}
    keys |= {key: job[key] for key in ("conditions", "decode") if key in job}
    floats = job.get("latents") and "decode" not in job
    keys |= {"sampler": job["sampler"], "output": {"dir": f"runs/{name}"} | (
        {"dtype": "float32"} if floats else {"rounding": job.get("rounding", "edm")})}
    lines = [f"# {line}" for comment in comments for line in comment.splitlines()]
    return "\n".join([*lines, *(f"{key}: {flow(value)}" for key, value in keys.items())]) + "\n"


def write_job(path, text):
    """A job that is there may have been edited since: it is kept beside."""
    if path.exists() and path.read_bytes() != text.encode():
        kept = next(one for number in itertools.count(1) if not (one := path.with_suffix(f".yaml.{number}")).exists())
        shutil.copy2(path, kept)
        print(f"{path}: another one was there, now {kept}", file=sys.stderr)
    with replacing(path) as draft:
        draft.write_text(text)


def with_null(card, null):
    """--null: the label that stands for none, for guidance."""
    if null is None:
        return card
    if not card["labels"]:
        raise Refusal(f"--null {null}: expected a network with labels, found one without")
    classes = card["labels"]["classes"]
    if 0 <= null < classes:
        print(f"--null {null}: one of the {classes} classes, which random and balanced labels have, too",
              file=sys.stderr)
    return card | {"labels": card["labels"] | {"null": null}}


def shorter(device):
    """The types that are worth a try."""
    dtypes = ["bfloat16", "float16"]
    worth = shorter_types() if device == "cpu" else dtypes
    for dtype in dtypes:
        if dtype not in worth:
            print(f"{dtype} is not tried: this processor has no arithmetic of it (--dtype {dtype} asks for it)",
                  file=sys.stderr)
    return worth


def forms_of(options):
    """Those that the options leave open."""
    open_ones = options.autotune or options.format == "fastest"
    several = open_ones and options.tolerance and options.tolerance > ROUNDING["float32"]
    dtypes = [options.dtype] if options.dtype else ["float32", *shorter(options.device)] if several else ["float32"]
    layouts = [True] if options.channels_last else [False, True] if open_ones else [False]
    formats = ["torchscript", "aoti"] if options.format == "fastest" else [options.format]
    return [{"format": form, "dtype": dtype, "channels_last": layout, "batch": options.batch, "device": options.device}
            for form in formats for dtype in dtypes for layout in layouts]


def save_model(options, network, card, folder):
    """The card, and the path of the file."""
    forms, dtype = forms_of(options), options.dtype or "float32"
    if len(forms) > 1 or options.tolerance:
        tolerance = options.tolerance or (0.2 if options.dtype else ROUNDING["float32"])
        card, path = save_fastest(network, card, str(folder), forms, tolerance, options.autotune)
        return card, pathlib.Path(path)
    package = options.format == "aoti" and {"batch": options.batch, "autotune": options.autotune,
                                            "device": options.device}
    path = folder / ("model.pt2" if package else "model.pt")
    return save(network, card, str(path), dtype, package, options.channels_last), path


def can_be_written(folder, network):
    """OSError before anything is made: PyTorch itself would end the program where the disk is full."""
    for name in ("decoder.pt", "model.pt", "model.pt2", "job.yaml"):
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
    needed = sum(one.numel() * one.element_size() for one in (*network.parameters(), *network.buffers())
                 if not is_lazy(one))
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def write(options, network, card, job, comments=(), decoder=None):
    """job: its sampler, and where they differ from the defaults labels, noise, rounding and conditions, or latents:
    True, which are stored as they are. decoder: None, or a network and its card. On a refusal nothing is written."""
    card, folder = with_null(card, options.null), pathlib.Path(options.out)
    made = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        can_be_written(folder, network)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
            drafts = pathlib.Path(name)
            if decoder:
                decoder = save_decoder(*decoder, str(drafts / "decoder.pt"))
                job = job | {"decode": {"path": "decoder.pt"}}
            card, model = save_model(options, network, card, drafts)
            said = f"tools/export.py {options.family} {options.source}"
            text = job_text(folder.resolve().name, card, job, [f"Written by {said}", *comments], model.name)
            for draft in sorted(drafts.glob("*.pt*")):
                os.replace(draft, folder / draft.name)
            model = folder / model.name
            write_job(folder / "job.yaml", text)
    except BaseException:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    others = [other for name in ("model.pt", "model.pt2") if (other := folder / name) != model and other.exists()]
    comments = [*comments, *(f"{other} is of an earlier export: the job takes {model.name}" for other in others)]
    for comment in comments:
        print(comment, file=sys.stderr)
    if decoder:
        print(f"{folder / 'decoder.pt'}: {json.dumps(decoder)}")
    print(f"{model}: {short(card)}")
    print(f"{folder / 'job.yaml'}: qtaylor run {folder / 'job.yaml'}")


def short(card):
    """The card on a line, long tables left out."""
    long = lambda value: isinstance(value, list) and len(value) > 8
    schedule = {key: "..." if long(value) else value for key, value in card["schedule"].items()}
    return json.dumps(card | {"schedule": schedule})

#!/usr/bin/env python3
"""Turns prompts into the conditions of a job, by the text encoders of a local pipeline folder of diffusers:

  tools/encode_prompts.py FOLDER PROMPTS -o DIR [--negative TEXT] [options]

PROMPTS is a text file, a prompt a line; a .json of COCO's captions (its `annotations`, in order); or a .jsonl of
GenEval's (`prompt` of each line). DIR gets NAME.npy for each input of the network, with a row a prompt in their order;
null-NAME.npy, the row that guidance evaluates with: of the empty prompt, or of --negative, or (--negatives FILE) a row
a prompt; and captions.txt. The files are those that the job of tools/export.py diffusers names. Where DIR ends in
.safetensors, it is one file with the tensors NAME and null-NAME, which a job calls DIR#NAME, and the captions are in
its name with -captions.txt at the end.

Exit codes: 64 wrong command line, 65 prompts or a folder that are not what they should be, 74 a file can't be read or
written, 70 a bug. It needs torch, numpy, diffusers and transformers."""
import argparse
import contextlib
import inspect
import json
import os
import pathlib
import sys

from export.frame import Parser, Refusal, call, end_without, replacing

PACKAGES = "torch numpy diffusers transformers"

try:
    import numpy as np

    from export.checkpoints import first_line, read_json
except ModuleNotFoundError as missing:
    end_without("encode_prompts", missing, PACKAGES)


def read_prompts(path):
    """A caption must stay one line of captions.txt."""
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # what editors put before the first letter is no letter
        if path.suffix == ".jsonl":
            prompts = [json.loads(line)["prompt"] for line in text.split("\n") if line.strip()]
        elif path.suffix == ".json":
            prompts = [one["caption"] for one in json.loads(text)["annotations"]]
        else:
            prompts = text.removesuffix("\n").split("\n") if text else []
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{path}: expected prompts (a text, COCO's .json, GenEval's .jsonl): {first_line(error)}") \
            from error
    if not prompts:
        raise Refusal(f"{path}: expected one prompt or more, found none")
    return [" ".join(str(prompt).split()) for prompt in prompts]


def note(path, prompts, numbers, what):
    """numbers: of the prompts that it holds of, from 1."""
    if numbers:
        which = f"prompt{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:10]))}{', ...' * (len(numbers) > 10)}"
        print(f"{path}: {which} of {len(prompts)} (a line each): {what}", file=sys.stderr)


def note_blank_lines(path, prompts):
    """They are prompts, and more often slips."""
    note(path, prompts, [number for number, prompt in enumerate(prompts, 1) if not prompt],
         "blank, encoded as the empty prompt")


def note_long_prompts(path, prompts, pipeline):
    """What is behind the last token that an encoder takes has no part in the picture, as in the pipeline itself."""
    longest = inspect.signature(pipeline.encode_prompt).parameters.get("max_sequence_length")
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = getattr(pipeline, name, None)
        if not tokenizer:
            continue
        most = longest.default if longest and type(tokenizer).__name__.startswith("T5") else tokenizer.model_max_length
        counts = [len(one) for one in tokenizer(prompts, truncation=False, verbose=False).input_ids]
        note(path, prompts, [number for number, count in enumerate(counts, 1) if count > most],
             f"longer than the {most} tokens that the pipeline's {name} takes, the rest is cut off: the longest has "
             f"{max(counts)}")


def load_pipeline(folder):
    """The pipeline without what makes pictures: its tokenizers and text encoders."""
    import diffusers
    import transformers

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    path = os.path.join(folder, "model_index.json")
    index = read_json(path)
    kind = getattr(diffusers, index.get("_class_name", ""), None)
    if not hasattr(kind, "encode_prompt"):
        raise Refusal(f"{path}: expected a pipeline that takes prompts, found {index.get('_class_name')}")
    parts = inspect.signature(kind.__init__).parameters
    text = ("tokenizer", "text_encoder")
    without = {name: None for name in parts if name in index and not name.startswith((*text, "scheduler"))
               and isinstance(index[name], list)}
    try:
        return kind.from_pretrained(folder, local_files_only=True, **without)
    except (OSError, ValueError, RuntimeError, TypeError, ImportError) as error:
        raise Refusal(f"{folder}: diffusers does not load its text encoders: {first_line(error)}") from error


def encode(pipeline, prompts):
    """name: array of a few prompts, as the pipeline itself encodes them."""
    kind = type(pipeline).__name__
    if kind == "StableDiffusion3Pipeline":
        context, _, pooled, _ = pipeline.encode_prompt(prompts, prompts, prompts, do_classifier_free_guidance=False,
                                                       device="cpu")
        return {"context": context, "pooled": pooled}
    if kind.startswith("PixArt"):
        context, mask, _, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, device="cpu")
        return {"context": context, "mask": mask.bool()}
    if kind == "StableDiffusionPipeline":
        return {"context": pipeline.encode_prompt(prompts, "cpu", 1, False)[0]}
    raise Refusal(f"{kind}: expected StableDiffusionPipeline, StableDiffusion3Pipeline or PixArt's")


def arrays_of(pipeline, prompts, dtype):
    import torch

    with torch.no_grad():
        for name, value in encode(pipeline, prompts).items():
            value = value.numpy()
            if value.dtype != bool:
                value = value.astype(dtype)
                if not np.isfinite(value).all():
                    raise Refusal(f"{name}: expected finite numbers in {np.dtype(dtype)}, found others: say --dtype "
                                  "float32")
            yield name, value


def fill(pipeline, prompts, options, place):
    """place(name, value): the array, with a row a prompt, that these rows belong in."""
    for first in range(0, len(prompts), options.batch):
        for name, value in arrays_of(pipeline, prompts[first:first + options.batch], options.dtype):
            place(name, value)[first:first + len(value)] = value


def write_arrays(pipeline, prompts, folder, options, drafts, prefix=""):
    """Row by row; drafts: a stack, at whose end the files get their names."""
    files = {}

    def place(name, value):
        if name not in files:
            draft = drafts.enter_context(replacing(folder / f"{prefix}{name}.npy"))
            files[name] = np.lib.format.open_memmap(draft, "w+", value.dtype, (len(prompts), *value.shape[1:]))
        return files[name]

    fill(pipeline, prompts, options, place)
    for name, file in files.items():
        file.flush()
        print(f"{folder / (prefix + name)}.npy: {file.dtype} {list(file.shape)}")


TENSOR_TYPES = {"float16": "F16", "float32": "F32", "bool": "BOOL"}


def layout_of(pipeline, sets, dtype):
    """name: (type, shape, offset) of all tensors, those of wider numbers first, and the header of such a file."""
    found, layout, header, offset = {}, {}, {}, 0
    for prefix, prompts in sets.items():
        for name, value in arrays_of(pipeline, prompts[:1], dtype):
            found[prefix + name] = value.dtype, (len(prompts), *value.shape[1:])
    for name, (kind, shape) in sorted(found.items(), key=lambda one: -one[1][0].itemsize):
        layout[name] = kind, shape, offset
        end = offset + kind.itemsize * int(np.prod(shape))
        header[name] = {"dtype": TENSOR_TYPES[kind.name], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return layout, len(text).to_bytes(8, "little") + text, offset


def write_tensors(pipeline, sets, path, options):
    """The same as tensors of one file."""
    layout, header, size = layout_of(pipeline, sets, options.dtype)
    with replacing(path) as draft:
        with open(draft, "wb") as file:
            file.write(header)
            file.truncate(len(header) + size)
        tensors = {name: np.memmap(draft, kind, "r+", len(header) + offset, shape)
                   for name, (kind, shape, offset) in layout.items()}
        for prefix, prompts in sets.items():
            fill(pipeline, prompts, options, lambda name, _, prefix=prefix: tensors[prefix + name])
        for name, tensor in tensors.items():
            tensor.flush()
            print(f"{path}#{name}: {tensor.dtype} {list(tensor.shape)}")


def encode_all(options):
    prompts = read_prompts(options.prompts)
    note_blank_lines(options.prompts, prompts)
    negatives = read_prompts(options.negatives) if options.negatives else [options.negative]
    if options.negatives and len(negatives) != len(prompts):
        raise Refusal(f"{options.negatives}: expected as many lines as prompts, {len(prompts)}, found "
                      f"{len(negatives)}")
    if not os.path.isdir(options.folder):
        raise FileNotFoundError(2, "expected a pipeline's folder", options.folder)
    pipeline, out = load_pipeline(options.folder), pathlib.Path(options.out)
    note_long_prompts(options.prompts, prompts, pipeline)
    note_long_prompts(options.negatives or "--negative", negatives, pipeline)
    one_file = out.suffix == ".safetensors"
    (out.parent if one_file else out).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as drafts:
        captions = drafts.enter_context(
            replacing(out.with_name(f"{out.stem}-captions.txt") if one_file else out / "captions.txt"))
        captions.write_text("".join(f"{prompt}\n" for prompt in prompts), encoding="utf-8")
        if one_file:
            write_tensors(pipeline, {"": prompts, "null-": negatives}, out, options)
        else:
            write_arrays(pipeline, prompts, out, options, drafts)
            write_arrays(pipeline, negatives, out, options, drafts, "null-")


def parse(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a pipeline's folder")
    parser.add_argument("prompts", help="a text file, COCO's .json or GenEval's .jsonl")
    parser.add_argument("-o", "--out", required=True, metavar="DIR", help="the folder, or FILE.safetensors, to write")
    negative = parser.add_mutually_exclusive_group()
    negative.add_argument("--negative", default="", metavar="TEXT", help="the negative prompt of all (the empty one)")
    negative.add_argument("--negatives", metavar="FILE", help="negative prompts, a line a prompt")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="in the files (float16)")
    parser.add_argument("--batch", type=int, default=16, help="prompts that are encoded at a time (16)")
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error(f"--batch: expected 1 or more, found {options.batch}")
    return parser, options


def main(arguments=None):
    parser, options = parse(arguments)
    call("encode_prompts", PACKAGES, parser, encode_all, options)


if __name__ == "__main__":
    main()

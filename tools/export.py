#!/usr/bin/env python3
"""Turns checkpoints as their authors distribute them into a folder OUT with model.pt, the network with its card, and
job.yaml, which makes the pictures that the authors' own code makes:

  tools/export.py FAMILY SOURCE OUT [options]       then: qtaylor run OUT/job.yaml
  tools/export.py FAMILY --help                     the options of a family

With --format aoti the network is model.pt2, an AOTInductor package: machine code for one batch and one kind of
processor, timed beside the network itself and TorchScript. --autotune tries the forms that the other options leave
open, prints how far each is from the network and how fast, and takes the fastest within --tolerance; --format fastest
does so, too, over both formats:

  tools/export.py FAMILY SOURCE OUT --format fastest --batch 64 --tolerance 0.02

Before a file gets its name it is compared with its network, as TorchScript at batches of 1, 5 and 64 and with x ten
times as large; its numbers must be finite, the same bits at every call, and those of a row independent of the other
rows. A network that reads a value out of its tensors, by `if`, float() or numpy, is refused: a file would keep what
was read once.

Exit codes: 64 wrong command line, 65 a checkpoint that is not what it should be (nothing is written), 74 a file can't
be read or written, 70 a bug.

Tried on randomly initialised networks, those of diffusers and guided-diffusion and small doubles of the others
(tests/parity/test_export_*.py). No published checkpoint has been through it yet."""
import argparse
import importlib

from export.frame import Parser, Usage, call, end_without, taking_away

PACKAGES = "torch numpy diffusers transformers"

FAMILIES = {
    "diffusers": "a folder of a model or a pipeline, with its scheduler",
    "edm": "a pickle of NVlabs/edm",
    "edm2": "a pickle of NVlabs/edm2",
    "adm": "a state dict of openai/guided-diffusion",
    "dit": "a state dict of facebookresearch/DiT",
    "sit": "a checkpoint of willisma/SiT",
    "repa": "a checkpoint of sihyun-yu/REPA",
    "lightningdit": "a checkpoint of hustvl/LightningDiT",
    "torchcfm": "a checkpoint of atong01/conditional-flow-matching",
    "features": "a feature network for evaluate: Inception, DINOv2, CLIP, ConvNeXt (its own arguments, see --help)",
    "module": "PATH:FUNCTION, any torch.nn.Module with a card",
}


def rows(text):
    if not text.isdecimal() or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 2147483647, found {text}")
    return int(text)


def part(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text}")
    return value


def check_format(options):
    """A batch and a device are of machine code, and of what is timed."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise Usage(f"--device cuda: expected a GPU, found none that PyTorch {torch.__version__} sees: export on "
                    "the kind of machine that will run it, with a PyTorch for CUDA")
    if options.device == "cuda" and options.format == "torchscript" and not (options.autotune or options.tolerance):
        raise Usage("--device: only with --format aoti or fastest, --autotune or --tolerance: TorchScript runs on both")
    if options.format == "torchscript" and options.batch and not (options.autotune or options.tolerance):
        raise Usage("--batch: only with --format aoti, --autotune or --tolerance")
    options.batch = options.batch or 16


def parse(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    families = parser.add_subparsers(required=True, metavar="FAMILY", dest="family")
    for name, what in FAMILIES.items():
        module = importlib.import_module(f"export.{name}")
        family = families.add_parser(name, help=what, description=module.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
        family.set_defaults(function=module.export)
        if name == "features":  # no model of samples: no job, labels or package
            module.add_arguments(family)
            continue
        family.add_argument("source", help=what)
        family.add_argument("out", help="the folder to write")
        family.add_argument("--null", type=int, metavar="LABEL", help="the label that means none, for guidance")
        family.add_argument("--dtype", choices=["float32", "bfloat16", "float16"],
                            help="weights and arithmetic inside (float32); float32 at the border")
        family.add_argument("--format", choices=["torchscript", "aoti", "fastest"], default="torchscript",
                            help="the model's file: TorchScript (model.pt), machine code for this kind of processor "
                                 "(model.pt2), or of both the fastest form here")
        family.add_argument("--batch", type=rows, metavar="ROWS",
                            help="the one batch that aoti compiles for, and that forms are timed with (16)")
        family.add_argument("--device", choices=["cpu", "cuda"], default="cpu",
                            help="what aoti compiles for and forms are timed on (cpu); TorchScript runs on either")
        family.add_argument("--channels-last", action="store_true", help="weights with the channels innermost")
        family.add_argument("--autotune", action="store_true",
                            help="try the forms that are left open and take the fastest; of aoti the compiler tries "
                                 "kernels, too, which takes longer")
        family.add_argument("--tolerance", type=part, metavar="X",
                            help="how far a form may be from the float32 network, as a part of its largest number; "
                                 "above 1e-4 --autotune tries the shorter types, too")
        module.add_options(family)
    return parser, parser.parse_args(arguments)


def export(options):
    if options.family != "features":
        check_format(options)
    options.function(options)


def main(arguments=None):
    try:
        parser, options = parse(arguments)
    except ModuleNotFoundError as error:  # of a family's module
        end_without("export", error, PACKAGES)
    with taking_away():
        call("export", PACKAGES, parser, export, options)


if __name__ == "__main__":
    main()

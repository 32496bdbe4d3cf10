"""A network as an AOTInductor package (.pt2): machine code for one batch, device and processor, compared with the
network and timed beside it before the file gets its name."""
import json
import os
import pathlib
import sys
import tempfile
import time
import warnings
from unittest import mock

import torch

from export.arguments import WIDER, wide
from export.frame import replacing

# Flags of a processor that the compiler makes use of when it compiles for the machine it runs on.
FLAGS = ("avx", "amx", "fma", "bmi", "f16c", "gfni", "vaes", "vpclmulqdq", "sha_ni")


def processor_words():
    """Every flag of this machine's, as Linux names them."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):  # x86, Arm
            return line.split(":")[1].split()
    return []


def processor_flags():
    """Those the compiler makes use of: the program refuses a package on a machine that lacks any of them."""
    return " ".join(sorted(flag for flag in processor_words() if flag.startswith(FLAGS)))


def shorter_types():
    """Those that this machine's processor has arithmetic of; elsewhere they are many times as slow as float32."""
    tails = {"bfloat16": "bf16", "float16": ("fp16", "asimdhp")}
    return [dtype for dtype, tail in tails.items() if any(flag.endswith(tail) for flag in processor_words())]


def milliseconds(call, arguments, repeats=5, seconds=0.3):
    """The best of a few calls, for some time at least, on one thread: a worker has no more."""
    threads, best = torch.get_num_threads(), float("inf")
    torch.set_num_threads(1)
    try:
        begun, calls = time.perf_counter(), 0
        while calls <= repeats or time.perf_counter() - begun < seconds:  # the first warms up
            start, calls = time.perf_counter(), calls + 1
            call(*arguments)
            if arguments[0].is_cuda:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 1000 * best


def compile_package(network, arguments, metadata, path, autotune=False):
    """forward(*arguments) as machine code in path; metadata: names and texts that it carries."""
    # No freezing: oneDNN is slower over weights that were packed beforehand (a U-Net in bfloat16 by a third).
    configs = {"cpp.threads": 1, "max_autotune": autotune, "aot_inductor.metadata": metadata}
    # Two processes that compile the same network at a time would write to the same files of the compiler's cache.
    with tempfile.TemporaryDirectory() as cache, \
            mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache, TMPDIR=cache):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of PyTorch, to itself
            program = torch.export.export(network, arguments)
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=configs)


def deviation(call, network, arguments):
    """The largest difference between the two, and the largest number that the network gives."""
    with torch.no_grad():
        ours, theirs = call(*arguments), network(*arguments)
    if not isinstance(theirs, (tuple, list)):
        ours, theirs = [ours], [theirs]
    pairs = list(zip(ours, theirs, strict=True))
    return max((a - b).abs().max().item() for a, b in pairs), max(b.abs().max().item() for _, b in pairs)


def save_package(network, arguments, card, path, name="diffusion.json", channels_last=False, autotune=False,
                 tolerance=1e-4, beside=None):
    """Writes path for batches of as many rows as the arguments have, its card (under `name`) saying so. tolerance: of
    the network's largest number. beside: {name: call} of other forms to time it with; none: it is not timed.
    ValueError: it is not the network, and is not written."""
    import torch._inductor  # and its compiler, only where it is needed

    network = network.eval()
    for weight in network.parameters():  # else some products of matrices become one a sample, over copied weights
        if not weight.is_inference():
            weight.requires_grad_(weight.is_floating_point())
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    device, rows = arguments[0].device, len(arguments[0])
    card = card | {"batch": rows} if name == "diffusion.json" else card  # what features take says nothing of batches
    metadata = {name: json.dumps(card)} | ({"cpu_flags": processor_flags()} if device.type == "cpu" else {})
    with replacing(path, ".pt2") as draft:
        compile_package(network, arguments, metadata, draft, autotune)
        package = torch._inductor.aoti_load_package(str(draft))
        difference, scale = deviation(package, network, arguments)
        beyond, most = deviation(package, network, wide(arguments))
        print(f"AOTInductor, batch {rows}: differs from the network by {difference:.2g} of {scale:.3g}",
              file=sys.stderr)
        if not difference <= tolerance * scale:
            raise ValueError(f"expected differences of rounding, found {difference:.3g} of {scale:.3g}")
        if not beyond <= WIDER * tolerance * most and most < float("inf"):
            raise ValueError(f"expected differences of rounding where x is {WIDER} times as large, found {beyond:.3g} "
                             f"of {most:.3g}")
        for form, call in (beside | {"AOTInductor": package} if beside else {}).items():
            with torch.no_grad():
                print(f"{form}: {milliseconds(call, arguments):.3g} ms a call of {rows}, one thread", file=sys.stderr)
    return card

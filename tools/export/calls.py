"""What a network must be before a file is made of it: its calls run, give a tensor and leave nothing behind."""
import os
import random
import signal
import sys
import tempfile
import warnings

import numpy
import torch

from export.checkpoints import few, first_line
from export.frame import Ended, Refusal
from export.values import refuse_compiled, refuse_reading

NEAR = 1e-4  # of the largest number


def refuse_weights(name, network):
    training = [path or "itself" for path, module in network.named_modules() if getattr(module, "training", False)]
    if training:
        raise Refusal(f"{name}: expected eval mode throughout, found training mode in {few(training)}")
    lazy = [path for path, one in network.named_parameters() if torch.nn.parameter.is_lazy(one)]
    if lazy:
        raise Refusal(f"{name}: expected weights, found lazy ones, which a first call makes: {few(lazy)}")
    wrong = {str(one.dtype).removeprefix("torch.") for one in network.parameters() if one.is_floating_point()}
    if wrong - {"float32"}:
        raise Refusal(f"{name}: expected weights of float32, found {few(sorted(wrong))}: call .float(); --dtype "
                      "makes the shorter types of it")
    refuse_compiled(name, network)


def still(network):
    """In eval mode and without gradients, TorchScript, too."""
    for one in network.eval().parameters():
        one.requires_grad_(False)
    return network


def tensors_of(network):
    return [*network.named_parameters(), *network.named_buffers()]


def states_of(network):
    """{name: what changes where a weight or buffer is written, or becomes another}"""
    return {name: (id(one), None if one.is_inference() else one._version) for name, one in tensors_of(network)}


def answer(name, network, arguments, names):
    called = ", ".join(f"{one} {str(given.dtype).removeprefix('torch.')} {list(given.shape)}"
                       for one, given in zip(names, arguments))
    before = [one.clone() for one in arguments]
    try:
        with torch.no_grad():
            found = network(*arguments)
    except (Exception, SystemExit) as error:  # whatever the network does
        if isinstance(error, Ended):
            raise
        raise Refusal(f"{name} does not run as its card says: {type(error).__name__}: {first_line(error)}: it "
                      f"was called by forward({called})") from error
    changed = [one for one, given, was in zip(names, arguments, before) if not torch.equal(given, was)]
    if changed:
        raise Refusal(f"{name}: expected a call to leave its arguments alone, found that it writes into "
                      f"{few(changed)}: clone them before")
    if not torch.is_tensor(found):
        raise Refusal(f"{name}: expected a tensor, found {type(found).__name__}: wrap it in a module whose "
                      "forward returns that of its output alone")
    return found


def tell(function, file):
    """In the other process."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stderr = open(os.devnull, "w")
        torch.set_num_threads(1)  # OpenMP's others stayed behind
        try:
            told = None, function()
        except Refusal as error:
            told = str(error), None
        torch.save(told, file)
        file.flush()
        status = 0
    finally:
        os._exit(status)


def elsewhere(name, function):
    """What function() gives in a process of its own, so that nothing here has been called by it; its Refusal is raised.
    None: it can't be."""
    if torch.cuda.is_initialized():
        print(f"{name}: not checked whether a first call leaves something behind: CUDA is in use, beside which no "
              "process can be forked", file=sys.stderr)
        return None
    with tempfile.TemporaryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside threads
        child = os.fork()
        if child == 0:
            tell(function, file)
        try:
            _, status = os.waitpid(child, 0)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        file.seek(0)
        refused, found = torch.load(file) if status == 0 else (None, None)
    if refused:
        raise Refusal(refused)
    if status != 0:
        print(f"{name}: not checked whether a first call leaves something behind: that ended with {status}",
              file=sys.stderr)
    return found


def counts_of(network):
    """{name: what a call that draws random numbers of Python's or counts changes}"""
    kept = {f"{path}.{key}".strip("."): value for path, module in network.named_modules()
            for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
    return kept | {"random's state": random.getstate(), "numpy.random's state": repr(numpy.random.get_state()),
                   "torch's random state": torch.get_rng_state().numpy().tobytes()}


def prove_steady(name, first, second):
    if not torch.equal(first, second):
        raise Refusal(f"{name}: expected the same bits from the same arguments, found others at the second call: "
                      "dropout left on, or a state that a call changes")


def first_call(name, network, arguments, others, names):
    """A network that does not run, gives no tensor or changes by a call is refused."""
    refuse_weights(name, network)
    fresh = elsewhere(name, lambda: answer(name, network, others, names))
    elsewhere(name, lambda: refuse_reading(name, network, arguments))
    before, counts = states_of(network), counts_of(network)
    found = answer(name, network, arguments, names)
    after, counted = states_of(network), counts_of(network)
    written = [one for one in before if after.get(one) != before[one]]
    if written:
        raise Refusal(f"{name}: expected a call to change nothing, found that it writes {few(written)}")
    if fresh is not None:
        later = answer(name, network, others, names)
        if not (later - fresh).abs().max() <= NEAR * fresh.abs().max() and torch.isfinite(fresh).all():
            prove_steady(name, later, answer(name, network, others, names))
            raise Refusal(f"{name}: expected a call to leave nothing behind, found other numbers than those of one "
                          "that had not been called before: something is kept from its first call")
    moved = [one for one in counts if counted.get(one) != counts[one]]
    if moved:
        print(f"{name}: not checked: a call changes {few(moved)}, and a file keeps what was drawn or counted once",
              file=sys.stderr)
    if not found.any():
        print(f"{name} gives nothing but zeros here, as one that is not trained does: that the file is the same "
              "says little", file=sys.stderr)


def prove_pure(name, call, arguments, others):
    """The same arguments give the same bits, and so does a row beside other rows: no dropout, no batch statistics,
    no state. others: of a row more."""
    rows = len(arguments[0])
    half = rows // 2
    behind = [torch.cat([mine[:half], other[half:rows]]) for mine, other in zip(arguments, others)]
    before = [torch.cat([other[:half], mine[half:]]) for mine, other in zip(arguments, others)]
    first = call(*arguments)
    if not torch.isfinite(first).all():
        raise Refusal(f"{name}: expected finite numbers, found {first[~torch.isfinite(first)][0].item()}")
    if first.requires_grad:
        raise Refusal(f"{name}: expected gradients to be off, found an output that requires them")
    prove_steady(name, first, call(*arguments))
    if not torch.equal(first[:half], call(*behind)[:half]) or not torch.equal(first[half:], call(*before)[half:]):
        raise Refusal(f"{name}: expected a row to be independent of the other rows of its batch, found other bits "
                      "when those change: batch norm over the batch's own statistics, a value over the whole batch, or "
                      "something kept from an earlier call?")

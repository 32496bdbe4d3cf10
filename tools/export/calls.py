"""What a network must be before a file is made of it: its calls run, give a tensor and leave nothing behind."""
import copy
import sys

import torch

from export.checkpoints import few, first_line
from export.frame import Refusal
from export.values import refuse_compiled

NEAR = 1e-4  # of the largest number


def refuse_weights(name, network):
    training = [path or "itself" for path, module in network.named_modules() if module.training]
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
    except Exception as error:  # whatever the network does
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


def twin(network):
    """Another one over the same weights; None where it can't be copied."""
    try:
        return copy.deepcopy(network, {id(one): one for _, one in tensors_of(network)})
    except Exception as error:  # whatever the network holds
        print(f"not checked whether a first call leaves something behind: it cannot be copied: {first_line(error)}",
              file=sys.stderr)
        return None


def prove_steady(name, first, second):
    if not torch.equal(first, second):
        raise Refusal(f"{name}: expected the same bits from the same arguments, found others at the second call: "
                      "dropout left on, or a state that a call changes")


def first_call(name, network, arguments, others, names):
    """A network that does not run, gives no tensor or changes by a call is refused."""
    refuse_weights(name, network)
    before, fresh = states_of(network), twin(network)
    found = answer(name, network, arguments, names)
    after = states_of(network)
    written = [one for one in before if after.get(one) != before[one]]
    if written:
        raise Refusal(f"{name}: expected a call to change nothing, found that it writes {few(written)}")
    if fresh is not None:
        later, first = answer(name, network, others, names), answer(name, fresh, others, names)
        if not (later - first).abs().max() <= NEAR * first.abs().max() and torch.isfinite(first).all():
            prove_steady(name, later, answer(name, network, others, names))
            raise Refusal(f"{name}: expected a call to leave nothing behind, found other numbers than those of one "
                          "that had not been called before: something is kept from its first call")
    if not found.any():
        print(f"{name} gives nothing but zeros here, as one that is not trained does: that the file is the same "
              "says little", file=sys.stderr)


def prove_pure(name, call, arguments, others):
    """The same arguments give the same bits, and so does a row beside other rows: no dropout, no batch statistics,
    no state. others: of a row more."""
    rows = len(arguments[0])
    half = rows // 2
    mixed = [torch.cat([mine[:half], other[half:rows]]) for mine, other in zip(arguments, others)]
    first = call(*arguments)
    if not torch.isfinite(first).all():
        raise Refusal(f"{name}: expected finite numbers, found {first[~torch.isfinite(first)][0].item()}")
    if first.requires_grad:
        raise Refusal(f"{name}: expected gradients to be off, found an output that requires them")
    prove_steady(name, first, call(*arguments))
    if not torch.equal(first[:half], call(*mixed)[:half]):
        raise Refusal(f"{name}: expected a row to be independent of the other rows of its batch, found other bits "
                      "when those change: batch norm over the batch's own statistics, a value over the whole batch, or "
                      "something kept from an earlier call?")

"""A network and its card as a model file: TorchScript, proved against the network before it gets its name."""
import errno
import json
import os
import pathlib
import sys
import warnings

import torch


class Network(torch.nn.Module):
    """forward(x, t) or, with classes, forward(x, t, labels). call: the checkpoint's own way; one_hot: labels as rows of numbers,
    where a label beyond the classes is none of them."""

    def __init__(self, network, call, one_hot=0):
        super().__init__()
        self.network, self.call, self.one_hot = network, call, one_hot

    def forward(self, x, t, labels=None):
        if labels is not None and self.one_hot:
            labels = (labels.unsqueeze(1) == torch.arange(self.one_hot, device=labels.device)).to(x.dtype)
        return self.call(self.network, x, t, labels)


def arguments_of(card, batch):
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn([batch, *card["shape"]], generator=generator)
    steps = card["time"].get("steps", 0)
    t = torch.randint(steps, [batch], generator=generator) if steps else torch.rand(batch, generator=generator) * 3 - 1
    labels = card["labels"]
    if not labels:
        return x, t
    return x, t, torch.randint(max(labels["classes"], (labels["null"] or -1) + 1), [batch], generator=generator)


class Refusal(Exception):
    """The checkpoint is not what it should be: exit 65."""


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def few(names):
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def prove_pure(name, call, card):
    """The same arguments give the same bits, and so does a row beside other rows: no dropout, no batch statistics, no state."""
    arguments, others = arguments_of(card, 5), arguments_of(card, 6)
    mixed = [torch.cat([mine[:2], other[2:5]]) for mine, other in zip(arguments, others)]
    first = call(*arguments)
    if not torch.isfinite(first).all():
        raise Refusal(f"{name}: expected finite numbers, found {first[~torch.isfinite(first)][0].item()}")
    if first.requires_grad:
        raise Refusal(f"{name}: expected gradients to be off, found an output that requires them")
    if not torch.equal(first, call(*arguments)):
        raise Refusal(f"{name}: expected the same bits from the same arguments, found others at the second call: dropout left on, or a "
                      "state that a call changes")
    if not torch.equal(first[:2], call(*mixed)[:2]):
        raise Refusal(f"{name}: expected a row to be independent of the other rows of its batch, found other bits when those change: "
                      "batch norm over the batch's own statistics?")


def check(traced, network, card):
    training = [name or "itself" for name, module in network.named_modules() if module.training]
    if training:
        raise Refusal(f"the network: expected eval mode throughout, found training mode in {few(training)}")
    prove_pure("the network", network, card)
    prove_pure("the file", traced, card)
    channels, *size = card["shape"]
    twice = card.get("variance") == "learned" or card["prediction"] == "edm-iddpm"  # whose second half is passed over
    for batch in (1, 5, 64):
        arguments = arguments_of(card, batch)
        with torch.no_grad():
            ours, theirs = traced(*arguments), network(*arguments)
        expected = [batch, channels * (2 if twice else 1), *size]
        if list(ours.shape) != expected:
            raise Refusal(f"batch {batch}: expected an output of shape {expected}, found {list(ours.shape)}")
        difference, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
        print(f"batch {batch}: the file differs from the network by {difference:.2g} of {scale:.3g}", file=sys.stderr)
        if not difference <= 1e-4 * scale:
            raise Refusal(f"batch {batch}: expected differences of rounding, found {difference:.3g} of {scale:.3g}")


def free_of_devices(traced):
    """A trace remembers the device it was made on wherever the network made a tensor: freezing folds those that depend on nothing
    (they move with the weights); the others are made to ask where x is."""
    graph = traced.graph
    left = [node for node in graph.findAllNodes("prim::Constant", recurse=True) if str(node.output().type()) == "Device"]
    if left:
        device = graph.create("prim::device", [list(graph.inputs())[1]], 1)
        device.output().setType(torch._C.DeviceObjType.get())
        graph.prependNode(device)
        for node in left:
            node.output().replaceAllUsesWith(device.output())
            node.destroy()
    return traced


def save(network, card, path):
    network = network.eval().requires_grad_(False)
    folder = os.path.dirname(path) or "."
    if not os.access(folder, os.W_OK):
        raise OSError(errno.ENOENT if not os.path.exists(folder) else errno.EACCES, "cannot write there", folder)
    temporary = f"{path}.tmp-{os.getpid()}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's: what it warns of is what check() looks for
        try:
            with torch.no_grad():
                traced = free_of_devices(torch.jit.freeze(torch.jit.trace(network, arguments_of(card, 3), check_trace=False)))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise Refusal(f"the network does not run as its card says, {json.dumps(card)}: {first_line(error)}") from error
        try:
            torch.jit.save(traced, temporary, _extra_files={"diffusion.json": json.dumps(card)})
            check(torch.jit.load(temporary), network, card)
            os.replace(temporary, path)
        finally:
            pathlib.Path(temporary).unlink(missing_ok=True)
    print(f"{path}: {json.dumps(card)}")

"""A network and its card as a model file: TorchScript or an AOTInductor package, proved against the network before it
gets its name."""
import copy
import errno
import inspect
import json
import os
import pathlib
import sys
import tempfile
import time
import warnings

import torch

from export.arguments import WIDER, arguments_of, wide
from export.calls import first_call, prove_pure, still
from export.checkpoints import first_line, last_line
from export.forms import deviation, milliseconds, save_package
from export.frame import Refusal, replacing
from export.values import refuse_reading

# Of the largest number: what rounding may do to the same network called in another way.
ROUNDING = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 4e-3}


class Network(torch.nn.Module):
    """forward(x, t) or, with classes, forward(x, t, labels); then come the card's inputs, which without classes
    stand in the labels' place. call: the checkpoint's own way; one_hot: labels as rows
    of numbers, where a label beyond the classes is none of them."""

    def __init__(self, network, call, one_hot=0):
        super().__init__()
        self.network, self.call, self.one_hot = network, call, one_hot

    def forward(self, x, t, labels=None, *inputs):
        if labels is not None and self.one_hot:
            labels = (labels.unsqueeze(1) == torch.arange(self.one_hot, device=labels.device)).to(x.dtype)
        return self.call(self.network, x, t, labels, *inputs)


def named(network, card):
    """forward's arguments by the names that the program passes them by, which a trace takes over."""
    names = ["self", *names_of(card)]

    def forward(self, *arguments):
        return self.network(*arguments)

    forward.__signature__ = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
                                               for name in names])
    wrapper = type("Named", (torch.nn.Module,), {"forward": forward})()
    wrapper.network = network
    return wrapper.eval()


def cast_inputs(module, arguments):
    """Before a layer: what reaches it takes the type of its weights. Not times [B], where it has others within."""
    dtype = next(module.parameters()).dtype
    least = 2 if next(module.children(), None) else 0
    cast = lambda value: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() and \
        value.dim() >= least else value
    return tuple(map(cast, arguments))


def copied(network):
    try:
        return copy.deepcopy(network)
    except Exception as error:  # whatever it holds
        raise Refusal(f"the network cannot be copied, as --channels-last and --dtype need: {type(error).__name__}: "
                      f"{first_line(error)}") from error


class Inside(torch.nn.Module):
    """The network with weights and arithmetic of a shorter type, behind float32 at its border. Times stay float32 up
    to the first layer that has weights."""

    def __init__(self, network, dtype):
        super().__init__()
        shorter = lambda one: one.to(dtype) if one.is_floating_point() else one  # .to(dtype) halves complex ones
        self.network, self.dtype = copied(network)._apply(shorter), dtype
        for module in self.network.modules():
            named = module.parametrizations if torch.nn.utils.parametrize.is_parametrized(module) else module
            own = next(named.parameters(recurse=named is not module), None)
            if own is not None and own.is_floating_point() and not isinstance(module, torch.nn.Embedding):
                module.register_forward_pre_hook(cast_inputs)

    def forward(self, x, t, labels=None, *inputs):
        arguments = (x.to(self.dtype), t) if labels is None else (x.to(self.dtype), t, labels, *inputs)
        return self.network(*arguments).float()


def compare_types(inside, network, card):
    """How far the shorter type is from float32."""
    arguments = arguments_of(card, 5)
    try:
        ours, theirs = inside(*arguments), network(*arguments)
    except Exception as error:  # whatever the network does
        raise Refusal(f"--dtype: the network does not run with shorter weights: {first_line(error)}") from error
    difference, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    print(f"{str(inside.dtype).removeprefix('torch.')}: differs from float32 by {difference / (scale or 1):.2g} of the "
          "largest", file=sys.stderr)
    if not difference <= 0.2 * scale:
        raise Refusal(f"--dtype: expected differences of rounding, found {difference:.3g} of {scale:.3g}: say float32")


def runs_at_any_batch(name, call, card):
    """A trace remembers what the network made of the batch size as a number of Python's."""
    for batch in (1, 5, 64):
        try:
            with torch.no_grad():
                call(*arguments_of(card, batch))
        except Exception as error:  # whatever the network does
            raise Refusal(f"{name}: expected it to run at a batch of {batch}, as at 3; it fails: {last_line(error)}: "
                          "take the batch's size from x.shape as it is, not by len(x) or int(), and let no loop go "
                          "over the rows") from error


def names_of(card):
    """forward's arguments."""
    return ["x", "t", *["labels"] * bool(card["labels"]), *(one["name"] for one in card.get("inputs", []))]


def look_at(network, card):
    first_call("the network", network, arguments_of(card, 3), arguments_of(card, 4), names_of(card))


def check(traced, network, card):
    several = arguments_of(card, 5), arguments_of(card, 6)
    runs_at_any_batch("the network", network, card)
    prove_pure("the network", network, *several)
    runs_at_any_batch("the file", traced, card)
    prove_pure("the file", traced, *several)
    channels, *size = card["shape"]
    twice = card.get("variance") == "learned" or card["prediction"] == "edm-iddpm"  # whose second half is passed over
    usual, rounding = [arguments_of(card, batch) for batch in (1, 5, 64)], ROUNDING[card.get("dtype", "float32")]
    for arguments, bound in (*((one, rounding) for one in usual), (wide(usual[1]), WIDER * rounding)):
        batch, said = len(arguments[0]), f"{len(arguments[0])}" + f", x times {WIDER}" * (bound > rounding)
        with torch.no_grad():
            ours, theirs = traced(*arguments), network(*arguments)
        expected = [batch, channels * (2 if twice else 1), *size]
        if list(ours.shape) != expected:
            raise Refusal(f"batch {batch}: expected an output of shape {expected}, found {list(ours.shape)}")
        if bound > rounding and not torch.isfinite(theirs).all():
            continue  # so large an x is beyond the network
        difference, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
        print(f"batch {said}: the file differs from the network by {difference:.2g} of {scale:.3g}", file=sys.stderr)
        if not difference <= bound * scale:
            raise Refusal(f"batch {said}: expected differences of rounding, found {difference:.3g} of {scale:.3g}")


def free_of_devices(traced):
    """A trace remembers the device it was made on wherever the network made a tensor: freezing folds those that
    depend on nothing (they move with the weights); the others are made to ask where x is."""
    graph = traced.graph
    left = [node for node in graph.findAllNodes("prim::Constant", recurse=True)
            if str(node.output().type()) == "Device"]
    if left:
        device = graph.create("prim::device", [list(graph.inputs())[1]], 1)
        device.output().setType(torch._C.DeviceObjType.get())
        graph.prependNode(device)
        for node in left:
            node.output().replaceAllUsesWith(device.output())
            node.destroy()
    return traced


def trace(network, card):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's: what it warns of is what refuse_reading and check() look for
        try:
            return free_of_devices(torch.jit.freeze(torch.jit.trace(network, arguments_of(card, 3), check_trace=False)))
        except Exception as error:  # whatever the network does
            raise Refusal(f"the network runs, but cannot be traced: {type(error).__name__}: {first_line(error)}; what "
                          "often helps: sizes by int(x.shape[-1]), modules in a ModuleList, torch.compile and "
                          "gradients left out") from error


def save_script(traced, network, card, path):
    """What is in the file afterwards is compared with the network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.jit.save(traced, path, _extra_files={"diffusion.json": json.dumps(card)})
        except RuntimeError as error:
            raise Refusal(f"the network can be traced, but not saved: {first_line(error)}") from error
        check(torch.jit.load(path), network, card)


def save(network, card, path, dtype="float32", package=None, channels_last=False, timed=True):
    """TorchScript; or with `package` an AOTInductor package, of which that says batch, device and the other options of
    save_package. The card as it is in the file."""
    look_at(network.eval(), card)
    return save_form(network, card, path, dtype, package, channels_last, timed)


def save_form(network, card, path, dtype, package, channels_last, timed):
    """save, of a network whose first call was looked at."""
    network = float32 = still(network)
    if channels_last:
        network = copied(network).to(memory_format=torch.channels_last)
    if dtype != "float32":
        card = card | {"dtype": dtype}
        inside = still(Inside(network, getattr(torch, dtype)))
        with torch.no_grad():
            compare_types(inside, network, card)
        network = inside
    bare = network
    refuse_reading("the network", network, arguments_of(card, 4))  # of another batch than the trace's
    if card.get("inputs"):
        network = named(network, card)
    folder = os.path.dirname(path) or "."
    if not os.access(folder, os.W_OK):
        raise OSError(errno.ENOENT if not os.path.exists(folder) else errno.EACCES, "cannot write there", folder)
    traced = trace(network, card)
    if package:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            save_script(traced, network, card, file.name)
            beside, device = {}, package["device"]
            if timed:
                eager = {"eager float32": float32, form_name("eager", dtype, channels_last): bare}
                beside = {name: on_device(device, one, ())[0] for name, one in eager.items()}
                beside["TorchScript"] = torch.jit.load(file.name, device)  # .to() leaves what is frozen where it is
            return as_package(bare, card, path, beside, package)
    with replacing(path) as draft:
        save_script(traced, network, card, str(draft))
    return card


def form_name(kind, dtype, channels_last):
    return " ".join([kind, dtype, *["channels_last"] * channels_last])


def on_device(device, network, arguments):
    """The network itself on the CPU, where it is; a copy of it elsewhere."""
    network = network if device == "cpu" else copy.deepcopy(network).to(device)
    return network, tuple(one.to(device) for one in arguments)


def as_package(network, card, path, beside, package):
    """beside: {name: what is timed with it, on the device}."""
    package = dict(package)
    batch, device = package.pop("batch"), package.pop("device")
    network, arguments = on_device(device, network, arguments_of(card, batch))
    try:
        return save_package(network, arguments, card, path, tolerance=ROUNDING[card.get("dtype", "float32")],
                            beside=beside, **package)
    except (RuntimeError, TypeError, ValueError) as error:  # torch.export's and the compiler's are RuntimeErrors
        raise Refusal(f"--format aoti: the network cannot be compiled: {first_line(error)}; say --format "
                      "torchscript") from error


def load(path, device):
    """What a file of either form computes."""
    if not path.endswith(".pt2"):
        return torch.jit.load(path, device)
    from torch._inductor import aoti_load_package  # and its compiler, only where it is needed

    return aoti_load_package(path)


def try_form(network, card, path, form, kernels, eager, arguments):
    """One form's file, or its refusal: (card, what it computes, deviation from eager(*arguments), in float32)."""
    package = {"batch": form["batch"], "device": form["device"], "autotune": kernels}
    made = save_form(network, card, path, form["dtype"], form["format"] == "aoti" and package, form["channels_last"],
                     timed=False)
    call = load(path, form["device"])
    difference, scale = deviation(call, eager, arguments)
    return made, call, difference / (scale or 1)


def time_in_turns(calls, arguments, rounds=3):
    """The least milliseconds of each: what else the machine does then hits them alike."""
    with torch.no_grad():
        turns = [[milliseconds(call, arguments, 2, 0.1) for call in calls] for _ in range(rounds)]
    return list(map(min, zip(*turns)))


def save_fastest(network, card, folder, forms, tolerance, kernels=False):
    """Of the forms (format, dtype, channels_last, batch, device) the fastest that differs from the float32 network by
    no more than tolerance, a part of its largest number. kernels: the compiler of packages tries some. Returns its
    card and path; each form tried is printed."""
    network, good, refused, batch = still(network), [], None, forms[0]["batch"]
    look_at(network, card)
    there, arguments = on_device(forms[0]["device"], network, arguments_of(card, batch))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".forms-") as work:
        for number, form in enumerate(forms):
            path = f"{work}/{number}.pt{'2' * (form['format'] == 'aoti')}"
            name = form_name(form["format"], form["dtype"], form["channels_last"])
            print(f"form {number + 1} of {len(forms)}: {name}" + " (compiling, a minute or more)" * path.endswith("2"),
                  file=sys.stderr)
            begun = time.monotonic()
            try:
                made, call, difference = try_form(network, card, path, form, kernels, there, arguments)
            except Refusal as error:
                print(f"{name}: {error}", file=sys.stderr)
                refused = error
                continue
            print(f"{name}: made and compared in {time.monotonic() - begun:.0f} s", file=sys.stderr)
            if difference <= tolerance:
                good.append((name, call, difference, made, path))
            else:
                print(f"{name}: differs by {difference:.2g} of the largest, more than {tolerance:g}", file=sys.stderr)
        if not good:
            raise refused or Refusal(f"--tolerance {tolerance:g}: expected a form that differs by no more, found none")
        print(f"timing {len(good)} forms beside the network itself", file=sys.stderr)
        eager, *times = time_in_turns([there, *(one[1] for one in good)], arguments)
        print(f"eager float32: {eager:.3g} ms a call of {batch}, one thread", file=sys.stderr)
        for (name, _, difference, *_), each in zip(good, times):
            print(f"{name}: {each:.3g} ms, {eager / each:.2f} times as fast, differs by {difference:.2g} of the "
                  "largest", file=sys.stderr)
        least, (name, _, _, made, path) = min(zip(times, good), key=lambda pair: pair[0])
        print(f"taken: {name}, {eager / least:.2f} times as fast as eager float32", file=sys.stderr)
        final = os.path.join(folder, f"model{pathlib.Path(path).suffix}")
        os.replace(path, final)
    return made, final

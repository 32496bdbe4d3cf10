"""Networks that read a value out of a tensor, by `if`, float() or numpy: a file keeps what was read once, and no
example tells for which inputs that is wrong. So one call is watched: nothing that descends from its inputs may be
read."""
import os
import sys
import traceback
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from export.checkpoints import first_line
from export.frame import Refusal

TORCH = os.path.dirname(torch.__file__) + os.sep
WATCHERS = __file__, TORCH + "_compile.py", TORCH + "_dynamo"  # of the lines at work, those that only look on
METHODS = {"numpy", "tolist", "__array__", "__dlpack__", "__repr__", "__format__", "data_ptr", "storage",
           "untyped_storage"}
FROM_LISTS = {torch.tensor, torch.as_tensor, torch.asarray}  # of numbers, which tensors of one number become


class Read(RuntimeError):
    pass


def tensors(values):
    return [one for one in tree_leaves(values) if isinstance(one, torch.Tensor)]


class Descent:
    """What descends from the inputs, by the memory it is in, and the first line that read some of it."""

    def __init__(self, inputs):
        self.memory, self.line, self.size, self.allowed = set(), None, None, False
        self.add(inputs)

    def add(self, values):
        with torch._C.DisableTorchFunction():
            self.memory.update(StorageWeakRef(one.untyped_storage()) for one in tensors(values))

    def holds(self, values):
        with torch._C.DisableTorchFunction():
            return any(StorageWeakRef(one.untyped_storage()) in self.memory for one in tensors(values))

    def read(self):
        frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(WATCHERS)]
        # Called from there, it is within a ScriptModule, whose branches a file keeps.
        scripted = frames[-1].filename == TORCH + "nn/modules/module.py"
        if not self.allowed and not scripted:
            self.line = self.line or line_of(frames)
            raise Read


def line_of(frames):
    """The line that is at work, of those outside PyTorch."""
    frame = [frame for frame in frames if not frame.filename.startswith((TORCH, __file__))][-1]
    return f"{frame.filename}:{frame.lineno}, `{frame.line}`"


def by_numbers(function, args):
    """Indexing, of which a mask alone makes sizes hang on values."""
    return function._schema.name.startswith("aten::index") and not any(
        one.dtype in (torch.bool, torch.uint8) for one in tensors(args[1:2]))


class Operations(TorchDispatchMode):
    def __init__(self, descent):
        super().__init__()
        self.descent = descent

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not self.descent.holds((args, kwargs)):
            return function(*args, **kwargs)
        if torch.Tag.data_dependent_output in function.tags:
            self.descent.read()
        if torch.Tag.dynamic_output_shape in function.tags and not by_numbers(function, args):
            self.descent.size = self.descent.size or line_of(traceback.extract_stack())
        result = function(*args, **kwargs)
        if function._schema.name.endswith("_like") or function._schema.name.startswith("aten::new_"):
            return result  # takes the shape alone
        given = dict(zip([argument.name for argument in function._schema.arguments], args)) | kwargs
        self.descent.add([result, [given.get(argument.name) for argument in function._schema.arguments
                                   if argument.alias_info and argument.alias_info.is_write]])
        return result


class Methods(TorchFunctionMode):
    def __init__(self, descent):
        super().__init__()
        self.descent = descent

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        read = getattr(function, "__name__", "") in METHODS and self.descent.holds(args[:1])
        if read or function in FROM_LISTS and not torch.is_tensor(args[0]) and self.descent.holds(args):
            self.descent.read()
        allowed = self.descent.allowed
        # What this reads it only checks, where it is told the size.
        self.descent.allowed = allowed or function is torch._C._nn.one_hot and len(args) + len(kwargs) > 1
        try:
            return function(*args, **kwargs)
        finally:
            self.descent.allowed = allowed


def refuse_compiled(name, network):
    if any(type(one).__name__ == "OptimizedModule" or getattr(one, "_compiled_call_impl", None)
           for one in network.modules()):
        raise Refusal(f"{name}: expected a network, found one that torch.compile has changed: give it before that")


def refuse_reading(name, network, arguments):
    """Refusal if network(*arguments) reads a value; a note if it can't be told."""
    descent = Descent(arguments)
    try:
        with torch.no_grad(), mock.patch.object(torch.jit, "is_tracing", lambda: True), Methods(descent), \
                Operations(descent):
            network(*arguments)
    except Exception as error:  # whatever the network does
        if not descent.line:
            print(f"{name}: not checked for branches on values: {type(error).__name__}: {first_line(error)}",
                  file=sys.stderr)
    if descent.line:
        raise Refusal(f"{name}: expected no value to be read out of a tensor, found {descent.line}: a file keeps what "
                      "was read once, for all inputs: choose by torch.where, and leave out assertions on values")
    if descent.size:
        print(f"{name}: not checked: a tensor's size hangs on values in {descent.size}, and a file would keep what "
              "len() or a branch makes of it", file=sys.stderr)

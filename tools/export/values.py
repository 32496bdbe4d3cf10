"""Networks that read a value out of their inputs, by `if`, float() or numpy: a trace keeps what was read at the example,
and no example tells for which inputs that is wrong. They are found by a call with tensors that have no values."""
import copy
import os
import sys
import traceback

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from export.checkpoints import first_line
from export.frame import Refusal

TORCH = os.path.dirname(torch.__file__)


def where(error):
    """The line that raised it, of those outside PyTorch: "net.py:12, `if x.max() > 1:`"."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(TORCH)]
    return f"{frames[-1].filename}:{frames[-1].lineno}, `{frames[-1].line}`"


def refuse_reading(name, network, arguments):
    """Refusal if network(*arguments) reads a value; a note if this can't be told."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        # What the call leaves in the network's attributes is left in a copy, over the same weights.
        network = copy.deepcopy(network, {id(one): one for one in [*network.parameters(), *network.buffers()]})
        with torch.no_grad():
            network(*map(mode.from_tensor, arguments))
    except Exception as error:  # whatever the network does
        if not isinstance(error, DataDependentOutputException) and ".numpy()" not in str(error):
            print(f"{name}: not checked for branches on values: {type(error).__name__}: {first_line(error)}",
                  file=sys.stderr)
            return
        raise Refusal(f"{name}: expected no value to be read out of a tensor, found {where(error)}: a file keeps what was "
                      "read once, for all inputs: choose by torch.where, and leave out assertions on "
                      "values") from error

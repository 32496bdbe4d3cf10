"""Reading what authors distribute: state dicts, JSON, their own code."""
import importlib
import importlib.util
import json
import os
import pathlib
import pickle
import sys

import torch

from export.frame import Refusal, Usage


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def last_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def few(names):
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def read_json(path):
    try:
        return json.loads(pathlib.Path(path).read_text())
    except ValueError as error:
        raise Refusal(f"{path}: expected JSON: {error}") from error


def read_file(path):
    """What torch.save wrote, without running code of the file's."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise Refusal(f"{path}: expected a state dict of torch.save: {first_line(error)}") from error


def is_state(value):
    return isinstance(value, dict) and len(value) > 0 and all(isinstance(one, torch.Tensor) for one in value.values())


def read_state(path, *keys):
    """The state dict in a file, which is one itself or has one under one of the keys, the first that is there; in
    float32."""
    found = read_file(path)
    place = next((key for key in keys if isinstance(found, dict) and is_state(found.get(key))), None)
    state = found[place] if place else found
    if not is_state(state):
        said = few(state) if isinstance(state, dict) else type(state).__name__
        where = f", or one under {' or '.join(keys)}" if keys else ""
        raise Refusal(f"{path}: expected a state dict, names of tensors{where}; found {said}")
    if place:
        print(f"{path}: the weights under `{place}`", file=sys.stderr)
    wrapped = all(name.startswith("module.") for name in state)  # DataParallel
    return {name.removeprefix("module.") if wrapped else name: value.float() if value.is_floating_point() else value
            for name, value in state.items()}


def refuse_weights(what, **differences):
    """differences: missing, unexpected, mismatched: names."""
    found = [f"{kind}: {few(sorted(map(str, names)))}" for kind, names in differences.items() if names]
    if found:
        raise Refusal(f"{what}: expected exactly the network's weights, found {'; '.join(found)}")


def load_strictly(network, state, what="the state under these flags"):
    wanted = network.state_dict()
    mismatched = [f"{name} {list(state[name].shape)} for {list(wanted[name].shape)}"
                  for name in wanted.keys() & state.keys() if state[name].shape != wanted[name].shape]
    refuse_weights(what, missing=wanted.keys() - state.keys(), unexpected=state.keys() - wanted.keys(),
                   mismatched=mismatched)
    network.load_state_dict(state)


def import_code(folder, *modules):
    """Modules of a checkout of the authors' repository, by the names that its own scripts import them by."""
    for module in modules:
        parts = os.path.join(folder, *module.split("."))
        if not os.path.exists(parts + ".py") and not os.path.isdir(parts):
            raise Usage(f"--code: expected a checkout with {module.replace('.', '/')}.py, found none in {folder}")
    sys.path.insert(0, os.path.abspath(folder))
    importlib.invalidate_caches()
    roots = {module.split(".")[0] for module in modules}
    for name in [name for name in sys.modules if name.split(".")[0] in roots]:  # another checkout's
        del sys.modules[name]
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise Refusal(f"{folder}: its code does not import here: {first_line(error)}: install what it needs beside "
                      "torch "
                      "(pip install NAME)") from error
    finally:
        sys.path.remove(os.path.abspath(folder))


def import_inside(folder, name):
    """A module of a package without what the package itself imports: folder/name.py, which imports its neighbours
    with dots."""
    if not os.path.exists(os.path.join(folder, f"{name}.py")):
        raise Usage(f"--code: expected {name}.py, found none in {folder}")
    package = f"checkout_{abs(hash(os.path.abspath(folder))):x}"
    spec = importlib.util.spec_from_file_location(package, os.path.join(folder, "__init__.py"),
                                                  submodule_search_locations=[folder])
    sys.modules[package] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{package}.{name}")

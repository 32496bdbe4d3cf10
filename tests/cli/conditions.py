"""A job whose model has inputs, and its samples by numpy."""
import json

import numpy as np

from conftest import MEANS, qtaylor
from oracle import linear_alpha_sigma, mixture_epsilon, run_plan

INPUTS = [{"name": "context", "shape": [2, 3], "dtype": "float32", "null": "zeros"},
          {"name": "mask", "shape": [4], "dtype": "bool", "null": "zeros"},
          {"name": "size", "shape": [], "dtype": "int64", "null": "zeros"}]


def safetensors(path, **arrays):
    names = {np.dtype("<f4"): "F32", np.dtype("<f2"): "F16", np.dtype("<i8"): "I64", np.dtype(bool): "BOOL"}
    header, data = {}, b""
    for name, array in arrays.items():
        header[name] = {"dtype": names[array.dtype], "shape": array.shape,
                        "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def arrays(rows=7, seed=0):
    rng = np.random.default_rng(seed)
    return {"context": rng.normal(size=(rows, 2, 3)).astype("<f2"), "mask": rng.random((rows, 4)) < 0.5,
            "size": rng.integers(-2, 3, rows, "<i8")}


def moves(values):
    """What the closed-form model makes of them (shim/fake_inside.h)."""
    return sum((k + 1) * value.reshape(len(value), -1).astype(float).mean(1) for k, value in enumerate(values.values()))


def give(job, values, classes=False, **more):
    job.model["card"]["inputs"] = INPUTS
    if not classes:
        job.model["card"]["labels"] = None
        job.keys["labels"] = "none"
    job.keys["output"]["dtype"] = "float32"
    np.save(job.folder / "context.npy", values["context"])
    safetensors(job.folder / "rest.safetensors", size=values["size"], mask=values["mask"])
    files = {"context": "context.npy", "mask": "rest.safetensors#mask", "size": "rest.safetensors#size"}
    job.keys["conditions"] = files | more


def expected(job, rows, values, nulls=None, scales=None):
    """The samples by the plan, numpy and the closed-form model under these rows; nulls: moves of null evaluations;
    scales: of guidance, of the rows."""
    plan = json.loads(qtaylor("plan", job.write(), "--json").stdout)
    classes = job.model["card"]["labels"] is not None
    given = moves(values)[rows]
    null = np.zeros(len(rows)) if nulls is None else nulls

    def model(x, t, labels):
        alpha, sigma = linear_alpha_sigma(t)
        move = (null if labels == "null" else given)[:, None]
        if not (classes and labels == "given"):
            return mixture_epsilon(x - alpha * move, alpha, sigma, MEANS, 0.2, [0.4, 0.6])
        both = [mixture_epsilon(x - alpha * move, alpha, sigma, MEANS[k:k + 1], 0.2, [1]) for k in (0, 1)]
        return np.where((np.arange(len(rows)) % 2 == 0)[:, None], *both)
    scales = None if scales is None else scales[rows]
    return run_plan(plan, range(len(rows)), 16, model, scales=scales).reshape(-1, 1, 4, 4)

#!/usr/bin/env python3
"""Turns references that other tools distribute into an .npz that qtaylor takes:

  tools/reference.py img512.pkl ref.npz --metric fd_dinov2     EDM2's: mu and sigma of one of its metrics
  tools/reference.py reps_imagenet.npz ref.npz                 dgm-eval's `reps`, or `feats` [N,D]: features, mu, sigma

--network NET puts the sha256 of the feature network's file beside them: then features of other networks are refused.
A pickle is code; of this one nothing but dictionaries, numbers and numpy's arrays is made, anything else is refused.

Exit codes: 64 wrong command line, 65 a file that isn't what it should be (its members are named, nothing is written),
74 a file can't be read or written. It needs numpy."""
import argparse
import hashlib
import operator
import os
import pickle
import zipfile
import zlib

from export.frame import Parser, Refusal, call, end_without, replacing

PACKAGES = "numpy"

try:
    import numpy as np
except ModuleNotFoundError as missing:
    end_without("reference", missing, PACKAGES)

SYMMETRY = 1e-6  # of the largest variance, as qtaylor reads it


class ArraysOnly(pickle.Unpickler):
    """Makes nothing that could run."""

    ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
               ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
               ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
               ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module, name):
        if (module, name) == ("dnnlib.util", "EasyDict"):
            return dict
        if (module, name) not in self.ALLOWED:
            raise Refusal(f"expected dictionaries, numbers and numpy's arrays alone, found {module}.{name}")
        return super().find_class(module, name)


def kind_of(value):
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def members(found):
    return ", ".join(f"{name} ({kind_of(value)})" for name, value in found.items()) or "none"


def count_of(found):
    """The images of a pickle, where it says how many."""
    count = found.get("num_images")
    if count is None:
        return {}
    try:
        whole = -1 if isinstance(count, bool) else operator.index(count)
    except TypeError:
        whole = -1
    if not 2 <= whole < 2**63:
        raise Refusal(f"num_images: expected a whole number of images, two or more, found {count!r}")
    return {"count": whole}


def read_pickle(path, metric):
    try:
        with open(path, "rb") as file:
            found = ArraysOnly(file).load()
    except (Refusal, OSError):
        raise
    except Exception as error:  # pickle names no others than any
        raise Refusal(f"expected a pickle: {error}") from None
    if not isinstance(found, dict):
        raise Refusal(f"expected a dictionary, found {kind_of(found)}")
    metrics = [name for name, value in found.items() if isinstance(value, dict) and {"mu", "sigma"} <= value.keys()]
    if not metrics:
        raise Refusal(f"expected statistics {{METRIC: {{mu, sigma}}}}, found members {members(found)}")
    if metric is None and len(metrics) > 1:
        raise Refusal(f"it has several statistics, {', '.join(metrics)}: say which by --metric")
    if metric is not None and metric not in metrics:
        raise Refusal(f"--metric {metric}: expected one of {', '.join(metrics)}")
    values = found[metric or metrics[0]]
    return {"mu": values["mu"], "sigma": values["sigma"]} | count_of(found)


def read_npz(path, metric):
    found = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                try:
                    found[name] = file[name]
                except ValueError:  # a pickle inside, such as dgm-eval's `hparams`: left alone
                    found[name] = None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise Refusal(f"expected an .npz: {error}") from None
    name = metric or next((name for name in ("reps", "feats") if name in found), None)
    rows = found.get(name)
    if rows is None or rows.ndim != 2 or rows.dtype.kind != "f":
        raise Refusal(f"expected features `reps` or `feats`, floats [N,D], found members {members(found)}")
    rows = np.ascontiguousarray(rows, np.float32)
    if len(rows) < 2:
        raise Refusal(f"{name}: expected the features of two images or more, found {len(rows)}")
    wide = rows.astype(np.float64)
    return {"mu": wide.mean(0), "sigma": np.cov(wide, rowvar=False).reshape(rows.shape[1], -1), "count": len(rows),
            "features": rows}


def check(arrays):
    try:
        given = {name: np.asarray(arrays[name]) for name in ("mu", "sigma")}
        numbers = all(array.dtype.kind in "fiu" for array in given.values())
    except (TypeError, ValueError):
        numbers = False
    if not numbers:
        raise Refusal(f"expected mu and sigma of numbers, found {members(arrays)}")
    arrays = arrays | {name: array.astype(np.float64, "C") for name, array in given.items()}
    mu, sigma = arrays["mu"], arrays["sigma"]
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or len(mu) == 0:
        raise Refusal(f"expected mu [D] and sigma [D,D], found {members(arrays)}")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise Refusal("expected finite numbers in mu and sigma")
    if sigma.diagonal().min() < -SYMMETRY * sigma.diagonal().max():
        raise Refusal(f"expected variances on sigma's diagonal, found {sigma.diagonal().min():g}")
    if not np.abs(sigma - sigma.T).max() <= SYMMETRY * sigma.diagonal().max():
        raise Refusal("expected a symmetric sigma")
    return arrays


def convert(options):
    read = read_npz if zipfile.is_zipfile(options.source) else read_pickle
    try:
        arrays = check(read(options.source, options.metric))
    except Refusal as error:
        raise Refusal(f"{options.source}: {error}") from None
    if "count" in arrays:
        arrays["count"] = np.int64(arrays["count"])
    if options.network:
        with open(options.network, "rb") as file:
            arrays["network"] = np.bytes_(hashlib.sha256(file.read()).hexdigest())
    with replacing(options.out) as draft, open(draft, "wb") as file:
        np.savez(file, **arrays)
    count = f"{arrays['count']} images" if "count" in arrays else "a number of images that it does not say"
    print(f"{options.out}: mu and sigma of {count}, {len(arrays['mu'])} features each"
          f"{'; the features' if 'features' in arrays else ''}")


def main(arguments=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("out", metavar="OUT.npz")
    parser.add_argument("--metric", metavar="NAME", help="EDM2's fid or fd_dinov2; or the name of an array of features")
    parser.add_argument("--network", metavar="NET", help="the feature network that they were made with")
    parser.add_argument("--force", action="store_true", help="replace OUT")
    options = parser.parse_args(arguments)
    if not options.out.endswith(".npz"):
        parser.error(f"OUT: expected a name that ends in .npz, found {options.out}")
    if os.path.exists(options.out) and not options.force:
        parser.error(f"{options.out} is there already: say --force to replace it")
    call("reference", PACKAGES, parser, convert, options)


if __name__ == "__main__":
    main()

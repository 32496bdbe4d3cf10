"""make gpu-check: one page about this program on this GPU, as Markdown: what it computes (against the CPU, itself,
other ranks and workers, an interrupted run) and how fast each form of a network is. Needs `make cuda-build` and a
device, and says what is missing.
  check.py [--device cpu]    the same on the CPU with the digits alone: that the page itself can be made"""
import argparse
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / os.environ.get("PROGRAM", "build/cuda/qtaylor")
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
UNAVAILABLE = 69


def missing(what):
    print(f"gpu-check: {what}", file=sys.stderr)
    sys.exit(UNAVAILABLE)


def run(*words, ranks=0, code=0):
    launcher = ["mpirun", "-n", str(ranks), "--oversubscribe", "--bind-to", "none"] if ranks else []
    done = subprocess.run([*launcher, *map(str, (PROGRAM, *words))], capture_output=True, text=True, env=ENVIRONMENT,
                          cwd=ROOT)
    if done.returncode != code:
        sys.exit(f"gpu-check: {words}: exit {done.returncode}, expected {code}\n{done.stdout}{done.stderr}")
    return done.stdout


def look(device):
    """What is there: lines for the page."""
    if not PROGRAM.exists():
        missing(f"{PROGRAM} is not built: make cuda-build (PROGRAM=build/... names another)")
    torch = json.loads(run("--version", "--json"))["torch"]
    if device == "cuda" and "CUDA" not in torch:
        missing(f"{PROGRAM} was built without CUDA ({torch}): make cuda-build")
    if device == "cuda" and "no device" in torch:
        missing(f"{PROGRAM} sees no GPU ({torch}): none is here, or no driver, or CUDA_VISIBLE_DEVICES hides it")
    ask = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    card = "the CPU"
    if device == "cuda":
        tool = shutil.which("nvidia-smi")
        card = subprocess.run(ask, capture_output=True, text=True).stdout.strip() if tool else "no nvidia-smi to ask"
    return [f"# qtaylor on {card}", "", f"{datetime.date.today()}, {torch}, {len(os.sched_getaffinity(0))} cores", ""]


# ---- networks ----

TRANSFORMER = {"shape": [4, 32, 32], "range": None, "prediction": "velocity", "time": {"kind": "continuous"},
               "schedule": {"kind": "flow"}, "labels": {"classes": 1000, "null": 1000}, "batch": None}


def transformer(width=768, depth=12, heads=12):
    """Of the size of DiT-B/2: 256 tokens."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.take, self.give = torch.nn.Linear(16, width), torch.nn.Linear(width, 16)
            self.classes = torch.nn.Embedding(1001, width)
            layer = torch.nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True,
                                                     norm_first=True)
            self.layers = torch.nn.ModuleList([layer if i == 0 else torch.nn.TransformerEncoderLayer(
                width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True) for i in range(depth)])

        def forward(self, x, t, labels):
            tokens = self.take(torch.nn.functional.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2))
            tokens = tokens + (self.classes(labels) + t[:, None])[:, None]
            for layer in self.layers:
                tokens = layer(tokens)
            out = self.give(tokens).transpose(1, 2).reshape(-1, 16, 16, 16)
            return torch.nn.functional.pixel_shuffle(out, 2)

    torch.backends.mha.set_fastpath_enabled(False)  # the plain path is what exports
    return Net().eval()


def networks(folder, device):
    """name: (network or None, card, file, batches)."""
    digits = ROOT / "jobs/digits/model.pt"
    found = {"digits": (None, None, digits, (64,))}
    if device == "cpu":
        return found
    sys.path.insert(0, str(ROOT / "tools"))
    from export.model_file import save
    from make_cifar_net import CARD, Wrapped, build

    for name, network, card in (("cifar", Wrapped(build()).eval(), CARD), ("transformer", transformer(), TRANSFORMER)):
        save(network, card, str(folder / f"{name}.pt"))
        found[name] = network, card, folder / f"{name}.pt", (1, 64, 256)
    return found


def job(folder, name, model, **keys):
    """The path of a job file for the network."""
    path = folder / f"{name}.yaml"
    labels = "none" if name.startswith("cifar") else "balanced"
    path.write_text(json.dumps({"name": name, "model": {"path": str(model)}, "labels": labels, "seeds": "0-127",
                                "batch": 64, "sampler": {"solver": "heun", "nfe": 9},
                                "output": {"dir": str(folder / "run"), "dtype": "float32"}} | keys))
    return path


def made(path, folder, device, *settings, ranks=0):
    """(digest, result, samples) of a fresh run."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    words = [word for setting in (f"device={device}", "share_device=true", *settings) for word in ("--set", setting)]
    result = json.loads(run("generate", path, *words, "--json", ranks=ranks))
    run("export", folder / "run", "--to", "npy", "-o", folder / "x.npy")
    samples = np.load(folder / "x.npy")
    (folder / "x.npy").unlink()
    return result["payload_sha256"], result, samples


# ---- what is computed ----

def interrupted(path, folder, device):
    """A run that is stopped and goes on: its digest."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    words = [str(word) for word in (PROGRAM, "generate", path, "--set", f"device={device}")]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd=ROOT)
    deadline = time.time() + 300
    while first.poll() is None and not list(folder.glob("run/samples/*.zst")) and time.time() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    code = first.wait()
    again = json.loads(run("generate", path, "--set", f"device={device}", "--json"))
    return again["payload_sha256"], "stopped (75) and continued" if code == 75 else f"it ended first ({code})"


SOLVERS = {"heun": {"solver": "heun", "nfe": 9}, "taylor, float32 state": {"solver": "taylor", "nfe": 8,
                                                                           "state": "float32"},
           "SDE (ito-taylor)": {"solver": "ito-taylor", "nfe": 8},
           "guided": {"solver": "heun", "nfe": 9, "guidance": {"scale": 2}},
           "guided, batched": {"solver": "heun", "nfe": 9, "guidance": {"scale": 2, "batched": True}}}


def compute(folder, device, found):
    lines = ["## What it computes", "", "| network, sampler | largest difference from the CPU, of the largest value | "
             "again | 2 ranks | 1, 3 workers | CUDA graphs | stopped |", "|---|---|---|---|---|---|---|"]
    for name, (_, _, model, _) in found.items():
        for solver, sampler in SOLVERS.items():
            guided, flow = "guidance" in sampler, name == "transformer"
            if (guided and name == "cifar") or (flow and sampler["solver"] in ("taylor", "ito-taylor")):
                continue
            path = job(folder, name, model, sampler=sampler)
            digest, _, samples = made(path, folder, device, "workers=2")
            cpu = made(path, folder, "cpu", "workers=2")[2]
            part = np.abs(samples.astype(float) - cpu).max() / np.abs(cpu).max()
            same = lambda *settings, ranks=0: "same" if made(path, folder, device, *settings, ranks=ranks)[0] == \
                digest else "OTHER BITS"
            several = {same(f"workers={workers}") for workers in (1, 3)}
            stopped, how = interrupted(path, folder, device)
            lines.append(f"| {name}, {solver} | {part:.1e} | {same('workers=2')} | {same('workers=1', ranks=2)} | "
                         f"{' and '.join(sorted(several))} | {same('cuda_graphs=true') if device == 'cuda' else ''} | "
                         f"{'same' if stopped == digest else 'OTHER BITS'}: {how} |")
            print(lines[-1], file=sys.stderr)
    return [*lines, ""]


# ---- how fast ----

def forms_of(folder, name, network, card, batch, device):
    """(form, file, settings) of one network, each made as it is asked for."""
    from export import forms
    from export.arguments import arguments_of
    from export.model_file import Inside, save
    import torch

    for dtype in "float32", "bfloat16", "float16":
        for layout in False, True:
            path = folder / f"{name}-{dtype}-{layout}.pt"
            if not path.exists():
                save(network, card, str(path), dtype, channels_last=layout)
            for precision in ("fp32", "tf32") if dtype == "float32" and device == "cuda" else ("fp32",):
                label = dtype if precision == "fp32" else precision
                for graphs in (False, True) if device == "cuda" else (False,):
                    yield (f"TorchScript {label}{' channels_last' * layout}{' CUDA graphs' * graphs}", path,
                           [f"precision={precision}", f"cuda_graphs={str(graphs).lower()}"])
        path = folder / f"{name}-{dtype}-{batch}.pt2"
        inside = network if dtype == "float32" else Inside(network, getattr(torch, dtype)).eval()
        try:
            forms.save_package(inside.requires_grad_(False).to(device), tuple(
                value.to(device) for value in arguments_of(card, batch)), card, path, tolerance=0.05)
        except (RuntimeError, ValueError) as error:
            print(f"{name} .pt2 {dtype} {batch}: {error}", file=sys.stderr)
            continue
        finally:
            network.to("cpu")
        yield f".pt2 {dtype}", path, []


def speeds(folder, device, found):
    lines = ["## How fast", "", "Samples/s end to end (generate, 10 evaluations each, 2 workers), and the part of the "
             "bare model calls' rate (`qtaylor model`, 2 workers).", "",
             "| network | form | batch | samples/s | of the bare calls |", "|---|---|---|---|---|"]
    for name, (network, card, model, batches) in found.items():
        for batch in batches:
            made_forms = forms_of(folder, name, network, card, batch, device) if network else [("as it is", model, [])]
            for form, path, settings in made_forms:
                sampler = {"solver": "euler", "nfe": 10}
                count = max(4 * batch, 64)
                path_of_job = job(folder, name, path, sampler=sampler, seeds=f"0-{count - 1}", batch=batch)
                result = made(path_of_job, folder, device, "workers=2", *settings)[1]
                rate = count / result["generation"]["seconds"]
                tried = json.loads(run("model", path, "--device", device, "--batch", batch, "--json"))["speeds"]
                bare = max(speed["rows_per_second"] for speed in tried)
                of_bare = f"{10 * rate / bare:.2f}" if "tf32" not in form else ""
                lines.append(f"| {name} | {form} | {batch} | {rate:.1f} | {of_bare} |")
                print(lines[-1], file=sys.stderr)
    return [*lines, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    device = parser.parse_args().device
    page = look(device)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as work:
        folder = pathlib.Path(work)
        found = networks(folder, device)
        page += compute(folder, device, found) + speeds(folder, device, found)
    print("\n".join(page))


if __name__ == "__main__":
    main()

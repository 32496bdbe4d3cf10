"""make bench: speed as ratios within one run, on the cores this machine has. Every number is printed with what it
means; nothing here passes or fails."""
import json
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

import torch

from bench_forms import DTYPES, load, memory, forms_of_cifar, forms_of_digits, samples_of_forms
from bench_runs import (BARE, CORES, DIGITS, ENVIRONMENT, PROGRAM, ROOT, bare, best, generate, output, peak, seconds,
                        show)
from bench_sets import sets


def digits(folder):
    count = 64 * 300
    ours, limit = best(
        lambda: seconds(generate(DIGITS, folder / "d", f"seeds=0-{count - 1}", f"workers={CORES}")),
        lambda: bare(ROOT / "jobs/digits/model.pt", (1, 8, 8), 10, 64, 300 * 10, CORES))
    show("digits: bare model calls / generate", limit / ours, ">= 0.92", f"{count / ours:.0f} samples/s at NFE 10")


def layouts(folder):
    """2 ranks x 1 worker and 1 x 2 against two independent processes side by side on halves of the seeds."""
    half = 64 * 150

    def two_processes():
        runs = []
        for i in range(2):
            shutil.rmtree(folder / f"p{i}", ignore_errors=True)
            runs.append(subprocess.Popen(
                [PROGRAM, "generate", DIGITS, "--json", "--set", f"output.dir={folder}/p{i}", "--set",
                 f"seeds={i * half}-{(i + 1) * half - 1}", "--set", "workers=1"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT))
        return max(seconds(json.loads(run.communicate()[0])) for run in runs)

    def one_run(ranks, workers):
        return seconds(generate(DIGITS, folder / "l", f"seeds=0-{2 * half - 1}", f"workers={workers}", ranks=ranks))

    side_by_side, *ours = best(two_processes, lambda: one_run(2, 1), lambda: one_run(1, 2))
    for name, taken in zip(("2 ranks x 1 worker", "1 rank x 2 workers"), ours):
        show(f"two independent processes / {name}", side_by_side / taken, ">= 0.95", f"{taken:.2f} s")


def end_to_end(folder):
    """Samples saved and FID computed, start-up and all for ours; the plain loop's imports and loading left out."""
    count, fids = 10000, {}

    def plain():
        shutil.rmtree(folder / "png", ignore_errors=True)
        said = output([sys.executable, ROOT / "tools/plain_pytorch.py", folder / "png", count, CORES, "torchscript"],
                      input="go\n")
        taken, _, fids["plain"] = map(float, said.split()[1:])
        return taken

    def ours():
        start = time.perf_counter()
        result = generate(DIGITS, folder / "e", f"seeds=0-{count - 1}", "workers=1", ranks=CORES, verb="run")
        fids["ours"] = result["metrics"]["fid"]
        return time.perf_counter() - start

    loop, run = best(plain, ours)
    show("plain PyTorch loop + PNG + scipy FID / run", loop / run, ">= 1.3",
         f"{loop:.1f} s against {run:.1f} s; FID {fids['plain']:.3f} and {fids['ours']:.3f}")


def fifty_thousand(folder):
    start = time.perf_counter()
    result = generate(DIGITS, folder / "f", "seeds=0-49999", "workers=1", ranks=CORES, verb="run")
    print(f"50,000 digits at NFE 10 on {CORES} cores: {seconds(result):.1f} s making, "
          f"{time.perf_counter() - start:.1f} s in all, FID {result['metrics']['fid']:.4f}", flush=True)


DIFFUSERS = """
import sys, time, torch
sys.path.insert(0, 'tools')
from make_cifar_net import build
from diffusers import DDIMPipeline, DDIMScheduler
batches, steps, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
pipeline = DDIMPipeline(build(), DDIMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02))
pipeline.set_progress_bar_config(disable=True)
run = lambda: pipeline(batch_size=8, num_inference_steps=steps, output_type='np')
pipeline(batch_size=8, num_inference_steps=1, output_type='np')
start = time.perf_counter()
for _ in range(batches): run()
print(time.perf_counter() - start)
"""


def cifar(folder):
    model, batches, nfe = folder / "cifar.pt", 16, 5
    output([sys.executable, ROOT / "tools/make_cifar_net.py", model])
    job = folder / "cifar.yaml"
    job.write_text(f"name: cifar\nmodel: {{path: {model}}}\nseeds: 0-{8 * batches - 1}\nbatch: 8\n"
                   f"sampler: {{solver: ddim, nfe: {nfe}}}\noutput: {{dir: {folder}/c, samples_per_shard: 8}}\n")
    ours, limit, theirs = best(
        lambda: seconds(generate(job, folder / "c", f"workers={CORES}")),
        lambda: bare(model, (3, 32, 32), 0, 8, batches * nfe, CORES),
        lambda: float(output([sys.executable, "-c", DIFFUSERS, batches, nfe, CORES], cwd=ROOT)))
    show("CIFAR-10 U-Net: bare model calls / generate", limit / ours, ">= 0.98",
         f"{ours / batches / 8 / nfe * 1e3:.0f} ms a sample-NFE")
    show("CIFAR-10 U-Net: diffusers' DDIMPipeline / generate", theirs / ours, ">= 1.03",
         f"{theirs:.1f} s against {ours:.1f} s")


FREE = """
import sys, json, torch
class Free(torch.nn.Module):
    def forward(self, x, t, labels):
        return x * (0.5 + 0.01 * labels.reshape(-1, 1, 1, 1))
card = {"shape": [3, 32, 32], "prediction": "velocity", "time": {"kind": "continuous"}, "schedule": {"kind": "flow"},
        "labels": {"classes": 10, "null": 10}}
example = torch.zeros(3, 3, 32, 32), torch.zeros(3), torch.zeros(3, dtype=torch.int64)
torch.jit.save(torch.jit.trace(Free(), example), sys.argv[1], _extra_files={"diffusion.json": json.dumps(card)})
"""


def steps(folder):
    """What an op by sample adds to a step, of a network that costs nothing, on one core: as a part of one call of the
    CIFAR-10-size U-Net on the same batch."""
    model, batches, nfe = folder / "cifar.pt", 100, 50
    output([sys.executable, ROOT / "tools/make_cifar_net.py", model])
    output([sys.executable, "-c", FREE, folder / "free.pt"])
    job = folder / "free.yaml"
    job.write_text(f"name: free\nmodel: {{path: {folder}/free.pt}}\nseeds: 0-{8 * batches - 1}\nbatch: 8\n"
                   f"labels: balanced\nsampler: {{solver: euler, nfe: {nfe}, guidance: {{scale: 2}}}}\n"
                   f"output: {{dir: {folder}/s, samples_per_shard: 800}}\n")

    def made(*settings):
        return lambda: seconds(generate(job, folder / "s", "workers=1", *settings))
    plain, apg, threshold, call = best(
        made(), made("sampler.guidance={scale: 2, form: apg, eta: 0.5, norm_threshold: 9, momentum: -0.5}"),
        made("sampler.clip={threshold: 0.995, threshold_max: 1.5}"),
        lambda: bare(model, (3, 32, 32), 0, 8, 5, 1) / 5)
    for name, taken in (("APG", apg), ("dynamic thresholding", threshold)):
        more = (taken - plain) / batches / nfe
        show(f"a step of {name} / a call of the CIFAR-10 U-Net", more / call, "<= 0.03",
             f"{more * 1e3:.2f} ms of {call * 1e3:.0f} ms, batch 8")


LATENTS = """
import sys, json, torch
from torch import nn
folder = sys.argv[1]
class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1),
                                    nn.SiLU(), nn.Conv2d(64, 4, 3, padding=1))
    def forward(self, x, t):
        return self.layers(x) + 0 * t.reshape(-1, 1, 1, 1)
class Told(nn.Module):
    def forward(self, x, t, context):
        return x * context[:, 0, 0].reshape(-1, 1, 1, 1)
class Untold(nn.Module):
    def forward(self, x, t):
        return 0.5 * x
def decoder(width, up):
    return nn.Sequential(nn.Conv2d(4, width, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=up),
                         nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())
def save(network, name, example, extra, card):
    with torch.no_grad():
        torch.jit.save(torch.jit.freeze(torch.jit.trace(network.eval(), example)), f"{folder}/{name}.pt",
                       _extra_files={extra: json.dumps(card)})
torch.manual_seed(0)
card = {"range": None, "prediction": "velocity", "time": {"kind": "continuous"}, "schedule": {"kind": "flow"}}
for side, up in (32, 4), (64, 8):
    z = torch.zeros(3, 4, side, side)
    save(Denoiser(), f"denoiser{side}", (z, torch.zeros(3)), "diffusion.json", {**card, "shape": [4, side, side]})
    save(decoder(16, up), f"decoder{side}", (z,), "decoder.json",
         {"latent": [4, side, side], "image": [3, up * side, up * side], "range": [-1, 1]})
context = {"name": "context", "shape": [77, 768], "null": "zeros"}
z = torch.zeros(3, 4, 8, 8), torch.zeros(3)
save(Untold(), "untold", z, "diffusion.json", {**card, "shape": [4, 8, 8]})
save(Told(), "told", (*z, torch.zeros(3, 77, 768)), "diffusion.json", {**card, "shape": [4, 8, 8], "inputs": [context]})
"""


def latents_job(folder, name, count, batch, **keys):
    """A job file of the networks above."""
    job = folder / f"{name}.yaml"
    job.write_text(json.dumps({"seeds": f"0-{count - 1}", "batch": batch, "workers": 1,
                               "sampler": {"solver": "euler", "nfe": 8},
                               "output": {"dir": str(folder / name), "samples_per_shard": batch}} | keys))
    return job


def decoding(folder):
    """Two workers on sampling and decoding, against one worker on each of the two alone."""
    output([sys.executable, "-c", LATENTS, folder])
    count = 256
    model, decode = {"model": str(folder / "denoiser32.pt")}, {"decode": {"path": str(folder / "decoder32.pt")}}
    both = latents_job(folder, "both", count, 32, **model, **decode, workers=2)
    kept = latents_job(folder, "kept", count, 32, **model, **decode)
    generate(kept, folder / "kept", "output.latents=true")

    def decoded():
        shutil.rmtree(folder / "kept/samples")
        return seconds(json.loads(output([PROGRAM, "decode", folder / "kept", "--json"])))

    wall, sampled, pictures = best(
        lambda: seconds(generate(both, folder / "both")),
        lambda: seconds(generate(kept, folder / "bare", "decode=null", "output.dtype=float32")), decoded)
    show("sampling and decoding, 2 workers / the slower one alone", wall / max(sampled, pictures), "<= 1.05",
         f"{wall:.1f} s; sampling {sampled:.1f} s, decoding {pictures:.1f} s with a worker")


def conditions(folder):
    """Rows of 30,000 x 77 x 768 float16 (3.5 GB, of which all but the header are holes): what they add to a sample, as
    a part of its ten calls of the CIFAR-10-size U-Net, and to the memory of a rank."""
    rows, row, count, nfe = 30000, 77 * 768 * 2, 4096, 10
    output([sys.executable, "-c", LATENTS, folder])
    output([sys.executable, ROOT / "tools/make_cifar_net.py", folder / "cifar.pt"])
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, 77, 768)}}".ljust(117).encode() + b"\n"
    with open(folder / "context.npy", "wb") as file:
        file.write(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header)
        file.truncate(128 + rows * row)
    keys = {"sampler": {"solver": "euler", "nfe": nfe},
            "output": {"dir": str(folder / "x"), "samples_per_shard": 1024, "dtype": "float32"}}
    untold = latents_job(folder, "untold", count, 64, model=str(folder / "untold.pt"), **keys)
    told = latents_job(folder, "told", count, 64, model=str(folder / "told.pt"), **keys,
                       conditions={"context": str(folder / "context.npy")})
    time.sleep(3)  # who wrote to a file just now is not done with it
    starts = []
    for _ in range(2):
        start = time.perf_counter()
        made = seconds(generate(told, folder / "t"))
        starts.append(time.perf_counter() - start - made)
    given, without, call = best(lambda: seconds(generate(told, folder / "t")),
                                lambda: seconds(generate(untold, folder / "u")),
                                lambda: bare(folder / "cifar.pt", (3, 32, 32), 0, 8, 5, 1) / 5 / 8)
    more = (given - without) / count
    show("conditions / a sample of the CIFAR-10 U-Net at NFE 10", more / (nfe * call), "<= 0.01",
         f"{more * 1e3:.2f} ms of {nfe * call * 1e3:.0f} ms; first start {starts[0]:.1f} s, later {starts[1]:.1f} s")
    for name in "t", "u":
        shutil.rmtree(folder / name)
    memory = [peak([PROGRAM, "generate", job, "--set", "workers=2", "--set", f"output.dir={folder}/{name}"])
              for job, name in ((told, "t"), (untold, "u"))]
    show("conditions: resident memory they add, / 200 MB", (memory[0] - memory[1]) / 200, "< 1",
         f"{memory[0]:.0f} MB a rank of 2 workers, {memory[1]:.0f} MB without")


DECODE_BARE = """
import resource, sys, torch
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
network, before = torch.jit.load(sys.argv[1]), peak()
with torch.inference_mode():
    for _ in range(3): network(torch.randn(8, 4, 64, 64))
print(peak() - before)
"""


def decoder_memory(folder):
    """A decoder of 4x64x64 latents to 3x512x512 pictures, 8 a call, behind batches of 64."""
    output([sys.executable, "-c", LATENTS, folder])
    network = float(output([sys.executable, "-c", DECODE_BARE, folder / "decoder64.pt"]))
    model = {"model": str(folder / "denoiser64.pt")}
    decoded = latents_job(folder, "decoded", 128, 64, **model,
                          decode={"path": str(folder / "decoder64.pt"), "batch": 8})
    latents = latents_job(folder, "latents", 128, 64, **model,
                          output={"dir": str(folder / "latents"), "dtype": "float32"})
    with_it, without = peak([PROGRAM, "generate", decoded]), peak([PROGRAM, "generate", latents])
    show("memory of decoding, batch 64 / the network's own on 8", (with_it - without) / network, "< 1.5",
         f"{with_it - without:.0f} MB against {network:.0f} MB")


FEATURES = """
import sys, numpy as np
folder, d, n = sys.argv[1], 2048, 10000
mix = (np.random.default_rng(2).normal(size=(d, d)) * np.exp(-np.arange(d) / 300)[:, None] * 0.05).astype(np.float32)
for name, shift in (("samples", 0.1), ("reference", 0.11)):
    normal = np.random.default_rng(len(name)).normal(size=(n, d)).astype(np.float32)
    rows = np.maximum(normal @ mix + np.float32(shift), 0)
    np.save(f"{folder}/{name}.npy", rows)
    np.savez(f"{folder}/{name}.npz", mu=rows.mean(0, dtype=float), sigma=np.cov(rows.astype(float), rowvar=False))
"""
ROUTES = """
import sys, time, warnings, numpy as np, scipy.linalg
warnings.simplefilter("ignore")
a, b = (np.load(f"{sys.argv[1]}/{name}.npz") for name in ("samples", "reference"))
def timed(root):
    start = time.perf_counter()
    value = root(a["sigma"].dot(b["sigma"]))
    return time.perf_counter() - start
print(timed(lambda product: np.trace(scipy.linalg.sqrtm(product, disp=False)[0].real)),
      timed(lambda product: np.sqrt(np.linalg.eigvals(product).astype(complex)).real.sum()))
"""


def evaluation(folder):
    """Frechet distances of ReLU-like features with a spectrum that falls, d = 2048, on one core."""
    single = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def alone(command):
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True,
                              env=single).stdout

    output([sys.executable, "-c", FEATURES, folder])
    sqrtm, eigvals = map(float, alone([sys.executable, "-c", ROUTES, folder]).split())
    runs = [json.loads(alone([BARE.with_name("bare_eval"), folder / "samples.npy", folder / "reference.npz"]))
            for _ in range(3)]
    ours = {key: min(run[key] for run in runs) for key in runs[0]}
    show("Frechet, d = 2048: pytorch-fid's sqrtm / ours", sqrtm / ours["distance"], ">= 7",
         f"{sqrtm:.1f} s against {ours['distance']:.2f} s")
    show("Frechet, d = 2048: torch-fidelity's eigvals / ours", eigvals / ours["distance"], ">= 2", f"{eigvals:.1f} s")
    show("moments of 50,000 x 2048: BLAS's syrk / ours", ours["syrk"] / ours["moments"], ">= 0.7",
         f"{ours['moments']:.1f} s")
    show("jackknife of 20 blocks / one distance", ours["jackknife"] / ours["distance"], "<= 25",
         f"{ours['jackknife']:.1f} s")


def image_sets(folder):
    sets(folder, PROGRAM, BARE.with_name("bare_eval"), ENVIRONMENT, show)


def scale(folder):
    """The coordinator under a virtual clock: units of 20 s, ranks of different speed (tools/simulate.c)."""
    print(f"\n{'ranks':>6} {'units':>7} {'cells':>5} {'deaths':>6} {'messages/s':>10} {'most in 1 s':>11} {'idle':>6} "
          f"{'tail':>7} {'a step':>9} {'of a core':>9}")
    for arguments in ((64, 10000, 1, 0), (1024, 100000, 1, 0), (1024, 100000, 1, 20), (1024, 100000, 100, 20),
                      (4096, 400000, 100, 80)):
        run = json.loads(output([ROOT / "build/fake/simulate", *arguments]))
        print(f"{run['ranks']:>6} {run['units']:>7} {run['cells']:>5} {run['deaths']:>6} "
              f"{run['messages_per_second']:>10.0f} {run['peak_messages_per_second']:>11} "
              f"{run['idle_share']:>6.2%} {run['tail_seconds']:>5.0f} s "
              f"{run['step_microseconds']:>6.2f} us {run['coordinator_share']:>9.2%}", flush=True)


def processor():
    """What Linux calls it, and what PyTorch makes use of; what the numbers hang on."""
    names = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    without = "" if "bfloat16" in DTYPES else ", no bfloat16: left out"
    return f"{(names or [platform.machine()])[0]}, {torch.backends.cpu.get_cpu_capability()}{without}"


def main():
    parts = (digits, layouts, end_to_end, fifty_thousand, cifar, steps, decoding, conditions, decoder_memory,
             evaluation, image_sets, forms_of_digits, forms_of_cifar, samples_of_forms, load, memory, scale)
    wanted = [part for part in parts if part.__name__ in sys.argv[1:] or len(sys.argv) == 1]
    print(f"{CORES} cores ({processor()}); steady state after warm-up, start-up left out unless said; the best of "
          "three, in turns\n", flush=True)
    output(["make", "build/torch/bare_calls", "build/torch/bare_eval"], cwd=ROOT)
    output(["make", "SHIM=fake", "build/fake/simulate"], cwd=ROOT)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        for part in wanted:
            part(pathlib.Path(name))


if __name__ == "__main__":
    main()

"""The parts of make bench that compare the forms of a network: how fast they are beside PyTorch's own ways, all on one
core, and how far their samples lie apart; and what a large model costs in time and memory. Forms are made once and
kept in build/forms. bfloat16 is left out where the processor has no arithmetic of it."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import torch

from bench_runs import (DIGITS, ENVIRONMENT, PROGRAM, ROOT, bare, best, generate, generate_command, output, seconds,
                        show)
from export.forms import shorter_types
from qtaylor import Run

ONE = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
DTYPES = ["float32", *(["bfloat16"] if "bfloat16" in shorter_types() else [])]
FORMS = [(form, dtype) for dtype in DTYPES for form in ("torchscript", "aoti")]
NETWORKS = {"digits": ("tools/digits_forms.py", 64), "cifar": ("tools/make_cifar_net.py", 8)}


def form_file(network, form, dtype):
    """The exported file; made where it is not there, or older than its network."""
    script, batch = NETWORKS[network]
    folder = ROOT / f"build/forms/{network}-{form}-{dtype}-{torch.__version__}"
    model = folder / ("model.pt2" if form == "aoti" else "model.pt")
    if model.exists() and model.stat().st_mtime > (ROOT / script).stat().st_mtime:
        return model
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    card = folder.parent / f"{network}.json"
    output([sys.executable, ROOT / script, "--card", card])
    batch = ["--batch", batch] if form == "aoti" else []
    output([sys.executable, ROOT / "tools/export.py", "module", f"{ROOT / script}:make", folder, "--card", card,
            "--format", form, "--dtype", dtype, "--channels-last", *batch])
    return model


class Peer:
    """A program that has warmed up when it prints its first line, works once a line that it reads, and prints the
    seconds that this took: what it compiles is no part of them. started: seconds up to that first line."""

    def __init__(self, *command):
        begun = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, *map(str, command)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=ONE, cwd=ROOT)
        self.read()
        self.started = time.perf_counter() - begun

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench: {self.process.args} ended")
        return line

    def __call__(self):
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return float(self.read().split()[0])

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def few_of_cifar(folder, count, nfe, dtype="uint8"):
    """A job; the model is a setting."""
    job = folder / "cifar.yaml"
    job.write_text(f"name: cifar\nmodel: {{path: x.pt}}\nseeds: 0-{count - 1}\nbatch: 8\nsampler: {{solver: ddim, nfe: "
                   f"{nfe}}}\noutput: {{dir: {folder}/c, samples_per_shard: 8, dtype: {dtype}}}\n")
    return job


def measure_forms(folder, network, job, shape, classes, calls, peers, *settings):
    """Least seconds by name: (form, dtype) of our runs, with `bare` of the bare calls, and those of the peers."""
    batch, measures = NETWORKS[network][1], dict(peers)
    for form in FORMS:
        model = form_file(network, *form)
        measures[form] = lambda model=model: seconds(generate(job, folder / "f", f"model.path={model}", "workers=1",
                                                             *settings))
        measures[("bare", *form)] = lambda model=model: bare(model, shape, classes, batch, calls, 1)
    found = dict(zip(measures, best(*measures.values())))
    for form in FORMS:
        show(f"{network}, {' '.join(form)}: bare model calls / generate", found[("bare", *form)] / found[form],
             ">= 0.96" if network == "digits" else ">= 0.98", f"{found[form]:.1f} s")
    return found


def fastest(found, dtype):
    return min((form for form in FORMS if form[1] == dtype), key=lambda form: found[form])


PIPELINE = """
import sys, time, torch, numpy as np
sys.path.insert(0, 'tools')
from make_cifar_net import build
from diffusers import DDIMPipeline, DDIMScheduler
way, batches, steps, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(1)
unet, scheduler = build(), DDIMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02)
dtype = getattr(torch, way) if way != 'pipeline' else torch.float32
unet = unet.to(dtype)
compiled = unet if way == 'pipeline' else torch.compile(unet)
pipeline = DDIMPipeline(unet, scheduler)
pipeline.set_progress_bar_config(disable=True)
@torch.inference_mode()
def run(steps):
    if way == 'pipeline':
        return pipeline(batch_size=8, num_inference_steps=steps, output_type='np')
    x = torch.randn(8, 3, 32, 32)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(compiled(x.to(dtype), t).sample.float(), t, x).prev_sample
    np.save(folder + '/peer.npy', (x * 127.5 + 128).clip(0, 255).to(torch.uint8).numpy())
run(2)
print('ready', flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(batches): run(steps)
    print(time.perf_counter() - start, flush=True)
"""


def forms_of_cifar(folder):
    """The CIFAR-10-size U-Net to samples on disk, by DDIM."""
    batches, nfe = 3, 5
    job = few_of_cifar(folder, 8 * batches, nfe)
    peers = {way: Peer("-c", PIPELINE, way, batches, nfe, folder) for way in ("pipeline", *DTYPES)}
    found = measure_forms(folder, "cifar", job, (3, 32, 32), 0, batches * nfe, peers)
    for peer in peers.values():
        peer.end()
    for peer, dtype, goal in (("pipeline", "float32", ">= 1.15"), ("pipeline", "bfloat16", ">= 1.9"),
                              ("float32", "float32", ">= 1.05"), ("bfloat16", "bfloat16", ">= 1.05")):
        if dtype not in DTYPES:
            continue
        name = "diffusers' pipeline" if peer == "pipeline" else "a loop of torch.compile'd calls"
        ours = fastest(found, dtype)
        show(f"CIFAR-10 U-Net: {name} / best {dtype}", found[peer] / found[ours], goal,
             f"{found[peer]:.1f} s against {found[ours]:.1f} s ({ours[0]})")


def forms_of_digits(folder, count=10000):
    """10,000 digits to their FID."""
    measure_forms(folder, "digits", DIGITS, (1, 8, 8), 10, -(-count // 64) * 10, {}, f"seeds=0-{count - 1}")
    ways, whole = ("torchscript", *DTYPES), {}
    peers = {way: Peer(ROOT / "tools/plain_pytorch.py", folder / way, count, 1, way) for way in ways}

    def ours(dtype):
        """Making and evaluating; what comes before the first sample is part of `whole`."""
        begun = time.perf_counter()
        result = generate(DIGITS, folder / "e", "workers=1", f"seeds=0-{count - 1}",
                          f"model.path={form_file('digits', 'aoti', dtype)}", verb="run")
        whole[dtype] = min(time.perf_counter() - begun, whole.get(dtype, float("inf")))
        return seconds(result) + event(folder / "e", "concluded")

    found = best(*peers.values(), *[lambda dtype=dtype: ours(dtype) for dtype in DTYPES])
    loops, runs = dict(zip(ways, found)), dict(zip(DTYPES, found[len(ways):]))
    for peer in peers.values():
        peer.end()
    for way, dtype, goal in (("torchscript", "float32", ">= 1.6"), ("torchscript", "bfloat16", ">= 1.6"),
                             ("float32", "float32", ">= 1.25"), ("bfloat16", "bfloat16", ">= 1.25")):
        if dtype not in DTYPES:
            continue
        name = "plain PyTorch loop" if way == "torchscript" else f"torch.compile'd loop in {way}"
        show(f"digits, one core: {name} + PNG + scipy FID / run", loops[way] / runs[dtype], goal,
             f"{loops[way]:.1f} s against {runs[dtype]:.1f} s (aoti, {dtype})")
        if way == "torchscript":
            from_start = loops[way] + peers[way].started
            show("the same, start-up of both included", from_start / whole[dtype], "-",
                 f"{from_start:.1f} s against {whole[dtype]:.1f} s")


def rows_of(run):
    return Run(run).samples().astype(float)


def samples_of_forms(folder, count=5000):
    """How far the samples of each form are from those of TorchScript in float32: of digits by their FID, too."""
    for network, seeds in ("digits", count), ("cifar", 16):
        job = DIGITS
        if network == "cifar":
            job = few_of_cifar(folder, seeds, 5, dtype="float32")
        for form in FORMS:
            generate(job, folder / "-".join((network, *form)), f"model.path={form_file(network, *form)}",
                     f"seeds=0-{seeds - 1}", verb="run" if network == "digits" else "generate")
        names = [folder / "-".join((network, *form)) for form in FORMS]
        first, unit = rows_of(names[0]), "grey levels of 255" if network == "digits" else "of the range -1 to 1"
        for form, name in list(zip(FORMS, names))[1:]:
            apart = abs(rows_of(name) - first)
            print(f"{network}, {' '.join(form)}: {seeds} samples differ from TorchScript's in float32 by "
                  f"{apart.mean():.3g} on average and {apart.max():.3g} at most ({unit})", flush=True)
            if network != "digits":
                continue
            found = json.loads(output([PROGRAM, "compare", name, ROOT / "jobs/digits/reference.npz", "--features",
                                       ROOT / "jobs/digits/features.pt", "--versus", names[0], "--json"]))
            fid = found["metrics"]
            delta, paired, error = (fid[key] for key in ("fid_delta", "fid_delta_error", "fid_error"))
            show(f"digits, {' '.join(form)}: |FID difference| / FID's error", abs(delta) / error, "< 1",
                 f"{delta:+.4f} ± {paired:.4f}, paired, of {fid['fid_corrected']:.3f} ± {error:.3f}")


BIG = """
import json, sys, torch
class Big(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3072, 3072) for _ in range(int(sys.argv[2])))
    def forward(self, x, t):
        h = x.flatten(1)
        for layer in self.layers:
            h = h + 0.1 * torch.tanh(layer(h))
        return h.reshape(x.shape)
card = {"shape": [3, 32, 32], "prediction": "velocity", "time": {"kind": "continuous"}, "schedule": {"kind": "flow"}}
network = Big().eval()
torch.save(network.state_dict(), sys.argv[1] + "/weights.pth")
with torch.no_grad():
    traced = torch.jit.freeze(torch.jit.trace(network, (torch.zeros(3, 3, 32, 32), torch.zeros(3))))
torch.jit.save(traced, sys.argv[1] + "/big.pt", _extra_files={"diffusion.json": json.dumps(card)})
"""
LOADS = """
import sys, time, torch
start = time.perf_counter()
(torch.jit.load if sys.argv[1].endswith('.pt') else torch.load)(sys.argv[1])
print(time.perf_counter() - start)
"""


def write_big(folder, layers=10):
    """A network of 38 MB a layer and its job."""
    output([sys.executable, "-c", BIG, folder, layers])
    time.sleep(4)  # who wrote to a file just now is not done with it, and it is not shared
    job = folder / "big.yaml"
    job.write_text(f"name: big\nmodel: {{path: {folder}/big.pt}}\nseeds: 0-63\nbatch: 4\nworkers: 1\n"
                   f"sampler: {{solver: euler, nfe: 3}}\noutput: {{dir: {folder}/b, samples_per_shard: 4}}\n")
    return job


def event(folder, key):
    """The seconds of the first one with this key in a run's log."""
    lines = (folder / "log/rank-0000.jsonl").read_text().splitlines()
    return next(found["seconds"] for found in map(json.loads, lines) if key in found)


def load(folder):
    """What a rank does before it can call a large model, its digest and checksums taken, against PyTorch. Each way
    twice in a row, the first of which brings the file into memory."""
    for layers in 10, 212:
        size = layers * 3072 * 3073 * 4 / 1e9
        if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 2.5e9 * size:
            print(f"a model of {size:.1f} GB is left out: this machine's memory is less than {2.5 * size:.0f} GB")
            continue
        job = write_big(folder, layers)

        def ours(job=job):
            generate(job, folder / "b", "seeds=0-3")
            return event(folder / "b", "loaded")

        def theirs(name):
            return lambda: float(output([sys.executable, "-c", LOADS, folder / name]))

        took, script, weights = (best(one, repeats=2)[0] for one in (ours, theirs("big.pt"), theirs("weights.pth")))
        for name, other in ("torch.jit.load", script), ("torch.load of its weights", weights):
            show(f"a model of {size:.1f} GB: {name} / loading and checking it", other / took, "-",
                 f"{other:.2f} s against {took:.2f} s")


def resident(launcher):
    """MB of each process that runs our program under this one: Pss, its own and its part of what is shared."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.getsid(int(entry)) == launcher.pid and os.path.samefile(f"/proc/{entry}/exe", PROGRAM):
                lines = pathlib.Path(f"/proc/{entry}/smaps_rollup").read_text().splitlines()
                found += [int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")]
        except OSError:
            continue
    return found


def memory_of_ranks(name, goal, job, folder, *settings):
    alone = 0
    for ranks in 1, 2, 4:
        shutil.rmtree(folder / "b", ignore_errors=True)
        process, most = subprocess.Popen(generate_command(job, folder / "b", *settings, ranks=ranks), env=ENVIRONMENT,
                                         stdout=subprocess.DEVNULL, start_new_session=True), 0
        while process.poll() is None:
            if (folder / "b/samples").exists() and any((folder / "b/samples").iterdir()):
                found = resident(process)
                most = max(most, sum(found) / ranks) if len(found) == ranks else most
            time.sleep(0.02)
        if process.returncode != 0 or not most:
            sys.exit(f"bench: a run of {ranks} ranks ended with {process.returncode}")
        alone = alone or most
        show(f"{name}: memory a rank of {ranks} / of one alone", most / alone, goal if ranks > 1 else "-",
             f"{most:.0f} MB")


def memory(folder):
    """Of ranks of one machine while they make samples: TorchScript's weights are shared, a package's are not."""
    memory_of_ranks("a model of 378 MB", "< 0.6", write_big(folder), folder)
    memory_of_ranks("a package of 143 MB", "-", few_of_cifar(folder, 64, 2), folder, "workers=1",
                    f"model.path={form_file('cifar', 'aoti', 'float32')}")

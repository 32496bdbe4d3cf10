"""The part of make bench that compares sets of images: whole FIDs of image files, three networks in one pass, CMMD. All
of it on one core, in seconds of that core: what else the machine does does not count."""
import json
import os
import subprocess
import sys

ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# Folders of PNGs and JPEGs, and arrays; small networks as both tools take them.
SETS = """
import json, os, sys, numpy as np, torch
from PIL import Image
folder, count = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
base = rng.integers(0, 256, (64, 9, 9, 3), dtype=np.uint8)
for kind in ("png", "jpg"):
    os.makedirs(f"{folder}/{kind}")
for i in range(count):
    image = np.asarray(Image.fromarray(base[i % 64]).resize((64, 64), Image.BICUBIC)).astype(int)
    image = Image.fromarray((image + rng.integers(-9, 10, image.shape)).clip(0, 255).astype(np.uint8))
    image.save(f"{folder}/png/{i:05d}.png")
    image.save(f"{folder}/jpg/{i:05d}.jpg", quality=90)
class Small(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.convolve = torch.nn.Conv2d(3, width, 8, 8)
        self.last = torch.nn.Linear(width, 64)
    def forward(self, x):
        return self.last(torch.relu(self.convolve(x.float() / 255)).mean((2, 3)))
class Deep(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        c = torch.nn.Conv2d
        relu = torch.nn.ReLU()
        self.layers = torch.nn.Sequential(c(3, width, 3, 2), relu, c(width, 2 * width, 3, 2), relu,
                                          c(2 * width, 64, 3, 2), relu)
    def forward(self, x):
        return self.layers(x.float() / 255).mean((2, 3))
torch.manual_seed(0)
networks = {"small": Small(16)} | {f"deep{width}": Deep(width) for width in (24, 32, 40)}
for name, network in networks.items():
    traced = torch.jit.trace(network.eval(), torch.zeros(2, 3, 64, 64, dtype=torch.uint8), check_trace=False)
    card = {"shape": [3, 64, 64], "range": [0, 255], "outputs": {"pool": 64}}
    traced.save(f"{folder}/{name}.pt", _extra_files={"features.json": json.dumps(card)})
for times in (1, 3):
    np.save(f"{folder}/{times}.npy", rng.integers(0, 256, (times * 2048, 64, 64, 3), dtype=np.uint8))
wide = np.random.default_rng(1).normal(size=(3000, 768)).astype("f4")
for name in "ab":
    np.save(f"{folder}/{name}.npy", np.tile(wide, (int(sys.argv[3]) // 3000, 1)) + rng.normal(0, .1, 768).astype("f4"))
"""

# pytorch-fid's own script on the network, with its loader; of torchvision, which it imports, ToTensor alone is used.
PEER = """
import sys, time, types, numpy as np, torch
def stub(name, **members):
    sys.modules[name] = module = types.ModuleType(name)
    module.__dict__.update(members)
    return module
class ToTensor:
    def __call__(self, image):
        return torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
blocks = {f"Inception{letter}": torch.nn.Module for letter in "ACE"}
inception = stub("torchvision.models.inception", **blocks)
models = stub("torchvision.models", inception=inception)
stub("torchvision", models=models, transforms=stub("torchvision.transforms", ToTensor=ToTensor), __version__="0.20.0")
from pytorch_fid import fid_score
torch.set_num_threads(1)
network = torch.jit.load(f"{sys.argv[1]}/small.pt")
class Features(torch.nn.Module):
    def forward(self, x):
        return [network((x * 255).to(torch.uint8))[:, :, None, None]]
def statistics(path):
    return fid_score.compute_statistics_of_path(path, Features(), 50, 64, "cpu", 0)
start = time.process_time()
reference = statistics(f"{sys.argv[1]}/png")  # which a user has in a file
made = time.process_time() - start
fid_score.calculate_frechet_distance(*statistics(f"{sys.argv[1]}/{sys.argv[2]}"), *reference)
print(time.process_time() - made)
"""

# The networks' bare calls on the batches that qtaylor makes.
BARE_CALLS = """
import sys, time, torch
torch.set_num_threads(1)
total = 0
for name in ("deep24", "deep32", "deep40"):
    network, batch = torch.jit.load(f"{sys.argv[1]}/{name}.pt").eval(), torch.zeros(64, 3, 64, 64, dtype=torch.uint8)
    with torch.inference_mode():
        for warm in range(4):
            network(batch)
        start = time.process_time()
        for call in range(64):
            network(batch)
        total += time.process_time() - start
print(total)
"""


class Alone:
    """Programs on the first core of those that there are."""

    def __init__(self, program, environment, show):
        self.program, self.show = program, show
        self.environment = {**environment, **ONE}
        self.core = str(min(os.sched_getaffinity(0)))

    def run(self, *command):
        return subprocess.run(["taskset", "-c", self.core, *map(str, command)], capture_output=True, text=True,
                              check=True, env=self.environment).stdout

    def python(self, text, *arguments):
        return float(self.run(sys.executable, "-W", "ignore", "-c", text, *arguments))

    def compare(self, *arguments):
        before = os.times()
        self.run(self.program, "compare", *arguments)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system


def image_sets(alone, folder, count, repeats):
    alone.run(alone.program, "reference", folder / "png", "--features", folder / "small.pt", "-o", folder / "ref.npz")
    for kind, name in (("png", "PNGs"), ("jpg", "JPEGs")):
        times = [(alone.python(PEER, folder, kind),
                  alone.compare(folder / kind, folder / "ref.npz", "--features", folder / "small.pt"))
                 for _ in range(repeats)]
        theirs, ours = map(min, zip(*times))
        alone.show(f"FID of {count:,} {name}, one core: pytorch-fid / ours", theirs / ours, ">= 3",
                   f"{theirs:.1f} s against {ours:.1f} s, start-up included in both")


def one_pass(alone, folder, repeats):
    """What 4,096 images more cost, three networks at once, on top of reading them."""
    networks = [f"--features={folder}/deep{width}.pt" for width in (24, 32, 40)]

    def ours():
        small = alone.compare(folder / "1.npy", folder / "1.npy", *networks)
        return (alone.compare(folder / "3.npy", folder / "1.npy", *networks) - small)

    taken, calls = map(min, zip(*[(ours(), alone.python(BARE_CALLS, folder)) for _ in range(repeats)]))
    alone.show("three networks in one pass / the sum of their bare calls", taken / calls, "<= 1.05",
               f"{taken:.1f} s of 4,096 images more")


def cmmd(alone, bare_eval, folder):
    found = json.loads(alone.run(bare_eval, folder / "a.npy", folder / "b.npy", "cmmd"))
    alone.show(f"CMMD of {found['count']:,} x 768: its rate / BLAS's gemm", found["gemm"] / found["cmmd"], ">= 0.7",
               f"{found['cmmd']:.0f} s, {found['megabytes']:.0f} MB (goal < 1,000)")


def sets(folder, program, bare_eval, environment, show, count=10000, rows=30000, repeats=3):
    alone = Alone(program, environment, show)
    subprocess.run([sys.executable, "-W", "ignore", "-c", SETS, str(folder), str(count), str(rows)], check=True,
                   env=environment)
    image_sets(alone, folder, count, repeats)
    one_pass(alone, folder, repeats)
    cmmd(alone, bare_eval, folder)

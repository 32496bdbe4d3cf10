"""A model file in use: its ranks share one copy of the weights, the samples are those of weights of their own, and who
writes to it meanwhile is told."""
import json
import os
import pathlib
import subprocess
import time

import pytest

from conftest import CARD, FAKE, TORCH, environment, mpirun

SETTLES = 3.5  # s, after which a file's times would show a change
WEIGHTS = 64  # MB


def test_a_model_that_changes_meanwhile(job):
    job.model |= {"delay_ms": 30, "padding": "-" * (1 << 20)}
    job.keys["workers"] = 1
    path = job.write()
    time.sleep(SETTLES)
    process = subprocess.Popen([FAKE, "run", path], env=environment(), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((job.run / "samples").glob("0*.zst")):
        time.sleep(0.005)
    before = (job.folder / "model.json").stat()
    with open(job.folder / "model.json", "r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"other")
    os.utime(job.folder / "model.json", ns=(before.st_atime_ns, before.st_mtime_ns))  # ctime tells all the same
    said = process.communicate()[1]
    assert process.returncode == 74 and "model.json was changed while it was in use" in said
    assert not (job.run / "log/failures.jsonl").exists() or not (job.run / "log/failures.jsonl").read_text()
    made = len(list((job.run / "samples").glob("0*.zst")))
    assert 0 < made < 7


def test_a_model_that_is_replaced_by_another_file_meanwhile(job):
    """Its bytes are the old ones, as long as they are in use."""
    job.model |= {"delay_ms": 10, "padding": "-" * (1 << 20)}
    path = job.write()
    time.sleep(SETTLES)
    process = subprocess.Popen([FAKE, "run", path], env=environment(), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((job.run / "samples").glob("0*.zst")):
        time.sleep(0.005)
    (job.folder / "new").write_text("{}")
    os.replace(job.folder / "new", job.folder / "model.json")
    assert process.communicate()[1] and process.returncode == 0
    assert len(list((job.run / "samples").glob("0*.zst"))) == 7


def own_memory(process):
    """MB of each rank that are no file's."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.getsid(int(entry)) == process.pid and os.path.samefile(f"/proc/{entry}/exe", TORCH):
                lines = pathlib.Path(f"/proc/{entry}/smaps_rollup").read_text().splitlines()
                found += [int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss_Anon:")]
        except OSError:
            continue
    return found


def run_watched(job):
    """A run of two ranks: the most that one of them had for itself, once there are samples."""
    process, most = subprocess.Popen([*mpirun(2), TORCH, "run", job.write()], env=environment(), text=True,
                                     start_new_session=True, stderr=subprocess.PIPE), 0
    while process.poll() is None:
        if (job.run / "samples").exists() and list((job.run / "samples").glob("0*.zst")):
            most = max([most, *own_memory(process)])
        time.sleep(0.01)
    assert process.returncode == 0, process.communicate()[1]
    assert most > 0
    return most


def write_network(job, frozen):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(16, WEIGHTS << 13), torch.nn.Linear(WEIGHTS << 13, 16))

        def forward(self, x, t, labels):
            return 0.5 * x + 0.01 * self.layers(x.flatten(1)).reshape(x.shape) * t.cos().reshape(-1, 1, 1, 1)

    torch.manual_seed(0)
    with torch.no_grad():
        traced = torch.jit.trace(Net().eval(), (torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.zeros(2, dtype=int)))
        traced = torch.jit.freeze(traced) if frozen else traced
    torch.jit.save(traced, str(job.folder / "model.pt"), _extra_files={"diffusion.json": json.dumps(CARD)})
    job.keys |= {"model": "model.pt", "seeds": "0-63", "batch": 2, "workers": 1}
    job.keys["output"]["samples_per_shard"] = 2


@pytest.mark.parametrize("frozen", [False, True])
def test_ranks_share_the_weights(job, frozen):
    write_network(job, frozen)
    late = time.time() + 1e5
    os.utime(job.folder / "model.pt", (late, late))  # it may yet change at any time, and so is not shared
    own = run_watched(job)
    digest = job.digest()
    os.utime(job.folder / "model.pt", (0, 0))
    time.sleep(SETTLES)
    job.keys["output"]["dir"] += "-shared"
    shared = run_watched(job)
    assert job.digest() == digest
    assert own - shared > 0.8 * WEIGHTS, (own, shared)


def test_a_model_that_is_cut_short_meanwhile(job):
    write_network(job, True)
    time.sleep(SETTLES)
    process = subprocess.Popen([TORCH, "run", job.write()], env=environment(), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((job.run / "samples").glob("0*.zst")):
        time.sleep(0.005)
    os.truncate(job.folder / "model.pt", 4096)
    said = process.communicate()[1]
    assert process.returncode != 0
    assert f"{job.folder}/model.pt was cut short or can no longer be read" in said or "was changed while" in said

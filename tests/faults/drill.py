"""A tiny run that can be broken at any call (fault.c), and what must hold after it was resumed."""
import json
import subprocess
import time

from conftest import FAKE, FAULT, ROOT, environment, mpirun, qtaylor

SAMPLES, BATCH, SHARDS = 32, 4, 8
QUICK = {"OMPI_MCA_odls_base_sigkill_timeout": 0}  # mpirun does not wait a second before it kills the others


assert FAULT.exists(), f"{FAULT} is missing: make SHIM=fake build/tests/fault.so"


class Drill:
    def __init__(self, job, delay=0):
        self.job, self.run = job, job.run
        job.keys.update(seeds=f"0-{SAMPLES - 1}", batch=BATCH, workers=1)
        job.keys["output"]["samples_per_shard"] = SAMPLES // SHARDS
        job.model["delay_ms"] = delay
        job.add_evaluation()
        self.path = job.write()
        self.notes = job.folder / "faults.log"
        self.remade = 0  # shards that may have been made twice (units in flight when a lease ended)

    def command(self, ranks, faults="", options=()):
        preload = ["-x", f"LD_PRELOAD={FAULT}"] if faults else []
        return mpirun(ranks, *options, *preload) + [str(FAKE), "run", str(self.path)]

    def start(self, ranks, faults="", options=(), **env):
        env = environment(**QUICK, QTAYLOR_FAULTS=faults, QTAYLOR_FAULT_LOG=self.notes, **env)
        if faults and not ranks:
            env["LD_PRELOAD"] = str(FAULT)
        # A session of its own: "all" in a fault is all of this, and nothing of the tests.
        return subprocess.Popen(self.command(ranks, faults, options), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env=env, cwd=ROOT, start_new_session=True)

    def break_it(self, ranks, faults, code=None, options=(), **env):
        """Runs with faults to its end; returns all it said."""
        process = self.start(ranks, faults, options, **env)
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:  # mpirun at times overlooks that all its ranks are dead
            assert not ranks_of(process), "ranks live on"
            process.kill()
            out, err = process.communicate()
        wait_for_ranks(process)
        if code is not None:
            assert process.returncode == code, f"{faults}: exit {process.returncode}, expected {code}\n{out}{err}"
        self.code = process.returncode
        return out + err

    def fired(self):
        return self.notes.exists() and "fired" in self.notes.read_text()

    def committed(self):
        """Shards as often as the logs say that they were committed."""
        lines = [line for log in self.run.glob("log/rank-*.jsonl") for line in log.read_text().splitlines()]
        return sorted(json.loads(line)["shard"] for line in lines if line.endswith("}") and '"shard"' in line)

    def samples_there(self):
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in self.run.glob("samples/*.npy.zst")}

    def resume(self, ranks, whole):
        """The oracle: goes on with this many ranks, keeps what is whole, and ends with the uninterrupted run's
        samples."""
        before = self.samples_there()
        done = qtaylor("run", self.path, "--json", ranks=ranks, **QUICK)
        assert (self.job.digest(), json.loads((self.run / "metrics.json").read_text())["metrics"]["fid"]) == whole
        after = self.samples_there()
        kept = {path: stamp for path, stamp in after.items() if path in before}
        assert kept == before, "a whole shard was made again"
        assert json.loads(done.stdout)["made_now"] == SAMPLES - len(before) * SAMPLES // SHARDS
        assert [path.name for path in sorted(after)] == [f"{i:06d}.npy.zst" for i in range(SHARDS)]
        self.check_seeds()
        committed = self.committed()
        assert len(committed) - len(set(committed)) <= self.remade, committed
        self.check_folder()

    def check_seeds(self):
        records = [json.loads(line) for line in (self.run / "manifest.jsonl").read_text().splitlines()]
        seeds = []
        for record in records:
            first, _, last = record["seeds"].partition("-")
            seeds += range(int(first), int(last or first) + 1)
        assert seeds == list(range(SAMPLES)) and [record["id"] for record in records] == list(range(SHARDS))

    def check_folder(self):
        assert not [path for path in self.run.rglob("*") if ".tmp-" in path.name]
        verify = subprocess.run([FAKE, "verify", self.run], capture_output=True, text=True, env=environment())
        assert verify.returncode == 0, verify.stdout + verify.stderr


def ranks_of(process):
    found = subprocess.run(["pgrep", "-s", str(process.pid), "-f", f"^{FAKE} "], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def wait_for_ranks(process):
    """Ranks may outlive a launcher that was killed."""
    deadline = time.monotonic() + 20
    while ranks_of(process):
        assert time.monotonic() < deadline, "ranks live on without their launcher"
        time.sleep(0.02)

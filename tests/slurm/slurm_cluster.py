"""A real two-node SLURM on this machine (cluster.sh), for as long as the tests here run; and jobs made from slurm/'s
scripts."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
import zlib

from conftest import FAKE, ROOT, Job, environment, quick_start

HERE = pathlib.Path(__file__).resolve().parent
PLACE = zlib.crc32(str(ROOT).encode())  # a cluster of its own for each working tree
FOLDER = pathlib.Path(f"/tmp/qtaylor-slurm-{PLACE:08x}")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "mpirun")
SEEDS = 50_000  # as generate-50k.sbatch says


def why_not():
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    try:
        socket.getaddrinfo(socket.gethostname(), None)
    except OSError as error:
        return f"SLURM's daemons need this machine's name, {socket.gethostname()}, in /etc/hosts: {error}"
    return f"not installed: {', '.join(missing)} (tools/setup.sh test brings them as root)" if missing else None


class Cluster:
    """Commands on the cluster. Jobs start in the working tree, as a person would submit them."""

    def __init__(self):
        self.environment = environment(SLURM_TEST_DIR=FOLDER, SLURM_TEST_PORT=20000 + PLACE % 50 * 210,
                                       SLURM_CONF=FOLDER / "slurm.conf", PROGRAM=FAKE, QTAYLOR_FAKE_DEVICES=1)
        for name in quick_start():
            del self.environment[name]  # as a person's

    def __call__(self, *command, check=True, cwd=ROOT, **env):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, cwd=cwd,
                              env={**self.environment, **{key: str(value) for key, value in env.items()}})
        assert not check or done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, script, *options, **env):
        return self("sbatch", "--parsable", f"--output={script.parent}/%x-%j.log", *options, script, **env)

    def about(self, job):
        """What SLURM knows of a job, and for a while still of one that has ended."""
        return dict(pair.split("=", 1)
                    for pair in self("scontrol", "--oneliner", "show", "job", job).splitlines()[0].split()
                    if "=" in pair)

    def state(self, job):
        return self.about(job)["JobState"]

    def wait(self, job, *states, seconds=120):
        """Until the job is in one of these states, or by default has ended; returns what SLURM knows of it."""
        states = states or ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "PREEMPTED")
        deadline = time.time() + seconds
        while (about := self.about(job))["JobState"] not in states:
            found = f"job {job} is {about['JobState']} ({about['Reason']})"
            assert time.time() < deadline, f"{found}, not {states}\n" + logs(about)
            time.sleep(0.2)
        return about

    def done(self, job, seconds=240):
        about = self.wait(job, seconds=seconds)
        assert about["JobState"] == "COMPLETED" and about["ExitCode"] == "0:0", logs(about)
        assert "done and verified" in log_of(about)
        return about

    def urgent(self, nodes, seconds):
        """A job that takes nodes from those of the partition main."""
        return self("sbatch", "--parsable", "--partition=urgent", f"--nodes={nodes}", "--exclusive",
                    "--output=/dev/null", f"--wrap=sleep {seconds}")

    def preempt(self, job):
        """Returns when the job is out and waits to start again."""
        urgent = self.urgent(nodes=2, seconds=1)
        self.wait(job, "PENDING")
        self.wait(urgent)

    def quiet(self):
        """Ends what a failed test left running, and brings nodes back into service."""
        self("scancel", "--user=root")
        for node in ("n0", "n1"):
            self("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        deadline = time.time() + 60
        while self("squeue", "--noheader"):
            assert time.time() < deadline, self("squeue")
            time.sleep(0.2)


def log_of(about):
    return pathlib.Path(about["StdOut"]).read_text()


def logs(about):
    return "\n".join(f"{path}:\n{path.read_text()[-8000:]}"
                     for path in pathlib.Path(about["StdOut"]).parent.glob("*.log"))


class ClusterJob(Job):
    """A job for which the scripts of slurm/ are copied and edited."""

    def __init__(self, folder, delay=0):
        super().__init__(folder)
        self.add_evaluation()
        self.model["delay_ms"] = delay
        self.keys |= {"batch": 100, "output": self.keys["output"] | {"samples_per_shard": 500}}

    def script(self, name, cpu=False, **variables):
        """slurm/NAME with two lines changed; cpu: as it says for a cluster without GPUs; and further variables."""
        lines = {r"(#SBATCH --partition=)\S+": r"\1main", r"(JOB=)\S+": rf"\g<1>{self.write()}"}
        if cpu:
            lines |= {r"#SBATCH --gpus-per-node=.*\n()": r"\1", r"(DEVICE=)\S+": r"\1cpu"}
        text = (ROOT / "slurm" / name).read_text()
        lines |= {rf"({key}=)(\([^)]*\)|\S+)": rf"\g<1>{value}" for key, value in variables.items()}
        for pattern, new in lines.items():
            text, changed = re.subn(f"^{pattern}", new, text, flags=re.MULTILINE)
            assert changed == 1, f"slurm/{name}: {pattern} is there {changed} times"
        path = self.folder / name
        path.write_text(text)
        return path

    def shards(self):
        return len(list(self.run.rglob("samples/*.npy.zst")))

    def wait_for_shards(self, more_than, seconds=60):
        deadline = time.time() + seconds
        while self.shards() <= more_than:
            assert time.time() < deadline, f"{self.shards()} shards in {self.run}\n" + "\n".join(
                path.read_text() for path in self.folder.glob("*.log"))
            time.sleep(0.05)

    def result(self):
        result = json.loads((self.run / "metrics.json").read_text())
        return result["payload_sha256"], result["metrics"]["fid"]

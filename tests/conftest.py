"""Fixtures: the two programs, mpirun, and small jobs over the closed-form model of the fake shim."""
import io
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

def built(path):
    """Where packages were unpacked without root a script starts the program, which is what faults are for."""
    program = ROOT / path
    unpacked = program.parent / "unpacked" / program.name
    return unpacked if unpacked.exists() else program


FAKE = built(os.environ.get("QTAYLOR_FAKE", "build/fake/qtaylor"))  # or built in another way (make tsan, make coverage)
TORCH = built("build/torch/qtaylor")
FAULT = ROOT / "build/tests/fault.so"  # preloaded, it makes calls fail (tests/faults/fault.c)
WITHOUT_TORCH = os.environ.get("SHIM") == "fake"  # make test SHIM=fake: what needs libtorch or PyTorch is skipped


class NoTorch:
    """Finds modules before Python's own finders do."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch":
            pytest.skip("needs PyTorch", allow_module_level=True)


if WITHOUT_TORCH:
    sys.meta_path.insert(0, NoTorch)


def pytest_configure(config):
    config.addinivalue_line("markers", "long: belongs to make test-long")


# Modules whose tests stay in one process of pytest-xdist, one after the other: they share a cluster, a network, or a
# start that takes long.
TOGETHER = ("test_install", "test_slurm", "test_network", "test_packages", "test_demo", "test_report", "test_metrics")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in TOGETHER and item.config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


SESSIONS = tempfile.TemporaryDirectory(prefix="qtaylor-")


def quick_start():
    """One process alone starts no daemon of Open MPI's, which costs more than most of our commands. Such processes all
    call themselves the same, and would remove one another's folder of a session: each environment has its own."""
    return {"OMPI_MCA_ess_singleton_isolated": "1", "OMPI_MCA_orte_tmpdir_base": tempfile.mkdtemp(dir=SESSIONS.name)}


def environment(**extra):
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if os.geteuid() == 0 else {}
    cache = {"XDG_CACHE_HOME": f"{SESSIONS.name}/cache"}
    return {**os.environ, **cache, **root, **quick_start(), **{key: str(value) for key, value in extra.items()}}


# What starts ranks, and its words: Open MPI's mpirun, or one of MPICH's kind (hydra): QTAYLOR_MPIRUN=mpiexec.mpich.
LAUNCHER = shlex.split(os.environ.get("QTAYLOR_MPIRUN", "mpirun"))
HYDRA = LAUNCHER != ["mpirun"] and "HYDRA" in subprocess.run(
    [LAUNCHER[0], "--version"], capture_output=True, text=True).stdout
UNBOUND = ["-bind-to", "none"] if HYDRA else ["--oversubscribe", "--bind-to", "none"]
RECOVERY = "-disable-auto-cleanup" if HYDRA else "--enable-recovery"  # one dead rank does not end the others
RANK = "PMI_RANK" if HYDRA else "OMPI_COMM_WORLD_RANK"


def mpirun(ranks, *options):
    return [*LAUNCHER, *UNBOUND, "-n", str(ranks), *options] if ranks else []


def two_ranks(first, second):
    """A command each. Not by mpirun's colon, which ends the mpirun of Open MPI 5.0.7 by a signal."""
    first, second = (shlex.join(map(str, command)) for command in (first, second))
    return mpirun(2, "sh", "-c", f"if [ ${RANK} = 0 ]; then exec {first}; else exec {second}; fi")


def qtaylor(*arguments, ranks=0, program=FAKE, code=0, timeout=120, **env):
    """Runs the program (under mpirun when ranks > 0) and checks its exit code; returns the finished process."""
    if program == TORCH and WITHOUT_TORCH:
        pytest.skip("needs the libtorch build")
    command = mpirun(ranks) + [str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(**env), cwd=ROOT)
    ended = f"{' '.join(command)}: exit {done.returncode}, expected {code}"
    assert done.returncode == code, f"{ended}\n{done.stdout}{done.stderr}"
    return done


def stored(run, folder="samples"):
    """The rows of all a run's shards, by zstd and numpy alone."""
    import numpy

    parts = [subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
             for path in sorted((run / folder).iterdir())]
    return numpy.concatenate([numpy.load(io.BytesIO(part)) for part in parts])


def wait_until_ended(process):
    """All of its session; what nobody has waited for yet, as in a container without an init, has ended too."""
    while subprocess.run(["pgrep", "-r", "D,R,S,T,t", "-s", str(process.pid)], capture_output=True).stdout:
        time.sleep(0.05)


def strike(process, folder, pattern, count, rng):
    """Ends a process and its session soon after the folder has so many files, by SIGKILL more often than by SIGTERM."""
    deadline = time.time() + 60
    while len(list(folder.glob(pattern))) < count and process.poll() is None and time.time() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05))
    subprocess.run(["pkill", "-KILL" if rng.random() < 0.7 else "-TERM", "-s", str(process.pid)])
    process.wait(timeout=60)
    wait_until_ended(process)


CARD = {
    "shape": [1, 4, 4],
    "range": [-1, 1],
    "prediction": "epsilon",
    "time": {"kind": "continuous"},
    "schedule": {"kind": "linear", "beta0": 0.1, "beta1": 20},
    "labels": {"classes": 2, "null": 2},
    "batch": None,
}
MEANS = [[0.5 if (i // 4) % 2 else -0.5 for i in range(16)], [0.25 - 0.03 * i for i in range(16)]]


class Job:
    """A folder with a closed-form model and a job file that can be changed and run."""

    def __init__(self, folder):
        self.folder = folder
        self.model = {"card": json.loads(json.dumps(CARD)),
                      "mixture": {"means": MEANS, "std": 0.2, "weights": [0.4, 0.6]}}
        self.keys = {
            "name": "small",
            "model": {"path": "model.json"},
            "seeds": "0-99",
            "labels": "balanced",
            "batch": 8,
            "sampler": {"solver": "taylor", "nfe": 6},
            "output": {"dir": str(folder / "run"), "samples_per_shard": 16},
        }

    @property
    def run(self):
        return pathlib.Path(self.keys["output"]["dir"])

    def write(self):
        (self.folder / "model.json").write_text(json.dumps(self.model))
        path = self.folder / "job.yaml"
        path.write_text(json.dumps(self.keys))  # JSON is YAML
        return path

    def add_evaluation(self):
        """Pixels through the fake network's projection, against moments of arbitrary numbers."""
        import numpy

        rng = numpy.random.default_rng(1)
        rows = rng.normal(size=(200, 8)) * 40 + 100
        numpy.savez(self.folder / "reference.npz", mu=rows.mean(0), sigma=numpy.cov(rows.T))
        network = {"features": {"shape": [1, 4, 4], "range": [0, 255], "outputs": {"pool": 8}}, "matrix": 7}
        (self.folder / "features.json").write_text(json.dumps(network))
        self.keys["evaluate"] = {"features": "features.json", "reference": "reference.npz", "metrics": ["fid"]}

    def digest(self):
        return json.loads((self.run / "metrics.json").read_text())["payload_sha256"]


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    chrome, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chrome or not driver:
        pytest.skip("no chromium here")
    options = webdriver.ChromeOptions()
    options.binary_location = chrome
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    yield running
    running.quit()

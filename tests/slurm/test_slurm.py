"""What slurm/'s scripts promise, on a real two-node cluster: whatever ends a job early, the samples end up all there, verified,
and the same bits as without."""
import csv
import json
import shutil
import time

import pytest

from conftest import FAKE, ROOT, TORCH, Job, qtaylor
from slurm_cluster import FOLDER, HERE, SEEDS, Cluster, ClusterJob, log_of, logs, why_not


@pytest.fixture(scope="session")
def running_cluster():
    if why_not():
        print(f"\nTESTS OF SLURM ARE SKIPPED: {why_not()}", flush=True)
        pytest.skip(why_not())
    cluster = Cluster()
    script = HERE / "cluster.sh"
    cluster(script, "down")  # what a killed test left
    try:
        cluster(script, "up")
        yield cluster
    finally:
        cluster(script, "down")
        shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture
def cluster(running_cluster):
    yield running_cluster
    running_cluster.quiet()


@pytest.fixture
def cluster_job(tmp_path):
    return ClusterJob(tmp_path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The digest and FID of 50,000 samples that nobody interrupted."""
    job = ClusterJob(tmp_path_factory.mktemp("whole"))
    qtaylor("run", job.write(), "--set", f"seeds=0-{SEEDS - 1}", ranks=2)
    return job.result()


def check(job, whole):
    """Exactly these samples, none left half-written, the same bits as without any interruption."""
    assert job.result() == whole
    verdict = json.loads(qtaylor("verify", job.run, "--json").stdout)
    assert verdict["complete"] and verdict["samples"] == SEEDS and verdict["payload_sha256"] == whole[0]
    assert not [path for path in job.run.rglob("*") if ".tmp-" in path.name or path.name.startswith("slurm-")]


def test_50k_on_two_nodes(cluster, cluster_job, whole):
    """A GPU a rank, as SLURM binds them."""
    about = cluster.done(cluster.submit(cluster_job.script("generate-50k.sbatch")))
    check(cluster_job, whole)
    hosts = json.loads((cluster_job.run / "run.json").read_text())["hosts"]
    assert sorted(host["device"] for host in hosts) == [f"fake n{node} {gpu}" for node in range(2) for gpu in range(4)]
    assert about["Restarts"] == "0" and f"{SEEDS} on disk, {SEEDS} made now" in log_of(about)


def test_preempted_once_under_mpirun_without_gpus(cluster, whole, tmp_path):
    job = ClusterJob(tmp_path, delay=20)
    number = cluster.submit(job.script("generate-50k.sbatch", cpu=True, LAUNCHER="mpirun"), "--ntasks-per-node=2")
    job.wait_for_shards(10)
    cluster.preempt(number)
    kept = job.shards()
    assert 10 < kept < 100
    about = cluster.done(number)
    check(job, whole)
    assert about["Restarts"] == "1" and f"{SEEDS - 500 * kept} made now" in log_of(about)

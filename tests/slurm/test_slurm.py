"""What slurm/'s scripts promise, on a real two-node cluster: whatever ends a job early, the samples end up all there,
verified, and the same bits as without."""
import csv
import json
import shutil

import pytest

from conftest import FAKE, ROOT, TORCH, qtaylor
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
    log = log_of(about)
    assert f"{SEEDS - 500 * kept} made now" in log, logs(about)
    # SLURM 24.11 starts a job that queued itself again while it was preempted once more, when it has ended.
    assert about["Restarts"] == "1" or (about["Restarts"] == "2" and "start 2: done and verified" in log), logs(about)


@pytest.mark.long
def test_preempted_three_times_exactly_50000_samples(cluster, whole, tmp_path):
    """Someone with an account copies one script, changes two lines, and submits it."""
    job = ClusterJob(tmp_path, delay=60)
    number = cluster.submit(job.script("generate-50k.sbatch"))
    for time_ in range(3):
        cluster.wait(number, "RUNNING")
        job.wait_for_shards(job.shards() + 8)
        cluster.preempt(number)
        assert job.shards() < 100, f"done before preemption {time_ + 1}"
    about = cluster.done(number)
    check(job, whole)
    assert about["Restarts"] == "3" and "start 4: done and verified" in log_of(about)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_time_limit(cluster, whole, tmp_path, launcher):
    """A minute at a time, for more than a minute's work."""
    job = ClusterJob(tmp_path, delay=150)
    number = cluster.submit(job.script("generate-50k.sbatch", LAUNCHER=launcher), "--time=1", "--signal=B:USR1@30")
    about = cluster.done(number)
    check(job, whole)
    assert int(about["Restarts"]) >= 1 and "USR1: the time limit is near" in log_of(about)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_requeued_by_hand(cluster, whole, tmp_path, launcher):
    job = ClusterJob(tmp_path, delay=60)
    number = cluster.submit(job.script("generate-50k.sbatch", LAUNCHER=launcher))
    job.wait_for_shards(8)
    cluster("scontrol", "requeue", number)
    about = cluster.done(number)
    check(job, whole)
    assert about["Restarts"] == "1"


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_node_lost_in_mid_run(cluster, whole, tmp_path, launcher):
    """Its power goes; SLURM takes it for down and queues the job again, which goes on when the node is back."""
    job = ClusterJob(tmp_path, delay=60)
    number = cluster.submit(job.script("generate-50k.sbatch", LAUNCHER=launcher))
    job.wait_for_shards(8)
    cluster(HERE / "cluster.sh", "lose", "n1")
    cluster("scontrol", "update", "nodename=n1", "state=down", "reason=test")  # as after SlurmdTimeout, 300 s
    cluster.wait(number, "PENDING")
    kept = job.shards()
    cluster(HERE / "cluster.sh", "restore", "n1")
    about = cluster.done(number)
    check(job, whole)
    assert int(about["Restarts"]) >= 1 and f"{SEEDS - 500 * kept} made now" in log_of(about)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_cancelled_and_run_again_on_the_one_free_node(cluster, whole, tmp_path, launcher):
    job = ClusterJob(tmp_path, delay=60)
    number = cluster.submit(job.script("generate-50k.sbatch", LAUNCHER=launcher))
    job.wait_for_shards(8)
    cluster("scancel", number)
    about = cluster.wait(number)
    assert about["JobState"] == "CANCELLED" and about["Restarts"] == "0"
    cluster.wait(cluster.urgent(nodes=1, seconds=300), "RUNNING")
    script = job.script("rerun.sbatch", OVERRIDES=f"(--set seeds=0-{SEEDS - 1})")
    about = cluster.done(cluster.submit(script))
    check(job, whole)
    assert about["NumNodes"] == "1" and f"{SEEDS} on disk" in log_of(about)
    cluster.wait(number, "CANCELLED")  # it stays so


def sweep_job(folder, delay=0):
    job = ClusterJob(folder, delay)
    job.keys |= {"seeds": "0-4999", "sampler": {},
                 "sweep": {"sampler.solver": ["ddim", "taylor"], "sampler.nfe": [4, 6]}}
    return job


def rows(job):
    """results.csv without its last three columns, which hold times."""
    with open(job.run / "results.csv", newline="") as file:
        return [row[:-3] for row in csv.reader(file)]


@pytest.fixture(scope="session")
def whole_sweep(tmp_path_factory):
    job = sweep_job(tmp_path_factory.mktemp("whole"))
    qtaylor("run", job.write(), ranks=2)
    return rows(job)


def submit_array(cluster, job):
    """From the job's own folder. Returns the numbers of the array and of the job that follows it."""
    said = cluster("bash", job.script("sweep-array.sbatch"), cwd=job.folder, QTAYLOR_HOME=ROOT)
    after = said.split()[-1]
    return cluster.about(after)["Dependency"].split(":")[1].split("(")[0].removesuffix("_*"), after


def test_sweep_as_an_array_then_its_table(cluster, whole_sweep, tmp_path):
    job = sweep_job(tmp_path)
    array, after = submit_array(cluster, job)
    about = cluster.done(after)
    assert rows(job) == whole_sweep
    texts = {path: path.read_text() for path in tmp_path.glob("sweep-array-*.log")}
    assert len(texts) == 5 and all("start 1: done and verified" in text for text in texts.values()), texts
    assert sum("5000 made now" in text for text in texts.values()) == 4 and "made now" not in log_of(about)


@pytest.mark.long
def test_sweep_as_an_array_with_a_task_requeued_and_one_cancelled(cluster, whole_sweep, tmp_path):
    job = sweep_job(tmp_path, delay=300)
    array, after = submit_array(cluster, job)
    cluster.wait(f"{array}_0", "RUNNING")
    job.wait_for_shards(2)
    cluster("scontrol", "requeue", f"{array}_0")
    cluster("scancel", f"{array}_1")
    cluster.done(after)
    assert rows(job) == whole_sweep


@pytest.mark.long
def test_sweep_in_one_job_preempted(cluster, whole_sweep, tmp_path):
    job = sweep_job(tmp_path, delay=200)
    number = cluster.submit(job.script("sweep.sbatch"))
    job.wait_for_shards(15)
    cluster.preempt(number)
    kept = job.shards()
    assert 15 < kept < 40
    about = cluster.done(number)
    assert rows(job) == whole_sweep and about["Restarts"] == "1"


def test_a_job_that_cannot_run_is_not_tried_again(cluster, cluster_job):
    cluster_job.keys["sampler"]["solver"] = "tailor"
    about = cluster.wait(cluster.submit(cluster_job.script("generate-50k.sbatch")))
    assert (about["JobState"], about["ExitCode"], about["Restarts"]) == ("FAILED", "65:0", "0"), logs(about)


def test_a_poisoned_sample_ends_the_job_without_it(cluster, cluster_job):
    """NaN twice: its shard is left out, named, and not tried for ever."""
    cluster_job.model["card"]["labels"] = {"classes": 3, "null": 3}  # of which the first and the last are tried before
    (cluster_job.folder / "labels.txt").write_text("".join(f"{int(seed == 700)}\n" for seed in range(1000)))
    cluster_job.keys["labels"] = "labels.txt"
    script = cluster_job.script("generate-50k.sbatch", OVERRIDES="(--set seeds=0-999)")
    about = cluster.wait(cluster.submit(script, "--nodes=1", QTAYLOR_FAKE_POISON="1:nan"))
    assert (about["JobState"], about["ExitCode"], about["Restarts"]) == ("FAILED", "76:0", "0"), logs(about)
    assert "quarantined" in log_of(about) and cluster_job.shards() == 1
    assert [shard["seeds"]
            for shard in json.loads((cluster_job.run / "quarantine.json").read_text())["shards"]] == ["500-999"]


def stand_in(folder, when_run):
    """A program like ours but for what `run` does."""
    path = folder / "qtaylor"
    path.write_text(f'#!/bin/bash\nif [ "$1" = run ]; then {when_run}; fi\nexec {FAKE} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.long
def test_starts_that_gain_nothing_come_to_an_end(cluster, cluster_job):
    cluster_job.keys["seeds"] = "0-999"
    qtaylor("run", cluster_job.write())
    next(cluster_job.run.glob("samples/*.zst")).unlink()
    number = cluster.submit(cluster_job.script("generate-50k.sbatch", OVERRIDES="(--set seeds=0-999)"), "--nodes=1",
                            PROGRAM=stand_in(cluster_job.folder, "exit 1"))
    about = cluster.wait(number, "FAILED")
    assert about["ExitCode"] == "75:0" and 2 <= int(about["Restarts"]) <= 3, logs(about)
    assert "three starts in a row added nothing to 3 good files" in log_of(about)


@pytest.mark.long
def test_killed_before_the_metrics_were_written(cluster, cluster_job, whole):
    """All samples verify, and still it is not done."""
    ends = ('if [ -z "$SLURM_RESTART_COUNT" ]; then '
            f'{FAKE} "$@" && [ "$SLURM_PROCID" != 0 ] || rm {cluster_job.run}/metrics.json; exit; fi')
    about = cluster.done(cluster.submit(cluster_job.script("generate-50k.sbatch"),
                                        PROGRAM=stand_in(cluster_job.folder, ends)))
    assert about["Restarts"] == "1" and "metrics.json is not" in log_of(about), logs(about)
    check(cluster_job, whole)


def test_digits_on_two_nodes(cluster, tmp_path):
    """The real model on the CPUs of both, beside one process."""
    options = f"--set seeds=0-511 --set output.samples_per_shard=64 --set output.dir={tmp_path}/"
    qtaylor("run", ROOT / "jobs/digits/job.yaml", *f"{options}one".split(), program=TORCH)
    job = ClusterJob(tmp_path)
    script = job.script("generate-50k.sbatch", cpu=True, OVERRIDES=f"({options}two)")
    script.write_text(script.read_text().replace(f"JOB={tmp_path}/job.yaml", "JOB=jobs/digits/job.yaml"))
    about = cluster.done(cluster.submit(script, "--ntasks-per-node=1", PROGRAM=TORCH))
    one, two = (json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("one", "two"))
    assert (two["payload_sha256"], two["metrics"]["fid"]) == (one["payload_sha256"], one["metrics"]["fid"])
    assert two["generation"]["ranks"] == 2 and about["NumNodes"] == "2"

"""Runs in rounds: jobs, and what numpy says of their features."""
import json
import random
import subprocess

import numpy as np

from conftest import FAKE, environment, mpirun, stored, strike

SEEDS, SHARD = 3000, 64


def make(job, **keys):
    job.add_evaluation()
    job.keys |= {"seeds": f"0-{SEEDS - 1}"} | keys
    job.keys["output"]["samples_per_shard"] = SHARD
    return job.write()


def fid(features, reference):
    mean, cov = features.mean(0) - reference["mu"], np.cov(features.T)
    roots = np.sqrt(np.linalg.eigvals(cov @ reference["sigma"]).real.clip(0))
    return mean @ mean + np.trace(cov) + np.trace(reference["sigma"]) - 2 * roots.sum()


def jackknife(features, reference):
    """The FID of all rows and those without each of 20 blocks."""
    ends = [len(features) * k // 20 for k in range(21)]
    return np.array([fid(features, reference)] + [fid(np.delete(features, slice(a, b), 0), reference)
                                                  for a, b in zip(ends, ends[1:])])


def estimate(values):
    mean = values[1:].mean()
    return 20 * values[0] - 19 * mean, np.sqrt(19 / 20 * ((values[1:] - mean)**2).sum())


def features_of(run):
    return stored(run, next((run / "features").glob("*/pool")).relative_to(run)).astype(np.float64)


def whole_shards(samples):
    return min(-(-samples // SHARD) * SHARD, SEEDS)


def document(run):
    return json.loads((run / "run.json").read_text())


def result(run):
    """metrics.json without the path of the reference, which is another copy for each test."""
    found = json.loads((run / "metrics.json").read_text())
    del found["metrics"]["reference"]["path"]
    return found


def kill_at(path, run, shards, seed):
    """Starts the job on two ranks and kills them once there are so many shards."""
    rng = random.Random(seed)
    process = subprocess.Popen(mpirun(2) + [str(FAKE), "run", str(path)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=environment(), start_new_session=True)
    strike(process, run, "**/samples/*.zst", shards, rng)

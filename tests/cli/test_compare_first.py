"""compare --count: the first samples of A and of --versus, as if the others were not there; never of the reference."""
import json

import numpy as np
import pytest
from test_compare import compare, frechet, network

from conftest import qtaylor


def test_the_first_of_them(tmp_path):
    """Of images and features, as if the others were not there; never of the reference."""
    rng = np.random.default_rng(3)
    pictures, b = (rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8) for count in (120, 90))
    net = network(tmp_path)
    np.save(tmp_path / "a.npy", pictures)
    np.save(tmp_path / "a50.npy", pictures[:50])
    np.save(tmp_path / "b.npy", b)
    options = ("--features", net, "--metrics", "fid,sfid,vendi")
    found = compare(tmp_path / "a.npy", tmp_path / "b.npy", *options, "--count", "50")
    assert found == compare(tmp_path / "a50.npy", tmp_path / "b.npy", *options)
    assert found["fid"] != compare(tmp_path / "a.npy", tmp_path / "b.npy", *options)["fid"]

    rows = rng.normal(size=(80, 5)).astype("f4")
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "ref.npz", mu=rows.mean(0), sigma=np.cov(rows.T))
    cut = compare(tmp_path / "rows.npy", tmp_path / "ref.npz", "--count", "40")["fid"]
    assert cut == pytest.approx(frechet(rows[:40], rows), rel=1e-5)
    for path, said in (("rows.npy", "expected 81 samples or more"), ("ref.npz", "holds no features")):
        done = qtaylor("compare", tmp_path / path, tmp_path / "ref.npz", "--count", "81", code=65)
        assert said in done.stderr


def test_the_first_of_two_runs_are_paired_by_seed(job, tmp_path):
    """Of which one has more."""
    job.add_evaluation()
    fids = []
    for name, seeds, nfe in (("a", "0-259", 3), ("b", "0-239", 5)):
        job.keys |= {"seeds": seeds, "sampler": {"solver": "taylor", "nfe": nfe},
                     "output": {"dir": str(tmp_path / name), "samples_per_shard": 64}}
        qtaylor("run", job.write())
        fids.append(compare(tmp_path / name, job.folder / "reference.npz", "--count", 210)["fid_corrected"])
    sides = (tmp_path / "a", job.folder / "reference.npz", "--versus", tmp_path / "b")
    found = compare(*sides, "--count", 210)
    assert found["fid_delta"] == pytest.approx(fids[0] - fids[1], rel=1e-6)
    said = qtaylor("compare", *sides, code=65).stderr
    assert "the same samples on both sides" in said and "the first 240 of both are the same: say --count 240" in said
    done = qtaylor("compare", *sides, "--count", 210, "--metrics", "vendi,fid", "--json")
    whole = json.loads(done.stdout)
    assert whole["samples"] == {"A": 210, "B": None, "A2": 210} and whole["pairing"] == "seed"
    assert whole["versus"] == str(tmp_path / "b")
    start = "qtaylor: warning: "
    assert whole["warnings"] == [line[len(start):] for line in done.stderr.splitlines() if line.startswith(start)]
    assert "--versus: there is no paired difference of vendi" in whole["warnings"]
    text = qtaylor("compare", *sides, "--count", 210).stdout
    assert text.endswith(f"A              {sides[0]}: 210 samples\n"
                         f"B              {sides[1]}: statistics, which do not say of how many samples\n"
                         f"A2             {sides[3]}: 210 samples\nA - A2         paired by seed\n")
    assert "expected 241 samples or more in" in qtaylor("compare", *sides, "--count", 241, code=65).stderr

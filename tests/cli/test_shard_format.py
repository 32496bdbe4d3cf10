"""Shard files read by the field's own tools: zstd, numpy, an independent reader of seekable zstd."""
import hashlib
import io
import json
import struct
import subprocess

import numpy as np
import pyzstd
import pytest

from conftest import qtaylor


@pytest.fixture
def made(job):
    job.add_evaluation()
    job.keys["batch"], job.keys["output"]["samples_per_shard"] = 50, 200
    job.keys["seeds"] = "0-249"
    qtaylor("run", job.write())
    return job


def plain(path):
    return subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout


def test_zstd_gives_npy(made):
    first, second = sorted(made.run.glob("samples/*.npy.zst"))
    samples = [np.load(io.BytesIO(plain(path))) for path in (first, second)]
    assert [s.shape for s in samples] == [(200, 4, 4, 1), (50, 4, 4, 1)] and samples[0].dtype == np.uint8
    features, = made.run.glob("features/*/pool/000000.npy.zst")
    assert np.load(io.BytesIO(plain(features))).shape == (200, 8)


def test_manifest_holds_the_sha256_of_the_stream(made):
    records = [json.loads(line) for line in (made.run / "manifest.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == [0, 1]
    for record in records:
        path = made.run / f"samples/{record['id']:06d}.npy.zst"
        assert hashlib.sha256(plain(path)).hexdigest() == record["sha256"]
        assert path.stat().st_size == record["bytes"]


def test_independent_seekable_reader(made):
    path = made.run / "samples/000000.npy.zst"
    whole = plain(path)
    with pyzstd.SeekableZstdFile(path) as file:
        assert file.read() == whole
        file.seek(128 + 16 * 130)
        assert file.read(16) == whole[128 + 16 * 130:][:16]


def test_frames_as_documented(made):
    """Walks the frames by the format's own numbers: header, rows by 64, our JSON, seek table."""
    data = (made.run / "samples/000000.npy.zst").read_bytes()
    count, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert magic == 0x8F92EAB1 and descriptor == 0
    sizes = [struct.unpack_from("<II", data, len(data) - 9 - 8 * (count - i)) for i in range(count)]
    assert [raw for _, raw in sizes] == [128, 64 * 16, 64 * 16, 64 * 16, 8 * 16, 0]
    at = sum(packed for packed, _ in sizes[:-1])
    frame_magic, length = struct.unpack_from("<II", data, at)
    assert frame_magic == 0x184D2A57
    about = json.loads(data[at + 8:at + 8 + length])
    assert about["shard"] == 0 and about["seeds"] == "0-199" and about["shape"] == [200, 4, 4, 1]
    table_magic, = struct.unpack_from("<I", data, at + 8 + length)
    assert table_magic == 0x184D2A5E


def test_inspect_describes_every_file_we_write(made):
    for pattern in ("samples/000001.npy.zst", "features/*/pool/000001.npy.zst", "run.json", "metrics.json",
                    "progress.json", "manifest.jsonl", "log/rank-0000.jsonl"):
        path, = made.run.glob(pattern)
        assert isinstance(json.loads(qtaylor("inspect", path).stdout), dict), pattern
    about = json.loads(qtaylor("inspect", made.folder / "reference.npz").stdout)
    assert about["dim"] == 8


def test_provenance(made):
    run = json.loads((made.run / "run.json").read_text())
    for key in ("job", "fingerprint", "plan", "versions", "hosts"):
        assert run[key], key
    assert len(run["keys"]["model"]["sha256"]) == 64
    versions = json.loads(qtaylor("--version", "--json").stdout)
    for key in ("qtaylor", "commit", "compiler", "mpi", "torch", "zstd", "blas"):
        assert versions[key], key


def test_samples_of_four_channels_have_no_picture(job):
    job.model["card"]["shape"] = [4, 2, 2]
    qtaylor("run", job.write())
    assert json.loads((job.run / "metrics.json").read_text())["picture"] is None and not (job.run / "grid.png").exists()
    qtaylor("report", job.run)
    assert "<img" not in (job.run / "report.html").read_text()

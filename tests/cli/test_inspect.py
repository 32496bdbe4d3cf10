"""inspect: what it says of networks, records and statistics, and of files that are none."""
import hashlib
import json
import zipfile

import numpy as np
import pytest

from conftest import ROOT, qtaylor


@pytest.mark.parametrize("name, kind", [("model.pt", "diffusion model"), ("features.pt", "feature network")])
def test_networks(name, kind):
    path = ROOT / "jobs/digits" / name
    about = json.loads(qtaylor("inspect", path).stdout)
    with zipfile.ZipFile(path) as archive:
        (card,) = [archive.read(member) for member in archive.namelist()
                   if member.endswith(("diffusion.json", "features.json"))]
    assert about["kind"] == kind and about["card"] == json.loads(card)
    assert about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_records(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"b": [2]}\n')
    assert json.loads(qtaylor("inspect", path).stdout)["records"] == [{"a": 1}, {"b": [2]}]
    path.write_text('{"a": 1}\n{"b": \n')
    assert "log.jsonl:2: expected one JSON record a line" in qtaylor("inspect", path, code=65).stderr
    path.write_bytes(b'{"a": 1}\n\0{"b": 2}\n')
    assert "log.jsonl: there is a zero byte in it" in qtaylor("inspect", path, code=65).stderr


def test_refusals(tmp_path):
    with zipfile.ZipFile(tmp_path / "bare.pt", "w") as archive:
        archive.writestr("bare/data.pkl", b"")
    for name, content in ("cardless.pt", None), ("torn.pt", "{"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("x/constants.pkl", b"")
            if content:
                archive.writestr("x/extra/diffusion.json", content)
    np.savez(tmp_path / "sums.npz", mu=np.zeros(2), sigma=np.diag([1e308, 1e308]))
    (tmp_path / "notes.txt").write_text("text")
    for name, code, word in (("bare.pt", 65, "found a state dict"),
                             ("torn.pt", 65, "diffusion.json:1:1: expected JSON"),
                             ("cardless.pt", 65, "no card of a model, a decoder or a feature network"),
                             ("sums.npz", 65, "trace of sigma"),
                             ("notes.txt", 64, ".npy.zst"), ("nothing.json", 74, "there is no file")):
        assert word in qtaylor("inspect", tmp_path / name, code=code).stderr

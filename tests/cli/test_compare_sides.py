"""compare: sides that do not go together, or say less than they seem to, are refused or told."""
import json

import numpy as np
import pytest
from test_compare import compare

from conftest import qtaylor


def words(*arguments, code=0):
    return qtaylor("compare", *arguments, code=code).stderr


def test_an_error_that_is_rounding_is_none(tmp_path):
    """Numbers of 1e60 hide what blocks of samples near 1 do to them; a real error of such a size is told."""
    rng = np.random.default_rng(0)
    near, far = (rng.normal(size=(400, 4)).astype("f4") * np.float32(size) for size in (1, 1e30))
    np.save(tmp_path / "near.npy", near)
    np.save(tmp_path / "far.npy", far)
    np.save(tmp_path / "same.npy", np.ones((400, 4), "f4"))
    for a in ("near", "same"):
        done = qtaylor("compare", tmp_path / f"{a}.npy", tmp_path / "far.npy", "--metrics", "fid,mind", "--json")
        found = json.loads(done.stdout)["metrics"]
        assert found["fid"] > 1e60 and not [key for key in found if key.endswith(("_error", "_low", "_high"))]
        assert "fid: it has no standard error" in done.stderr and "mind: it has no standard error" in done.stderr
    found = compare(tmp_path / "far.npy", tmp_path / "near.npy")
    without = np.array(found["fid_without"])
    assert found["fid_error"] == pytest.approx(np.sqrt(19 / 20 * ((without - without.mean()) ** 2).sum()), rel=1e-9)
    # A difference whose error is lost in the size of either side is left out; of equal sets it is 0.
    said = qtaylor("compare", tmp_path / "near.npy", tmp_path / "far.npy", "--versus", tmp_path / "same.npy", "--json")
    assert "fid_delta is left out" in said.stderr and "fid_delta" not in json.loads(said.stdout)["metrics"]
    equal = compare(tmp_path / "far.npy", tmp_path / "near.npy", "--versus", tmp_path / "far.npy")
    assert (equal["fid_delta"], equal["fid_delta_error"]) == (0, 0)

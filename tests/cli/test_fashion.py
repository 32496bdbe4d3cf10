"""jobs/fashion: its network makes pictures of the class it is asked for, far nearer to the real ones than noise is."""
import json

import numpy as np
import pytest

from conftest import ROOT, TORCH, qtaylor, stored

torch = pytest.importorskip("torch")
JOB = ROOT / "jobs/fashion/job.yaml"
COUNT = 400


def distance(features, reference):
    """FID of features and a reference's moments."""
    mu, sigma = features.mean(0), np.cov(features.T)
    root = np.sqrt(np.linalg.eigvals(sigma @ reference["sigma"]).astype(complex)).real.sum()
    return ((mu - reference["mu"]) ** 2).sum() + np.trace(sigma) + np.trace(reference["sigma"]) - 2 * root


@pytest.fixture(scope="module")
def network():
    loaded = torch.jit.load(str(ROOT / "jobs/fashion/features.pt"))

    def call(pictures):
        with torch.inference_mode():
            return [output.numpy().astype(np.float64) for output in loaded(torch.from_numpy(pictures))]

    return call


def test_pictures_are_of_their_class(tmp_path, network):
    done = qtaylor("run", JOB, "--set", f"output.dir={tmp_path}/run", "--set", f"seeds=0-{COUNT - 1}", "--json",
                   program=TORCH, ranks=2)
    result = json.loads(done.stdout)
    assert result["samples"] == COUNT and result["nfe"] == 9
    features, logits = network(np.ascontiguousarray(stored(tmp_path / "run").transpose(0, 3, 1, 2)))
    right = logits.argmax(1) == np.arange(COUNT) % 10
    assert right.mean() > 0.85                               # is 0.94; 0.1 by chance
    assert right.reshape(-1, 10).mean(0).min() > 0.5         # shirts, the least, have 0.72

    reference = np.load(ROOT / "jobs/fashion/reference.npz")
    assert result["metrics"]["fid"] == pytest.approx(distance(features, reference), rel=1e-4)
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 28, 28), dtype=np.uint8)
    assert result["metrics"]["fid"] < distance(network(noise)[0], reference) / 40  # is 1.64 and 101


def test_the_card_is_of_a_flow():
    """Read from the file by torch; and the plan starts from pure noise and ends at the picture."""
    card = {"diffusion.json": ""}
    torch.jit.load(str(ROOT / "jobs/fashion/model.pt"), _extra_files=card)
    card = json.loads(card["diffusion.json"])
    assert card["prediction"] == "velocity" and card["schedule"] == {"kind": "flow"}
    assert card["labels"] == {"classes": 10, "null": 10} and card["shape"] == [1, 28, 28]
    plan = json.loads(qtaylor("plan", JOB, "--json").stdout)
    assert plan["steps"][0]["t"] == 1 and plan["steps"][-1]["s"] == 0
    assert len({(step["t"], step["s"]) for step in plan["steps"]}) == 5


def test_the_sweeps_cells():
    plans = json.loads(qtaylor("plan", ROOT / "jobs/fashion/sweep.yaml", "--json").stdout)
    assert len(plans) == 14


@pytest.mark.parametrize("name, cells", [("few-steps", 17), ("solvers", 418)])
def test_fitted_tables_are_compared_at_the_same_cost(name, cells):
    """No solver has more evaluations than the table of its NFE; guided, each is two model calls."""
    plans = json.loads(qtaylor("plan", ROOT / f"jobs/fashion/{name}.yaml", "--json").stdout)
    assert len(plans) == cells
    for cell, plan in plans.items():
        asked = 5 if "nfe=5" in cell or "nfe5" in cell else 4
        assert plan["model_calls"] == 2 * plan["nfe"] <= 2 * asked
        assert plan["solver"] != "table" or plan["nfe"] == asked

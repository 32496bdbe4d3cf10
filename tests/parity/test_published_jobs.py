"""The jobs for published checkpoints, and the sweeps in their comments."""
import json

import pytest
import yaml

from conftest import ROOT, qtaylor

VARIANTS = {
    "cifar10/edm-vp": [([], 35)], "cifar10/edm-ve": [([], 35)], "imagenet64/adm": [([], 250)],
    "imagenet64/edm": [([], 511)],
    "cifar10/scoresde-vp": [([], 10), (["sampler={solver: edm, nfe: 35}",
                                        "model.card.schedule={kind: edm, sigma_min: 0.002, sigma_max: 80}"], 35)],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_jobs_plan_as_published(tmp_path, name):
    path = ROOT / f"jobs/{name}.yaml"
    job = yaml.safe_load(path.read_text())
    assert job["seeds"] == "0-49999" and job["output"]["rounding"] == ("adm" if name.endswith("/adm") else "edm")
    for overrides, nfe in VARIANTS[name]:
        words = [word for override in overrides for word in ("--set", override)]
        plan = json.loads(qtaylor("plan", path, "--json", *words).stdout)
        assert plan["nfe"] == nfe
    # The sweep in its comments, where its card is.
    lines = path.read_text().splitlines()
    start = lines.index("# sweep:")
    job |= yaml.safe_load("\n".join(line[2:] for line in lines[start:]))
    if "leave out `sampler`" in lines[start - 1]:
        del job["sampler"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(job))
    plans = json.loads(qtaylor("plan", tmp_path / "sweep.yaml", "--json").stdout)
    asked = [nfe for product in job["sweep"] for nfe in product["sampler.nfe"]]
    assert len(plans) >= len(asked) and {plan["nfe"] for plan in plans.values()} <= set(asked)

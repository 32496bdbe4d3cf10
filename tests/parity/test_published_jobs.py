"""The jobs for published checkpoints, and the sweeps in their comments."""
import json

import numpy as np
import pytest
import torch
import yaml

from conftest import ROOT, qtaylor

VARIANTS = {
    "cifar10/edm-vp": [([], 35)], "cifar10/edm-ve": [([], 35)], "imagenet64/adm": [([], 250)],
    "imagenet64/edm": [([], 511)],
    "imagenet256/dit": [([], 250)], "imagenet256/sit": [([], 250)], "imagenet256/repa": [([], 250)],
    "imagenet256/lightningdit": [([], 249)], "imagenet256/edm2": [([], 63)],
    "coco/sd15": [([], 51)], "coco/sd3": [([], 28)], "geneval/sd15": [([], 51)],
    "cifar10/scoresde-vp": [([], 10), (["sampler={solver: edm, nfe: 35}",
                                        "model.card.schedule={kind: edm, sigma_min: 0.002, sigma_max: 80}"], 35)],
}


ROUNDINGS = {"imagenet64/adm": "adm", "imagenet256/repa": "adm", "imagenet256/edm2": "adm", "coco/sd15": "diffusers",
             "coco/sd3": "diffusers", "geneval/sd15": "diffusers"}
COUNTS = {"coco/sd15": 30000, "coco/sd3": 30000, "geneval/sd15": 4 * 553}
FEW = 8  # of the 30,000 captions


class Nothing(torch.nn.Module):
    def forward(self, z):
        return z[:, :3]


def give_files(folder, job):
    """What the job names besides its model, as far as a plan opens it: a decoder that decodes nothing, conditions
    of a few rows."""
    shape = job["model"]["card"]["shape"]
    if "decode" in job:
        place = folder / job["decode"]["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        card = json.dumps({"latent": shape, "image": [3, *shape[1:]]})
        torch.jit.script(Nothing()).save(str(place), _extra_files={"decoder.json": card})
    rows = 553 if "geneval" in job["name"] else FEW
    for one in job["model"]["card"].get("inputs", []):
        files = job["conditions"][one["name"]]
        for path, count in ((files["path"], rows), (files["null"], 1)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            np.save(folder / path, np.zeros((count, *one["shape"]), np.float16))
    if "conditions" in job:
        (folder / job["conditions"]["captions"]).write_text("a caption\n" * rows)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_jobs_plan_as_published(tmp_path, name):
    text = (ROOT / f"jobs/{name}.yaml").read_text()
    job, path = yaml.safe_load(text), tmp_path / "job.yaml"
    path.write_text(text)
    give_files(tmp_path, job)
    assert job["seeds"] == f"0-{COUNTS.get(name, 50000) - 1}"
    assert job["output"]["rounding"] == ROUNDINGS.get(name, "edm")
    for overrides, nfe in VARIANTS[name]:
        overrides = [*overrides, f"seeds=0-{FEW - 1}"] if name.startswith("coco/") else overrides
        words = [word for override in overrides for word in ("--set", override)]
        plan = json.loads(qtaylor("plan", path, "--json", *words).stdout)
        assert plan["nfe"] == nfe
    job |= {"seeds": f"0-{FEW - 1}"} if name.startswith("coco/") else {}
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

"""Every scheduler class of diffusers that tools/export.py translates, from its folder to pictures: the command's files,
run by the program, beside the class itself with the network in diffusers' loop, from the same noise, that of the steps
too: pixels within one level. A case a class; all of scheduler_cases.py's are a long test."""
import json

import diffusers
import numpy as np
import pytest
import torch

from conftest import TORCH, qtaylor
from exporter import assert_same_pictures, export, normals, one_thread, run_exported, unet
from export import schedulers
from oracle import normals as philox_normals
from scheduler_cases import CASES
from test_export_schedulers import ELEMENTS, Answer, make, theirs

pytestmark = [pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
STEPS = 10


class NearGaussian(diffusers.UNet2DModel):
    """Epsilon of Gaussian data around a pattern, on scheduler_cases' SCALED, and a little of a random network's: alone
    that would be 1/alpha away from every picture. t may be fractional."""

    def forward(self, x, t, class_labels=None, return_dict=True):
        logs = torch.log1p(-torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumsum(0)
        at = torch.as_tensor(t).double().reshape(-1)
        below = at.floor().clamp(0, 998).long()
        cumprod = torch.exp(torch.lerp(logs[below], logs[below + 1], at - below)).reshape(-1, 1, 1, 1)
        mean = torch.sin(torch.arange(ELEMENTS).double() * 0.37).reshape(3, 16, 16) * 0.6
        found = (1 - cumprod).sqrt() * (x.double() - cumprod.sqrt() * mean) / (cumprod * 0.3**2 + 1 - cumprod)
        found = found.float() + 0.05 * super().forward(x, t, return_dict=False)[0]
        return Answer(found) if return_dict else (found,)


NearGaussian.__name__ = "UNet2DModel"  # as folders and the exporter call it


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The network in a folder of diffusers', by whether it predicts epsilon: (folder, network)."""
    plain, near, made = unet(), NearGaussian(**unet().config).eval(), tmp_path_factory.mktemp("networks")
    near.load_state_dict(plain.state_dict())
    for network, name in ((plain, "plain"), (near, "near")):
        network.save_pretrained(made / name / "unet")
    return {False: (made / "plain", plain), True: (made / "near", near)}


def compare(folder, monkeypatch, folders, name, options):
    """folder: empty."""
    epsilon = options.get("prediction_type") == "epsilon" and "beta_start" in options
    source, network = folders[epsilon]
    scheduler = make(name, **options)
    scheduler.save_pretrained(source / "scheduler")
    with monkeypatch.context() as patch:
        if epsilon:
            patch.setattr(diffusers, "UNet2DModel", NearGaussian)
        export("diffusers", source, folder / "out", "--steps", STEPS)
    start = normals(2)
    noise = [np.stack([philox_normals(seed, stream, ELEMENTS) for seed in range(2)]) for stream in
             range(1, 2 * STEPS + 3)]
    them = theirs(network, make(name, **options), STEPS, start, noise)
    # A job's own starts are taken as they are, so they are made the pipeline's here.
    scale = json.loads(qtaylor("plan", folder / "out/job.yaml", "--json", program=TORCH).stdout)["initial_scale"] \
        if name.startswith(("EDM", "CM")) else 1
    scale *= schedulers.translate(scheduler, STEPS).start
    assert_same_pictures(run_exported(folder / "out/job.yaml", start * scale, folder), them)


@pytest.mark.parametrize("name", schedulers.TRANSLATED)
def test_a_case_of_every_class(tmp_path, monkeypatch, folders, name):
    cases = [options for group in CASES.values() for each, options in group if each == name]
    compare(tmp_path, monkeypatch, folders, name, cases[len(cases) // 2])


@pytest.mark.long
@pytest.mark.parametrize("group, name", [(group, name) for group, cases in CASES.items()
                                         for name in dict.fromkeys(name for name, _ in cases)])
def test_every_case(tmp_path, monkeypatch, folders, group, name):
    for i, options in enumerate(options for each, options in CASES[group] if each == name):
        (tmp_path / str(i)).mkdir()
        try:
            compare(tmp_path / str(i), monkeypatch, folders, name, options)
        except AssertionError as error:
            raise AssertionError(f"{options}: {error}") from error

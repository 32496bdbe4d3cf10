"""What the tests of tools/export.py share: the command in this process, a small U-Net, diffusers' own loop of
sampling."""
import contextlib
import importlib.util
import json
import sys

import numpy as np
import torch
import yaml

from conftest import ROOT, TORCH, qtaylor, stored

sys.path.insert(0, str(ROOT / "tools"))
_spec = importlib.util.spec_from_file_location("export_command", ROOT / "tools/export.py")
command = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(command)


@contextlib.contextmanager
def one_thread():
    """Small networks gain nothing from more, and threads that wait for one another lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def export(*arguments, code=0):
    found = 0
    try:
        command.main([str(word) for word in arguments])
    except SystemExit as end:
        found = end.code or 0
    assert found == code
    return found


def load(path):
    extra = {"diffusion.json": ""}
    return torch.jit.load(str(path), _extra_files=extra), json.loads(extra["diffusion.json"])


def shake(network, amount=0.05):
    """Some layers begin as zeros, which would hide what is before them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * amount)
    return network.eval()


def unet(classes=None, **options):
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return shake(UNet2DModel(**{
        "sample_size": 16, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "block_out_channels": (16, 32),
        "norm_num_groups": 8, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 8,
        "num_class_embeds": classes} | options))


def assert_same(file, network, *arguments):
    """arguments: of the network, from a batch; the call."""
    for batch in (1, 5, 64):
        rng = torch.Generator().manual_seed(100 + batch)
        given, call = arguments[0](batch, rng), arguments[1]
        with torch.no_grad():
            expected = call(network, *given)
            found = file(*given)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def run_job(folder, model, **keys):
    job = {"name": "run", "model": model, "batch": 8,
           "output": {"dir": str(folder / "run"), "dtype": "float32", "samples_per_shard": 8}} | keys
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    qtaylor("generate", folder / "job.yaml", program=TORCH)
    return stored(folder / "run")


def normals(count=4, shape=(3, 16, 16)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(5))


def to_pixels(sample):
    """float [N,C,H,W] -> uint8 [N,H,W,C], as diffusers rounds them."""
    return np.round(np.clip(sample / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1) * 255).astype(np.uint8)


def pictures(network, scheduler, steps, start, **called):
    """What a pipeline of diffusers does with its model and scheduler, to uint8: [N,H,W,C], and how much of it is
    saturated."""
    scheduler.set_timesteps(steps)
    sample = start * getattr(scheduler, "init_noise_sigma", 1)
    with torch.no_grad():
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
            sample = scheduler.step(network(seen, t).sample, t, sample, **called).prev_sample
    assert torch.isfinite(sample).all()
    return to_pixels(sample.double().numpy())


def run_exported(job, start, folder, *sets):
    """The exported job from the same starts: uint8 [N,H,W,C]."""
    np.save(folder / "start.npy", np.asarray(start, np.float32))
    words = [f"seeds=0-{len(start) - 1}", f"initial={folder / 'start.npy'}", "noise=philox",
             f"output.dir={folder / 'run'}", *sets]
    qtaylor("generate", job, *(word for one in words for word in ("--set", one)), program=TORCH)
    return stored(folder / "run")


def assert_same_pictures(ours, theirs, levels=1):
    assert ours.shape == theirs.shape and theirs.std() > 10
    saturated = ((theirs == 0) | (theirs == 255)).mean()
    assert saturated < 0.9, f"{saturated:.0%} of the pixels are saturated and compare nothing"
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    share, most = (difference > levels).mean(), difference.max()
    assert most <= levels, f"{share:.2%} of the pixels differ by up to {most} levels"



"""Whole pipeline folders of diffusers, from prompts to pixels: export, encode_prompts, run, beside the pipeline itself
from the same noise."""
import importlib.util

import numpy as np
import pytest
import torch

import text_pipelines
from conftest import ROOT, TORCH
from exporter import assert_same_pictures, export, normals, one_thread, run_exported

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")
_spec = importlib.util.spec_from_file_location("encode_prompts", ROOT / "tools/encode_prompts.py")
encode_prompts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(encode_prompts)
PROMPTS = ["a photo of a cat", "red dog", "blue cat of a dog"]


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


def pictures_of(pipeline, start, **called):
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(latents=start.clone(), output_type="np", **called).images
    return (made.astype("float64") * 255).round().astype("uint8")


def encoded(folder, out, *options):
    prompts = out / "prompts.txt"
    prompts.write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    encode_prompts.main([str(word) for word in (folder, prompts, "-o", out / "conditions", *options)])


def test_stable_diffusion_with_a_negative_prompt(tmp_path):
    pipeline = text_pipelines.stable_diffusion()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 6)
    encoded(tmp_path / "net", tmp_path / "out", "--negative", "blurry", "--dtype", "float32")
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    theirs = pictures_of(pipeline, start, prompt=PROMPTS, negative_prompt=["blurry"] * 3, num_inference_steps=6)
    assert_same_pictures(ours, theirs)
    other = pictures_of(pipeline, start, prompt=PROMPTS[::-1], negative_prompt=["blurry"] * 3, num_inference_steps=6)
    assert np.abs(other.astype(int) - theirs).max() > 3  # the prompts are seen


def test_stable_diffusion_3_with_tokens_and_pooled(tmp_path):
    pipeline = text_pipelines.stable_diffusion_3()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 5)
    encoded(tmp_path / "net", tmp_path / "out", "--dtype", "float32", "--batch", 2)
    assert np.load(tmp_path / "out/conditions/context.npy").shape == (3, 8 + 256, 32)
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    theirs = pictures_of(pipeline, start, prompt=PROMPTS, num_inference_steps=5, height=16, width=16)
    assert_same_pictures(ours, theirs)


def test_pixart_with_masks(tmp_path):
    pipeline = text_pipelines.pixart()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 5)
    encoded(tmp_path / "net", tmp_path / "out", "--dtype", "float32")
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    assert_same_pictures(ours, pictures_of(pipeline, start, prompt=PROMPTS, num_inference_steps=5, height=16, width=16,
                                           use_resolution_binning=False, clean_caption=False))


def test_dit_with_labels(tmp_path):
    """Its pipeline takes no latents: the same seeds give them here and there."""
    pipeline = text_pipelines.dit()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 5)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    made = pipeline(class_labels=[0, 1, 2], generator=generators, num_inference_steps=5, output_type="np").images
    ours = run_exported(tmp_path / "out/job.yaml", start_of_seeds(3, (4, 8, 8)), tmp_path)
    assert_same_pictures(ours, (made.astype("float64") * 255).round().astype("uint8"))


def test_latent_diffusion_without_conditions(tmp_path):
    pipeline = text_pipelines.latent_diffusion()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 5)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    made = pipeline(batch_size=3, generator=generators, num_inference_steps=5, output_type="np").images
    ours = run_exported(tmp_path / "out/job.yaml", start_of_seeds(3, (3, 8, 8)), tmp_path)
    assert_same_pictures(ours, (made.astype("float64") * 255).round().astype("uint8"))


def start_of_seeds(count, shape):
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(count)])

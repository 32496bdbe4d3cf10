"""tools/export.py diffusers, from a folder to pictures: the exported job beside the pipeline's own model and
scheduler, from the same noise: pixels within one level. test_export_runs.py has the schedulers."""
import json

import pytest
import torch

from conftest import TORCH, qtaylor, stored
from exporter import (
    assert_same,
    assert_same_pictures,
    export,
    load,
    normals,
    one_thread,
    pictures,
    run_exported,
    shake,
    unet,
)

pytestmark = pytest.mark.skipif(not TORCH.exists(), reason="needs the libtorch build")


@pytest.fixture(autouse=True)
def calm():
    with one_thread():
        yield


def test_a_pipeline_folder(tmp_path, capsys):
    from diffusers import DDIMPipeline, DDIMScheduler

    pipeline = DDIMPipeline(unet(), DDIMScheduler(prediction_type="v_prediction"))
    pipeline.save_pretrained(tmp_path / "pipeline")
    export("diffusers", tmp_path / "pipeline", tmp_path / "out", "--steps", 10)
    start = normals()
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    assert_same_pictures(ours, pictures(pipeline.unet, pipeline.scheduler, 10, start))
    # By seeds: the pictures of a list of generators.
    pipeline.set_progress_bar_config(disable=True)
    words = ("--set", "seeds=3-6", "--set", f"output.dir={tmp_path / 'seeds'}")
    qtaylor("generate", tmp_path / "out/job.yaml", *words, program=TORCH)
    theirs = pipeline(batch_size=4, generator=[torch.Generator().manual_seed(seed) for seed in range(3, 7)],
                      num_inference_steps=10, output_type="np").images
    assert_same_pictures(stored(tmp_path / "seeds"), (theirs.astype("float64") * 255).round().astype("uint8"))


BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.long
def test_a_conditional_unet_and_another_class(tmp_path):
    """A model's folder with its scheduler's config beside it, by another class than the one named there."""
    network = unet(classes=7)
    network.save_pretrained(tmp_path / "net")
    config = {"prediction_type": "v_prediction", "num_train_timesteps": 500} | BETAS
    (tmp_path / "net/scheduler_config.json").write_text(json.dumps(config))
    export("diffusers", tmp_path / "net", tmp_path / "out", "--scheduler", "DDIMScheduler", "--steps", 5, "--null", 6)
    file, card = load(tmp_path / "out/model.pt")
    assert card["prediction"] == "v" and card["labels"] == {"classes": 7, "null": 6}
    assert card["schedule"] == {"kind": "discrete-scaled-linear", "steps": 500, "beta0": 0.00085, "beta1": 0.012}
    arguments = lambda batch, rng: (torch.randn(batch, 3, 16, 16, generator=rng),
                                    torch.randint(500, [batch], generator=rng),
                                    torch.randint(7, [batch], generator=rng))
    assert_same(file, network, arguments, lambda net, x, t, labels: net(x, t, labels).sample)
    assert "solver: ddim" in (tmp_path / "out/job.yaml").read_text()


@pytest.mark.long
def test_a_dit(tmp_path):
    from diffusers import DiTTransformer2DModel, DPMSolverMultistepScheduler

    torch.manual_seed(0)
    network = shake(DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, norm_num_groups=4,
        sample_size=8, patch_size=2, num_embeds_ada_norm=10))
    network.save_pretrained(tmp_path / "pipeline/transformer")
    DPMSolverMultistepScheduler().save_pretrained(tmp_path / "pipeline/scheduler")
    (tmp_path / "pipeline/model_index.json").write_text(json.dumps({"vae": ["diffusers", "AutoencoderKL"]}))
    export("diffusers", tmp_path / "pipeline", tmp_path / "out", "--steps", 5)
    file, card = load(tmp_path / "out/model.pt")
    assert card["labels"] == {"classes": 10, "null": 10} and card["variance"] == "learned"
    arguments = lambda batch, rng: (torch.randn(batch, 4, 8, 8, generator=rng),
                                    torch.randint(1000, [batch], generator=rng),
                                    torch.randint(11, [batch], generator=rng))
    assert_same(file, network, arguments, lambda net, x, t, labels: net(x, timestep=t, class_labels=labels).sample)
    start = normals(3, (4, 8, 8))
    found = run_exported(tmp_path / "out/job.yaml", start, tmp_path, "sampler.guidance=4", "labels=balanced")
    assert found.dtype == "float32" and found.shape == (3, 4, 8, 8)

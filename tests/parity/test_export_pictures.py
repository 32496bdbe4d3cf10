"""tools/export.py diffusers, from a folder to pictures: the exported job beside the pipeline's own model and scheduler, from the
same noise: pixels within one level."""
import pytest
import torch

from conftest import TORCH
from exporter import assert_same_pictures, export, normals, one_thread, pictures, run_exported, unet

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
    from conftest import qtaylor, stored
    qtaylor("generate", tmp_path / "out/job.yaml", "--set", "seeds=3-6", "--set", f"output.dir={tmp_path / 'seeds'}", program=TORCH)
    theirs = pipeline(batch_size=4, generator=[torch.Generator().manual_seed(seed) for seed in range(3, 7)],
                      num_inference_steps=10, output_type="np").images
    assert_same_pictures(stored(tmp_path / "seeds"), (theirs.astype("float64") * 255).round().astype("uint8"))

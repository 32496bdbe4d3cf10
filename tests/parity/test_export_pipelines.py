"""Whole pipeline folders of diffusers, from prompts to pixels: export, encode_prompts, run, beside the pipeline itself
from the same noise."""
import importlib.util
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch

import text_pipelines
from conftest import ROOT, TORCH, environment, mpirun, qtaylor, stored
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


def scaling(out):
    """scale and shift in the decoder's card: the norms within a random decoder may hide an error of some percent."""
    extra = {"decoder.json": ""}
    torch.jit.load(str(out / "decoder.pt"), _extra_files=extra)
    card = json.loads(extra["decoder.json"])
    return card["scale"], card["shift"]


def test_stable_diffusion_with_a_negative_prompt(tmp_path):
    pipeline = text_pipelines.stable_diffusion()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 6)
    assert scaling(tmp_path / "out") == (0.18215, 0)
    encoded(tmp_path / "net", tmp_path / "out", "--negative", "blurry", "--dtype", "float32")
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    theirs = pictures_of(pipeline, start, prompt=PROMPTS, negative_prompt=["blurry"] * 3, num_inference_steps=6)
    assert_same_pictures(ours, theirs)
    other = pictures_of(pipeline, start, prompt=PROMPTS[::-1], negative_prompt=["blurry"] * 3, num_inference_steps=6)
    assert np.abs(other.astype(int) - theirs).max() > 3  # the prompts are seen


@pytest.mark.parametrize("scale", [0, 0.5])
def test_guidance_below_1_is_none(tmp_path, scale):
    pipeline = text_pipelines.stable_diffusion()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 3, "--guidance", scale)
    encoded(tmp_path / "net", tmp_path / "out", "--dtype", "float32")
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    assert_same_pictures(ours, pictures_of(pipeline, start, prompt=PROMPTS, num_inference_steps=3,
                                           guidance_scale=scale))


def test_stable_diffusion_3_with_tokens_and_pooled(tmp_path):
    pipeline = text_pipelines.stable_diffusion_3()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 5)
    assert scaling(tmp_path / "out") == (1.5305, 0.0609)
    encoded(tmp_path / "net", tmp_path / "out", "--dtype", "float32", "--batch", 2)
    assert np.load(tmp_path / "out/conditions/context.npy").shape == (3, 8 + 256, 32)
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    theirs = pictures_of(pipeline, start, prompt=PROMPTS, num_inference_steps=5, height=16, width=16)
    assert_same_pictures(ours, theirs)


@pytest.mark.parametrize("name", ["PixArtAlphaPipeline", "PixArtSigmaPipeline"])
def test_pixart_with_masks(tmp_path, name):
    pipeline = text_pipelines.pixart(name)
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 5)
    assert scaling(tmp_path / "out") == (0.13025, 0)
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
    assert scaling(tmp_path / "out") == (0.18215, 0)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    made = pipeline(class_labels=[0, 1, 2], generator=generators, num_inference_steps=5, output_type="np").images
    ours = run_exported(tmp_path / "out/job.yaml", start_of_seeds(3, (4, 8, 8)), tmp_path)
    assert_same_pictures(ours, (made.astype("float64") * 255).round().astype("uint8"))


def test_latent_diffusion_without_conditions(tmp_path):
    pipeline = text_pipelines.latent_diffusion()
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 5)
    assert scaling(tmp_path / "out") == (0.9, 0)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    made = pipeline(batch_size=3, generator=generators, num_inference_steps=5, output_type="np").images
    ours = run_exported(tmp_path / "out/job.yaml", start_of_seeds(3, (3, 8, 8)), tmp_path)
    assert_same_pictures(ours, (made.astype("float64") * 255).round().astype("uint8"))


def start_of_seeds(count, shape):
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(count)])


def test_the_four_commands_of_the_documentation(tmp_path):
    """Those of docs/text-to-image.md and of the README, word by word, in the folder that they speak of."""
    text_pipelines.stable_diffusion().save_pretrained(tmp_path / "FOLDER")
    (tmp_path / "prompts.txt").write_text("a cat\nred dog\n")
    for name in ("build", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    text = (ROOT / "docs/text-to-image.md").read_text()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    commands = commands[:4]
    assert "".join(f"    {command}\n" for command in commands) in (ROOT / "README.md").read_text()
    for command in commands:
        words = shlex.split(command)
        if words[0] == "mpirun":
            words[:3] = mpirun(2)
        if words[0].endswith("python"):
            words[0] = sys.executable
        done = subprocess.run(words, cwd=tmp_path, env=environment(OMP_NUM_THREADS=1), capture_output=True, text=True,
                              timeout=120)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert stored(tmp_path / "runs/sd").shape == (64, 16, 16, 3)
    assert "<html" in (tmp_path / "sd.html").read_text()
    qtaylor("export", tmp_path / "runs/sd", "--to", "png", "-o", tmp_path / "png")
    lines = [json.loads(line) for line in (tmp_path / "png/metadata.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines[:3]] == [0, 1, 0] and "red dog" in lines[1].values()


def test_what_no_job_can_say(tmp_path, capsys):
    text_pipelines.stable_diffusion().save_pretrained(tmp_path / "net")
    index = tmp_path / "net/model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"))
    export("diffusers", tmp_path / "net", tmp_path / "out", code=65)
    assert "StableDiffusionImg2ImgPipeline: expected StableDiffusionPipeline" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_inpainting_network_is_refused(tmp_path, capsys):
    """It is given a picture and its mask besides."""
    pipeline = text_pipelines.stable_diffusion()
    pipeline.unet = type(pipeline.unet).from_config({**pipeline.unet.config, "in_channels": 9})
    pipeline.save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", code=65)
    assert "unet: in_channels: expected 4, found 9" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_prompts_of_coco_and_geneval(tmp_path, capsys):
    (tmp_path / "coco.json").write_text(json.dumps({"annotations": [{"caption": "a cat.\n"}, {"caption": "a  dog"}]}))
    (tmp_path / "geneval.jsonl").write_text('{"tag": "counting", "prompt": "two dogs"}\n{"prompt": "a\u2028cat"}\n')
    (tmp_path / "lines.txt").write_text("\ufeffone\n\nthree\n")  # the empty prompt is one, a byte order mark none
    assert encode_prompts.read_prompts(tmp_path / "coco.json") == ["a cat.", "a dog"]
    assert encode_prompts.read_prompts(tmp_path / "geneval.jsonl") == ["two dogs", "a cat"]
    assert encode_prompts.read_prompts(tmp_path / "lines.txt") == ["one", "", "three"]
    encode_prompts.note_blank_lines("lines.txt", ["one", "", "three", ""])
    assert "lines.txt: prompts 2, 4 of 4" in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text("")
    for prompts, code, said in (("empty.txt", 65, "found none"), ("absent.txt", 74, "No such file"),
                                ("lines.txt", 65, "expected a pipeline")):
        (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
        with pytest.raises(SystemExit) as end:
            encode_prompts.main([str(tmp_path), str(tmp_path / prompts), "-o", str(tmp_path / "out")])
        assert end.value.code == code and said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_prompts_that_are_cut_off_are_named(capsys):
    """Of CLIP's 8 tokens two are its start and end, and its words letters; of T5's 256 one is its end."""
    prompts = ["a cat", "cat dog", "cat dog red", "a" + " cat" * 254, "a" + " cat" * 255]
    letters = [2 + len(prompt.replace(" ", "")) for prompt in prompts]
    pipeline = text_pipelines.stable_diffusion_3()
    encode_prompts.note_long_prompts("p.txt", prompts, pipeline)
    said = [line.split(" of 5 (a line each): longer than the ") for line in capsys.readouterr().err.splitlines()
            if line.startswith("p.txt")]
    assert [(which, rest.split(",")[0], rest.split()[-1]) for which, rest in said] == [
        ("p.txt: prompts 3, 4, 5", "8 tokens that the pipeline's tokenizer takes", str(max(letters))),
        ("p.txt: prompts 3, 4, 5", "8 tokens that the pipeline's tokenizer_2 takes", str(max(letters))),
        ("p.txt: prompt 5", "256 tokens that the pipeline's tokenizer_3 takes", "257")]
    with torch.no_grad():
        fits, longer = (encode_prompts.encode(pipeline, [prompt])["context"][:, :8] for prompt in prompts[1:3])
    assert (fits == longer).all()


def test_one_file_of_tensors(tmp_path):
    """The same rows as in .npy files, by the library of the format, and by jobs."""
    from safetensors.numpy import load_file

    text_pipelines.pixart("PixArtAlphaPipeline").save_pretrained(tmp_path / "net")
    export("diffusers", tmp_path / "net", tmp_path / "out", "--steps", 3)
    encoded(tmp_path / "net", tmp_path / "out", "--batch", 2)
    one = tmp_path / "out/prompts.safetensors"
    encode_prompts.main([str(tmp_path / "net"), str(tmp_path / "out/prompts.txt"), "-o", str(one), "--batch", "2"])
    there = load_file(one)
    assert set(there) == {"context", "mask", "null-context", "null-mask"}
    for name, array in there.items():
        expected = np.load(tmp_path / f"out/conditions/{name}.npy")
        assert array.dtype == expected.dtype and (array == expected).all()
    assert (tmp_path / "out/prompts-captions.txt").read_text() == (tmp_path / "out/conditions/captions.txt").read_text()
    start = normals(3, (4, 8, 8))
    ours = run_exported(tmp_path / "out/job.yaml", start, tmp_path)
    job = tmp_path / "out/job.yaml"
    text = job.read_text()
    for name in there:
        assert f"conditions/{name}.npy" in text
        text = text.replace(f"conditions/{name}.npy", f"prompts.safetensors#{name}")
    job.write_text(text)
    (tmp_path / "again").mkdir()
    assert (run_exported(job, start, tmp_path / "again") == ours).all()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.pt", "decoder.pt", "job.yaml", "conditions", "prompts.txt", "prompts.safetensors",
        "prompts-captions.txt"}


def test_negative_prompts_a_row_each(tmp_path):
    """In float16, as files have it unless said."""
    text_pipelines.stable_diffusion().save_pretrained(tmp_path / "net")
    (tmp_path / "out").mkdir()
    (tmp_path / "negatives.txt").write_text("ugly\nblurry\n\n")
    encoded(tmp_path / "net", tmp_path / "out", "--negatives", tmp_path / "negatives.txt", "--batch", 1)
    null = np.load(tmp_path / "out/conditions/null-context.npy", mmap_mode="r")
    assert null.shape == (3, 8, 16) and null.dtype == np.float16 and np.abs(null[0] - null[1]).max() > 0.01
    encoded(tmp_path / "net", tmp_path / "out", "--negative", "blurry")
    one = np.load(tmp_path / "out/conditions/null-context.npy")
    assert len(one) == 1 and np.abs(one[0].astype(float) - null[1]).max() < 2e-3

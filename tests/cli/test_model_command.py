"""qtaylor model: the card it prints is the file's, networks that fail a run's proof fail here, and what it recommends
is one of the speeds that it measured."""
import json

import pytest

from conftest import ROOT, TORCH, qtaylor


def tried(*arguments, **options):
    return json.loads(qtaylor("model", *arguments, "--json", **options).stdout)


def test_speeds_and_recommendation(job):
    job.model["delay_ms"] = 2  # a call: so that larger batches are faster, whatever else the machine does
    job.write()
    found = tried(job.folder / "model.json")
    assert found["card"]["shape"] == [1, 4, 4] and found["row_difference"] == 0
    batches = sorted({speed["batch"] for speed in found["speeds"]})
    assert batches == [2**i for i in range(len(batches))] and batches[-1] >= 64
    best = max(speed["rows_per_second"] for speed in found["speeds"])
    assert found["recommended"] in found["speeds"] and found["recommended"]["rows_per_second"] >= 0.97 * best
    said = qtaylor("model", job.folder / "model.json", "--batch", 4).stdout
    assert "batch: 4, workers:" in said and "the same bits whatever else is in the batch" in said


@pytest.mark.parametrize("member, words", [
    ({"mixing": 0.5}, "depends on the other samples"), ({"dropout": 0.4}, "same input again")])
def test_what_a_run_would_refuse(job, member, words):
    job.model |= member
    job.write()
    assert words in qtaylor("model", job.folder / "model.json", code=65).stderr


def test_a_small_difference_is_told(job):
    job.model["mixing"] = 1e-6
    job.write()
    assert 0 < tried(job.folder / "model.json", "--batch", 8)["row_difference"] < 1e-5
    assert "they change by up to" in qtaylor("model", job.folder / "model.json", "--batch", 8).stdout


def test_card_and_its_overrides(job):
    job.write()
    found = tried(job.folder / "model.json", "--batch", 2, "--set", "prediction=v")
    assert found["card"]["prediction"] == "v"
    job.model["card"]["batch"] = 6
    job.write()
    assert {speed["batch"] for speed in tried(job.folder / "model.json")["speeds"]} == {6}
    assert "batches of 6" in qtaylor("model", job.folder / "model.json", "--batch", 8, code=64).stderr


def test_torchscript():
    found = tried(ROOT / "jobs/digits/model.pt", "--batch", 16, program=TORCH)
    assert found["form"] == "torchscript" and found["row_difference"] == 0 and found["card"]["shape"] == [1, 8, 8]
    assert all(speed["peak_bytes"] > 1 << 20 for speed in found["speeds"])
    assert "expected a card" in qtaylor("model", ROOT / "jobs/digits/features.pt", program=TORCH, code=65).stderr


def test_a_file_of_another_kind(job):
    job.add_evaluation()
    job.write()
    (job.folder / "decoder.json").write_text('{"decoder": {"latent": [1, 4, 4], "image": [1, 4, 4]}}')
    for file, other in ("features.json", "a feature network"), ("decoder.json", "a decoder"):
        for command in (("model", job.folder / file),
                        ("plan", job.folder / "job.yaml", "--set", f"model.path={file}")):
            said = qtaylor(*command, code=65).stderr
            assert "expected a card (extra/diffusion.json," in said and f"found that of {other}" in said
    said = qtaylor("plan", job.folder / "job.yaml", "--set", "evaluate.features=model.json", code=65).stderr
    assert "expected a card (extra/features.json," in said and "found that of a model of samples" in said

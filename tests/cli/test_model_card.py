"""A job's model.card goes over the card in the model's file key by key; `plan` says what it replaces."""
import json

import pytest

from conftest import qtaylor


def plan(job, *options):
    return json.loads(qtaylor("plan", job.write(), "--json", *options).stdout)


def test_one_key_alone(job):
    job.keys["sampler"] |= {"guidance": 2}
    found = plan(job, "--set", "model.card.labels.null=1", "--set", "model.card.prediction=v", "--set",
                 "model.card.sigma_data=0.3")
    assert found.pop("model_card") == {"labels.null": [2, 1], "prediction": ["epsilon", "v"], "sigma_data": [None, 0.3]}
    text = qtaylor("plan", job.write(), "--set", "model.card.labels.null=1").stdout
    assert text.startswith("model.card.labels.null: 2 -> 1\nsolver taylor")
    job.model["card"] |= {"prediction": "v", "labels": {"classes": 2, "null": 1}, "sigma_data": 0.3}
    assert plan(job) == found
    same = plan(job, "--set", "model.card.labels.null=1")  # what the file says already
    assert same == found


def test_null_is_a_value_of_a_card(job):
    """Elsewhere --set KEY=null takes a key of the job away; a card's null says that there is none."""
    assert plan(job, "--set", "model.card.labels.null=null")["model_card"] == {"labels.null": [2, None]}
    found = plan(job, "--set", "model.card.range=null", "--set", "output.dtype=float32")
    assert found["model_card"] == {"range": [[-1, 1], None]}
    job.keys["labels"] = "none"
    assert plan(job, "--set", "model.card.labels=null")["model_card"] == {"labels": [job.model["card"]["labels"], None]}
    job.keys["sampler"] |= {"guidance": 2}
    assert "guidance" in qtaylor("plan", job.write(), "--set", "model.card.labels=null", code=65).stderr


def test_other_kinds_replace_the_map(job):
    found = plan(job, "--set", "model.card.schedule={kind: cosine, s: 0.01}", "--set", "model.card.time.scale=7")
    linear = {"kind": "linear", "beta0": 0.1, "beta1": 20}
    assert found["model_card"] == {"schedule": [linear, {"kind": "cosine", "s": 0.01}], "time.scale": [None, 7]}
    assert found["ops"][0]["time"] == pytest.approx(7 * found["steps"][0]["t"])


def test_the_run_and_its_fingerprint_have_the_whole(job):
    job.keys["seeds"] = "0-3"
    qtaylor("run", job.write(), "--set", "model.card.schedule.beta1=15")
    document = json.loads((job.run / "run.json").read_text())
    expected = job.model["card"] | {"schedule": {"kind": "linear", "beta0": 0.1, "beta1": 15}}
    assert document["card"] == expected == document["keys"]["card"]
    assert "schedule.beta1" in qtaylor("run", job.write(), code=65).stderr  # another card: no run to go on with
    qtaylor("verify", job.run)


def test_model_as_a_path_alone(job):
    job.keys["model"] = "model.json"
    assert plan(job, "--set", "model.card.batch=8")["model_card"] == {"batch": [None, 8]}
    said = qtaylor("plan", job.write(), "--set", "model.pth=x", code=65).stderr
    assert "--set model.pth=x: model.pth: unknown key" in said


@pytest.mark.parametrize("sets, said", [
    ("model.card.lables.null=1", "model.card.lables: unknown key; did you mean \"labels\"?"),
    ("model.card.labels.nul=1", "model.card.labels.nul: unknown key; did you mean \"null\"?"),
    ("model.card.prediction=noise", "model.card.prediction: expected one of epsilon"),
    ("model.card.schedule.s=0.1", "model.json: its card under the keys given: schedule.s: expected no such key"),
    ("model.card=7", "model.card: expected a map"),
])
def test_mistakes(job, sets, said):
    assert said in qtaylor("plan", job.write(), "--set", sets, code=65).stderr


def test_a_file_without_a_card(job):
    card = job.model.pop("card")
    job.keys["model"]["card"] = {"labels": {"classes": 2}}
    said = qtaylor("plan", job.write(), code=65).stderr
    assert "there is no card in" in said and "prediction: missing" in said or "shape: missing" in said
    job.keys["model"]["card"] = card
    assert "model_card" not in plan(job)
    (job.folder / "model.json").unlink()
    path = job.folder / "job.yaml"
    assert "model_card" not in json.loads(qtaylor("plan", path, "--json").stdout)

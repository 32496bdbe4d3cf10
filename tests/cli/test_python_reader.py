"""tools/qtaylor.py, copied elsewhere, against what `qtaylor export` and `inspect` say of the same runs."""
import importlib.util
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT, qtaylor
from test_conditions import arrays, give
from test_latents import give_decoder


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The one file, from a folder of its own."""
    path = shutil.copy(ROOT / "tools/qtaylor.py", tmp_path_factory.mktemp("copied") / "qtaylor.py")
    spec = importlib.util.spec_from_file_location("qtaylor", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["qtaylor"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["qtaylor"]


def exported(run, to="npz", *more):
    path = run.parent / f"exported.{to}"
    qtaylor("export", run, "--to", to, "-o", path, "--force", *more)
    return np.load(path)


def test_pictures_labels_features_metrics(job, reader):
    job.keys["seeds"] = "995-1059,7,400-433"
    job.keys["labels"] = "random"
    job.add_evaluation()
    qtaylor("run", job.write())
    run, wanted = reader.Run(job.run), exported(job.run)
    assert len(run) == 100 and run.rows is None and run.absent == []
    assert run.samples().dtype == np.uint8 and (run.samples() == wanted["arr_0"]).all()
    assert (run.labels == wanted["arr_1"]).all() and len(set(run.labels)) == 2
    assert run.seeds.tolist() == [*range(995, 1060), 7, *range(400, 434)]
    chosen = [400, 7, 1059, 995, 7]
    positions = [run.seeds.tolist().index(seed) for seed in chosen]
    assert (run.samples(chosen) == wanted["arr_0"][positions]).all()
    assert run.samples([]).shape == (0, 4, 4, 1) and run.samples(np.array([], int)).dtype == np.uint8
    parts = list(run.parts())
    assert [len(part.seeds) for part in parts] == [16] * 6 + [4] and parts[0].rows is None
    assert (np.concatenate([part.samples for part in parts]) == wanted["arr_0"]).all()
    assert (np.concatenate([part.labels for part in parts]) == wanted["arr_1"]).all()
    qtaylor("reference", job.run, "-o", job.folder / "features.npy")
    network = json.loads((job.run / "metrics.json").read_text())["metrics"]["network"]["sha256"][:12]
    assert run.feature_names() == [f"{network}/pool"]
    for name in "pool", f"{network}/pool":
        assert (run.features(name) == np.load(job.folder / "features.npy")).all()
    with pytest.raises(reader.Error, match="logits: it has .*/pool"):
        run.features("logits")
    assert run.digest == job.digest() and run.metrics["samples"] == 100
    table = reader.results(job.run)
    assert table.fid.tolist() == [run.metrics["fid"]]


def test_floats_latents_and_conditions(job, reader):
    give_decoder(job)
    job.keys["output"] |= {"latents": "float16", "dtype": "float32"}
    qtaylor("run", job.write())
    run = reader.Run(job.run)
    assert run.samples().dtype == np.float32 and (run.samples() == exported(job.run, "npy")).all()
    assert run.latents().dtype == np.float16 and (run.latents() == exported(job.run, "npy", "--latents")).all()
    assert (run.latents([5, 3]) == run.latents()[[5, 3]]).all()
    assert run.latents([]).shape == (0, *run.latents().shape[1:]) and run.latents([]).dtype == np.float16


def test_rows_of_conditions(job, reader):
    give(job, arrays())
    qtaylor("run", job.write())
    run = reader.Run(job.run)
    assert (run.rows == exported(job.run)["rows"]).all() and run.rows.max() == 6 and run.labels is None
    with pytest.raises(reader.Error, match="no latents"):
        run.latents()
    with pytest.raises(reader.Error, match="qtaylor evaluate"):
        print(run.metrics)


def test_what_is_missing_is_said(job, reader):
    job.model["card"]["labels"] = {"classes": 4, "null": 4}
    labels = [2 if seed == 37 else seed % 2 for seed in range(100)]
    (job.folder / "labels.txt").write_text("\n".join(map(str, labels)))
    job.keys["labels"] = "labels.txt"
    path = job.write()
    qtaylor("run", path, "--set", f"output.dir={job.folder}/healthy")
    whole = exported(job.folder / "healthy")["arr_0"]
    qtaylor("run", path, code=76, QTAYLOR_FAKE_POISON="2:nan")  # the shard of seed 37 is left out
    (job.run / "samples/000006.npy.zst").unlink()
    with pytest.raises(reader.Incomplete, match=r"20 of 100 .* seeds 32-47 \(quarantined: .*\), and 1 more") as no:
        reader.Run(job.run)
    assert [one["shard"] for one in no.value.absent] == [2, 6] and no.value.absent[1]["reason"] == "not made yet"
    with pytest.warns(UserWarning, match="20 of 100 samples are missing"):
        run = reader.Run(job.run, partial=True)
    left = [*range(32), *range(48, 96)]
    assert len(run) == 80 and run.seeds.tolist() == left and (run.samples() == whole[left]).all()
    assert (run.labels == np.array(labels)[left]).all()
    with pytest.raises(reader.Incomplete, match="32-47"):
        run.samples([31, 33])
    for other in 100, 3.7, True, "3":
        with pytest.raises(KeyError, match=f"no seed {other}"):
            run.samples([other])
    assert [x.shape for x, _ in (reader.Dataset(run)[i] for i in (0, 79))] == [(1, 4, 4)] * 2
    assert (reader.Dataset(run)[32][0].numpy() == whole[48, :, :, 0].astype(np.float32) / 255 * 2 - 1).all()


@pytest.mark.parametrize("bend, word", [
    (lambda data: data[:-5], "cut short"),
    (lambda data: data[:150] + bytes([data[150] ^ 1]) + data[151:], "damaged"),
    (lambda data: data.replace(b'"labels":[0,1', b'"labels":[1,1'), "not those that were written")])
def test_damage_is_found(job, reader, bend, word):
    qtaylor("run", job.write())
    path = job.run / "samples/000003.npy.zst"
    path.write_bytes(bend(path.read_bytes()))
    with pytest.raises(reader.Error, match=word):
        reader.Run(job.run).samples()


def uses_of(reader, run):
    """All that reads a shard, by name."""
    return {"samples": lambda: run.samples(), "some": lambda: run.samples([50]), "labels": lambda: run.labels,
            "rows": lambda: run.rows, "digest": lambda: run.digest, "parts": lambda: list(run.parts()),
            "picture": lambda: reader.Dataset(run)[50]}


def test_every_use_verifies_the_labels_it_takes(job, reader):
    qtaylor("run", job.write())
    path = job.run / "samples/000003.npy.zst"
    path.write_bytes(path.read_bytes().replace(b'"labels":[0,1', b'"labels":[1,1'))
    for name, use in uses_of(reader, reader.Run(job.run)).items():
        with pytest.raises(reader.Error, match="000003.npy.zst is damaged"):
            print(name, use())


def test_any_flipped_byte_is_an_error_that_names_the_file(job, reader):
    qtaylor("run", job.write())
    path = job.run / "samples/000003.npy.zst"
    data, run = path.read_bytes(), reader.Run(job.run)
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1:])
        for use in reader.Run.labels.fget, lambda run: run.samples([50]), lambda run: reader.Dataset(run)[50]:
            with pytest.raises(reader.Error, match="000003.npy.zst"):
                print(place, use(run))
    path.write_bytes(data)
    assert run.samples([50]).shape == (1, 4, 4, 1)


def test_missing_seeds_are_those_that_were_asked_for(job, reader):
    job.keys["seeds"] = "500-520,3,7,9-12,40-60"
    qtaylor("run", job.write())
    (job.run / "samples/000001.npy.zst").unlink()
    with pytest.raises(reader.Incomplete, match=r"seeds 516-520,3,7,9-12,40-44 \(not made yet\)") as no:
        reader.Run(job.run)
    assert no.value.absent[0]["seeds"] == "516-520,3,7,9-12,40-44" and no.value.absent[0]["samples"] == 16


def test_what_is_of_another_run_is_refused(job, reader):
    qtaylor("run", job.write())
    shutil.copy(job.run / "samples/000003.npy.zst", job.run / "samples/000004.npy.zst")
    with pytest.raises(reader.Error, match="000004.npy.zst is not of this run"):
        reader.Run(job.run).samples()
    with pytest.raises(reader.Error, match="no run.json"):
        reader.Run(job.folder)


def test_a_sweep(job, reader):
    job.add_evaluation()
    job.keys["sweep"] = {"sampler": [{"solver": "ddim"}, {"solver": "taylor", "order": 1}], "sampler.nfe": [2, 4]}
    qtaylor("run", job.write())
    with pytest.raises(reader.Error, match="is a sweep: open one of its cells"):
        reader.Run(job.run)
    table, runs = reader.results(job.run), reader.cells(job.run)
    rows = json.loads((job.run / "results.json").read_text())["cells"]
    assert table.cell.tolist() == [row["cell"] for row in rows] == list(runs)
    assert table.fid.tolist() == [row.get("fid") for row in rows]
    for name in ("solver=ddim,nfe=2", "solver=ddim,nfe=4"):
        assert (runs[name].samples() == exported(job.run / name)["arr_0"]).all()
    (job.run / "results.json").unlink()
    with pytest.raises(reader.Error, match="has no results.json: run the sweep again"):
        reader.results(job.run)


def test_a_dataset_for_training(job, reader):
    qtaylor("run", job.write())
    import torch
    run = reader.Run(job.run)
    data = pickle.loads(pickle.dumps(reader.Dataset(run)))  # as a loader's processes get it
    pictures, labels = next(iter(torch.utils.data.DataLoader(data, 100)))
    assert pictures.shape == (100, 1, 4, 4) and pictures.dtype == torch.float32
    wanted = run.samples().transpose(0, 3, 1, 2)
    assert np.abs((pictures.numpy() + 1) * 127.5 - wanted).max() < 1e-4 and (labels.numpy() == run.labels).all()
    bent = reader.Dataset(run, transform=lambda picture: picture[:, :2])
    assert bent[-1][0].shape == (1, 2, 4) and len(list(bent)) == 100
    (pictures, _), (last, _) = data[70], data[-1]
    assert torch.equal(pictures * 0 + last, reader.Dataset(str(job.run))[99][0])


def test_it_needs_only_numpy_to_start(reader):
    code = "import sys, qtaylor; assert not {'torch', 'pandas', 'zstandard'} & set(sys.modules); qtaylor.Run"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "tools")


def test_a_run_that_was_stopped_is_one_of_so_many_samples(reader, job):
    job.add_evaluation()
    job.keys |= {"seeds": "0-1999", "labels": "balanced"}
    job.keys["evaluate"]["until"] = {"fid_error": 1e9}
    job.keys["output"]["samples_per_shard"] = 64
    qtaylor("run", job.write())
    run = reader.Run(job.run)
    assert len(run) == run.metrics["samples"] == 1024 and not run.absent
    assert np.array_equal(run.samples(), exported(job.run)["arr_0"])

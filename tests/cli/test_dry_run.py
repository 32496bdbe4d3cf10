"""run --dry-run: it says what is missing, checks what a start checks, and writes nothing."""
import json
import shutil

import pytest

from conftest import qtaylor


def tree(folder):
    return {str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in sorted(folder.rglob("*"))}


def dry(path, *arguments, **options):
    done = qtaylor("run", path, "--dry-run", "--json", *arguments, **options)
    return json.loads(done.stdout)


@pytest.mark.parametrize("ranks", [0, 2])
def test_it_counts_what_is_missing_and_writes_nothing(job, ranks):
    job.add_evaluation()
    path = job.write()
    before = tree(job.folder)
    found = dry(path, ranks=ranks)
    assert tree(job.folder) == before and not job.run.exists()
    assert (found["missing"], found["bytes"], found["cells"][0]["shards_missing"]) == (100, 1600, 7)
    assert found["ranks"] == max(ranks, 1)

    qtaylor("run", path)
    (job.run / "samples/000001.npy.zst").unlink()
    damaged = job.run / "samples/000003.npy.zst"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    shutil.rmtree(next((job.run / "features").iterdir()))
    before = tree(job.folder)
    found = dry(path, "--set", "seeds=0-111", ranks=ranks)
    cell = found["cells"][0]
    assert tree(job.folder) == before
    # the last of 7 shards was of 4 samples, and is of other seeds now
    assert (cell["samples"], cell["missing"], cell["shards"], cell["shards_bad"]) == (112, 16 * 3, 7, 2)
    assert cell["shards_missing"] == 7  # of features
    assert "48 to make; 7 of 7 shards" in qtaylor("run", path, "--dry-run", "--set", "seeds=0-111").stdout
    made = qtaylor("run", path, "--set", "seeds=0-111")
    assert "112 on disk, 48 made now" in made.stdout
    assert dry(path, "--set", "seeds=0-111")["seconds"] is None


def test_the_time_is_that_of_its_model_calls(job):
    """A call of the network takes 20 ms or more: two workers with batches of 8 make 800 of a sample a second at
    most."""
    job.model["delay_ms"] = 20
    job.keys |= {"seeds": "0-49999", "workers": 2}
    found = dry(job.write())
    rate, cell = found["cells"][0]["calls_per_second"], found["cells"][0]
    assert 0 < rate <= 2 * 8 / 0.020
    assert cell["seconds"] == pytest.approx(50000 * 6 / rate) and found["seconds"] == cell["seconds"]
    job.keys |= {"seeds": "0-3"}  # half a batch takes as long as a whole one
    assert 0 < dry(job.write())["cells"][0]["calls_per_second"] <= 2 * 4 / 0.020
    job.keys |= {"seeds": "0-49999", "sampler": {"solver": "rk45"}}
    assert 0 < dry(job.write())["cells"][0]["calls_per_second"] <= 2 * 8 / 0.020


def test_a_sweep(job):
    job.keys["sweep"] = {"sampler.nfe": [2, 5]}
    path = job.write()
    qtaylor("run", path, "--cell", "nfe=5", "--set", f"output.dir={job.run}")
    found = dry(path)
    assert {cell["cell"]: cell["missing"] for cell in found["cells"]} == {"nfe=2": 100, "nfe=5": 0}
    assert not (job.run / "nfe=2").exists() and not (job.run / "sweep.json").exists()
    assert [cell["cell"] for cell in dry(path, "--cell", "0")["cells"]] == [None]


def nan(job):
    job.model["nan_call"] = 1


def mixes(job):
    job.model["mixing"] = 0.5


def other_job(job):
    qtaylor("run", job.write())
    job.keys["sampler"]["nfe"] = 7


def unreadable_features(job):
    job.add_evaluation()
    (job.folder / "features.json").write_text("{}")


def other_reference(job):
    import numpy

    job.add_evaluation()
    numpy.savez(job.folder / "reference.npz", mu=numpy.zeros(3), sigma=numpy.eye(3))


def no_folder(job):
    (job.folder / "taken").write_text("")
    job.keys["output"]["dir"] = str(job.folder / "taken/run")


def labels(job):
    job.keys["labels"] = 7


def no_files_there(job):
    job.keys["output"]["dir"] = "/proc/taken/run"


def a_link_to_nothing(job):
    (job.folder / "taken").symlink_to("nowhere")
    job.keys["output"]["dir"] = str(job.folder / "taken")


NO_PLACE = [no_folder, no_files_there, a_link_to_nothing]


@pytest.mark.parametrize("spoil", [nan, mixes, other_job, unreadable_features, other_reference, labels, *NO_PLACE])
def test_what_stops_a_start_stops_it(job, spoil):
    spoil(job)
    path = job.write()
    before = tree(job.folder)
    code = 74 if spoil in NO_PLACE else 65
    said = qtaylor("run", path, "--dry-run", code=code).stderr
    assert tree(job.folder) == before
    really = qtaylor("run", path, code=code).stderr
    last = [line for line in really.splitlines() if "error:" in line][-1]
    assert last in said or spoil in NO_PLACE and "taken" in said and "taken" in last


def test_a_link_to_a_folder_is_a_folder(job):
    (job.folder / "real").mkdir()
    (job.folder / "link").symlink_to("real")
    for place in "link", "link/run":
        assert dry(job.write(), "--set", f"output.dir={job.folder / place}")["missing"] == 100
    assert not any((job.folder / "real").iterdir())


def test_images_as_a_reference_are_looked_at(job):
    from PIL import Image

    job.add_evaluation()
    images = job.folder / "images"
    images.mkdir()
    for i in range(12):
        Image.new("L", (4, 4), 20 * i).save(images / f"{i}.png")
    job.keys["evaluate"]["reference"] = "images"
    path = job.write()
    before = tree(job.folder)
    done = qtaylor("run", path, "--dry-run")
    assert "no features are on disk: a start makes them first" in done.stderr and tree(job.folder) == before
    (images / "0.png").write_bytes(b"no image")
    assert "0.png" in qtaylor("run", path, "--dry-run", code=65).stderr

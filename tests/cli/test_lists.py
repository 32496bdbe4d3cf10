"""Who got which label, row and scale: a whole run is read without the files that said it, from its shards."""
import json

import numpy as np
import pytest

from conditions import arrays, give
from conftest import qtaylor, stored
from test_decode import give_decoder


def listed(job):
    """A job that has all three, and a decoder whose latents are kept."""
    rng = np.random.default_rng(5)
    give(job, arrays(), classes=True, rows="rows.txt")
    files = {"rows.txt": rng.integers(0, 7, 100), "labels.txt": rng.integers(0, 2, 100)}
    for name, numbers in files.items():
        (job.folder / name).write_text("".join(f"{number}\n" for number in numbers))
    np.save(job.folder / "scales.npy", np.linspace(0, 3, 7))
    job.keys["labels"] = "labels.txt"
    job.keys["sampler"]["guidance"] = {"scale": "scales.npy"}
    give_decoder(job)
    job.keys["output"] |= {"dtype": "uint8", "latents": True}
    return files


FILES = ["labels.txt", "rows.txt", "scales.npy"]


def lose(job, how):
    for name in FILES:
        path = job.folder / name
        if how == "gone":
            path.unlink()
        elif name == "scales.npy":
            np.save(path, np.linspace(3, 0, 7))
        else:
            path.write_text("".join(line + "\n" for line in reversed(path.read_text().split())))


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_whole_run_is_read_from_its_folder_alone(job, how):
    files = listed(job)
    qtaylor("run", job.write())
    other = json.loads(json.dumps(job.keys["output"])) | {"dir": str(job.folder / "other")}
    qtaylor("run", job.write(), "--set", f"output.dir={other['dir']}")
    samples = stored(job.run)
    lose(job, how)
    done = qtaylor("verify", job.run)
    assert "exactly its 100 samples" in done.stdout
    said = f"labels: cannot open {job.folder}/labels.txt" if how == "gone" else \
        f"labels: {job.folder}/labels.txt is another file"
    assert said in done.stderr and "the shards, which are all there, say what it said" in done.stderr
    qtaylor("export", job.run, "--to", "npz", "-o", job.folder / "x.npz")
    with np.load(job.folder / "x.npz") as found:
        assert (found["rows"] == files["rows.txt"]).all() and (found["arr_1"] == files["labels.txt"]).all()
        assert (found["arr_0"] == samples).all()
    assert "the same bytes" in qtaylor("compare", "--same", job.run, other["dir"]).stdout
    assert "the same as on disk" in qtaylor("sample", job.run, 3, "--recompute", "-o", job.folder / "3.png").stdout
    qtaylor("evaluate", job.run, ranks=2)
    qtaylor("decode", job.run, "--decoder", job.folder / "decoder.json", "-o", job.folder / "again", ranks=2)
    assert (stored(job.folder / "again") == samples).all()
    (job.run / "samples/000002.npy.zst").unlink()  # its latents tell
    qtaylor("decode", job.run)
    assert (stored(job.run) == samples).all()


@pytest.mark.parametrize("how", ["gone", "changed"])
@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_what_is_left_of_a_run_does_not_tell(job, how, harm):
    """The file is named, and the shard."""
    listed(job)
    job.keys["output"]["latents"] = False
    qtaylor("run", job.write())
    path = job.run / "samples/000003.npy.zst"
    if harm == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    lose(job, how)
    said = qtaylor("verify", job.run, code=74 if how == "gone" else 65).stderr
    assert f"{job.folder}/labels.txt" in said and "put the file back" in said and "000003" in said
    assert (harm == "damaged") == ("damaged" in said)


@pytest.mark.parametrize("name", FILES)
def test_one_file_alone(job, name):
    listed(job)
    qtaylor("run", job.write())
    (job.folder / name).unlink()
    assert "exactly its 100 samples" in qtaylor("verify", job.run).stdout


@pytest.mark.parametrize("name", ["labels.txt", "rows.txt"])
def test_seeds_are_not_appended_to_a_file(job, name):
    """What to do instead is said, and done."""
    numbers = listed(job)[name]
    if name == "rows.txt":
        job.keys["labels"] = "balanced"
    else:
        job.keys["conditions"]["rows"] = "cycle"
    qtaylor("run", job.write())
    job.keys["seeds"] = "0-101"
    (job.folder / name).write_text("".join(f"{number}\n" for number in [*numbers, 0, 1]))
    said = qtaylor("run", job.write(), code=65).stderr
    assert "more seeds than its file had numbers are a run of their own" in said
    job.keys |= {"seeds": "100-101", "output": job.keys["output"] | {"dir": str(job.folder / "more")}}
    (job.folder / name).write_text("0\n1\n")
    qtaylor("run", job.write())

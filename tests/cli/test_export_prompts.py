"""export --prompts: the folders that GenEval's scorer reads, with the samples of each row."""
import json

import numpy as np
from PIL import Image

from conftest import qtaylor, stored
from test_conditions import arrays, give


def made(job, rows=3, seeds="0-7"):
    give(job, arrays(rows))
    del job.keys["output"]["dtype"]
    job.keys["seeds"] = seeds
    qtaylor("run", job.write())
    records = [{"tag": "counting", "prompt": f"a photo of {n} \"dogs\"", "include": [{"class": "dog", "count": n}]}
               for n in range(rows)]
    path = job.folder / "metadata.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path, records


def pixels(path):
    return np.asarray(Image.open(path))


def test_a_folder_a_prompt(job):
    path, records = made(job)
    samples = stored(job.run)
    there = job.folder / "geneval"
    qtaylor("export", job.run, "--to", "png", "--prompts", path, "-o", there)
    assert sorted(folder.name for folder in there.iterdir()) == ["00000", "00001", "00002"]
    for row in range(3):  # what evaluate_images.py reads: one JSON value, and samples/[0-9]+.png
        folder = there / f"{row:05d}"
        assert json.loads((folder / "metadata.jsonl").read_text()) == records[row]
        mine = list(range(row, 8, 3))  # rows: cycle
        names = sorted(file.name for file in (folder / "samples").iterdir())
        assert names == [f"{k:04d}.png" for k in range(len(mine))]
        for k, sample in enumerate(mine):
            assert (pixels(folder / f"samples/{k:04d}.png") == samples[sample][:, :, 0]).all()
    some = job.folder / "some"
    qtaylor("export", job.run, "--to", "png", "--prompts", path, "--ids", "4,1", "-o", some)
    assert [folder.name for folder in some.iterdir()] == ["00001"]
    assert (pixels(some / "00001/samples/0000.png") == samples[4][:, :, 0]).all()


def test_records_of_other_prompts_are_refused(job):
    """Where the run has captions; that these have single blanks is no difference."""
    path, records = made(job)
    (job.folder / "captions.txt").write_text("".join(record["prompt"] + "\n" for record in records))
    job.keys["conditions"]["captions"] = "captions.txt"
    qtaylor("run", job.write())
    there = job.folder / "out"
    path.write_text("".join(json.dumps(record) + "\n" for record in records[::-1]))
    said = qtaylor("export", job.run, "--to", "png", "--prompts", path, "-o", there, code=65).stderr
    assert f'{path}:1: its prompt is "a photo of 2 "dogs"", and the pictures of that row are of "a photo of 0 ' in said
    assert not there.exists()
    records[1]["prompt"] = "  a photo\tof  1 \"dogs\" \n"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    qtaylor("export", job.run, "--to", "png", "--prompts", path, "-o", there)
    assert json.loads((there / "00001/metadata.jsonl").read_text()) == records[1]


def test_what_is_refused(job):
    path, _ = made(job)
    there = job.folder / "out"

    def refused(*words, code=65):
        assert not there.exists()
        return qtaylor("export", job.run, "--to", *words, "-o", there, "--prompts", path, code=code).stderr
    path.write_text("{}\n[1]\n{}\n")
    assert "metadata.jsonl:2: expected a JSON object a line, found another value" in refused("png")
    path.write_text("{}\n{}\n{\n")
    assert "metadata.jsonl:3: expected a JSON object" in refused("png")
    path.write_text("{}\n{}\n")
    assert "2" in refused("png") and "3" in refused("png")
    assert "a folder of PNGs" in refused("npz", code=64)
    job.keys["output"]["dir"] += "-plain"
    job.model["card"]["inputs"] = []
    del job.keys["conditions"]
    qtaylor("run", job.write())
    assert "runs with conditions" in refused("png", code=64)

"""Reports of sweeps that are not plain: strange and long names, no cell done or only some, numbers that are absent, one
point, a single run, pictures of any shape."""
import base64
import io
import json
import math
import subprocess
import time

import lxml.etree
import numpy as np
import PIL.Image
import pytest

from conftest import Job, environment, qtaylor, FAKE
from reports import (charts, check_chart, made_up, make_sweep, marks, milliseconds, read_page, results, show,
                     write_results)


def test_strange_names(tmp_path, browser):
    job = make_sweep(tmp_path, {"model.path": ["a<b>&\"c'.json", "e<é>.json"], "sampler.nfe": [4, 6]})
    for name in job.keys["sweep"]["model.path"]:
        (tmp_path / name).write_text(json.dumps(job.model))
    job.keys["name"] = "<script>alert(1)<!--& 'x'"
    qtaylor("run", job.write())
    qtaylor("report", job.run)
    page = read_page(job.run)
    assert page.xpath("//title")[0].text == job.keys["name"] and len(page.xpath("//script")) == 1
    names = [cell["cell"] for cell in results(job.run)["cells"]]
    assert names == [f"path={name}.json,nfe={nfe}" for name in ("a<b>&_c'", "e<é>") for nfe in (4, 6)]
    assert [row[0].text for row in page.xpath("//table[@class='sortable']/tbody/tr")] == names
    assert [cell for cell, *_ in marks(charts(page)[0])] == names
    legend = [text.text for text in charts(page)[0].xpath(".//g[@class='legend']/text")]
    assert legend == ["path=a<b>&\"c'.json", "path=e<é>.json"]
    qtaylor("report", job.run, "--plot", tmp_path / "plot.svg")
    assert [cell for cell, *_ in marks(lxml.etree.parse(tmp_path / "plot.svg").getroot())] == names
    show(browser, job.run / "report.html")


def test_unfinished_sweep(tmp_path):
    """Killed with some cells done; then those cells' numbers are there, and the others are named."""
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4, 20]}, workers=1)
    job.model["delay_ms"] = 4
    process = subprocess.Popen([FAKE, "run", job.write()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=environment())
    while not (job.run / "sweep.json").exists():
        assert process.poll() is None
    assert "no cell of this sweep is finished" in qtaylor("report", job.run, code=75).stderr
    while not (job.run / "results.json").exists() or not results(job.run)["cells"]:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = [cell["cell"] for cell in results(job.run)["cells"]]
    every = {f"solver={solver},nfe={nfe}" for solver in ("ddim", "heun") for nfe in (4, 20)}
    data = json.loads(qtaylor("report", job.run, "--json").stdout)
    assert [cell["cell"] for cell in data["cells"]] == done and set(data["missing"]) == every - set(done) != set()
    qtaylor("report", job.run)
    told = f"{4 - len(done)} cells of this sweep are not finished"
    assert told in read_page(job.run).text_content() and told in qtaylor("report", job.run, "--text").stdout


def test_absent_numbers(tmp_path):
    """No errors, no metric, nulls, other metrics only, no times; a column that nobody knows."""
    cells = made_up(6, surprise="<&>")
    for cell in cells:
        del cell["fid_error"]
    cells[1]["fid"] = None
    del cells[2]["fid"]
    del cells[3]["samples_per_second"]
    page = write_results(tmp_path / "a", cells)
    over_nfe, over_time = charts(page)
    check_chart(over_nfe, cells, lambda cell: cell["nfe"], "fid")
    check_chart(over_time, cells, milliseconds, "fid")
    bare = [{"cell": f"nfe={n}", "solver": "x", "nfe": n, "samples": 5, "is": 2.0 + n, "is_std": 0.5} for n in (4, 8)]
    page = write_results(tmp_path / "b", bare)
    assert len(charts(page, "is")) == 1 and not charts(page) and not page.xpath("//section[@id='best']")
    check_chart(charts(page, "is")[0], bare, lambda cell: cell["nfe"], "is", log_y=False, error="is_std")
    assert "bars: ± one standard deviation" in page.text_content()
    page = write_results(tmp_path / "c", [{"cell": "nfe=4", "solver": "x", "nfe": 4, "samples": 5}])
    assert not page.xpath("//svg") and len(page.xpath("//table[@class='sortable']/tbody/tr")) == 1
    qtaylor("report", tmp_path / "c", "--text")
    assert "nothing to plot" in qtaylor("report", tmp_path / "c", "--plot", tmp_path / "c.svg", code=65).stderr


def test_one_point_and_long_names(tmp_path):
    name = "solver=" + "long" * 40 + ",nfe=7"
    cells = [{"cell": name, "solver": "long" * 40, "nfe": 7, "samples": 9, "fid": 3.5, "fid_error": 0.25,
              "samples_per_second": 9.0},
             {"cell": "solver=b,nfe=8", "solver": "b", "nfe": 8, "samples": 9, "fid": 3.5, "fid_error": 0.25,
              "samples_per_second": 9.0}]
    for count in (1, 2):
        page = write_results(tmp_path / str(count), cells[:count])
        check_chart(charts(page)[0], cells[:count], lambda cell: cell["nfe"], "fid")
        lines = qtaylor("report", tmp_path / str(count), "--text").stdout.splitlines()
        assert max(len(line) for line in lines if "longlong" not in line) <= 80


def test_one_nfe_is_no_axis(tmp_path):
    """Lines over it would lie on one another."""
    words = "ll cells are of one NFE, over which there is nothing to plot"
    cells = [cell | {"nfe": 7} for cell in made_up(6)]
    page = write_results(tmp_path / "run", cells)
    assert len(charts(page)) == 1 and f"A{words}" in page.text_content()
    check_chart(charts(page)[0], cells, milliseconds, "fid")
    assert "beside other work" in page.xpath("//figcaption")[0].text_content()
    text = qtaylor("report", tmp_path / "run", "--text").stdout
    assert text.startswith(f"a{words}\n\ncell ")
    cells[0]["nfe"] = 8
    assert len(charts(write_results(tmp_path / "run", cells))) == 2


def test_commands_are_those_that_are_known(tmp_path):
    """Of a results.json alone nobody knows the job."""
    page = write_results(tmp_path / "run", made_up(2))
    assert page.xpath("//section[@id='commands']/pre")[0].text_content().split("\n") == [
        f"qtaylor report {tmp_path}/run", ""]


def test_columns_are_text(tmp_path):
    column = "a\"><b>.fid"
    page = write_results(tmp_path / "run", [cell | {column: cell["fid"]} for cell in made_up(3)])
    assert not page.xpath("//b") and column in [one.get("data-metric") for one in page.xpath("//div[@class='charts']")]


def test_plain_run(job, browser):
    assert "neither a sweep nor a run" in qtaylor("report", job.folder, code=65).stderr
    job.add_evaluation()
    job.keys["seeds"] = "0-299"
    qtaylor("run", job.write())
    qtaylor("report", job.run)
    page, metrics = read_page(job.run), json.loads((job.run / "metrics.json").read_text())["metrics"]
    values = {row[0].text: row[1].get("data-value") or row[1].text for row in page.xpath("//section[@id='cells']//tr")}
    assert float(values["fid"]) == metrics["fid"] and float(values["fid_error"]) == metrics["fid_error"]
    assert values["samples"] == "300"
    assert base64.b64decode(page.xpath("//img")[0].get("src").split(",")[1]) == (job.run / "grid.png").read_bytes()
    show(browser, job.run / "report.html", name="plain")
    commands = page.xpath("//section[@id='commands']/pre")[0].text_content().split("\n")
    assert commands[:2] == [f"qtaylor run {job.run}/run.json", f"qtaylor report {job.run}"]
    assert commands[0] in page.xpath("//table[@id='subject']")[0].text_content()
    again = qtaylor(*commands[0].split()[1:], "--set", f"output.dir={job.folder}/again")
    assert json.loads((job.folder / "again/metrics.json").read_text())["payload_sha256"] == job.digest() in again.stdout
    # The page's job file makes the same run.
    again = job.folder / "again.yaml"
    again.write_text(page.xpath("//section[@id='commands']//details//code")[0].text)
    assert "0 made now" in qtaylor("run", again).stdout
    (job.run / "metrics.json").unlink()
    assert "not finished" in qtaylor("report", job.run, code=75).stderr


@pytest.mark.parametrize("shape,dtype", [((3, 100, 130), "uint8"), ((3, 9, 5), "float32"), ((4, 8, 8), "float32")])
def test_pictures_of_other_shapes(tmp_path, shape, dtype):
    rng = np.random.default_rng(3)
    job = Job(tmp_path)
    job.model["card"] |= {"shape": list(shape)}
    job.model["mixture"]["means"] = rng.uniform(-1, 1, (2, math.prod(shape))).tolist()
    job.keys |= {"seeds": "5-20", "sweep": {"sampler.nfe": [3]}}
    job.keys["sampler"].pop("nfe")
    job.keys["output"] |= {"dtype": dtype, "rounding": "adm"}
    qtaylor("run", job.write())
    qtaylor("report", job.run)
    page = read_page(job.run)
    if shape[0] == 4:
        assert not page.xpath("//img") and "samples of 4 channels have no picture" in page.text_content()
        return
    stored = np.load(io.BytesIO(subprocess.run(["zstd", "-dc", next(job.run.glob("*/samples/*.zst"))],
                                               capture_output=True, check=True).stdout)).astype(float)
    if dtype == "float32":
        stored = np.trunc(np.clip((stored.transpose(0, 2, 3, 1) + 1) * 127.5, 0, 255))  # the run's rule
    by = -(-max(shape[1:]) // 64)
    height, width = -(-shape[1] // by), -(-shape[2] // by)
    zoom = -(-44 // width)
    picture = base64.b64decode(page.xpath("//img")[0].get("src").split(",")[1])
    pixels = np.asarray(PIL.Image.open(io.BytesIO(picture))).astype(float)
    assert pixels.shape[:2] == (height * zoom,
                                len(page.xpath("//img")[0].get("alt").split()[1:]) * (width * zoom + 2) - 2)
    for y in range(height):
        for x in range(width):
            box = stored[1, y * by:(y + 1) * by, x * by:(x + 1) * by].mean((0, 1))
            assert np.abs(pixels[y * zoom, width * zoom + 2 + x * zoom] - box).max() <= 0.51

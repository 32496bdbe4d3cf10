"""For tests of reports: sweeps and results to report, what a plot says measured on the page, and in a browser."""
import base64
import json
import re

import html5lib
import lxml.html
import numpy as np
import pytest

from conftest import Job, qtaylor, ROOT

SHOTS = ROOT / "build/shots"
SVG = "{http://www.w3.org/2000/svg}"
SWEEP = [{"sampler.solver": ["ddim", "heun", "dpmpp-2m"], "sampler.nfe": [4, 6, 9]},
         {"sampler.solver": ["taylor"], "sampler.order": [1, 2], "sampler.nfe": [4, 6, 9]}]


def make_sweep(folder, sweep=None, **keys):
    job = Job(folder)
    job.add_evaluation()
    job.keys["evaluate"]["metrics"] = ["fid", "fid_infinity"]
    job.keys |= {"seeds": "0-299", "name": "a <b> & \"c\"", "sweep": sweep or SWEEP} | keys
    job.keys["sampler"].pop("nfe", None)
    return job


def results(folder):
    return json.loads((folder / "results.json").read_text())


def write_results(folder, cells):
    """A results.json of our own: only it is needed for plots and tables."""
    columns = list(dict.fromkeys(key for cell in cells for key in cell))
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"dir": "elsewhere", "columns": columns, "cells": cells}))
    qtaylor("report", folder)
    return read_page(folder)


def read_page(folder):
    text = (folder / "report.html").read_text()
    html5lib.HTMLParser(strict=True).parse(text)  # raises on anything that is no HTML
    return lxml.html.document_fromstring(text)


def made_up(count, seed=0, **more):
    rng = np.random.default_rng(seed)
    return [{"cell": f"solver=s{i % 12},nfe={4 + i}", "solver": f"s{i % 12}", "nfe": 4 + i, "samples": 50,
             "fid": float(rng.lognormal(2, 2)), "fid_error": float(rng.uniform(0.01, 1)),
             "samples_per_second": float(rng.lognormal())}
            | more for i in range(count)]


def marks(svg, name="mark"):
    found = []
    for point in svg.iter("{*}g"):
        if point.get("class") != "point":
            continue
        x, y = map(float, re.match(r"translate\((\S+) (\S+)\)",
                                   point.find("{*}path[@class='mark']").get("transform")).groups())
        bar = point.find("{*}path[@class='bar']")
        ends = None
        if bar is not None:
            ends = [float(value) for value in re.match(r"M\S+ ([\d.]+)V([\d.]+)", bar.get("d")).groups()]
        lines = point.find("{*}title").text.split("\n")
        found.append((lines[-1], x, y, ends, point.find("{*}circle") is not None))
    return found


def axis(svg, which, log):
    """pixels -> value, from the numbers written at the axis."""
    texts = [text for text in svg.xpath(f".//*[local-name()='g'][@class='{which}']/*[local-name()='text']")
             if text.get(which)]
    texts = [text for text in texts if re.fullmatch(r"[-+.e\d]+", text.text)]
    values = np.array([float(text.text) for text in texts])
    assert len(values) >= 2
    slope, offset = np.polyfit([float(text.get(which)) for text in texts], np.log(values) if log else values, 1)
    return lambda pixel: np.exp(slope * pixel + offset) if log else slope * pixel + offset


def check_chart(svg, cells, x_of, column, log_y=True, error="fid_error"):
    x_axis, y_axis = axis(svg, "x", True), axis(svg, "y", log_y)
    found = {name: rest for name, *rest in marks(svg)}
    expected = {cell["cell"]: cell for cell in cells if isinstance(cell.get(column), float) and x_of(cell)}
    assert found.keys() == expected.keys()
    pixel = abs(y_axis(1) - y_axis(0)) / 20  # ticks have four digits
    near = lambda value: pytest.approx(value, rel=2e-3) if log_y else pytest.approx(value, abs=pixel)
    for name, (x, y, bar, _) in found.items():
        cell = expected[name]
        assert x_axis(x) == pytest.approx(x_of(cell), rel=1e-3)
        assert y_axis(y) == near(cell[column])
        if cell.get(error):
            assert y_axis(bar[0]) == near(cell[column] + cell[error])
            if not log_y or cell[error] < cell[column] / 2:
                assert y_axis(bar[1]) == near(cell[column] - cell[error])
        else:
            assert bar is None


def charts(page, metric="fid"):
    return page.xpath(f"//div[@data-metric='{metric}']//svg")


def milliseconds(cell):
    if cell.get("model_seconds"):
        return 1000 * cell["model_seconds"] / (cell["seconds"] * cell["samples_per_second"])
    return 1000 / cell["samples_per_second"] if cell.get("samples_per_second") else None


def show(browser, path, width=1280, scheme="light", name=None):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                            {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get(f"file://{path}")
    height = browser.execute_script("return document.documentElement.scrollHeight")
    if name:
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        SHOTS.mkdir(parents=True, exist_ok=True)
        (SHOTS / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(
        "return [...document.images].every(image => image.complete && image.naturalWidth > 0)")
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith("data:") for name in fetched)


def luminance(colour):
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
              for value in (int(number) / 255 for number in re.findall(r"\d+", colour)[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def values_of(browser, name):
    return browser.execute_script("""
        const table = document.querySelector('table.sortable');
        const at = [...table.tHead.rows[0].cells].findIndex(head => head.textContent === arguments[0]);
        return [...table.tBodies[0].rows].map(row => row.cells[at].dataset.value ?? row.cells[at].textContent)""", name)

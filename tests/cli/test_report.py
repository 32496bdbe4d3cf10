"""The report: a page in a real browser, its plots measured against results.json, the figure's files, the terminal's
text, and who is best against `compare --versus` and a jackknife of our own."""
import base64
import io
import json
import math
import os
import re
import subprocess

import lxml.etree
import numpy as np
import PIL.Image
import pytest

from conftest import Job, qtaylor
from reports import (SVG, charts, check_chart, luminance, made_up, make_sweep, marks, milliseconds, read_page,
                     results, show, values_of, write_results)


def frechet(a, mu, sigma):
    from scipy.linalg import sqrtm

    mean, covariance = a.mean(0), np.cov(a.T)
    return float(((mean - mu) ** 2).sum() + np.trace(covariance) + np.trace(sigma)
                 - 2 * np.trace(sqrtm(covariance @ sigma).real))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    fine = Job(folder)  # the reference: what a fine solution looks like
    fine.add_evaluation()
    fine.keys |= {"seeds": "1000-1999", "sampler": {"solver": "heun", "nfe": 40},
                  "output": {"dir": str(folder / "fine")}}
    qtaylor("run", fine.write())
    job = make_sweep(folder)
    qtaylor("reference", folder / "fine", "-o", folder / "reference.npz")
    done = qtaylor("run", job.write())
    assert done.stdout.splitlines()[-1] == f"page: qtaylor report {job.run}"
    assert qtaylor("report", job.run).stdout.strip() == str(job.run / "report.html")
    return job


# --- plots, measured: ticks say what the axes are, and every mark is put back into numbers

def test_plots_are_the_numbers(swept):
    page, cells = read_page(swept.run), results(swept.run)["cells"]
    own = [cell for cell in cells if not cell.get("same_as")]
    assert len(own) == 15  # no NFE of Heun's is met twice
    # The error is the corrected one's.
    for metric, error in (("fid", None), ("fid_corrected", "fid_error"), ("fid_infinity", None)):
        over_nfe, over_time = charts(page, metric)
        check_chart(over_nfe, own, lambda cell: cell["nfe"], metric, error=error)
        check_chart(over_time, own, milliseconds, metric, error=error)
    legend = [text.text for text in charts(page, "fid_corrected")[0].xpath(".//g[@class='legend']/text")]
    assert legend == ["ddim", "heun", "dpmpp-2m", "taylor, order=1", "taylor, order=2"]
    looks = [(group.get("class"), group[1].get("d")) for group in charts(page)[0].xpath(".//g[@class='legend']/g")]
    assert len(set(looks)) == len({shape for _, shape in looks}) == 5


@pytest.mark.parametrize("seed", range(3))
def test_plots_of_made_up_numbers(tmp_path, seed):
    """Sixty cells, five orders of magnitude; the front by its definition."""
    cells = made_up(60, seed) if seed else made_up(60, model_seconds=0.75, seconds=2.0)
    if seed == 2:
        for cell in cells[::7]:
            cell["fid"] -= 50.0  # a corrected FID may be negative: the axis is linear then
    page = write_results(tmp_path / "run", cells)
    over_nfe, over_time = charts(page)
    check_chart(over_nfe, cells, lambda cell: cell["nfe"], "fid", log_y=seed != 2)
    check_chart(over_time, cells, milliseconds, "fid", log_y=seed != 2)
    points = np.array([[milliseconds(cell), cell["fid"]] for cell in cells])
    front = {cell["cell"] for cell, point in zip(cells, points)
             if not ((points <= point).all(1) & (points < point).any(1)).any()}
    assert {name for name, *_, ring in marks(over_time) if ring} == front
    assert set(json.loads(qtaylor("report", tmp_path / "run", "--json").stdout)["pareto"]) == front
    assert "60 cells have no picture" in page.text_content() or "12 cells more are left out" in page.text_content()


def test_table_is_results_json(swept):
    page, found = read_page(swept.run), results(swept.run)
    table = page.xpath("//table[@class='sortable']")[0]
    assert [head.text_content() for head in table.xpath(".//th")] == found["columns"]
    for row, cell in zip(table.xpath("./tbody/tr"), found["cells"], strict=True):
        for field, column in zip(row, found["columns"], strict=True):
            value = cell.get(column)
            if isinstance(value, float):
                assert float(field.get("data-value")) == value and float(field.text) == pytest.approx(value, rel=1e-4)
            else:
                assert (field.text or "") == ("" if value is None else str(value))


def test_page_tells_how_it_was_made(swept):
    page = read_page(swept.run)
    text = page.text_content()
    versions = json.loads(qtaylor("--version", "--json").stdout)
    for value in (os.uname().nodename, "cpu", versions["commit"], versions["zstd"], "a <b> & \"c\"",
                  f"qtaylor run {swept.folder}/job.yaml", (swept.folder / "job.yaml").read_text()):
        assert value in text
    assert page.xpath("//title")[0].text == "a <b> & \"c\""


def test_pictures_are_the_first_samples(swept):
    page = read_page(swept.run)
    figures = page.xpath("//section[@id='samples']//figure")
    assert len(figures) == 15
    for figure in figures:
        image = PIL.Image.open(io.BytesIO(base64.b64decode(figure.find("img").get("src").split(",")[1])))
        pixels, name = np.asarray(image), figure.find("figcaption").text
        stored = np.load(io.BytesIO(subprocess.run(["zstd", "-dc", swept.run / name / "samples/000000.npy.zst"],
                                                   capture_output=True, check=True).stdout))
        zoom = pixels.shape[0] // 4
        assert figure.find("img").get("alt") == "seeds 0 1 2 3 4 5 6 7 8 9"
        for i in range(10):
            shown = pixels[:, i * (4 * zoom + 2):][:, :4 * zoom]
            assert (shown == np.kron(stored[i, :, :, 0], np.ones((zoom, zoom)))).all()


# --- who is best

def pool(run):
    return np.concatenate(
        [np.load(io.BytesIO(subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout))
         for path in sorted(run.glob("features/*/pool/*.zst"))]).astype(float)


def test_best_of_each_nfe(swept):
    data = json.loads(qtaylor("report", swept.run, "--json").stdout)
    cells = {cell["cell"]: cell for cell in results(swept.run)["cells"]}
    assert [record["nfe"] for record in data["best"]] == sorted({cell["nfe"] for cell in cells.values()})
    reference = np.load(swept.folder / "reference.npz")
    for record in data["best"]:
        within = [cell for cell in cells.values() if cell["nfe"] <= record["nfe"] and not cell.get("same_as")]
        entries = {}
        for cell in sorted(within, key=lambda cell: cell["nfe"]):
            entries[cell["solver"], cell.get("order")] = cell
        best, second = sorted(entries.values(), key=lambda cell: cell["fid_corrected"])[:2]
        assert (record["best"]["cell"], record["second"]["cell"]) == (best["cell"], second["cell"])
        for key in ("fid", "fid_corrected", "nfe"):
            assert (record["best"][key], record["second"][key]) == (best[key], second[key])
        assert record["fid_delta"] == pytest.approx(best["fid_corrected"] - second["fid_corrected"], abs=1e-9)
        told = json.loads(qtaylor("compare", swept.run / best["cell"], swept.folder / "reference.npz", "--versus",
                                  swept.run / second["cell"], "--json").stdout)["metrics"]
        for key in ("fid_delta", "fid_delta_error", "fid_delta_low", "fid_delta_high"):
            assert record[key] == pytest.approx(told[key], rel=1e-9, abs=1e-9)
        a, b = pool(swept.run / best["cell"]), pool(swept.run / second["cell"])
        edges = [len(a) * k // 20 for k in range(21)]
        mu, sigma = reference["mu"], reference["sigma"]
        delta = lambda keep: frechet(a[keep], mu, sigma) - frechet(b[keep], mu, sigma)
        without = np.array([delta(np.r_[0:edges[k], edges[k + 1]:len(a)]) for k in range(20)])
        assert record["fid_delta"] == pytest.approx(20 * delta(np.r_[0:len(a)]) - 19 * without.mean(), rel=1e-4)
        error = math.sqrt(19 / 20 * ((without - without.mean()) ** 2).sum())
        assert record["fid_delta_error"] == pytest.approx(error, rel=1e-4)
        assert record["ahead"] == (record["fid_delta"] < -2 * error)
    text, page = qtaylor("report", swept.run, "--text").stdout, read_page(swept.run)
    for record, row in zip(data["best"], page.xpath("//section[@id='best']//tbody/tr"), strict=True):
        word, distance = ("ahead of", "more than") if record["ahead"] else ("not told from", "within")
        assert row.get("class") == ("ahead" if record["ahead"] else "within")
        first, second = (f"{record[which]['series']} (corrected FID {record[which]['fid_corrected']:.4g}"
                         for which in ("best", "second"))
        assert row[1].text.startswith(first) and row[2].text.startswith(f"{word} {second}")
        assert row[2].text.endswith(f": difference {-record['fid_delta']:.3g} \xb1 {record['fid_delta_error']:.3g}, "
                                    f"{distance} twice its error, p = {record['p_holm']:.2g}")
        assert f"NFE {record['nfe']:<6g} {first}" in text
        assert f"{word} {second}" in " ".join(text.split())


@pytest.mark.parametrize("scale, ahead", [(0.4, False), (0.55, True)])
def test_ahead_is_beyond_two_errors(tmp_path, scale, ahead):
    """Two cells whose paired difference has the error 0.25, by closed form."""
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]})
    qtaylor("run", job.write())
    found = results(job.run)
    for cell, fid in zip(found["cells"], (5.0, 5.0 - scale), strict=True):
        cell |= {"fid": fid, "fid_corrected": fid, "fid_error": 0.3}
        path = job.run / cell["cell"] / "metrics.json"
        metrics = json.loads(path.read_text())
        w = 0.25 / math.sqrt(19) if fid < 5 else 0  # the error is sqrt(19/20 sum of (+-w)^2)
        metrics["metrics"] |= {"fid": fid, "fid_without": [fid + w * (-1) ** k for k in range(20)]}
        path.write_text(json.dumps(metrics))
    (job.run / "results.json").write_text(json.dumps(found))
    (best,) = json.loads(qtaylor("report", job.run, "--json").stdout)["best"]
    assert best["fid_delta"] == pytest.approx(-scale) and best["fid_delta_error"] == pytest.approx(0.25)
    assert best["ahead"] == ahead
    text = " ".join(qtaylor("report", job.run, "--text").stdout.split())
    assert f"{'ahead of' if ahead else 'not told from'} ddim (corrected FID 5): difference {scale} +- 0.25" in text


def test_p_values_are_corrected_after_holm(swept):
    from scipy import stats
    best = json.loads(qtaylor("report", swept.run, "--json").stdout)["best"]
    p = [2 * stats.t.sf(abs(one["fid_delta"] / one["fid_delta_error"]), 19) for one in best]
    assert [one["p"] for one in best] == pytest.approx(p, rel=1e-9, abs=1e-15)
    order = sorted(range(len(p)), key=p.__getitem__)  # statsmodels: maximum.accumulate(sorted p * arange(n, 0, -1))
    holm = np.minimum(np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1)), 1)
    assert [best[i]["p_holm"] for i in order] == pytest.approx(holm, rel=1e-9, abs=1e-14) and len(p) > 2
    assert "after Holm" in qtaylor("report", swept.run, "--text").stdout


def test_no_difference_where_nothing_is_paired(tmp_path):
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4], "seeds": ["0-299", "1-300"]})
    qtaylor("run", job.write())
    best = json.loads(qtaylor("report", job.run, "--json").stdout)["best"][0]
    same = best["best"]["cell"].split("seeds=")[1] == best["second"]["cell"].split("seeds=")[1]
    assert ("fid_delta" in best) == same and ("unpaired" in best) == (not same)


# --- files and text

def test_plot_files(swept, tmp_path):
    assert qtaylor("report", swept.run, "--plot", tmp_path / "fid.svg").stdout.strip() == str(tmp_path / "fid.svg")
    svg = lxml.etree.parse(tmp_path / "fid.svg").getroot()
    check_chart(svg, results(swept.run)["cells"], lambda cell: cell["nfe"], "fid_corrected")
    assert svg.tag == SVG + "svg" and float(svg.get("width")) == float(svg.get("viewBox").split()[2])
    qtaylor("report", swept.run, "--plot", tmp_path / "fid.png")
    image = PIL.Image.open(tmp_path / "fid.png")
    assert image.size == (3 * int(svg.get("width")), 3 * int(svg.get("height")))
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert (pixels[0] == 255).all()
    for colour in ("#0072b2", "#d55e00", "#009e73"):  # the lines' colours reach the file
        assert (pixels == [int(colour[i:i + 2], 16) for i in (1, 3, 5)]).all(1).sum() > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fid.png", "fid.svg"]
    for metric in ("fid_infinity", "fid"):
        qtaylor("report", swept.run, "--plot", tmp_path / "other.svg", "--metric", metric)
        check_chart(lxml.etree.parse(tmp_path / "other.svg").getroot(), results(swept.run)["cells"],
                    lambda cell: cell["nfe"], metric, error=None)


def test_plot_mistakes(swept, tmp_path):
    assert ".svg or .png" in qtaylor("report", swept.run, "--plot", tmp_path / "fid.pdf", code=64).stderr
    assert "librsvg2-bin" in qtaylor("report", swept.run, "--plot", tmp_path / "fid.png", code=64,
                                     PATH="/nowhere").stderr
    said = qtaylor("report", swept.run, "--text", "--metric", "kid", code=64).stderr
    assert "no cell of" in said and "expected one of: fid_corrected, fid, fid_infinity\n" in said
    assert "cannot create" in qtaylor("report", swept.run, "--plot", tmp_path / "no/fid.svg", code=74).stderr
    assert list(tmp_path.iterdir()) == []


def test_text(swept):
    lines = qtaylor("report", swept.run, "--text").stdout.splitlines()
    assert max(map(len, lines)) <= 80 and all(line.isascii() for line in lines)
    cells = {cell["cell"]: cell for cell in results(swept.run)["cells"]}
    head = next(i for i, line in enumerate(lines) if line.startswith("cell "))
    for line in lines[head + 1:head + 1 + len(cells)]:
        name, *numbers = line.split()
        cell = cells.pop(name)
        assert [float(number) for number in numbers] == pytest.approx(
            [cell["nfe"], milliseconds(cell), cell["fid"], cell["fid_corrected"], cell["fid_error"]], rel=0.05)
    assert not cells
    # The plot: letters stand where the numbers at the axes say.
    frame = next(i for i, line in enumerate(lines) if line.lstrip().startswith("+-"))
    plus = [i for i, c in enumerate(lines[frame]) if c == "+"][1:]
    slope, offset = np.polyfit(plus, np.log([float(word) for word in lines[frame + 1].split()]), 1)
    rows = [(i, float(line[:9])) for i, line in enumerate(lines[:frame]) if line[:9].strip() and i]
    steep, start = np.polyfit([i for i, _ in rows], np.log([value for _, value in rows]), 1)
    names = dict(re.findall(r"^  (\w)  (.+)$", "\n".join(lines), re.M))
    expected = {}
    for cell in results(swept.run)["cells"]:
        name = cell["solver"] + (f", order={cell['order']}" if "order" in cell else "")
        at = (round((math.log(cell["nfe"]) - offset) / slope), (math.log(cell["fid_corrected"]) - start) / steep)
        expected.setdefault(name, []).append(at)
    seen = 0
    for i, line in enumerate(lines[1:frame], 1):
        for column, letter in enumerate(line):
            if column > 9 and letter in names:
                assert any(abs(column - x) <= 1 and abs(i - y) <= 1
                           for x, y in expected[names[letter]]), (i, column, letter)
                seen += 1
    assert 6 <= seen <= 15


@pytest.mark.parametrize("metric, columns", [
    ("clip.cmmd", {"cmmd": "clip.cmmd", "corrected": "clip.cmmd_corrected", "+- error": "clip.cmmd_error"}),
    ("clip.cmmd_corrected", {"cmmd": "clip.cmmd", "corrected": "clip.cmmd_corrected", "+- error": "clip.cmmd_error"}),
    ("one.kid", {"kid": "one.kid", "+- std": "one.kid_std"}),
    ("one.precision", {"precision": "one.precision"})])
def test_any_metric_of_any_network(tmp_path, metric, columns):
    rng = np.random.default_rng(5)
    names = ["clip.cmmd", "clip.cmmd_corrected", "clip.cmmd_error", "one.kid", "one.kid_std", "one.precision"]
    cells = [{"cell": f"solver=s{i % 3},nfe={4 + i // 3}", "solver": f"s{i % 3}", "nfe": 4 + i // 3, "samples": 50,
              "samples_per_second": 10.0} | {name: float(rng.uniform(0.5, 2)) for name in names} for i in range(9)]
    run = tmp_path / "run"
    page = write_results(run, cells)
    error = columns.get("+- error" if metric.endswith("_corrected") else "+- std")
    lower = "precision" not in metric
    check_chart(charts(page, metric)[0], cells, lambda cell: cell["nfe"], metric, log_y=lower, error=error)
    qtaylor("report", run, "--plot", tmp_path / "plot.svg", "--metric", metric)
    check_chart(lxml.etree.parse(tmp_path / "plot.svg").getroot(), cells, lambda cell: cell["nfe"], metric, log_y=lower,
                error=error)
    qtaylor("report", run, "--plot", tmp_path / "plot.png", "--metric", metric)
    assert PIL.Image.open(tmp_path / "plot.png").format == "PNG"
    lines = qtaylor("report", run, "--text", "--metric", metric).stdout.splitlines()
    assert metric.split(".")[0] in lines[0]  # the plot's title
    head = next(i for i, line in enumerate(lines) if line.startswith("cell "))
    assert re.split(r"  +", lines[head].replace("ms/sample", " ms/sample"))[3:] == list(columns)
    for cell, line in zip(cells, lines[head + 1:], strict=False):
        assert [float(word) for word in line.split()[3:]] == pytest.approx(
            [cell[name] for name in columns.values()], rel=0.05)


# --- in a browser

@pytest.mark.parametrize("width,scheme", [(1280, "light"), (1280, "dark"), (380, "light")])
def test_page_in_a_browser(swept, browser, width, scheme):
    show(browser, swept.run / "report.html", width, scheme, f"report-{scheme}-{width}")
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('svg.chart, img')].map(e => e.getBoundingClientRect())"
        ".map(b => [b.width, b.height])")
    shown = [box for box in boxes if box[0] > 0]
    assert len(shown) == 2 + 15 and all(min(box) > 20 for box in shown)
    ground, *colours = browser.execute_script("""
        const marks = [...document.querySelectorAll('.series .mark')];
        const colours = new Set(marks.map(mark => getComputedStyle(mark).fill));
        return [getComputedStyle(document.body).backgroundColor, ...colours]""")
    assert len(colours) == 5 and (luminance(ground) < 0.1) == (scheme == "dark")
    for colour in colours:  # WCAG's least contrast of graphics
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_sorting_and_metrics(swept, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    cells = results(swept.run)["cells"]
    show(browser, swept.run / "report.html")
    for name, key in (("fid", float), ("nfe", int), ("solver", str), ("order", str)):
        expected = [str(cell.get(name, "")) for cell in cells]
        present = sorted((value for value in expected if value), key=lambda value: key(value))
        button = browser.find_element(By.XPATH, f"//th/button[text()='{name}']")
        for values in (present, present[::-1]):
            button.click()
            found = values_of(browser, name)
            filled = [value for value in found if value]
            assert [key(value) for value in filled] == [key(value) for value in values]
            assert found[len(filled):] == [""] * expected.count("")  # what is missing comes last
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    assert sorted(values_of(browser, "cell")) == sorted(cell["cell"] for cell in cells)
    select = Select(browser.find_element(By.TAG_NAME, "select"))
    assert [option.text for option in select.options] == ["fid_corrected", "fid", "fid_infinity"]
    for metric in ("fid_infinity", "fid"):
        select.select_by_visible_text(metric)
        visible = [div.get_attribute("data-metric") for div in browser.find_elements(By.CLASS_NAME, "charts")
                   if div.is_displayed()]
        assert visible == [metric]
    assert browser.get_log("browser") == []

"""The report's page: what stands on its top, its terms, the columns that are chosen, a legend whose entries do not
touch."""
import json
import os

import pytest

from conftest import Job, qtaylor
from reports import charts, make_sweep, made_up, read_page, results, show, write_results


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    job = make_sweep(tmp_path_factory.mktemp("about"), {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4, 6]})
    fine = Job(job.folder)
    fine.keys |= {"seeds": "1000-1299", "output": {"dir": str(job.folder / "fine")}}
    fine.add_evaluation()
    qtaylor("run", fine.write())
    qtaylor("reference", fine.run, "-o", job.folder / "reference.npz")
    qtaylor("run", job.write())
    qtaylor("report", job.run)
    return job


def test_the_top_names_what_was_compared(swept):
    page = read_page(swept.run)
    said = {row[0].text_content(): row[1].text_content() for row in page.xpath("//table[@id='subject']//tr")}
    cell = swept.run / results(swept.run)["cells"][0]["cell"]
    keys = json.loads((cell / "run.json").read_text())["keys"]
    metrics = json.loads((cell / "metrics.json").read_text())["metrics"]
    assert said == {"model": f"model.json ({keys['model']['sha256'][:12]})",
                    "feature network": f"features.json ({metrics['network']['sha256'][:12]})",
                    "reference": f"reference.npz ({metrics['reference']['sha256'][:12]}), 300 images",
                    "command": f"qtaylor run {swept.folder}/job.yaml"}
    os.utime(swept.run / "results.json", (1785000000, 1785000000))
    data = json.loads(qtaylor("report", swept.run, "--json").stdout)
    assert data["date"] == "2026-07-25 17:20 UTC" and data["subject"]["model"] == [said["model"]]
    qtaylor("report", swept.run)
    about = read_page(swept.run).xpath("//p[@class='about']")[0].text_content()
    assert about == f"4 cells; 300 samples each; {swept.run}; 2026-07-25 17:20 UTC"


def test_terms_are_those_of_the_table(swept):
    page = read_page(swept.run)
    columns = results(swept.run)["columns"]
    terms = [term.text_content() for term in page.xpath("//section[@id='terms']//dt")]
    assert terms == [column for column in columns if column in terms] and {"nfe", "fid", "fid_error"} <= set(terms)
    lines = [line.text_content() for line in page.xpath("//section[@id='terms']//dd")]
    titles = {head.text_content(): head.get("title") for head in page.xpath("//table[@class='sortable']//th")}
    assert [titles[term] for term in terms] == lines and all(len(line) < 120 for line in lines)
    assert set(columns) - set(terms) == {"cell", "solver"}


def test_a_network_of_a_name_has_its_terms(tmp_path):
    cells = [{**cell, "dino.fid": cell["fid"]} for cell in made_up(3)]
    page = write_results(tmp_path / "run", cells)
    terms = dict(zip(*([one.text_content() for one in page.xpath(f"//section[@id='terms']//{kind}")]
                       for kind in ("dt", "dd"))))
    assert terms["dino.fid"] == terms["fid"]


def test_plus_minus(swept):
    text = read_page(swept.run).text_content()
    assert "+-" not in text and "difference" in text and " ± " in text
    assert "+-" in qtaylor("report", swept.run, "--text").stdout  # a terminal may have ASCII alone


def test_columns_are_chosen(swept, browser):
    from selenium.webdriver.common.by import By

    show(browser, swept.run / "report.html")
    shown = lambda: [head.text for head in browser.find_elements(By.CSS_SELECTOR, "table.sortable th")
                     if head.is_displayed()]
    columns = results(swept.run)["columns"]
    hidden = {"fid_low", "fid_high", "seconds", "model_seconds", "model_calls"}
    assert shown() == [column for column in columns if column not in hidden]
    browser.find_element(By.CSS_SELECTOR, "#columns summary").click()
    for label in browser.find_elements(By.CSS_SELECTOR, "#columns label"):
        if label.text in ("fid_low", "solver"):
            label.click()
    assert shown() == [column for column in columns if column not in hidden - {"fid_low"} | {"solver"}]
    cells = browser.find_elements(By.CSS_SELECTOR, "table.sortable tbody tr:first-child td")
    assert [cell.is_displayed() for cell in cells] == [column in shown() for column in columns]


NAMES = ["WWWWWW", "mmmm=WM", "iiiii", "dpmpp-2m", "éüñ=日本語", "taylor, order=2, grid=uniform-logsnr", "x" * 60,
         "M" * 60]


@pytest.mark.parametrize("names", [NAMES[:4], NAMES[:5], NAMES], ids=["short", "others", "long"])
def test_legend_entries_do_not_touch(tmp_path, browser, names):
    cells = [{"cell": f"s{i},{nfe}", "solver": name, "nfe": nfe, "samples": 50, "fid": 1.0 + i + 1 / nfe,
              "samples_per_second": 10.0 + i} for i, name in enumerate(names) for nfe in (4, 5, 6, 7, 8, 9, 10, 50)]
    page = write_results(tmp_path / "run", cells)
    assert len(charts(page)[0].xpath(".//g[@class='legend']/text")) == len(names)
    show(browser, tmp_path / "run/report.html")
    boxes = browser.execute_script("""return [...document.querySelectorAll('.charts:not([hidden]) svg')].map(svg => [
        [...svg.querySelectorAll('.legend text, .legend > g, .x text')].map(e => e.getBoundingClientRect().toJSON()),
        svg.getBoundingClientRect().toJSON()])""")
    for entries, frame in boxes:
        for i, a in enumerate(entries):
            assert len(names) > 5 or a["right"] <= frame["right"] + 1
            for b in entries[:i]:
                assert (a["left"] >= b["right"] or b["left"] >= a["right"] or a["top"] >= b["bottom"] - 1
                        or b["top"] >= a["bottom"] - 1)

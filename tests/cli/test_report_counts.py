"""How many samples a report's numbers are of, and that what it compares is of the same ones and one evaluation."""
import json
import re

import numpy as np
import pytest

from conftest import qtaylor
from reports import charts, made_up, make_sweep, read_page, results, write_results
from test_compare import compare


def best_of(run, **how):
    return json.loads(qtaylor("report", run, "--json", **how).stdout)["best"]


def test_numbers_of_another_evaluation_are_not_paired(tmp_path):
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]})
    qtaylor("run", job.write())
    (before,) = best_of(job.run)
    assert "fid_delta" in before and not json.loads(qtaylor("report", job.run, "--json").stdout)["stale"]
    qtaylor("run", job.write(), "--cell", "0", "--set", "evaluate.count=250")  # its metrics.json, not results.json
    done = qtaylor("report", job.run, "--json")
    data, words = json.loads(done.stdout), "1 cells were made or evaluated anew: run the sweep again"
    assert data["stale"] == [results(job.run)["cells"][0]["cell"]] and words in done.stderr
    assert "evaluated again" in data["best"][0]["unpaired"] and "fid_delta" not in data["best"][0]
    assert words in qtaylor("report", job.run, "--text").stdout
    qtaylor("report", job.run)
    assert words in read_page(job.run).xpath("//details[@class='warning']")[0].text_content()
    job.keys["evaluate"]["count"] = 250
    qtaylor("run", job.write())  # all of the first 250 now
    (best,) = best_of(job.run)
    first, second = (job.run / best[which]["cell"] for which in ("best", "second"))
    told = compare(first, tmp_path / "reference.npz", "--versus", second, "--count", 250)
    for key in ("fid_delta", "fid_delta_error"):
        assert best[key] == pytest.approx(told[key], rel=1e-9)
    assert [(cell["samples"], cell["evaluated"]) for cell in results(job.run)["cells"]] == [(300, 250)] * 2
    assert results(job.run)["columns"].index("evaluated") == results(job.run)["columns"].index("samples") + 1
    qtaylor("report", job.run)
    assert "300 samples each, evaluated by the first 250;" in read_page(job.run).xpath("//p[@class='about']")[0].text
    assert re.search(r"^cell +NFE +ms/sample +samples ", qtaylor("report", job.run, "--text").stdout, re.M)
    for line in qtaylor("run", job.write()).stdout.splitlines()[1:3]:
        assert line.split()[3] == "250"


def test_a_cell_of_another_reference_does_not_throw_the_others_out(tmp_path):
    """The first cell evaluated anew: its row is still of the evaluation that all rows are of."""
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]})
    qtaylor("run", job.write())
    subject = json.loads(qtaylor("report", job.run, "--json").stdout)["subject"]
    np.savez(tmp_path / "other.npz", mu=np.full(8, 90.0), sigma=np.eye(8))
    qtaylor("run", job.write(), "--cell", "0", "--set", "evaluate.reference=other.npz")
    data = json.loads(qtaylor("report", job.run, "--json").stdout)
    assert len(data["cells"]) == 2 and not data["left_out"] and data["subject"] == subject
    assert data["stale"] == [data["cells"][0]["cell"]] and "evaluated again" in data["best"][0]["unpaired"]
    qtaylor("generate", job.write(), "--cell", "1", "--set", "seeds=0-399")
    data = json.loads(qtaylor("report", job.run, "--json").stdout)
    assert data["stale"] == [cell["cell"] for cell in data["cells"]] and "unpaired" in data["best"][0]


def test_other_counts_are_shown_and_not_paired(tmp_path):
    job = make_sweep(tmp_path, [{"sampler.solver": ["ddim"], "sampler.nfe": [4], "evaluate.count": [210]},
                                {"sampler.solver": ["heun"], "sampler.nfe": [4], "evaluate.count": [280]}])
    qtaylor("run", job.write())
    (best,) = best_of(job.run)
    assert best["unpaired"] == "another number of samples" and "fid_delta" not in best
    assert {best[which]["samples"] for which in ("best", "second")} == {210, 280}
    text = qtaylor("report", job.run, "--text").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert re.findall(r"(2[18]0) samples\)", text) == [str(best[which]["samples"]) for which in ("best", "second")]
    for cell in results(job.run)["cells"]:
        assert re.search(rf"^ +4 +\S+ +{cell['evaluated']} ", text.split(cell["cell"])[1].lstrip("\n"), re.M)
    qtaylor("report", job.run)
    assert "evaluated by the first 210 to 280;" in read_page(job.run).xpath("//p[@class='about']")[0].text


def test_plots_say_of_how_many_samples_their_points_are(tmp_path):
    words = "points are of 50 to 210 samples"
    cells = made_up(3)
    page = write_results(tmp_path / "run", cells)
    assert "points are of" not in page.text_content() + qtaylor("report", tmp_path / "run", "--text").stdout
    cells[0] |= {"samples": 300, "evaluated": 210}
    page = write_results(tmp_path / "run", cells)
    for svg in charts(page):
        assert [text.text for text in svg.xpath("./*[@class='note']")] == [words]
        low = max(float(y) for y in svg.xpath(".//@y"))
        assert low == float(svg.xpath("./*[@class='note']/@y")[0]) < float(svg.get("viewbox").split()[3])
    assert words in qtaylor("report", tmp_path / "run", "--text").stdout
    qtaylor("report", tmp_path / "run", "--plot", tmp_path / "plot.svg")
    assert words in (tmp_path / "plot.svg").read_text()


def test_a_sweep_of_references_keeps_its_rows(tmp_path):
    """They differ by what was asked for."""
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim"], "sampler.nfe": [4],
                                "evaluate.reference": ["reference.npz", "other.npz"]})
    np.savez(tmp_path / "other.npz", mu=np.full(8, 90.0), sigma=np.eye(8))
    qtaylor("run", job.write())
    data = json.loads(qtaylor("report", job.run, "--json").stdout)
    assert data["left_out"] == [] and data["cells"] == results(job.run)["cells"] and len(data["cells"]) == 2
    assert [one["name"] for one in data["series"]] == ["reference=reference.npz", "reference=other.npz"]
    assert "another reference" in data["best"][0]["unpaired"]


def test_a_difference_the_other_way_is_not_within_its_error(tmp_path):
    """kid_full is compared as it is, and its difference told without bias, which may have the other sign."""
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]})
    job.keys["evaluate"]["metrics"] = ["kid"]
    np.save(tmp_path / "rows.npy", np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32))
    job.keys["evaluate"]["reference"] = "rows.npy"
    qtaylor("run", job.write())
    qtaylor("report", job.run)
    bars = {div.get("data-metric"): "bars: ± one standard error" in div.text_content()
            for div in read_page(job.run).xpath("//div[@class='charts']")}
    assert bars["kid_full_corrected"] and not bars["kid_full"]  # the error is the corrected one's
    found = results(job.run)
    found["columns"].remove("kid_full_corrected")
    for cell, kid in zip(found["cells"], (5.0, 4.0), strict=True):
        cell |= {"kid_full": kid}
        del cell["kid_full_corrected"]
        path = job.run / cell["cell"] / "metrics.json"
        metrics = json.loads(path.read_text())
        without = [kid - (kid < 5) * (1 + k / 1e3) for k in range(20)]
        metrics["metrics"] |= {"kid_full": kid, "kid_full_without": without}
        path.write_text(json.dumps(metrics))
    (job.run / "results.json").write_text(json.dumps(found))
    best = next(one for one in best_of(job.run) if one["metric"] == "kid_full")
    assert best["best"]["cell"] == found["cells"][1]["cell"]
    assert best["kid_full_delta"] > 2 * best["kid_full_delta_error"]
    text = " ".join(qtaylor("report", job.run, "--text").stdout.split())
    assert "lower, but without the bias of finite samples behind ddim" in text and "more than twice its error" in text


def test_rows_of_another_validation_set_leave_the_table(tmp_path):
    job = make_sweep(tmp_path, {"sampler.solver": ["ddim", "heun"], "sampler.nfe": [4]})
    rng = np.random.default_rng(2)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, rng.normal(size=(300, 8)).astype(np.float32))
    job.keys["evaluate"] |= {"metrics": ["fdr"], "validation": "a.npy"}
    qtaylor("run", job.write())
    assert len(results(job.run)["cells"]) == 2
    job.keys["sweep"]["sampler.solver"] = ["ddim"]
    qtaylor("run", job.write())
    assert len(results(job.run)["cells"]) == 2  # a row that is not listed any more stays
    job.keys["evaluate"]["validation"] = "b.npy"
    assert "validation set" in qtaylor("run", job.write()).stderr
    assert len(results(job.run)["cells"]) == 1

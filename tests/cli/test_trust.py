"""Nothing out of a file does anything to a terminal, a table or a page, or leads out of its folder."""
import csv
import html.parser
import io
import json
import re
import unicodedata

import pytest

from conftest import qtaylor

# A title and a clear, a forged line, DEL, CSI as one character, turned text, HTML.
EVIL = "e\x1b]0;owned\x07\x1b[2J\nqtaylor: error: forged\r\x7f\u009b31m\u202etxt</script><b a='\">"
VISIBLE = r"e\x1b]0;owned\x07\x1b[2J\nqtaylor: error: forged\r\u007f\u009b31m\u202etxt</script><b a='" + '">'


def plain(text):
    return not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") and c not in "\n\t" or c in "\u202e\u2066"
                   for c in text)


def change(path, function):
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def evil(job):
    """A run whose small files somebody else wrote to."""
    qtaylor("run", job.write())
    def attempt(record):
        record |= {"host": EVIL, "slurm": EVIL, "ended": None, "processes": []}
    change(job.run / "log/attempt-0001.json", attempt)
    shard = {"shard": 0, "seeds": EVIL, "samples": 16, "tries": 2, "reason": EVIL, "rank": 0, "host": EVIL}
    (job.run / "quarantine.json").write_text(json.dumps({"retry": EVIL, "shards": [shard]}))
    (job.run / "samples/000000.npy.zst").unlink()
    (job.run / f"samples/{EVIL.replace('/', '')}").write_text("")
    return job


def test_a_terminal_gets_no_controls(evil):
    for arguments, code in ((("status", evil.run), 75), (("verify", evil.run), 76),
                            (("inspect", evil.run / "quarantine.json"), 0),
                            (("status", evil.run, "--json"), 75), (("verify", evil.run, "--json"), 76)):
        done = qtaylor(*arguments, code=code)
        for text in (done.stdout, done.stderr):
            assert plain(text) and not re.search("^qtaylor: error: forged", text, re.M), arguments
        if "--json" not in arguments and arguments[0] != "inspect":
            assert VISIBLE in done.stdout
    [shard] = json.loads(qtaylor("status", evil.run, "--json", code=75).stdout)["quarantine"]
    assert shard["reason"] == EVIL  # JSON says the same, escaped
    assert json.loads(qtaylor("inspect", evil.run / "quarantine.json").stdout)["retry"] == EVIL
    change(evil.run / "run.json", lambda run: run.__setitem__("fingerprint", EVIL))
    error = qtaylor("verify", evil.run, code=65).stderr
    assert plain(error) and VISIBLE in error and error.count("\n") == 1


def test_messages_are_one_line_each(job):
    job.keys["name"] = EVIL.replace("/", "")
    error = qtaylor("run", job.write(), "--set", "labels=" + json.dumps(EVIL), code=74).stderr
    assert plain(error) and error.count("\n") == 1 and "forged" in error
    log = qtaylor("run", job.write(), "--set", f"no.{EVIL}=1", code=64).stderr
    assert plain(log) and log.count("\n") == 1


def sweep(job, **keys):
    job.keys["sampler"] = {"solver": "taylor", "nfe": 4}
    job.keys |= {"seeds": "0-15", "sweep": keys}
    return job.write()


def test_results_csv_is_a_table_and_no_formula(job):
    names = ["a\x1b[31mb", "=1+1", "@SUM(A1)", "-2+3", "+x", "-5", 'c,"d"\ne', "\tx"]
    qtaylor("run", sweep(job, name=names))
    rows = list(csv.DictReader(io.StringIO((job.run / "results.csv").read_bytes().decode(), newline="")))
    assert [row["name"] for row in rows] == [r"a\x1b[31mb", "'=1+1", "'@SUM(A1)", "'-2+3", "'+x", "-5", 'c,"d"\ne',
                                             "'\tx"]
    assert [row["name"] for row in json.loads((job.run / "results.json").read_text())["cells"]] == names
    cells = [row["cell"] for row in rows]
    assert cells[0] == "name=a_[31mb" and cells[6] == "name=c,_d__e"
    assert all(plain(cell) and "\n" not in cell for cell in cells)
    assert [row["same_as"] for row in rows] == [""] + [cells[0]] * 7  # the same samples under eight names: made once
    assert [path.parent.name for path in job.run.glob("*/run.json")] == [cells[0]]
    listed = [line.split("\t") for line in qtaylor("plan", job.write(), "--cells").stdout.splitlines()]
    assert listed == [[str(i), cell, str(job.run / cell)] for i, cell in enumerate(cells)]
    text = qtaylor("report", job.run, "--text").stdout
    assert plain(text) and not re.search('^e"?$', text, re.M)


class Elements(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found |= {tag} | {name for name, _ in attributes}


def test_a_page_holds_no_others_markup(job):
    job.add_evaluation()
    qtaylor("run", sweep(job, **{"sampler.nfe": [4, 6]}))
    qtaylor("report", job.run)
    elements = Elements((job.run / "report.html").read_text()).found

    def results(content):
        content["columns"].insert(1, EVIL)
        for cell in content["cells"]:
            cell |= {EVIL: EVIL, "solver": EVIL}
    change(job.run / "results.json", results)
    change(job.run / "sweep.json",
           lambda content: content["job"].update(path=EVIL, text=EVIL, directory=EVIL, overrides=[EVIL]))
    change(job.run / "nfe=4/run.json",
           lambda content: content.update(name=EVIL, hosts=[{"host": EVIL, "device": EVIL}]))
    qtaylor("report", job.run)
    page = (job.run / "report.html").read_text()
    assert Elements(page).found == elements and page.count("<script>") == page.count("</script>") == 1 and plain(page)
    assert "&lt;/script&gt;&lt;b a=&#39;&quot;&gt;" in page
    assert plain(qtaylor("report", job.run, "--text").stdout)
    qtaylor("report", job.run, "--plot", job.folder / "fid.svg")
    assert plain((job.folder / "fid.svg").read_text()) and "<b a" not in (job.folder / "fid.svg").read_text()


@pytest.mark.parametrize("name", ["../../private/run", "..", ".", "", "a/b", "/etc", "nfe=4\x1b", None, 5])
def test_cells_stay_in_their_folder(job, name):
    private, shared = job.folder / "private/run", job.folder / "shared/s"
    qtaylor("run", job.write(), "--set", f"output.dir={private}")
    shared.mkdir(parents=True)
    (private / "samples/000001.npy.zst").unlink()
    before = {path: path.read_bytes() for path in private.rglob("*") if path.is_file()}
    for key in ("cell", "same_as"):
        cell = {"cell": "nfe=4", "same_as": None, "values": {}, "nfe": 4, "fid": 1} | {key: name}
        if key == "same_as" and name is None:
            continue
        for file, commands in (("sweep.json", (["status"], ["verify"], ["report"])),
                               ("results.json", (["report"], ["report", "--text"]))):
            path = shared / file
            path.write_text(json.dumps({"format": 1, "columns": ["cell", "nfe", "fid"], "cells": [cell]}))
            for command in commands:
                error = qtaylor(command[0], shared, *command[1:], code=65).stderr
                assert f"{file}: cell 0: expected the names of folders" in error and plain(error)
            path.unlink()
    assert before == {path: path.read_bytes() for path in private.rglob("*") if path.is_file()}
    assert not list(shared.iterdir())


@pytest.mark.parametrize("name", ["new\\table", 'a"b', "a'b: c # d", "x\\\\ny", "a$$b", "\\x41"])
def test_a_sweep_makes_the_folder_it_names(job, name):
    job.keys["output"]["dir"] = str(job.folder / name)
    path = sweep(job, **{"sampler.nfe": [4, 6]})
    qtaylor("run", path)
    folder = job.folder / name.replace("$$", "$")
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["log", "nfe=4", "nfe=6"]
    assert sorted(p.name for p in job.folder.iterdir()) == sorted(["job.yaml", "model.json", folder.name])
    qtaylor("verify", folder)
    qtaylor("status", folder)
    qtaylor("run", path)
    qtaylor("evaluate", folder / "nfe=4")


@pytest.mark.parametrize("name", ["new\table", "a\nb", "a\x1bb", "a\u202eb"])
@pytest.mark.parametrize("keys", [{}, {"sampler.nfe": [4, 6]}])
def test_a_folder_with_controls_in_its_name_is_refused(job, name, keys):
    job.keys["output"]["dir"] = str(job.folder / name)
    path = sweep(job, **keys) if keys else job.write()
    error = qtaylor("run", path, code=65).stderr
    assert "output.dir: expected a folder's name without control characters" in error and plain(error)
    assert sorted(p.name for p in job.folder.iterdir()) == ["job.yaml", "model.json"]


def test_paths_with_variables(job):
    job.add_evaluation()
    for file in ("features.json", "reference.npz"):
        (job.folder / file).rename(job.folder / f"x-{file}")
    job.keys["evaluate"] |= {"features": "${FILES}/x-features.json", "reference": "~/x-reference.npz"}
    job.keys["model"]["path"] = "$FILES/model.json"
    job.keys["output"]["dir"] = "$OUT/run"
    environment = {"FILES": job.folder, "HOME": job.folder, "OUT": job.folder / "a$b"}
    qtaylor("run", job.write(), **environment)
    run = job.folder / "a$b/run"
    stored = json.loads((run / "run.json").read_text())["job"]
    assert stored["output"]["dir"] == str(run) and stored["model"]["path"] == str(job.folder / "model.json")
    assert stored["evaluate"]["features"] == str(job.folder / "x-features.json")
    assert stored["evaluate"]["reference"] == str(job.folder / "x-reference.npz")
    for command in ("verify", "status", "evaluate"):
        qtaylor(command, run)  # without the variables
    qtaylor("sample", run, 3, "--recompute", "--output", job.folder / "3.png")
    for key in ("model.path", "evaluate.features", "evaluate.reference", "output.dir", "initial", "labels",
                "sampler.guidance.model"):
        error = qtaylor("plan", job.write(), "--set", f"{key}=$NOT_SET/x", code=65, **environment).stderr
        assert "$NOT_SET" in error and "--set" in error


def test_a_sweep_with_variables(job):
    (job.folder / "b$c").mkdir()
    path = sweep(job, **{"sampler.nfe": [4, 6]})
    listed = qtaylor("plan", path, "--cells", "--set", "output.dir=$OUT/s", OUT=job.folder / "b$c").stdout
    qtaylor("run", path, "--set", "output.dir=$OUT/s", OUT=job.folder / "b$c")
    folder = job.folder / "b$c/s"
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["log", "nfe=4", "nfe=6"]
    assert [line.split("\t")[2] for line in listed.splitlines()] == [f"{folder}/nfe=4", f"{folder}/nfe=6"]
    qtaylor("verify", folder)
    error = qtaylor("run", path, "--set", "output.dir=$NOT_SET/s", code=65).stderr
    assert "output.dir: expected $NOT_SET to be set" in error


def test_laughs_end(job):
    path = job.write()
    laughs = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i-1}'] * 10)}]\n" for i in range(1, 10))
    keys = "".join(f"k{i}: 1\n" for i in range(200_000))
    many = {"sampler.t_end": [i * 1e-6 for i in range(300)], "sampler.eta": list(range(300)),
            "sampler.nfe": list(range(2, 300)), "only": {"sampler.nfe": 1}}
    for text in (laughs, keys, json.dumps(job.keys | {"sweep": many})):
        path.write_text(text)
        qtaylor("plan", path, code=65, timeout=20)  # they took from half a minute to for ever


def test_help_says_that_a_model_is_code():
    for command in ("run", "evaluate", "compare", "reference"):
        assert "is code that runs with your rights" in " ".join(qtaylor(command, "--help").stdout.split())
    assert "run.json" in qtaylor("evaluate", "--help").stdout

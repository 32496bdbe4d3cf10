"""Which machines made the samples is on record, and a mix is said."""
import json

from conftest import qtaylor


def made_with(job):
    return json.loads((job.run / "run.json").read_text())["made_with"]


def test_a_set_of_several_kinds_of_machine_says_so(job):
    path = job.write()
    done = qtaylor("generate", path, "--set", "seeds=0-47", QTAYLOR_FAKE_MACHINE="cpu AVX2")
    assert "several kinds" not in done.stderr and made_with(job) == ["fake, cpu AVX2"]
    done = qtaylor("run", path, QTAYLOR_FAKE_MACHINE="cpu AVX512")
    assert "several kinds of machine" in done.stderr and "fake, cpu AVX2; fake, cpu AVX512" in done.stderr
    assert "several kinds of machine" in qtaylor("verify", job.run).stdout
    found = json.loads(qtaylor("verify", job.run, "--json").stdout)
    assert found["made_with"] == ["fake, cpu AVX2", "fake, cpu AVX512"]
    qtaylor("report", job.run)
    assert "cpu AVX2" in (job.run / "report.html").read_text()
    places = [json.loads(line)["place"] for line in (job.run / "log/rank-0000.jsonl").read_text().splitlines()
              if '"place"' in line]
    assert [place["machine"] for place in places] == ["fake, cpu AVX2", "fake, cpu AVX512"]


def test_a_job_that_makes_nothing_does_not_count(job):
    path = job.write()
    qtaylor("run", path, QTAYLOR_FAKE_MACHINE="cpu AVX2")
    done = qtaylor("run", path, QTAYLOR_FAKE_MACHINE="cpu AVX512")
    assert "several kinds" not in done.stderr and made_with(job) == ["fake, cpu AVX2"]
    assert "several kinds" not in qtaylor("verify", job.run).stdout


def test_recompute_names_the_machines(job):
    path = job.write()
    qtaylor("generate", path, "--set", "seeds=0-47", QTAYLOR_FAKE_MACHINE="cpu AVX2")
    qtaylor("generate", path, QTAYLOR_FAKE_MACHINE="cpu AVX512")
    document = json.loads((job.run / "run.json").read_text())
    for op in document["plan"]["ops"]:
        if op["op"] == "LINCOMB":
            op["terms"][0][0] *= 1.01
    del document["plan_sha256"]  # as of 0.1, which has none
    (job.run / "run.json").write_text(json.dumps(document))
    done = qtaylor("sample", job.run, 3, "--recompute", "-o", job.folder / "3.png", code=65,
                   QTAYLOR_FAKE_MACHINE="cpu AVX512")
    assert "then: one of fake, cpu AVX2; fake, cpu AVX512; now: fake, cpu AVX512" in done.stderr

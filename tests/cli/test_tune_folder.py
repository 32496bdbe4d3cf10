"""qtaylor tune: its folder, tuned into again, of any name, or damaged."""

import json
import re
import shlex

import pytest

from conftest import qtaylor
from test_tune import outcome, tune


def said_commands(stdout):
    """The two commands of the last line, as a shell reads them."""
    [line] = re.findall("^compare all:  (.+)$", stdout, re.M)
    commands = [shlex.split(part) for part in line.split("; ")]
    assert [command[:2] for command in commands] == [["qtaylor", "run"], ["qtaylor", "report"]]
    return [command[1:] for command in commands]


def test_tuned_again_it_compares_in_another_folder(job):
    """What the line says runs after every tuning; the earlier runs stay as they are."""
    seen = {}
    for options, guidance in ((["--paths", 16], 1), (["--paths", 32], 1), (["--paths", 32, "--force"], 2)):
        job.keys["sampler"]["guidance"] = guidance
        command = ["tune", job.write(), "-o", job.folder / "tuned", "--nfe", "4", *options]
        run, report = said_commands(qtaylor(*command).stdout)
        assert said_commands(qtaylor(*command).stdout) == [run, report]  # the same tables
        qtaylor(*run, "--set", "seeds=0-7")
        qtaylor(*report, "--text")
        assert report[1] not in seen and report[1].startswith(f"{job.folder}/tuned/compare-")
        seen[report[1]] = None
        for folder in seen:
            qtaylor("verify", folder)


def test_any_name_of_a_folder(job, tmp_path):
    """A dollar, an apostrophe and a blank: what is written and printed means this very folder."""
    job.folder = tmp_path / "it's $x of $HOME"
    job.folder.mkdir()
    job.keys["output"]["dir"] = "runs"
    said = qtaylor("tune", job.write(), "-o", job.folder / "tuned", "--nfe", 4).stdout
    run, report = said_commands(said)
    qtaylor(*run, "--set", "seeds=0-7")
    assert report[1].startswith(f"{job.folder}/tuned/compare-")
    qtaylor(*report, "--text")
    [sampler] = re.findall("^use at NFE 4:  sampler: (.+)$", said, re.M)
    assert "tuned-nfe4.json" in sampler
    others = json.dumps({key: value for key, value in job.keys.items() if key != "sampler"})
    (job.folder / "use.yaml").write_text(f"{others[:-1]}, sampler: {sampler}}}")
    assert json.loads(qtaylor("plan", job.folder / "use.yaml", "--json").stdout)["nfe"] == 4


@pytest.mark.parametrize(
    "text, why", [("{", "tune.json:2:0: not JSON"), ("", "the file is empty"), ("{}", 'no map "keys"'),
                  ("[]", 'no map "keys"'), ('{"keys": 1}', 'no map "keys"')]
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_damaged_record_goes_by_force_alone(job, text, why, alone):
    if not alone:
        tune(job, "--nfe", "4", thorough=False)
    (job.folder / "tuned").mkdir(exist_ok=True)
    record = job.folder / "tuned/tune.json"
    record.write_text(text)
    before = outcome(job, "tuned")
    options = ("tune", job.write(), "-o", job.folder / "tuned", "--nfe", 5)
    said = qtaylor(*options, code=65).stderr
    assert f"{record} is there already, and not of this job: " in said and why.split(":")[-1] in said
    assert "--force" in said and outcome(job, "tuned") == before
    assert f"removed {record}: " in qtaylor(*options, "--force").stderr
    assert json.loads(record.read_text())["by"] == "qtaylor tune"
    assert not (job.folder / "tuned/tuned-nfe4.json").exists()
    qtaylor(*options)

"""The small files of a run and a sweep, broken in every member: no command crashes, and each says something."""
import json
import subprocess

import pytest

from conftest import FAKE, environment, qtaylor

VALUES = [None, 5, {}, "x"]
DEPTH = 3  # the fuzz targets of documents, cards and plans go deeper
COMMANDS = [("status",), ("verify",), ("report",), ("report", "--text")]


def members(value, path=()):
    """The paths of all members; of a list only the first one, which stands for the others."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from members(inner, (*path, key))


def replaced(value, path, by):
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def complaint(command, folder):
    """None, or what is wrong with how a command ended."""
    done = subprocess.run([FAKE, command[0], folder, *command[1:]], capture_output=True, env=environment(), timeout=60)
    if done.returncode not in (0, 65, 74, 75, 76) or not (done.stdout or done.stderr):
        return f"{' '.join(command)}: exit {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}"
    return None


def break_all(folder, run, file, half, commands=COMMANDS):
    path = folder / file
    whole = path.read_text()
    found = []
    for number, member in enumerate([(), *members(json.loads(whole))]):
        if len(member) > DEPTH:
            continue
        for by in VALUES[(number + half) % 2::2]:
            path.write_text(json.dumps(replaced(json.loads(whole), member, by)))
            found += [f"{file}: {member} = {by!r}: {said}" for command in commands if (said := complaint(command, run))]
    path.write_text(whole)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sweep of two cells, evaluated, one of them with a quarantined shard."""
    from conftest import Job

    job = Job(tmp_path_factory.mktemp("records"))
    job.keys |= {"seeds": "0-39", "sweep": {"sampler.nfe": [4, 6], "sampler.order": [2, 3]}}
    job.keys["output"]["samples_per_shard"] = 8
    job.add_evaluation()
    qtaylor("run", job.write())
    cell = sorted(path for path in job.run.iterdir() if (path / "run.json").exists())[0]
    shard = {"shard": 0, "seeds": "0-7", "samples": 8, "tries": 2, "reason": "it failed", "rank": 0, "host": "here"}
    sorted((cell / "samples").iterdir())[0].unlink()
    (cell / "quarantine.json").write_text(json.dumps({"retry": "again", "shards": [shard]}))
    return job.run, cell


SWEEP = ["sweep.json", "results.json", "log/attempt-0001.json"]
CELL = ["run.json", "metrics.json", "quarantine.json"]


# Each member gets two of the values, and in a long test the other two.
halves = pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.long)])


@halves
@pytest.mark.parametrize("file", SWEEP)
def test_sweep(folder, file, half):
    found = break_all(folder[0], folder[0], file, half)
    assert not found, "\n".join(found)


@halves
@pytest.mark.parametrize("file", CELL)
def test_cell(folder, file, half):
    run, cell = folder
    found = break_all(cell, cell, file, half, COMMANDS[:3])
    assert not found, "\n".join(found)

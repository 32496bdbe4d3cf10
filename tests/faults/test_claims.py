"""Two jobs in one folder, one of them stopped at any of its calls while the other runs to its end: of different jobs
one wins, and of a run and its extension the longer one stays."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from conftest import FAKE, FAULT, ROOT, environment, qtaylor

SHORT, LONG = "seeds=0-29", "seeds=0-61"  # shards of 4: the last one of the short list is a part
SKEW = {"LD_PRELOAD": FAULT, "QTAYLOR_FAULTS": "clock=86400"}  # for a job with this clock all others are dead
CALLS = 460  # roughly the file calls of the short job


@pytest.fixture
def pair(job):
    job.keys.update(batch=4, workers=1)
    job.keys["output"]["samples_per_shard"] = 4
    job.add_evaluation()
    job.path = job.write()
    return job


def start(pair, options, **env):
    return subprocess.Popen([FAKE, "run", pair.path, "--json",
                             *(word for option in options for word in ("--set", option))],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                            env=environment(**env))


def end(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def is_stopped(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    except FileNotFoundError:
        return False


def wait_until_stopped(process):
    while not is_stopped(process.pid):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def both(pair, fault, first, second, **env):
    """Runs the first job up to the fault, then the second to its end, then the first on; returns what each came to."""
    one = start(pair, first, LD_PRELOAD=FAULT, QTAYLOR_FAULTS=f"{fault} do=SIGSTOP")
    while one.poll() is None and not is_stopped(one.pid):
        time.sleep(0.005)
    two = end(start(pair, second, **env))
    if one.poll() is None:
        os.kill(one.pid, signal.SIGCONT)
    return end(one), two


def check(pair, samples, **keys):
    """The folder is whole, of one job, and says so everywhere."""
    verdict = json.loads(qtaylor("verify", pair.run, "--json").stdout)
    document, metrics = (json.loads((pair.run / name).read_text()) for name in ("run.json", "metrics.json"))
    records = [json.loads(line) for line in (pair.run / "manifest.jsonl").read_text().splitlines()]
    assert verdict["samples"] == metrics["samples"] == sum(record["rows"] for record in records) == samples
    assert verdict["payload_sha256"] == metrics["payload_sha256"]
    assert document["job"]["seeds"] == f"0-{samples - 1}" and metrics["metrics"]["samples"] == samples
    assert metrics["nfe"] == document["job"]["sampler"]["nfe"] == keys.get("nfe", 6)
    assert not [path for path in pair.run.rglob("*") if ".tmp-" in path.name]


def anywhere():
    """Calls of a job: a few, and every third."""
    few = [5, 20, 40, 70, 150, 300, 379, 420]
    return few + [pytest.param(n, marks=pytest.mark.long) for n in range(1, CALLS, 3) if n not in few]


@pytest.mark.parametrize("n", anywhere())
def test_a_run_is_extended_while_it_is_stopped(pair, n):
    short, long = both(pair, f"call=file path={pair.run} n={n}", [SHORT], [LONG])
    assert long[0] == 0, long[1]
    holds = f"{pair.run} holds seeds 0-61, this job asks for 0-29"
    assert short[0] == 0 or (short[0] == 65 and holds in short[1]), short
    check(pair, 62)


NAMES = ["run.json", "000007.npy.zst", "pool/000007.npy.zst", "manifest.jsonl", "grid.png", "metrics.json"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_extended_between_the_look_and_the_name(pair, name):
    """Stopped when it has looked whose folder it is and is about to give a file its name."""
    short, long = both(pair, f"call=rename path={name} n=1", [SHORT], [LONG])
    assert (short[0], long[0]) == (65, 0), (short, long)
    check(pair, 62)


@pytest.mark.parametrize("n", anywhere())
def test_a_shorter_job_comes_while_the_longer_one_is_stopped(pair, n):
    long, short = both(pair, f"call=file path={pair.run} n={n}", [LONG], [SHORT])
    assert long[0] == 0, long[1]
    assert short[0] == 0 or (short[0] == 65 and "holds seeds 0-61, this job asks for 0-29" in short[1]), short
    check(pair, 62)


@pytest.mark.parametrize("n", anywhere())
def test_of_two_different_jobs_one_wins(pair, n):
    six, eight = both(pair, f"call=file path={pair.run} n={n}", [SHORT], [SHORT, "sampler.nfe=8"])
    assert sorted((six[0], eight[0])) == [0, 65], (six, eight)
    loser = six[1] if six[0] else eight[1]
    assert re.search(r"was made with sampler.nfe = (6|8), this job has (6|8): choose another output.dir", loser), loser
    check(pair, 30, nfe=8 if six[0] else 6)


@pytest.mark.parametrize("n", anywhere())
def test_a_job_is_taken_for_dead_and_comes_back(pair, n):
    """Before it made a sample its folder is another job's; then it writes nothing any more."""
    six, eight = both(pair, f"call=file path={pair.run} n={n}", [SHORT], [SHORT, "sampler.nfe=8"], **SKEW)
    assert sorted((six[0], eight[0])) == [0, 65], (six, eight)
    check(pair, 30, nfe=8 if six[0] else 6)


# ---- without exchange, and without links ----

OLD_DISK = {"LD_PRELOAD": FAULT, "QTAYLOR_FAULTS": "call=link n=1+ do=EPERM"}  # only rename and O_EXCL are left


def test_a_file_system_without_links(pair):
    for options, samples in (([SHORT], 30), ([LONG], 62)):
        code, said = end(start(pair, options, **OLD_DISK))
        assert code == 0, said
        check(pair, samples)
    code, said = end(start(pair, [SHORT, "sampler.nfe=8"], **OLD_DISK))
    assert code == 65 and "sampler.nfe" in said


@pytest.mark.parametrize("env", [{}, OLD_DISK], ids=["links", "no-links"])
def test_two_different_jobs_start_at_once(pair, env):
    two = [start(pair, [SHORT, f"sampler.nfe={nfe}"], **env) for nfe in (6, 8)]
    codes = [end(process)[0] for process in two]
    assert sorted(codes) == [0, 65]
    check(pair, 30, nfe=6 if codes[0] == 0 else 8)


# ---- a job that made nothing ----

def test_a_job_that_made_no_sample_gives_way(pair):
    """Whatever it left: its failures are not its successor's."""
    poison = {"QTAYLOR_FAKE_POISON": "0:nan"}
    code, said = end(start(pair, [SHORT, "labels=0", "sampler.nfe=4"], **poison))
    assert code == 65, said  # such a network is refused before the first sample, when run.json is there
    assert (pair.run / "run.json").exists() and not list((pair.run / "samples").iterdir())
    failure = {"shard": 0, "rank": 0, "host": "h", "reason": "as one that failed later leaves it"}
    (pair.run / "log/failures.jsonl").write_text((json.dumps(failure) + "\n") * 2)
    (pair.run / "quarantine.json").write_text(
        json.dumps({"retry": "", "shards": [failure | {"seeds": "0-7", "samples": 8, "tries": 2}]}))
    code, said = end(start(pair, [SHORT]))
    assert code == 0 and "made no sample: this one takes its place" in said, said
    assert not (pair.run / "quarantine.json").exists()
    check(pair, 30)


def test_a_job_with_a_sample_does_not(pair):
    assert end(start(pair, [SHORT]))[0] == 0
    for path in [*pair.run.glob("samples/*"), pair.run / "metrics.json"][1:]:
        path.unlink()
    code, said = end(start(pair, [SHORT, "sampler.nfe=8"]))
    assert code == 65 and "was made with sampler.nfe = 6, this job has 8" in said, said


# ---- verify, and manifests ----

def test_verify_writes_nothing_beside_a_job(pair):
    job = start(pair, [SHORT], LD_PRELOAD=FAULT, QTAYLOR_FAULTS="call=link path=000003.npy.zst n=1 do=SIGSTOP")
    wait_until_stopped(job)
    before = {path: path.stat().st_mtime_ns for path in pair.run.rglob("*")}
    qtaylor("verify", pair.run, code=75)
    assert {path: path.stat().st_mtime_ns for path in pair.run.rglob("*")} == before
    os.kill(job.pid, signal.SIGCONT)
    assert end(job)[0] == 0
    check(pair, 30)


def test_a_job_comes_while_verify_reads(pair):
    """Whether the job is still there when verify would write, or gone again."""
    assert end(start(pair, [SHORT]))[0] == 0
    verify = subprocess.Popen([FAKE, "verify", pair.run], stderr=subprocess.PIPE, text=True,
                              env=environment(LD_PRELOAD=FAULT,
                                              QTAYLOR_FAULTS="call=link path=manifest n=1 do=SIGSTOP"))
    wait_until_stopped(verify)
    assert end(start(pair, [LONG]))[0] == 0
    os.kill(verify.pid, signal.SIGCONT)
    assert "a job has been at work meanwhile" in verify.communicate(timeout=60)[1]
    check(pair, 62)


@pytest.mark.parametrize("damage", ["", "short", "other"])
def test_a_run_repairs_its_manifest(pair, damage):
    assert end(start(pair, [SHORT]))[0] == 0
    manifest = pair.run / "manifest.jsonl"
    whole, stamp = manifest.read_text(), (pair.run / "grid.png").stat().st_mtime_ns
    manifest.write_text({"": "", "short": whole[:whole.index("\n") + 1],
                         "other": whole.replace('"rows": 4', '"rows": 5')}[damage])
    assert end(start(pair, [SHORT]))[0] == 0
    assert manifest.read_text() == whole and (pair.run / "grid.png").stat().st_mtime_ns == stamp
    qtaylor("evaluate", pair.run)
    check(pair, 30)


# ---- sweeps ----

def sweep(pair, name, *nfes):
    path = pair.folder / name
    path.write_text(json.dumps({**pair.keys, "seeds": "0-29", "sweep": {"sampler.nfe": nfes}}))
    return path


def rows(pair):
    table = (pair.run / "results.csv").read_text().splitlines()
    listed = json.loads((pair.run / "results.json").read_text())["cells"]
    assert [line.split(",")[0] for line in table[1:]] == [row["cell"] for row in listed]
    return sorted(row["cell"] for row in listed)


@pytest.mark.parametrize("call, name, n",
                         [("link", "sweep.json", 1), ("rename", "results.json", 1), ("rename", "results.csv", 1),
                          ("file", "nfe=5/samples", 1), ("link", "nfe=5/samples/000007", 1)])
def test_a_sweep_grows_while_it_is_stopped(pair, call, name, n):
    """The longer sweep keeps its rows, and the shorter one ends well."""
    few, many = sweep(pair, "few.yaml", 5, 6), sweep(pair, "many.yaml", 5, 6, 7)
    pair.path = few
    one = start(pair, [], LD_PRELOAD=FAULT, QTAYLOR_FAULTS=f"call={call} path={name} n={n} do=SIGSTOP")
    wait_until_stopped(one)
    pair.path = many
    code, said = end(start(pair, []))
    assert code == 0, said
    os.kill(one.pid, signal.SIGCONT)
    code, said = end(one)
    assert code == 0, said
    assert rows(pair) == ["nfe=5", "nfe=6", "nfe=7"]
    assert len(json.loads(qtaylor("verify", pair.run, "--json").stdout)["cells"]) == 3


def test_an_unfinished_cell_that_is_taken_out_is_gone(pair):
    """It would keep verify from ever being content."""
    pair.path = sweep(pair, "many.yaml", 5, 6, 7)
    job = start(pair, [], LD_PRELOAD=FAULT, QTAYLOR_FAULTS="call=link path=nfe=6/samples n=2 do=SIGKILL")
    assert end(job)[0] == -signal.SIGKILL
    pair.path = sweep(pair, "few.yaml", 5, 7)
    assert end(start(pair, []))[0] == 0
    assert rows(pair) == ["nfe=5", "nfe=7"]
    qtaylor("verify", pair.run)


# ---- run.json agrees with itself ----

@pytest.mark.parametrize("cells", [False, True])
def test_a_changed_plan_makes_no_sample(pair, cells):
    """Half of a run by one plan and half by another would have one fingerprint."""
    pair.path = sweep(pair, "few.yaml", 5) if cells else pair.path
    assert end(start(pair, [SHORT]))[0] == 0
    folder = pair.run / "nfe=5" if cells else pair.run
    document = json.loads((folder / "run.json").read_text())
    op = next(op for op in document["plan"]["ops"] if op["op"] == "LINCOMB")
    op["terms"][0][0] *= 1.001
    (folder / "run.json").write_text(json.dumps(document))
    next(folder.glob("samples/*.zst")).unlink()
    code, said = end(start(pair, [SHORT]))
    assert code == 65 and "its plan is not the one that the run began with" in said
    if not cells:
        assert "the file was changed" in qtaylor("verify", pair.run, code=65).stderr


def test_a_changed_run_json_makes_no_sample_again(pair):
    assert end(start(pair, [SHORT]))[0] == 0
    path, sample = pair.run / "run.json", pair.folder / "one.npy"
    whole = json.loads(path.read_text())
    job = json.loads(json.dumps(whole))
    job["job"]["sampler"]["solver"] = "ddim"
    path.write_text(json.dumps(job))
    said = qtaylor("sample", pair.run, 3, "--recompute", "-o", sample, code=65).stderr
    assert "run.json was changed" in said and "made with sampler." in said
    assert "made with sampler." in qtaylor("evaluate", pair.run).stderr
    keys = json.loads(json.dumps(whole))
    keys["keys"]["noise"] = "torch-cpu"
    path.write_text(json.dumps(keys))
    assert "not that of its keys" in qtaylor("verify", pair.run, code=65).stderr

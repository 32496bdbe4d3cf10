"""What somebody does on the first day, and what is said then."""
import json
import re
import subprocess
import sys

import pytest

from conftest import ROOT, qtaylor


@pytest.fixture
def small(job):
    job.keys |= {"seeds": "0", "name": "one"}
    return job


@pytest.mark.parametrize("command", [
    ("evaluate",), ("export", "--to", "npy", "-o", "out.npy"), ("sample", "0", "-o", "out.npy"), ("decode",)])
def test_a_sweep_in_place_of_a_run(small, command, tmp_path):
    small.keys["sweep"] = {"sampler.nfe": [2, 3]}
    qtaylor("run", small.write())
    name, *rest = command
    rest = [str(tmp_path / word) if "." in word else word for word in rest]
    said = qtaylor(name, small.run, *rest, code=65).stderr
    assert f"{small.run} is the folder of a sweep of 2 cells: name one of them, such as {small.run}/nfe=2" in said


def test_one_is_singular(small, tmp_path):
    path = small.write()
    assert "\n1 sample in 1 shard of" in qtaylor("plan", path).stdout
    assert "(1 sample in" in qtaylor("run", path).stdout
    assert qtaylor("export", small.run, "--to", "npy", "-o", tmp_path / "one.npy").stdout.endswith(": 1 sample\n")


@pytest.mark.parametrize("prediction, meant", [
    ("v_prediction", "v"), ("epsilon-prediction", "epsilon"), ("flow velocity", "velocity"), ("edmvp", "edm-vp")])
def test_a_prediction_by_another_name(small, prediction, meant):
    small.model["card"]["prediction"] = prediction
    assert f'found "{prediction}"; did you mean "{meant}"?' in qtaylor("plan", small.write(), code=65).stderr


@pytest.mark.parametrize("options, where", [
    (["sampler.solver=nix"], "--set sampler.solver=nix: sampler.solver: found nix"),
    (["sampler={solver: nix}"], "--set sampler={solver: nix}: sampler.solver: found nix"),
    (["sampler.solver=nix", "sampler.solver=nox"], "--set sampler.solver=nox: sampler.solver: found nox"),
    (["labels=7"], "--set labels=7: labels: expected a class in 0..1"),
    (["sampler.nfe=4"], "job.yaml: labels: expected a class in 0..1"),
])
def test_a_mistake_is_where_it_was_made(small, options, where):
    if where.startswith("job.yaml"):
        small.keys["labels"] = 9
    arguments = [word for option in options for word in ("--set", option)]
    assert where in qtaylor("plan", small.write(), *arguments, code=65).stderr


def test_the_device_as_an_option(small):
    """It wins over the job's key, as --set would."""
    small.keys["device"] = "cuda"
    path = small.write()
    assert "device: cuda" in qtaylor("run", path, code=65).stderr
    qtaylor("run", path, "--device", "cpu")
    document = json.loads((small.run / "run.json").read_text())
    assert document["job"]["device"] == "cpu" and document["hosts"][0]["device"] == "cpu"
    assert "expected auto, cpu or cuda, found gpu; usage" in qtaylor("run", path, "--device", "gpu", code=64).stderr


@pytest.mark.parametrize("tool, packages", [("prepare_images", "numpy pillow"), ("reference", "numpy"),
                                            ("encode_prompts", "numpy diffusers transformers"),
                                            ("export", "numpy diffusers transformers"), ("qtaylor", "numpy zstandard")])
def test_a_python_without_packages(tool, packages):
    """One line says what to install; also where torch is there and numpy is not, as after `make demo`."""
    path = ROOT / f"tools/{tool}.py"
    without = f"import runpy, sys; sys.modules['numpy'] = None; sys.path.insert(0, {str(path.parent)!r}); " \
              f"sys.argv = ['{tool}', 'diffusers', 'a', 'b']; runpy.run_path({str(path)!r}, run_name='__main__')"
    for command in (["-S", path], ["-c", without]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        lines = done.stderr.splitlines()
        assert lines and f"pip install {packages}" in lines[-1], done.stderr
        if tool != "qtaylor":  # a module: its error is an exception
            assert done.returncode == 64 and lines[-1].startswith(f"{tool}: ") and "Traceback" not in done.stderr


def test_a_folder_that_was_moved(job, tmp_path):
    """What is printed of a finished run names the folder that it is in."""
    job.keys["seeds"] = "0-15"
    qtaylor("run", job.write())
    job.run.rename(tmp_path / "moved")
    job.keys["output"]["dir"] = str(tmp_path / "moved")
    said = qtaylor("run", job.write()).stdout
    assert f"run         {tmp_path}/moved\n" in said and f"picture     {tmp_path}/moved/grid.png\n" in said
    told = json.loads(qtaylor("run", job.write(), "--json").stdout)
    assert told["picture"] == f"{told['run']}/grid.png" == f"{tmp_path}/moved/grid.png"


@pytest.mark.parametrize("asked, made", [(11, 10), (4, 4)])
def test_evaluations_that_make_no_whole_steps(small, asked, made):
    small.keys["sampler"] = {"solver": "midpoint", "nfe": asked}
    said = qtaylor("plan", small.write()).stdout
    assert f"midpoint: NFE {made}," in said
    assert ("sampler.nfe: 11 asked for; the most that whole steps make of it is 10" in said) == (asked != made)


def test_a_lease_that_is_no_time(small):
    for lease in ("abc", "0", "-1", "nan"):
        said = qtaylor("run", small.write(), code=64, QTAYLOR_LEASE=lease).stderr
        assert f"QTAYLOR_LEASE: expected seconds, above 0, found {lease}" in said


def schedulers():
    """{class of diffusers: solvers} of jobs/README.md, without what is refused or is no solver alone."""
    table = (ROOT / "jobs/README.md").read_text().split("## Schedulers of diffusers")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| (\w+Scheduler) \| (.*) \|$", table, re.M))
    return {name: rows[said.removeprefix("as ").split(",")[0]] if said.startswith("as ") else said
            for name, said in rows.items() if not said.startswith("refused")}


def test_schedulers_of_diffusers_are_guessed_as_they_are_translated(small):
    found = schedulers()
    assert len(found) > 15
    for name, said in found.items():
        message = qtaylor("plan", small.write(), "--set", f"sampler.solver={name}", code=65).stderr
        guess = re.search(r"did you mean ([\w-]+)\?", message)
        assert guess and f"`{guess[1]}`" in said, (name, said, message)


@pytest.mark.parametrize("theirs, ours", [
    ("sample_euler", "ddim"), ("k_euler", "ddim"), ("k_heun", "edm"), ("sample_heun", "edm"),
    ("Euler a", "euler-ancestral"), ("DPM++ 2M Karras", "dpmpp-2m"), ("dpm++2m", "dpmpp-2m"), ("uni_pc_bh2", "unipc"),
    ("EDMEulerScheduler", "euler")])
def test_solvers_by_other_tools_names(small, theirs, ours):
    """Euler's and Heun's methods of k-diffusion step in sigma, of x / alpha."""
    said = qtaylor("plan", small.write(), "--set", f"sampler.solver={theirs}", code=65).stderr
    assert f"did you mean {ours}?" in said

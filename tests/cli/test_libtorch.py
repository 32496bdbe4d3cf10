"""A program runs with the libtorch it was built with, and what is wrong with one is said in a line."""
import json
import os
import re
import subprocess

import pytest

from conftest import ROOT, TORCH, environment, qtaylor

WHEEL = next(iter(ROOT.glob("build/venv/lib/python3*/site-packages/torch")), None)


def flags(folder, code=0):
    done = subprocess.run([ROOT / "tools/libtorch.sh", str(folder)], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert (done.stderr if code else done.stdout).count("\n") == 1
    return done.stderr if code else done.stdout


@pytest.fixture
def tree(tmp_path):
    """What tools/libtorch.sh looks at, as an unpacked libtorch 2.6 has it."""
    folder = tmp_path / "libtorch"
    texts = {"include/ATen/ATen.h": "", "include/torch/csrc/jit/api/module.h": "", "lib/libtorch_cpu.so": "",
             "include/torch/csrc/api/include/torch/version.h": version(2, 6),
             "share/cmake/Torch/TorchConfig.cmake":
                 '  set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI=0")\n    CXX_STANDARD 17\n'}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def version(major, minor):
    return f"#define TORCH_VERSION_MAJOR {major}\n\n#define TORCH_VERSION_MINOR {minor}\n"


def test_standard_and_abi_are_the_librarys_own(tree):
    assert flags(tree).split()[:2] == ["-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0"]
    assert f"-isystem {tree}/include " in flags(tree)
    (tree / "include/torch/headeronly").mkdir()
    (tree / "include/torch/headeronly/version.h").write_text(version(2, 13))
    (tree / "include/torch/csrc/api/include/torch/version.h").write_text("#include <torch/headeronly/version.h>\n")
    (tree / "share/cmake/Torch/TorchConfig.cmake").write_text("    CXX_STANDARD 20\n")
    assert re.match(r"-std=c\+\+20  -DLIBTORCH_BUILT=\d+ -isystem", flags(tree))


def test_a_wrong_one_is_said_in_a_line(tree, tmp_path):
    assert "there is none" in flags("", code=64)
    assert "has no include/ATen/ATen.h" in flags(tmp_path, code=64)
    assert "one absolute path" in flags("libtorch", code=64)
    header = tree / "include/torch/csrc/api/include/torch/version.h"
    for numbers in ((2, 5), (1, 13)):
        header.write_text(version(*numbers))
        assert "is %d.%d; " % numbers in flags(tree, code=64)
    header.write_text(version(2, 10))
    before = flags(tree)
    assert flags(tree) == before
    header.write_text(version(2, 11))
    assert flags(tree) != before  # in the same place: what was compiled over it is made anew
    header.write_text("")
    assert "has no version" in flags(tree, code=64)


def test_make_stops_at_a_wrong_one(tmp_path):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}
    done = subprocess.run(["make", "SHIM=torch", f"LIBTORCH={tmp_path}", f"B={tmp_path}/build", "all"], env=inherited,
                          capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2 and "compile" not in done.stdout
    assert re.findall(r"^(?!make)(\w+): .*$", done.stderr, re.M) == ["libtorch"]


needs_torch = pytest.mark.skipif(not (TORCH.exists() and WHEEL), reason="no build over pip's torch")


@needs_torch
def test_a_foreign_one_does_not_go_before(tmp_path):
    for name in ("libtorch.so", "libtorch_cpu.so", "libc10.so"):
        (tmp_path / name).write_text("not a library")
    number = re.search(r"__version__ = '([0-9.]+)", (WHEEL / "version.py").read_text())[1]
    first = f"{tmp_path}:{os.environ.get('LD_LIBRARY_PATH', '')}"  # other libraries are found as before
    said = json.loads(qtaylor("--version", "--json", program=TORCH, LD_LIBRARY_PATH=first).stdout)
    assert said["torch"].startswith(f"libtorch {number} (")


@needs_torch
def test_another_one_than_at_the_build_is_refused(tmp_path):
    source = tmp_path / "config.cpp"
    source.write_text('#include <string>\nnamespace at { std::string show_config() '
                      '{ return "X=1, TORCH_VERSION=2.6.1, Y=2"; } }\n')
    library = tmp_path / "config.so"
    subprocess.run([os.environ.get("CXX", "g++"), "-shared", "-fPIC", "-o", library, source], check=True)
    done = subprocess.run([TORCH, "run", ROOT / "jobs/digits/job.yaml", "--set", f"output.dir={tmp_path}/run"],
                          capture_output=True, text=True, env=environment(LD_PRELOAD=library), timeout=120)
    assert done.returncode not in (0, 75) and "version 2.6.1 is loaded, but this program was built for" in done.stderr
    assert not (tmp_path / "run/samples").exists() or not list((tmp_path / "run/samples").iterdir())

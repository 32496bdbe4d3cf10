"""packaging/: what each recipe says, read by its own language, and the script that they run in a fresh Debian."""
import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import pytest

from conftest import FAKE, ROOT, built

PACKAGING = ROOT / "packaging"
VERSION = (ROOT / "VERSION").read_text().split()[0]
# A library's name for pkg-config, and what others call its package.
NAMES = {"libzstd": "zstd", "libcrypto": "openssl", "spng": "libspng", "libjpeg": "libjpeg-turbo"}
LIBRARIES = {NAMES.get(name, name) for name in re.search(
    r"^PACKAGES\s*:= (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()} | {"openblas", "random123", "openmpi"}


def test_conda_recipe_names_what_the_makefile_does():
    jinja2, yaml = pytest.importorskip("jinja2"), pytest.importorskip("yaml")
    text = (PACKAGING / "conda/meta.yaml").read_text()
    recipe = yaml.safe_load(jinja2.Template(text).render(compiler=lambda language: f"{language}-compiler"))
    assert recipe["package"] == {"name": "qtaylor", "version": VERSION}
    host = {line.split()[0] for line in recipe["requirements"]["host"]}
    assert {name.replace("libwebp-base", "libwebp") for name in host} >= LIBRARIES | {"libtorch"}
    assert (PACKAGING / "conda" / recipe["source"]["git_url"]).resolve() == ROOT
    assert (ROOT / recipe["about"]["license_file"]).exists()
    oldest = re.search(r"^oldest=(\S+)", (ROOT / "tools/libtorch.sh").read_text(), re.M)[1]
    assert f"libtorch >={oldest}" in recipe["requirements"]["host"]


def test_spack_package_names_what_the_makefile_does(monkeypatch):
    """Its code, run with stand-ins for Spack's own words."""
    wanted, versions = set(), {}
    words = types.ModuleType("spack.package")
    words.depends_on = lambda name, **_: wanted.add(name)
    words.version = lambda name, **where: versions.update({name: where})
    words.MakefilePackage = type("MakefilePackage", (), {"prefix": "/opt/it"})
    monkeypatch.setitem(sys.modules, "spack", types.ModuleType("spack"))
    monkeypatch.setitem(sys.modules, "spack.package", words)
    path = PACKAGING / "spack/packages/qtaylor/package.py"
    ast.parse(path.read_text())
    scope = {"__file__": str(path)}
    exec(compile(path.read_text(), path, "exec"), scope)
    one = scope["Qtaylor"]()
    assert {name.split("@")[0].replace("mpi", "openmpi") for name in wanted} >= LIBRARIES | {"py-torch"}
    assert one.git == f"file://{ROOT}" and versions == {"main": {"branch": "main"}}
    torch = types.SimpleNamespace(package=types.SimpleNamespace(cmake_prefix_paths=["/opt/torch/share/cmake"]))
    one.spec = {"py-torch": torch, "mpi": types.SimpleNamespace(mpicc="/opt/mpi/bin/mpicc")}
    assert "LIBTORCH=/opt/torch" in one.build_targets and "PREFIX=/opt/it" in one.install_targets
    makefile = (ROOT / "Makefile").read_text()
    for word in one.install_targets[1:]:
        assert re.search(rf"\b{word.split('=')[0]}\b", makefile), word


def test_images_run_the_script():
    dockerfile, definition = (PACKAGING / "Dockerfile").read_text(), (PACKAGING / "qtaylor.def").read_text()
    for text in dockerfile, definition:
        assert "/opt/qtaylor/packaging/debian.sh /usr/local" in text and "debian:12" in text
        assert "build/qtaylor-*.tar.gz" in text and "apt-get" not in text and "pip" not in re.sub(r"#.*", "", text)
    assert os.access(PACKAGING / "debian.sh", os.X_OK)
    post = definition.split("%post\n")[1].split("\n%")[0]
    subprocess.run(["sh", "-n"], input=post, text=True, check=True)
    steps = re.findall(r"^RUN ((?:.*\\\n)*.*)$", dockerfile, re.M)
    assert steps
    subprocess.run(["sh", "-n"], input="\n".join(steps), text=True, check=True)


def test_workflow_runs_what_is_there():
    """Its steps as a shell reads them; scripts, targets of make and files of tests that they name."""
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = []
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] and job["container"] and job["steps"], name
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            assert set(step) <= {"run", "uses", "if"} and ("run" in step) != ("uses" in step), (name, step)
            used = re.findall(r"\bmatrix\.(\w+)", step.get("run", "") + step.get("if", "") + job["container"])
            assert set(used) <= set(matrix), (name, step)
            commands += [re.sub(r"\$\{\{ matrix\.\w+ \}\}", "x", step["run"])] if "run" in step else []
        commands += matrix.get("command", [])
    for command in commands:
        subprocess.run(["bash", "-n"], input=command, text=True, check=True)
        for path in re.findall(r"\b(?:tools|tests|packaging)/\S+", command):
            assert (ROOT / path).exists(), command
        words = command.split()
        if words[0] == "make":
            named = {word for word in words[1:] if "=" not in word and word[0] != "-"}
            assert named <= targets | {"all", "unit"} and (named or "x" in words), command


@pytest.mark.parametrize("prefix", ["/usr/local", "/opt/a place"])
def test_module_file(tmp_path, prefix):
    """As Tcl, with stand-ins for the words of Environment Modules and Lmod."""
    tkinter = pytest.importorskip("tkinter")
    if FAKE != built("build/fake/qtaylor"):
        pytest.skip("make install takes the usual build")
    subprocess.run([ROOT / "tools/install.sh", "install", ROOT / "build/fake/qtaylor"], check=True, capture_output=True,
                   env={**os.environ, "DESTDIR": str(tmp_path), "PREFIX": prefix})
    path = tmp_path / prefix[1:] / "share/modulefiles/qtaylor" / VERSION
    assert path.read_text().startswith("#%Module1.0\n")
    shell = tkinter.Tcl()
    said = {}
    for word in ("prepend-path", "append-path", "conflict", "module-whatis", "source-sh"):
        shell.createcommand(word, lambda *arguments, word=word: said.setdefault(word, []).append(arguments))
    shell.eval(path.read_text())
    assert said["prepend-path"] == [("PATH", f"{prefix}/bin"), ("MANPATH", f"{prefix}/share/man")]
    assert said["append-path"] == [("MANPATH", "")]  # else the system's own pages are gone
    unpacked = (ROOT / "build/fake/unpacked/qtaylor").exists()
    assert said.get("source-sh") == ([("bash", f"{prefix}/share/qtaylor/env.sh")] if unpacked else None)
    assert said["conflict"] == [("qtaylor",)] and VERSION in said["module-whatis"][0][0]
    for name, folder in said["prepend-path"]:
        assert pathlib.Path(f"{tmp_path}{folder}").is_dir(), name


@pytest.mark.long
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_fresh_debian(tmp_path, suite):
    """The script in a tree that debootstrap makes, in a mount namespace of its own; what it builds runs there, staged
    and put elsewhere, read-only, for another user."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
    tree = tmp_path / "tree"
    made = subprocess.run(["debootstrap", "--variant=minbase", suite, tree], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"debootstrap {suite}: {made.stdout[-200:]}")
    tarball = tmp_path / "it.tar.gz"
    subprocess.run(["make", "SHIM=fake", "dist", f"DIST={tarball}"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-xzf", tarball, "-C", tree / "srv"], check=True)
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    inside = f"""cd /srv/qtaylor-{VERSION}
        SHIM=fake packaging/debian.sh /usr/local
        make -s SHIM=fake install PREFIX=/opt/it DESTDIR=/tmp/stage
        mv /tmp/stage/opt/it /opt/it
        cp -r tests/data/run-0.1 /tmp/job
        for folder in /opt/it /srv; do mount --bind $folder $folder; mount -o remount,bind,ro $folder; done
        cd /tmp
        su nobody -s /bin/sh -c 'mpirun -n 2 --oversubscribe /opt/it/bin/qtaylor run job/job.yaml --set output.dir=run'
        su nobody -s /bin/sh -c '/usr/local/bin/qtaylor verify run'"""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c",
         'mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev" && mkdir "$0/dev/shm" && '
         'ln -s /proc/self/fd "$0/dev/fd" && '
         'for name in null zero urandom; do touch "$0/dev/$name"; mount --bind /dev/$name "$0/dev/$name"; done && '
         'exec chroot "$0" bash -ec "$1"', tree, inside], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert [json.loads(line)["sha256"] for line in (tree / "tmp/run/manifest.jsonl").read_text().splitlines()] == \
        json.loads((ROOT / "tests/data/run-0.1/expected.json").read_text())["sha256"]

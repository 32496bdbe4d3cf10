"""make install, uninstall and dist: what is installed works from where it stands, and goes away without a trace."""
import json
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from conftest import FAKE, ROOT, built, environment, qtaylor

PREFIX = "/opt/qtaylor 1"
BUILD = ROOT / "build/fake"
pytestmark = pytest.mark.skipif(FAKE != built("build/fake/qtaylor"), reason="make install takes the usual build")
VERSION = (ROOT / "VERSION").read_text().split()[0]


def make(*arguments, cwd=ROOT, code=0):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}
    done = subprocess.run(["make", "SHIM=fake", *map(str, arguments)], capture_output=True, text=True, cwd=cwd,
                          env=inherited, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def install(*arguments, code=0):
    return make("-o", "all", "install", *arguments, code=code)  # of what is built, while other tests run it


def unpack(folder):
    """The tree of a new tarball, and the commit that it is said to be of."""
    commit = re.search(r"gz: (\S+)$", make("dist", f"DIST={folder}/dist/it.tar.gz"), re.M)[1]
    with tarfile.open(folder / "dist/it.tar.gz") as tar:
        tar.extractall(folder)
    return folder / f"qtaylor-{VERSION}", commit


@pytest.fixture
def stage(tmp_path):
    install(f"DESTDIR={tmp_path}/stage", f"PREFIX={PREFIX}")
    return tmp_path / "stage"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_what_is_installed_goes_away(stage):
    place = stage / PREFIX[1:]
    listed = (place / "share/qtaylor/installed").read_text().split("\n")[:-1]
    assert files(place) == sorted(name for name in listed if name[-1] != "/")
    assert os.access(place / "share/qtaylor/tools/prepare_images.py", os.X_OK)
    for name in ("bin/qtaylor", "share/qtaylor/jobs/digits/model.pt", "share/qtaylor/slurm/common.sh",
                 "share/qtaylor/tools/export.py",
                 "share/qtaylor/tools/qtaylor.py", "share/doc/qtaylor/LICENSE", "share/man/man1/qtaylor.1",
                 "share/man/man1/qtaylor-run.1", "share/bash-completion/completions/qtaylor",
                 "share/zsh/site-functions/_qtaylor"):
        assert name in listed
    (place / "share/qtaylor/jobs/mine.yaml").write_text("name: mine\n")
    (place / "share/qtaylor/old").write_text("of an older version\n")
    with open(place / "share/qtaylor/installed", "a") as file:
        file.write("share/qtaylor/old\n")
    install(f"DESTDIR={stage}", f"PREFIX={PREFIX}")
    assert files(place) == sorted([*(name for name in listed if name[-1] != "/"), "share/qtaylor/jobs/mine.yaml"])
    (place / "share/qtaylor/tools/__pycache__").mkdir()
    mine = place / "share/qtaylor/jobs/mine.yaml"
    make("uninstall", f"DESTDIR={stage}", f"PREFIX={PREFIX}")
    assert [path for path in stage.rglob("*") if not path.is_dir()] == [mine]
    assert {path for path in place.rglob("*") if path.is_dir()} == set(mine.parents) & set(place.rglob("*"))
    assert "nothing is installed" in make("uninstall", f"DESTDIR={stage}", f"PREFIX={PREFIX}", code=2)


def test_folders_that_were_there_stay(tmp_path):
    for name in ("bin", "share/man/man1", "share/qtaylor/tools/my/__pycache__"):
        (tmp_path / "place" / name).mkdir(parents=True)
    (tmp_path / "place/share/qtaylor/tools/my/__pycache__/x").write_text("")
    before = sorted((tmp_path / "place").rglob("*"))
    for _ in range(2):
        install(f"PREFIX={tmp_path}/place")
    shutil.rmtree(tmp_path / "place/share/qtaylor/tools/export")
    make("uninstall", f"PREFIX={tmp_path}/place")
    assert sorted((tmp_path / "place").rglob("*")) == before


def test_an_installation_that_breaks_off_can_be_taken_away(tmp_path):
    place = tmp_path / "place"
    (place / "share").mkdir(parents=True)
    (place / "share/zsh").write_text("in the way of its completion\n")
    install(f"PREFIX={place}", code=2)
    assert len(files(place)) > 100
    make("uninstall", f"PREFIX={place}")
    assert files(place) == ["share/zsh"]


def test_a_program_that_does_not_start_is_not_installed(tmp_path):
    program = tmp_path / "qtaylor"
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    done = subprocess.run([ROOT / "tools/install.sh", "install", program], capture_output=True, text=True,
                          env={**os.environ, "PREFIX": str(tmp_path / "place")})
    assert done.returncode == 64 and "does not start" in done.stderr and not (tmp_path / "place").exists()


def test_links_of_installed_pages_lead_somewhere(stage):
    pages = sorted((stage / PREFIX[1:] / "share").rglob("*.md"))
    assert len(pages) > 10
    links = [(page, link) for page in pages
             for link in re.findall(r'(?:\]\(|src="|href=")([^)"#\s]+)', page.read_text())
             if not re.match(r"[a-z]+:", link)]
    assert len(links) > 40
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_only_a_checkout_s_own_jobs_are_installed(tmp_path):
    tree, _ = unpack(tmp_path)
    shutil.copy(ROOT / "tools/install.sh", tree / "tools")
    (tree / "jobs/digits/mine.yaml").write_text("name: mine\n")
    for git in (False, True):  # a tarball's: all that is there
        if git:
            for arguments in (["init", "-q"], ["add", "."], ["rm", "-q", "--cached", "jobs/digits/mine.yaml"]):
                subprocess.run(["git", *arguments], check=True, cwd=tree)
        subprocess.run([tree / "tools/install.sh", "install", FAKE], check=True, capture_output=True,
                       env=environment(DESTDIR=tmp_path / "stage", PREFIX=PREFIX))
        jobs = tmp_path / "stage" / PREFIX[1:] / "share/qtaylor/jobs/digits"
        assert (jobs / "job.yaml").exists() and (jobs / "mine.yaml").exists() != git


def test_a_relative_place_is_refused():
    assert "expected an absolute path" in install("PREFIX=opt", code=2)


def test_slurm_scripts_find_program_and_jobs(stage, job, tmp_path):
    """As SLURM runs a copy: from its spool folder's name, in the folder of `sbatch`; srun is a stand-in of one task."""
    place = stage / PREFIX[1:]
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\nwhile [[ $1 = --* ]]; do shift; done\nexec "$@"\n')
    (tools / "srun").chmod(0o755)
    job.write()
    for script in sorted((ROOT / "slurm").glob("*.sbatch")):
        text = (place / "share/qtaylor/slurm" / script.name).read_text()
        home = f"{PREFIX}/share/qtaylor"
        assert f': "${{QTAYLOR_HOME:={home}}}"' in text
        assert re.search(rf'^JOB="{home}/jobs/digits/(job|sweep).yaml" ', text, re.M) and "qtaylor folder" not in text
    text = (place / "share/qtaylor/slurm/generate-50k.sbatch").read_text()
    text = re.sub(r"^JOB=\S+ \S+", "JOB=job.yaml ", text, flags=re.M)  # the one line that a user changes
    text = text.replace("0-49999", "0-99").replace("DEVICE=cuda", "DEVICE=cpu")
    job.run.mkdir()
    for name in ("slurm-1", "slurm-2.out"):  # a note of the script's, and what SLURM wrote for its user
        (job.run / name).write_text("")
    spool = tmp_path / "slurm_script"
    spool.write_text(text.replace(f":={PREFIX}", f":={stage}{PREFIX}"))  # staged: not yet where it will be
    done = subprocess.run(["bash", spool], capture_output=True, text=True, cwd=job.folder, timeout=60, env=environment(
        PATH=f"{tools}:{os.environ['PATH']}", SLURM_JOB_ID=1, SLURM_NTASKS=1, SLURM_JOB_NODELIST="here"))
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "done and verified" in said, said
    assert [path.name for path in job.run.glob("slurm-*")] == ["slurm-2.out"]
    assert json.loads(qtaylor("verify", job.run, "--json", program=place / "bin/qtaylor").stdout)["samples"] == 100


def test_over_packages_unpacked_without_root(tmp_path):
    """A stand-in for the program, which says what it was started as; its settings go where it goes."""
    tree, _ = unpack(tmp_path)
    (tree / "build/fake/unpacked").mkdir(parents=True)
    (tree / "build/env.sh").write_text("export OF_DEPS=settings\n")
    program = tree / "build/fake/qtaylor"
    binary = program.parent / "unpacked/qtaylor"
    binary.write_text('#!/bin/bash\necho "$OF_DEPS $*"\n')
    binary.chmod(0o755)
    script = [tree / "tools/install.sh"]
    program.write_text(subprocess.run([*script, "starter", "../env.sh", "unpacked/qtaylor"], check=True, text=True,
                                      capture_output=True).stdout)
    program.chmod(0o755)
    subprocess.run([*script, "install", program], check=True, env={**os.environ, "PREFIX": str(tmp_path / "a place")})
    (tree / "build").rename(tmp_path / "gone")
    (tmp_path / "a place").rename(tmp_path / "another")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "another/bin/qtaylor")
    assert subprocess.run([link, "a b", "c"], capture_output=True, text=True).stdout == "settings a b c\n"


def test_a_tarball_knows_what_it_is(tmp_path):
    """Unpacked in another repository, whose commit it must not take for its own."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    tree, commit = unpack(tmp_path)
    make("build/library/version.h", cwd=tree)
    made = (tree / "build/library/version.h").read_text()
    assert f'QTAYLOR_VERSION "{VERSION}"\n' in made and f'QTAYLOR_COMMIT "{commit}"\n' in made
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert set(tracked) <= set(files(tree))


@pytest.mark.long
def test_a_tarball_builds_without_git(tmp_path):
    tree, commit = unpack(tmp_path)
    make("-j2", "all", cwd=tree)
    said = qtaylor("--version", program=tree / "build/fake/qtaylor").stdout
    assert said.startswith(f"qtaylor {VERSION}\n") and f"commit     {commit}\n" in said

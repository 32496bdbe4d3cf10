"""The pages: their links lead somewhere, the commands in them exist, the page on one's own model works as it stands."""
import functools
import json
import re
import shlex
import subprocess

import numpy
import pytest
from conftest import ROOT, TORCH, environment, qtaylor, stored

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "jobs/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|((?:^    .*\n)+)", re.M | re.S)  # fenced, or indented


def slug(heading):
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target}: no such heading"


@functools.cache
def help_of(command):
    return qtaylor(command, "--help").stdout


def commands(page):
    """Every `qtaylor ...` of blocks, tables and sentences that has a subcommand, as words."""
    text = page.read_text()
    lines = [line for block in BLOCK.finditer(text) for line in (block[2] or block[3]).splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        found = re.search(r"(?:^|[ /])qtaylor ([a-z].*)", line.split(" #")[0].strip())
        if found:
            try:
                yield shlex.split(re.sub(r"\[|\]|<.*?>", " ", found[1]))
            except ValueError:  # half of a command in a sentence
                yield found[1].split()


def test_commands():
    """Of all pages, each subcommand and each option is one that --help shows."""
    names = set(re.findall(r"^  ([a-z]+) ", qtaylor("--help").stdout, re.M))
    seen = 0
    for page in PAGES:
        for words in commands(page):
            assert words[0] in names, f"{page.name}: qtaylor {' '.join(words)}"
            for option in [word.split("=")[0] for word in words[1:] if re.match(r"--[a-z]", word)]:
                assert option in help_of(words[0]), f"{page.name}: qtaylor {words[0]} has no {option}"
            seen += 1
    assert seen > 40


def test_every_member_of_features_json(tmp_path):
    """docs/evaluation.md has the members that the program reads and no other; its example works, none may be left
    out."""
    page = (ROOT / "docs/evaluation.md").read_text()
    part = page.split("## features.json\n")[1].split("\n## ")[0]
    source = (ROOT / "src/eval/network.c").read_text()
    read = re.search(r'json_unpack_ex\(json, &at, JSON_STRICT, "[^"]*",(.*?)\) != 0', source, re.S)[1]
    members = re.findall(r'"(\w+)"', read)
    assert re.findall(r"^\| `(\w+)` \|", part, re.M) == members and len(members) == 7
    kinds = re.search(r"feature_kind_names\[\] = {(.*?), NULL}", (ROOT / "src/eval/features.c").read_text())[1]
    assert set(json.loads(f"[{kinds}]")) <= set(re.findall(r"`(\w+)`", part))
    described = json.loads(re.search(r"^```json\n(.*?)^```", part, re.M | re.S)[1])
    needed = members[:3]
    assert list(described) == needed

    numpy.save(tmp_path / "images.npy", numpy.zeros((2, 32, 32, 3), numpy.uint8))

    def refer(description, code):
        (tmp_path / "net.json").write_text(json.dumps({"features": description, "matrix": 7}))
        return qtaylor("reference", tmp_path / "images.npy", "--features", tmp_path / "net.json", "-o",
                       tmp_path / "ref.npz", code=code).stderr
    refer(described, 0)
    for member in needed:
        assert member in refer({key: value for key, value in described.items() if key != member}, 65)
    assert "colour" in refer(described | {"colour": 1}, 65)


def test_own_model(tmp_path):
    """docs/model.md from its first block to its last command, in a folder of the reader's."""
    pytest.importorskip("torch")
    text = (ROOT / "docs/model.md").read_text()
    blocks = {match[1]: match[2] for match in reversed(list(BLOCK.finditer(text))) if match[1]}
    (tmp_path / "wrap.py").write_text(blocks["python"])
    (tmp_path / "job.yaml").write_text(blocks["yaml"])
    python = ROOT / "build/venv/bin/python"
    subprocess.run([python, "-W", "ignore", "wrap.py"], cwd=tmp_path, check=True, timeout=120)
    lines = re.search(r"^    build/torch/qtaylor plan job.yaml.*?\n\n", text, re.M | re.S)[0].splitlines()
    done = [shlex.split(line.split(" #")[0].replace("build/torch/qtaylor", str(TORCH))) for line in lines if line]
    assert len(done) == 5
    for words in done:
        if words[0] == "mpirun":
            words[1:1] = ["--oversubscribe", "--bind-to", "none"]
        subprocess.run(words, cwd=tmp_path, check=True, timeout=120, env=environment(), capture_output=True)
    assert len(stored(tmp_path / "runs/mine")) == 64 and (tmp_path / "runs/mine/grid.png").exists()
    assert list(tmp_path.glob("**/*.npz"))

"""Manual pages and completions say what --help says, of every command."""
import re
import shutil
import subprocess

import pytest

from conftest import qtaylor

COMMANDS = re.findall(r"^  ([a-z]+) +[A-Z]", qtaylor("--help").stdout, re.M)
LISTS = {("export", "--to"): "png npz npy",
         ("compare", "--metrics"): "fid sfid fid_infinity kid is prdc cmmd mind vendi fld fdr clip-score",
         ("check", "--device"): "auto cpu cuda", ("model", "--device"): "auto cpu cuda",
         ("run", "--device"): "auto cpu cuda"}


def options_of(command):
    return re.findall(r"^  (--[a-z-]+)", qtaylor(command, "--help").stdout, re.M)


def words(text):
    return [word for word in re.split(r"[\s:]+", text) if word]


def shown(page):
    """The words of a page that a reader sees, headings left out."""
    lines = []
    for line in page.splitlines():
        assert not line.startswith("'") and len(line) <= 80
        if not line.startswith((".TH", ".SH", ".TP", ".PP")):
            lines.append(re.sub(r"^\.(B|I|BR) ", "", line))
    text = re.sub(r"\\f[BIR]", "", "\n".join(lines)).replace("\\&", "").replace("\\-", "-").replace("\\e", "\\")
    return words(text)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_has_the_words_of_help(command):
    page, said = qtaylor("--man", command).stdout, qtaylor(command, "--help").stdout
    usage, summary, rest = said.split("\n", 2)[0], said.split("\n\n")[1], said.split("\n\n", 2)[2]
    expected = words(f"qtaylor-{command} - {summary.rstrip('.')} {usage.removeprefix('usage:')} {rest}")
    expected.remove("options")
    assert shown(page) == [*expected, "qtaylor", "(1)"]


def test_the_program_has_a_page_that_names_all():
    page, said = qtaylor("--man").stdout, qtaylor("--help").stdout
    assert re.findall(r"^\.BR qtaylor\\-([a-z]+) \(1\)$", page, re.M) == COMMANDS
    assert words(said.split("Exit status:")[1]) == shown(page)[-len(words(said.split("Exit status:")[1])):]
    assert "did you mean export?" in qtaylor("--man", "exprot", code=64).stderr


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc here")
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_mandoc_finds_nothing(command):
    page = qtaylor("--man", *([command] if command else [])).stdout
    done = subprocess.run(["mandoc", "-Tlint"], input=page, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout + done.stderr


def bash(lines):
    """What each of these beginnings of a command line, as lists of words, is completed to."""
    script = qtaylor("--completion", "bash").stdout
    for line in lines:
        typed = " ".join(f"'{word}'" for word in line)
        script += f"COMP_WORDS=({typed}); COMP_CWORD={len(line) - 1}; _qtaylor; echo \"${{COMPREPLY[*]}}\"\n"
    done = subprocess.run(["bash", "-eu"], input=script, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split("\n")[:-1]


def test_bash_completes_commands_options_and_values():
    every = bash([["qtaylor", command, "x", "-"] for command in COMMANDS])
    assert every == [" ".join(options_of(command)) for command in COMMANDS]
    begun = [["qtaylor", "re"], ["qtaylor", "export", "x", "--to", "np"], ["qtaylor", "export", "x", "--to", "=", "np"],
             ["qtaylor", "export", "x", "--to", "="], ["qtaylor", "compare", "--metrics", "fid,ki"],
             ["qtaylor", "run", "job"], ["qtaylor", "run", "--set", "devi"], ["qtaylor", "--completion", "z"]]
    assert bash(begun) == ["reference report", "npz npy", "npz npy", "png npz npy", "fid,kid", "", "", "zsh"]
    assert bash([["qtaylor", *line, ""] for line in LISTS]) == list(LISTS.values())
    assert "found fish" in qtaylor("--completion", "fish", code=64).stderr


def test_zsh_gets_every_option_and_value():
    script = qtaylor("--completion", "zsh").stdout
    for command in COMMANDS:
        rows = re.search(rf"^        {command}\)\n(.*?) ;;$", script, re.M | re.S)[1]
        assert re.findall(r"'\*?(--[a-z-]+)=?\[", rows) == options_of(command)
    for values in LISTS.values():
        assert values in script
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n"], input=script, text=True, check=True)

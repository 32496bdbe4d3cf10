"""Every subcommand's options: what --help lists is what is taken, and a mistake names what was meant."""

import re

import pytest

from conftest import qtaylor

COMMANDS = ("run generate evaluate decode verify status plan inspect compare reference diagnose report export sample "
            "check model tune").split()


def test_these_are_all_the_commands():
    assert re.findall(r"^  ([a-z]+) +[A-Z]", qtaylor("--help").stdout, re.M) == COMMANDS


def listed(command):
    """{option: its value's name or ""} of --help, and the usage line."""
    text = qtaylor(command, "--help").stdout
    assert qtaylor(command, "-h").stdout == text
    options = re.findall(r"^  --([a-z-]+)(?: (\S+))?", text.split("\noptions:\n")[1], re.M)
    usage = text.splitlines()[0]
    return {name: value if f"--{name} {value}" in usage else "" for name, value in options}, usage


@pytest.mark.parametrize("command", COMMANDS)
def test_what_help_lists_is_what_is_taken(command):
    options, usage = listed(command)
    assert options.keys() - {"help"} == set(re.findall(r"--([a-z-]+)", usage))
    for option, value in options.items():
        if value.startswith("["):
            assert f"--{option}: expected " in qtaylor(command, f"--{option}=1", code=64).stderr
        elif value:
            assert f"needs a value: --{option}" in qtaylor(command, f"--{option}", code=64).stderr
        elif option != "help":
            assert f"takes no value: --{option}=1" in qtaylor(command, f"--{option}=1", code=64).stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_names_the_nearest_and_all(command):
    options, usage = listed(command)
    for option in options:
        said = qtaylor(command, "x", f"--{option}x", code=64).stderr
        assert f"unknown option --{option}x; did you mean --{option}?" in said and usage in said
    assert "did you mean" not in qtaylor(command, "x", "--quite-different", code=64).stderr


@pytest.mark.parametrize("arguments, said", [
    (["export"], "an argument is missing: RUN"),
    (["sample", "RUN"], "an argument is missing: ID"),
    (["export", "a", "b", "--to", "png"], "too many arguments: b"),
    (["export", "a"], "--to: expected png, npz or npy, found nothing"),
    (["export", "a", "--to", "npx"], "found npx; did you mean npz?"),
    (["export", "a", "--to", "png", "--count", "0"], "--count: expected a whole number of 1 or more, found 0"),
    (["compare", "a", "b", "--metrics", "fid,recall"], "clip-score, found recall; did you mean prdc?"),
    (["compare", "a", "b", "--metrics", ""], "mind, vendi, fld, fdr or clip-score, found nothing"),
    (["compare", "a", "b", "-z"], "unknown option -z"),
    (["run", "job.yaml", "--workers", "2"], "unknown option --workers; if it is a key: --set workers=VALUE"),
    (["plan", "--json"], "an argument is missing: JOB"),
    (["plan", "--list", "--json"], "--list prints the table of solvers alone"),
    (["plan", "--list", "job.yaml"], "--list prints the table of solvers alone"),
    (["plan", "jobs/digits/job.yaml", "--cells", "--json"], "--cells prints lines alone"),
    (["report", "a", "--card", "--metrics", "nonsense"], "--card prints a block of its own"),
    (["report", "a", "--card", "latex", "-o", "b"], "--card prints a block of its own"),
    (["report", "a", "--json", "--text"], "--json prints the data alone"),
    (["report", "a", "--json", "--plot", "b.svg"], "--json prints the data alone"),
    (["report", "a", "--text", "-o", "b"], "--output is where the page goes"),
    (["report", "a", "--metrics", "fid"], "--metrics is what --text and --plot show"),
    (["tune", "job.yaml", "--no-fid", "--samples", "400"], "--no-fid takes none"),
    (["exprot"], "unknown command exprot; did you mean export?"),
])
def test_a_wrong_command_line_is_said(arguments, said):
    assert said in qtaylor(*arguments, code=64).stderr


def test_a_list_needs_no_job():
    assert "quasi-Taylor" in qtaylor("plan", "--list").stdout

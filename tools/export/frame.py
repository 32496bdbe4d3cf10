"""What the tools have alike as commands: their errors and exit statuses, and files that are there whole or not at all.
Needs nothing but Python itself."""
import argparse
import contextlib
import os
import pathlib
import signal
import sys
import traceback


class Refusal(Exception):
    """What was given is not what it should be: exit 65."""


class Usage(Exception):
    """The command line is wrong: exit 64."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")


def end_without(tool, error, packages):
    """A package is missing: exit 64."""
    *others, last = packages.split()
    print(f"{tool}: {error}: run it by a Python with {', '.join(others)}{' and ' * bool(others)}{last}, such as "
          f"build/venv/bin/python after `build/venv/bin/pip install {packages.removeprefix('torch ')}` (or "
          "tools/setup.sh test)",
          file=sys.stderr)
    sys.exit(64)


def call(tool, packages, parser, function, options):
    """function(options); what it raises is a line on stderr and an exit status."""
    try:
        function(options)
    except Usage as error:
        parser.error(str(error))
    except Refusal as error:
        print(f"{tool}: {error}: nothing written", file=sys.stderr)
        sys.exit(65)
    except OSError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        sys.exit(74)
    except ModuleNotFoundError as error:
        end_without(tool, error, packages)
    except SystemExit as error:
        if isinstance(error, Ended):
            raise
        print(f"{tool}: the code that was given ends the program, by exit({error.code}): nothing written",
              file=sys.stderr)
        sys.exit(65)
    except KeyboardInterrupt:
        print(f"{tool}: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        sys.exit(70)


class Ended(SystemExit):
    """By a signal."""


def end_by_error(number, frame):
    signal.signal(number, signal.SIG_IGN)  # a second one would hinder what takes things away
    print(f"ended by {signal.Signals(number).name}: nothing written", file=sys.stderr)
    raise Ended(128 + number)


@contextlib.contextmanager
def taking_away():
    """SIGTERM, and SIGHUP where it is not ignored, end what is within as an error does, so that what was begun is taken
    away."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    numbers = [number for number in before if number == signal.SIGTERM or before[number] != signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, end_by_error)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@contextlib.contextmanager
def replacing(path, ending=""):
    """A name beside path for what is written, which gets path's name at the end unless an error comes first."""
    draft = pathlib.Path(f"{path}.tmp-{os.getpid()}{ending}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)

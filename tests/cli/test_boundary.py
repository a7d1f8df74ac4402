from __future__ import annotations

import errno
import inspect
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from ddbench import errors
from ddbench.cli import app as cli
from ddbench.errors import DdbenchError, UnknownName

KNOWN = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DdbenchError)]


def made(kind: type[DdbenchError]) -> DdbenchError:
    return UnknownName("synthesizer", "dwaa", ["dwa"]) if kind is UnknownName else kind("something was\nwrong; do that")


def command_that_raises(monkeypatch, error: BaseException):
    def raises(**_):
        raise error

    monkeypatch.setattr("ddbench.settings.load_settings", raises)
    return CliRunner().invoke(cli.app, ["store", "list"])


@pytest.mark.parametrize("kind", KNOWN, ids=lambda kind: kind.__name__)
def test_a_known_error_is_one_sentence_on_stderr_and_its_exit_code(monkeypatch, kind):
    result = command_that_raises(monkeypatch, made(kind))
    assert result.exit_code == kind.exit_code
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_every_exit_code_is_one_that_the_help_explains():
    assert {kind.exit_code for kind in KNOWN} <= {1, 2, 3}


def test_an_interrupt_exits_with_130_and_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr("sys.argv", ["ddbench", "run", "dwa", "-o", "note=a b"])
    result = command_that_raises(monkeypatch, KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr.endswith("ddbench run dwa -o 'note=a b'\n")


SLEEPS = """
import sys, time
import ddbench.settings
from ddbench.cli.app import main

ddbench.settings.load_settings = lambda **_: (print("ready", flush=True), time.sleep(60))
sys.argv = ["ddbench", "store", "list"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_ends_it_is_an_interrupt(number):
    with subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told == "interrupted; what was finished is kept. The same command goes on from there: ddbench store list\n"


def test_an_interrupted_command_that_makes_all_afresh_is_not_said_to_go_on(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ddbench", "run", "dwa", "--fresh"])
    with pytest.raises(typer.Exit), cli.boundary():
        raise KeyboardInterrupt
    assert "With --fresh the same command begins anew" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_exits_with_3(monkeypatch, number):
    result = command_that_raises(monkeypatch, OSError(number, "full", "/somewhere/file"))
    assert result.exit_code == 3
    assert "/somewhere/file" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EIO, "broken disk")], ids=repr)
def test_an_unknown_error_keeps_its_traceback_and_exits_with_1(monkeypatch, error):
    result = command_that_raises(monkeypatch, error)
    assert result.exit_code == 1
    assert result.exception is error


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "random", "--bogus"],
        ["run", "random", "--eval-seeds", "0"],
        ["run", "random", "--precision", "fp7"],
        ["nothing"],
        ["show"],
        ["table", "--format", "pdf"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_exits_with_2(arguments):
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2


def test_the_version_is_printed():
    import ddbench

    assert CliRunner().invoke(cli.app, ["--version"]).stdout == f"ddbench {ddbench.__version__}\n"


def test_short_and_long_help_are_the_same():
    for command in ([], ["run"], ["store", "gc"]):
        assert CliRunner().invoke(cli.app, [*command, "-h"]).stdout == CliRunner().invoke(cli.app, [*command, "--help"]).stdout

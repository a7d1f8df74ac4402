from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ddbench.cli.app import app

RUN_FLAGS = (
    "--dataset",
    "--ipc",
    "--students",
    "--teacher",
    "--protocol",
    "--distill-seeds",
    "--eval-seeds",
    "-o",
    "--preset",
    "--device",
    "--precision",
    "--compile",
    "--threads",
    "--store",
    "--data-root",
    "--max-label-bytes",
    "--offline",
    "--dry-run",
    "--fresh",
    "--json",
    "--smoke",
    "--view-seed",
    "--evaluators",
)

COMMANDS = ("run", "table", "show", "list", "data", "store", "doctor", "figure")

ANSWERS = (
    ["run"],
    ["table"],
    ["figure"],
    ["show"],
    ["list"],
    ["data", "list"],
    ["data", "prepare"],
    ["store", "list"],
    ["store", "gc"],
    ["doctor"],
)


def help_of(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    return result.stdout


def test_the_help_names_every_command_and_exit_code():
    text = help_of()
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "130 interrupted" in " ".join(text.split())


def test_run_has_every_flag_of_the_design():
    text = help_of("run")
    assert [flag for flag in RUN_FLAGS if f"{flag} " not in text and f"{flag}," not in text] == []


@pytest.mark.parametrize("command", ANSWERS, ids=" ".join)
def test_every_command_that_answers_takes_json(command):
    assert "--json" in help_of(*command)


@pytest.mark.parametrize("command", [("data", "prepare"), ("table",)], ids=" ".join)
def test_the_other_flags_are_there(command):
    flags = {
        "data": ["--from", "--size", "--offline"],
        "table": ["--format", "--dataset", "--protocol", "--ipc", "--records", "--out", "--metric"],
    }
    assert all(flag in help_of(*command) for flag in flags[command[0]])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["list", "synthesizers"],
        ["list", "synthesizers", "dwa"],
        ["list", "selectors", "cam"],
        ["list", "priors"],
        ["list", "protocols"],
        ["list", "networks"],
        ["run", "no-such-synthesizer"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments):
    code = (
        "import sys; sys.argv = ['ddbench', *sys.argv[1:]]\n"
        "from ddbench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'torchvision', 'timm', 'pandas', 'scipy', 'rich', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("arguments", [["table"], ["store", "list"], ["data", "list"], ["show", "abcdef"]], ids=" ".join)
def test_report_commands_import_no_torch(arguments, tmp_path):
    code = (
        "import sys; sys.argv = ['ddbench', *sys.argv[1:]]\n"
        "from ddbench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *arguments, *([] if arguments[0] == "data" else ["--store", str(tmp_path)])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "HEAVY []"

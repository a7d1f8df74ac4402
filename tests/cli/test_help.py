from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from boards import saved
from ddbench.cli.app import app
from handmade import nested

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


MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "digits"

REPORTS = {
    "tables": (
        ["table", "--records", "MEASURED", "--published"],
        ["table", "--records", "MEASURED", "--robustness"],
        ["table", "--records", "MEASURED", "--by", "ipc"],
        ["table", "--records", "MEASURED", "--format", "latex"],
        ["table", "--json"],
    ),
    "records": (["show", "KEY"], ["show", "KEY", "--json"], ["store", "list", "records"]),
    "figures": (
        ["figure", "ipc", "--json"],
        ["figure", "bytes", "--json"],
        ["figure", "cost", "--json"],
        ["figure", "curves", "--json"],
        ["figure", "sweep", "--option", "rho", "--method", "dwa", "--json"],
        ["figure", "heatmap", "--option", "rho", "--option", "steps", "--method", "dwa", "--json"],
    ),
}

IN_ONE_PROCESS = """
import json, sys
from ddbench.cli.app import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["ddbench", *command]
    code = 0
    try:
        main()
    except SystemExit as done:
        code = done.code or 0
    print("\\nTOLD", json.dumps([code, sorted({"torch", "torchvision", "timm"} & set(sys.modules))]))
"""


@pytest.fixture
def store(tmp_path):
    """A store with records of random and of dwa, swept over two options."""
    swept = [
        one
        for rho in (0.01, 0.02, 0.03)
        for steps in (6, 12)
        for one in nested("dwa", [[0.5 + rho, 0.51], [0.52, 0.5]], options={"rho": rho, "steps": steps})
    ]
    saved(tmp_path / "store" / "records", *nested("random", [[0.4, 0.41], [0.42, 0.4]]), *swept)
    return tmp_path / "store"


def told(commands: list[list[str]], folder: Path) -> list[tuple[str, list]]:
    """Return what each of several commands in one process printed, with its exit code and the heavy libraries then loaded."""
    arguments = [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(commands)]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=folder).stdout
    *parts, _ = re.split(r"\nTOLD (.*)\n", printed)
    return [(text, json.loads(answer)) for text, answer in zip(parts[::2], parts[1::2], strict=True)]


@pytest.mark.parametrize("kind", REPORTS)
def test_report_commands_import_no_torch_on_records_that_they_report(kind, store, tmp_path):
    places = {"KEY": min((store / "records").glob("*.json")).stem, "MEASURED": str(MEASURED)}
    commands = [[*(places.get(word, word) for word in command), "--store", str(store)] for command in REPORTS[kind]]
    answers = told(commands, tmp_path)
    assert [answer for _, answer in answers] == [[0, []]] * len(commands)
    assert all(printed.strip() for printed, _ in answers)


def test_the_leaderboard_is_built_and_checked_and_datasets_are_listed_without_torch(tmp_path):
    board = [["leaderboard", what, str(MEASURED), "--out", "site"] for what in ("build", "check")]
    assert [answer for _, answer in told([*board, ["data", "list"]], tmp_path)] == [[0, []]] * 3
    assert (tmp_path / "site" / "index.html").is_file()

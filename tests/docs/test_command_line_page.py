"""docs/command-line.md has every command with every flag, and no other."""

from __future__ import annotations

import re

import pytest
import typer

from ddbench import errors
from ddbench.cli.app import app
from ddbench.errors import DdbenchError


def walk(command, path):
    """Give every command that can be run, and the root, by its path."""
    commands = getattr(command, "commands", {})
    if not commands or path == "ddbench":
        yield path, command
    for name, child in commands.items():
        yield from walk(child, f"{path} {name}")


COMMANDS = dict(walk(typer.main.get_command(app), "ddbench"))
ERRORS = {name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, DdbenchError)}


@pytest.fixture(scope="session")
def sections(pages):
    """The page's sections by heading."""
    parts = re.split(r"^## (.+)$", pages["docs/command-line.md"], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_has_a_section_and_no_section_is_of_no_command(sections):
    assert {name for name in sections if name.startswith("ddbench")} == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_a_commands_table_has_its_flags_and_no_others(path, sections):
    rows = [line.split("|")[1] for line in sections[path].splitlines() if line.startswith("| `")]
    documented = {flag for row in rows for flag in re.findall(r"`(--?[a-z-]+)", row)}
    options = [parameter for parameter in COMMANDS[path].params if parameter.param_type_name == "option"]
    flags = {flag for parameter in options for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert documented == flags - {"--help", "-h"}


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if path != "ddbench"])
def test_every_command_has_an_example(path, sections):
    assert re.search(rf"^{path}( |$)", sections[path], re.MULTILINE)


def test_every_error_is_listed_with_its_exit_code(sections):
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", sections["Exit codes and errors"], re.MULTILINE)
    assert {name: int(code) for name, code in rows} == {name: error.exit_code for name, error in ERRORS.items()}

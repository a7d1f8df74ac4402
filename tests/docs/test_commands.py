"""Every `ddbench …` line of the documentation is a command that exists, with flags that exist and names that are registered."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile

import pytest
import typer

from ddbench.cli.app import app
from ddbench.cli.listing import KINDS
from ddbench.plugins import Plugins

ROOT_COMMAND = typer.main.get_command(app)
PLUGINS = Plugins(())
OF_THE_READER = {
    "synthesizer": {"blend", "push", "carve", "collage"},
    "prior": {"eigen"},
    "dataset": {"pets", "gratings"},
    "evaluator": {"worst"},
}
"""Names that the documentation makes itself."""

SHELL = ("sh", "console", "bash")


def command_lines(text, blocks, prose):
    """Return the arguments of every ddbench command of a page, from shell blocks and from inline code."""
    lines = [line for language in SHELL for block in blocks(text, language) for line in block.splitlines()]
    lines += re.findall(r"`(ddbench [^`\n]+)`", prose(text))
    found = []
    for line in lines:
        for part in re.split(r"&&|\|", line.removeprefix("$ ")):
            words = shlex.split(part, comments=True)
            if words and words[0].rpartition("/")[2] == "ddbench":
                found.append(words[1:])
    return found


def resolved(arguments):
    """Return the command that arguments name, with what is left of them."""
    command, rest = ROOT_COMMAND, list(arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"ddbench {' '.join(arguments)}: there is no command {name!r}"
        command = command.commands[name]
    return command, rest


def parsed(arguments):
    """Return a command's parameters by name, or None where it is only mentioned, or asked for help or the version."""
    command, rest = resolved(arguments)
    if not rest:
        return None
    if {"--help", "-h", "--version"} & set(rest):
        assert set(rest) <= {"--help", "-h", *(name for parameter in command.params for name in parameter.opts)}
        return None
    if hasattr(command, "commands"):
        assert rest == [], f"ddbench {' '.join(arguments)} is no whole command"
        return None
    return command.make_context(command.name, rest).params


def known(kind):
    return {*PLUGINS.names(kind), *OF_THE_READER.get(kind, ())}


@pytest.fixture(scope="session")
def lines(pages, blocks, prose):
    return [(page, line) for page, text in pages.items() for line in command_lines(text, blocks, prose)]


def test_the_documentation_has_commands_to_check(lines):
    assert len(lines) > 50
    assert {"run", "table", "show", "list", "data", "store", "doctor"} <= {line[0] for _, line in lines if line}


def test_every_command_line_parses(lines):
    failed = []
    for page, line in lines:
        try:
            parsed(line)
        except Exception as error:  # noqa: BLE001 - typer's usage errors have several bases, by its version
            failed.append(f"{page}: ddbench {' '.join(line)}: {error}")
    assert failed == []


def test_every_run_names_things_that_are_registered(lines):
    for page, line in lines:
        if line[:1] != ["run"]:
            continue
        asked = parsed(line)
        if asked is None:
            continue
        text = f"{page}: ddbench {' '.join(line)}"
        assert set(asked["names"]) <= known("synthesizer"), text
        assert asked["dataset"] in known("dataset"), text
        assert asked["protocol"] is None or asked["protocol"] in known("protocol"), text
        assert set((asked["evaluators"] or "top1").split(",")) <= known("evaluator"), text


def test_every_option_given_to_a_run_belongs_to_something_in_it(lines):
    given = [(page, words, parsed(words)) for page, words in lines if words[:1] == ["run"]]
    for page, words, asked in given:
        for assignment in (asked or {}).get("option", ()):
            target, _, name = assignment.partition("=")[0].rpartition(".")
            kind = "teacher" if target == "teacher" else "synthesizer"
            names = ["scratch"] if kind == "teacher" else [target] if target else asked["names"]
            models = [PLUGINS.get(kind, one).value.options for one in names if one in PLUGINS.names(kind)]
            if len(models) == len(names):
                assert any(name in model.model_fields for model in models), f"{page}: ddbench {' '.join(words)}"


def test_every_list_and_prepare_names_what_there_is(lines):
    for page, line in lines:
        if line[:1] == ["list"] and line[1:]:
            kind, *name = takewhile(lambda word: not word.startswith("-"), line[1:])
            assert kind in KINDS, (page, line)
            assert not name or kind == "networks" or name[0] in known(kind.removesuffix("s")), (page, line)
        if line[:2] == ["data", "prepare"] and line[2:]:
            assert line[2] in known("dataset"), (page, line)

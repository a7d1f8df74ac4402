"""The page of every command with every flag, from the command line itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from ddbench.cli.app import app
from ddbench_docs import markdown as md

Command = Any
"""Typer has its commands from click, or from a copy of its own: both look alike."""

EXTRA = re.compile(r" {2}\[(.*)\]$")
"""What typer puts behind a help text: default, bounds, whether it is needed."""


def page() -> str:
    """Return the page."""
    told = "Generated from the code. [The guide](../command-line.md) explains them, with examples, settings and exit codes."
    return md.blocks(["# Every command and flag", told, *(_section(path, command) for path, command in commands())])


def commands() -> Iterator[tuple[str, Command]]:
    """Give the root and every command that can be run, by its path."""
    yield from _walk(typer.main.get_command(app), "ddbench")


def _walk(command: Command, path: str) -> Iterator[tuple[str, Command]]:
    children = getattr(command, "commands", {})
    if not children or path == "ddbench":
        yield path, command
    for name, child in children.items():
        yield from _walk(child, f"{path} {name}")


def _section(path: str, command: Command) -> str:
    context = command.make_context(command.name, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    rows = [_parameter(parameter.get_help_record(context)) for parameter in command.params]
    table = md.table(("argument or flag", "what", "default, bounds"), rows)
    return md.blocks([f"## {path}", md.fenced(usage, "text"), md.docstring(inspect.cleandoc(command.help or "")), table])


def _parameter(record: tuple[str, str]) -> tuple[str, str, str]:
    """Return a line of help as cells: the flag with what it takes, what it is for, its default and bounds."""
    flag, told = record
    found = EXTRA.search(told)
    return md.code(flag), told[: found.start()] if found else told, found[1].replace("x>=", "≥ ") if found else ""

"""Pages of what plugins offer: every option of everything first-party, every preset with the source of each number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ddbench.cli import describe
from ddbench.plugins import KINDS, Plugins
from ddbench_docs import markdown as md

PLUGINS = Plugins(())
"""Those that come with ddbench, and no others."""

Row = dict[str, Any]


def pages() -> Iterator[tuple[str, str]]:
    """Give a page of each kind: its path in the site, its text."""
    for kind in KINDS:
        yield f"reference/{kind}s.md", networks() if kind == "network" else everything(kind)


def everything(kind: str) -> str:
    """Return the page of a kind: each thing with options, parts and presets."""
    things = [describe.one(PLUGINS, kind, name) for name in PLUGINS.names(kind)]
    told = f"Generated from the code: what `ddbench list {kind}s` and `ddbench list {kind}s NAME` print."
    return md.blocks([f"# {kind.capitalize()}s: options and presets", told, *(_thing(thing) for thing in things)])


def networks() -> str:
    """Return the page of networks: each family, and the names of ddbench's own."""
    rows = describe.networks(PLUGINS, None, everything=False)
    told = "Generated from the code. `ddbench list networks --all` lists every name, `ddbench list networks PART` some of them."
    parts = [f"## {row['name']}\n\n{row['description']}\n\n{_names(row['networks'])}" for row in rows]
    return md.blocks(["# Networks", told, *parts])


def options_table(options: Iterable[Mapping[str, Any]]) -> str:
    """Return options as a table: name, then help with default, type and bounds. Two columns fit a narrow screen."""
    rows = [(md.code(option["name"]), f"{option['help']}\n{_default(option)}; {_type(option)}".strip()) for option in options]
    return md.table(("option", "what; default, type and bounds"), rows)


def preset_tables(presets: Iterable[Mapping[str, Any]], *, level: int) -> str:
    """Return presets, each as a table of its values with their sources, under headings of a level."""
    parts = []
    for preset in presets:
        network = f"Meant for {md.code(preset['network'])}." if preset["network"] else ""
        rows = [(md.code(name), md.code(_plain(one["value"])), str(one["source"])) for name, one in preset["options"].items()]
        heading = f"{'#' * level} Preset {preset['name']}"
        parts.append(md.blocks([heading, f"{preset['title']}. {network}".strip(), md.table(("option", "value", "source"), rows)]))
    return md.blocks(parts) if parts else ""


def works_with(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what a method works with unless options say otherwise, and how to set the options of that."""
    cells = [
        (
            row["role"],
            md.code(row["name"]),
            " ".join(f"{name}={_plain(value)}" for name, value in row["options"].items()),
            md.code(f"-o {row['flag']}NAME=VALUE"),
        )
        for row in rows
    ]
    return md.table(("works with", "by default", "made with", "options"), cells)


def _thing(thing: Row) -> str:
    facts = [(name, md.code(value)) for name, value in thing["facts"].items() if value not in (None, "", [], ())]
    assignment = md.code(f"-o {thing['flag']}NAME=VALUE")
    return md.blocks(
        [
            f"## {thing['name']}",
            md.docstring(thing["about"]),
            md.table(("fact", "value"), facts),
            f"Set with {assignment}." if thing["options"] else "",
            options_table(thing["options"]),
            works_with(thing["works_with"]),
            preset_tables(thing["presets"], level=3),
        ]
    )


def _default(option: Mapping[str, Any]) -> str:
    return "*needed*" if option["required"] else "*default* " + md.code(json.dumps(option["default"], ensure_ascii=False))


def _type(option: Mapping[str, Any]) -> str:
    """Return type and bounds: `*int, ≥ 0*`."""
    choices = [md.code(part) if part.startswith('"') else f"*{part}*" for part in option["type"].split(" | ")]
    bounds = [f"*{bound}*" for bound in option["bounds"]]
    return ", ".join([" or ".join(choices), *bounds]).replace(">=", "≥").replace("<=", "≤")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _names(names: Iterable[str] | None) -> str:
    return ", ".join(md.code(name) for name in names) if names else ""

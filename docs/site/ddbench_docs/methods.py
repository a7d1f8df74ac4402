"""What the pages of methods show beside their own text: options, presets, published numbers, measured records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cli import describe
from ddbench.report import published as landmarks
from ddbench.report.formats import render
from ddbench.report.grouping import CONTROL
from ddbench.report.sources import load
from ddbench.report.tables import Table, summary
from ddbench_docs import markdown as md
from ddbench_docs.options import PLUGINS, options_table, preset_tables, works_with

if TYPE_CHECKING:
    from ddbench.report.sheets import Sheet

PARTS = {"objective", "selector", "prior"}
"""Kinds of what a method works with whose options its page shows too."""


def options_of_method(name: str) -> str:
    """Return a synthesizer's options, and what it works with unless options say otherwise."""
    thing = describe.one(PLUGINS, "synthesizer", name)
    options = options_table(thing["options"]) or "It has no options."
    parts = [_options_of_part(part) for part in thing["works_with"] if part["kind"] in PARTS]
    return md.blocks([options, works_with(thing["works_with"]), *parts])


def _options_of_part(part: Mapping[str, Any]) -> str:
    options = options_table(describe.one(PLUGINS, part["kind"], part["name"])["options"])
    told = f"The {part['kind']} {md.code(part['name'])}, set with {md.code('-o ' + part['flag'] + 'NAME=VALUE')}:"
    return md.blocks([told, options]) if options else ""


def presets_of_method(name: str) -> str:
    """Return a synthesizer's presets, each number with its source."""
    presets = describe.one(PLUGINS, "synthesizer", name)["presets"]
    return preset_tables(presets, level=3) or "It has no presets: none of its numbers depends on the dataset."


def published(name: str) -> str:
    """Return the published numbers of a method that ddbench ships, each with its recipe, its source and how it is known."""
    found = [one for one in landmarks.published() if one.method == name]
    if not found:
        return "No published number of it is shipped with ddbench.\n"
    rows = [
        (
            f"{one.dataset}, ipc {one.ipc}" if one.ipc else one.dataset,
            one.student,
            f"{100 * one.value:.1f}" + (f" ± {100 * one.sd:.1f}" if one.sd else ""),
            f"{one.recipe} ({one.label_regime})",
            "; ".join(part for part in (f"{one.source}: {landmarks.GRADES[one.grade]}", one.caveat) if part),
        )
        for one in found
    ]
    return md.table(("dataset", "student", "top1, %", "recipe (labels)", "source"), rows)


def measured(name: str, results: Path) -> str:
    """Return a table of each folder of kept records that holds the method, with random and published numbers beside it."""
    parts = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        records = [record for record in load(None, [folder]).records if record.cell.synthesizer in {name, CONTROL}]
        tables = [table for table in summary(records, code="any") if name in {row.variant.synthesizer for row in table.rows}]
        if tables:
            beside = landmarks.published_sheet([_only(name, table) for table in tables])
            shown: list[Table | Sheet] = [*tables, *([beside] if beside else [])]
            parts.append(f"Records: `benchmarks/results/{folder.name}`.\n\n{render(shown, 'md')}")
    return md.blocks(parts) if parts else "Nothing of it is among the kept records yet.\n"


def _only(name: str, table: Table) -> Table:
    """Return a table with the method's own rows."""
    return replace(table, rows=tuple(row for row in table.rows if row.variant.synthesizer == name))


def overview(folder: Path) -> str:
    """Return the table of contents of all pages of methods, in the order of the overview's table."""
    found = {path.stem for path in folder.glob("*.md")} - {"index"}
    order = re.findall(r"^\| \[(\w+)\]", (folder / "index.md").read_text("utf-8"), re.MULTILINE)
    listed = "\n".join(f"{name} <{name}>" for name in sorted(found, key=order.index))
    return f"```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{listed}\n```"

"""What a method works with when nothing is said: its objective, its selector, what is made before, and how to set their options."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pydantic

from ddbench.api.dataset import DatasetFacts
from ddbench.api.experts import ExpertOptions
from ddbench.cells import DEFAULT_WAY
from ddbench.errors import DdbenchError

if TYPE_CHECKING:
    from ddbench.api.context import Need
    from ddbench.options import Options
    from ddbench.plugins import Entry, Plugins

EXAMPLES = ((1, 8, 8), (3, 32, 32), (3, 64, 64))
"""Shapes for which a prior's spaces are shown: channels, height, width."""

MIXED = {"synthesizer", "objective", "selector", "evaluator"}
"""Kinds of things that may work with others."""

Row = dict[str, Any]


def spaces(entry: Entry) -> Row:
    """Return a prior's spaces by image size, from coarse to fine, with its default options."""
    options = _defaults(entry.value.options, {})
    found: Row = {}
    for shape in EXAMPLES if options is not None else ():
        try:
            listed = ", ".join(entry.value.spaces(options, _example(shape)))
        except DdbenchError as error:
            listed = f"none: {error}"
        found[f"spaces at {shape[1]}×{shape[2]}"] = listed
    return found


def works_with(entry: Entry, plugins: Plugins) -> list[Row]:
    """Return the parts and needs of a thing with its default options: role, kind, name, options asked for, flag, where to look."""
    options = _defaults(entry.value.options, {}) if entry.kind in MIXED else None
    if options is None:
        return []
    uses = entry.value.uses(options) if entry.kind == "synthesizer" else {}
    rows = [_row(kind, kind, use.name, use.options) for kind, use in uses.items()]
    needs = dict(entry.value.needs(options, _example(EXAMPLES[1])))
    for kind, use in uses.items():
        needs |= _needs_of_part(plugins, kind, use.name, use.options)
    return rows + [_needed(name, need, plugins) for name, need in needs.items()]


def lines(rows: list[Row]) -> Iterator[tuple[str, str, str, str]]:
    """Give role, name, options asked for, and how to set and see them, as text."""
    for row in rows:
        asked = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in row["options"].items())
        yield row["role"], row["name"], asked, f"-o {row['flag']}NAME=VALUE; {row['see']}".removesuffix("; ")


def _needs_of_part(plugins: Plugins, kind: str, name: str, asked: Mapping[str, object]) -> Mapping[str, Need]:
    """Return what a part asks for; nothing where nobody registered it."""
    part = plugins.all(kind).get(name)
    options = _defaults(part.options, asked) if part is not None else None
    return part.needs(options, _example(EXAMPLES[1])) if part is not None and options is not None else {}


def _needed(name: str, need: Need, plugins: Plugins) -> Row:
    if need.kind == "experts":
        from ddbench.cli.describe import options_of

        return {**_row(name, "experts", need.name, need.options), "takes": options_of(ExpertOptions), "see": ""}
    if need.kind == "teacher" and not need.name:
        return {**_row(name, "teacher", "the run's teacher", need.options), "see": "--teacher NAME"}
    row = _row(name, need.kind, need.name, need.options)
    return row | {"see": f"ddbench list teachers {_way(need.name, plugins)}"} if need.kind == "teacher" else row


def _row(role: str, kind: str, name: str, asked: Mapping[str, object]) -> Row:
    see = f"ddbench list {kind}s {name}"
    return {"role": role, "kind": kind, "name": name, "options": dict(asked), "flag": f"{role}.", "see": see}


def _way(name: str, plugins: Plugins) -> str:
    """Return the way to get a teacher that a need names: `way:network`, a way, or a network."""
    way = name.rpartition(":")[0]
    return way or (name if name in plugins.names("teacher") else DEFAULT_WAY)


def _defaults(model: type[Options], asked: Mapping[str, object]) -> Options | None:
    """Return options with what is asked for, or None where one has no default."""
    try:
        return model(**asked)
    except pydantic.ValidationError:
        return None


def _example(shape: tuple[int, int, int]) -> DatasetFacts:
    """Return the facts of a dataset that there is not: ten classes of images of `shape`."""
    classes = tuple(str(label) for label in range(10))
    half, quarter = (0.5,) * shape[0], (0.25,) * shape[0]
    return DatasetFacts("example", classes, shape, half, quarter, (5000,) * 10, 10_000, "")

"""The command that makes a line's records again, safe to be pasted into a shell."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from ddbench.external import CHECKER, PREFIX, is_external
from ddbench.report.site.texts import LONGEST, cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ddbench.records import OptionsBlock, Record

ASKED_BY_OTHERS = ("default", "preset ", "synthesizer")
"""How sources begin whose values come by themselves: from defaults and presets, and from the method that asks for a part."""

PRECISIONS = {"fp32", "bf16"}


def reproduce(records: Sequence[Record]) -> str:
    """Return `ddbench run …` with as many seeds as the records need, or `ddbench evaluate PATH …` of a set made elsewhere.

    Every word is quoted for the shell.
    """
    first = records[0]
    cell = first.cell
    brought = is_external(cell.synthesizer)
    words = ["ddbench", "evaluate", "PATH", *_told(first)] if brought else ["ddbench", "run", cell.synthesizer]
    words += ["--dataset", cell.dataset, "--ipc", str(cell.ipc), "--protocol", cell.protocol]
    words += ["--teacher", cell.teacher] if cell.teacher else []
    words += ["--students", cell.student]
    words += [] if brought else ["--distill-seeds", str(1 + max(record.cell.distill_seed for record in records))]
    words += ["--eval-seeds", str(1 + max(record.cell.eval_seed for record in records))]
    words += ["--view-seed", str(first.view_seed)] if first.view_seed else []
    dtype = first.precision.student.get("dtype")
    words += ["--precision", str(dtype)] if dtype in PRECISIONS else []
    preset = _preset(first)
    words += ["--preset", preset] if preset else []
    for assignment in _for_teacher(first) if brought else _assignments(first):
        words += ["-o", assignment]
    return " ".join(shlex.quote(cut(word, LONGEST)) for word in words)


def _told(record: Record) -> list[str]:
    """Return the flags that told how a set made elsewhere is read."""
    block = record.options.get("synthesizer")
    values = dict(block.values) if block else {}
    words = ["--name", record.cell.synthesizer.removeprefix(PREFIX)]
    for name in ("mean", "std"):
        numbers = values.get(name)
        words += [f"--{name}", ",".join(str(number) for number in numbers)] if isinstance(numbers, list | tuple) else []
    if values.get("told_by") == "flag" and not values.get("mean"):
        words += ["--space", str(values.get("space"))]
    words += ["--soft-labels", "logits"] if values.get("soft_labels") == "logits" else []
    words += ["--external-data"] if values.get("external_data") else []
    if not values.get("class_check"):
        return [*words, "--no-class-check"]
    return words if record.cell.teacher else [*words, "--teacher", str(values["class_check"])]


def _for_teacher(record: Record) -> Iterator[str]:
    """Give `teacher.name=value` for what somebody set of the teacher, which is also the one that checked the order of classes."""
    block = record.options.get("teacher") or record.options.get(CHECKER)
    yield from (f"teacher.{name}={_toml(block.values.get(name))}" for name in _set_by_hand(block)) if block else ()


def _preset(record: Record) -> str:
    """Return the preset that was asked for: the one that is neither the dataset's own nor the nearest dataset's."""
    sources = [source for block in record.options.values() for source in block.sources.values()]
    named = {found[1] for source in sources if (found := re.match(r"preset ([\w-]+)", source)) and "(derived)" not in source}
    asked = sorted(named - {record.cell.dataset})
    return asked[0] if asked else ""


def _assignments(record: Record) -> Iterator[str]:
    """Give `name=value` for every option that somebody set."""
    for owner, block in sorted(record.options.items(), key=lambda item: (item[0] != "synthesizer", item[0])):
        prefix = "" if owner == "synthesizer" else f"{owner}."
        yield from (f"{prefix}{name}={_toml(block.values.get(name))}" for name in _set_by_hand(block))


def _set_by_hand(block: OptionsBlock) -> Iterator[str]:
    return (name for name, source in block.sources.items() if not source.startswith(ASKED_BY_OTHERS))


def _toml(value: object) -> str:
    """Return a value as `-o` reads it."""
    return value if isinstance(value, str) else json.dumps(value)

"""The command that makes a line's records again, safe to be pasted into a shell."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from ddbench.report.site.texts import LONGEST, cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ddbench.records import OptionsBlock, Record

ASKED_BY_OTHERS = ("default", "preset ", "synthesizer")
"""How sources begin whose values come by themselves: from defaults and presets, and from the method that asks for a part."""

PRECISIONS = {"fp32", "bf16"}


def reproduce(records: Sequence[Record]) -> str:
    """Return `ddbench run …` with as many seeds as the records need; every word is quoted for the shell."""
    first = records[0]
    cell = first.cell
    words = ["ddbench", "run", cell.synthesizer, "--dataset", cell.dataset, "--ipc", str(cell.ipc), "--protocol", cell.protocol]
    words += ["--teacher", cell.teacher] if cell.teacher else []
    words += ["--students", cell.student]
    words += ["--distill-seeds", str(1 + max(record.cell.distill_seed for record in records))]
    words += ["--eval-seeds", str(1 + max(record.cell.eval_seed for record in records))]
    words += ["--view-seed", str(first.view_seed)] if first.view_seed else []
    dtype = first.precision.student.get("dtype")
    words += ["--precision", str(dtype)] if dtype in PRECISIONS else []
    preset = _preset(first)
    words += ["--preset", preset] if preset else []
    for assignment in _assignments(first):
        words += ["-o", assignment]
    return " ".join(shlex.quote(cut(word, LONGEST)) for word in words)


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

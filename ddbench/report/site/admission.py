"""Which records enter a leaderboard. What does not is left out with a sentence, never in silence."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ddbench.errors import ArtefactDamaged
from ddbench.provenance import LEVELS, Standing, standing
from ddbench.reading import RecordReader, no_search_for_cycles
from ddbench.report.grouping import has_metric
from ddbench.report.site.texts import cut
from ddbench.report.sources import record_files
from ddbench.store import file_sha256

if TYPE_CHECKING:
    from ddbench.records import Record
    from ddbench.report.site.quarantine import Quarantined

MOST_BYTES = 2 * 1024**2
"""A larger file is no record: a hundred times what the longest curve and the longest list of options take."""

DEEPEST = 12
"""Lists and tables inside each other that a record's free fields may have; real ones have three."""

METRIC = "top1"
"""What the leaderboard ranks by."""

KEY = re.compile(r"[0-9a-z]{8,64}")

Reason = Literal["damaged", "clash", "smoke", "quarantined", "unranked metric", "superseded", "older code"]


@dataclass(frozen=True)
class Entry:
    """A record that may stand on the board."""

    record: Record
    standing: Standing
    path: Path
    """Where it was read, for what lies beside it."""


@dataclass(frozen=True)
class LeftOut:
    """A record or file that does not stand on the board."""

    name: str
    """Of the file, below the folder that was given: the same on every machine."""
    reason: Reason
    why: str
    """A sentence."""


@dataclass(frozen=True)
class Admitted:
    """Entries, sorted by key, each key once; and what was left out, sorted by name."""

    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]


def admit(sources: Iterable[Path], quarantine: Sequence[Quarantined] = ()) -> Admitted:
    """Return the records of files, folders and stores that may enter; the order in which they are given does not matter.

    Raises:
        DataMissing: A source is not there.
    """
    by_key: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    left_out: list[LeftOut] = []
    reader = RecordReader()
    with no_search_for_cycles():
        for name, path in sorted(_files(sources)):
            try:
                entry = _read(path, name, reader)
            except ArtefactDamaged as problem:
                left_out.append(LeftOut(name, "damaged", cut(str(problem))))
                continue
            refusal = _refusal(name, entry.record, quarantine)
            if refusal:
                left_out.append(refusal)
            else:
                by_key[entry.record.key].append((name, entry))
    entries = []
    for key in sorted(by_key):
        found = _one_of(by_key[key])
        entries += [found] if isinstance(found, Entry) else []
        left_out += [] if isinstance(found, Entry) else found
    return Admitted(tuple(entries), tuple(sorted(left_out, key=lambda one: (one.name, one.why))))


def _files(sources: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Give every record file once, with its name below the source; of a store, only the files of its `records`."""
    seen: set[str] = set()
    for source in sources:
        records = source / "records"
        folder = records if records.is_dir() and (source / "distilled").is_dir() else source
        base = folder.resolve()
        for path in record_files(folder):
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                below = path.relative_to(folder).as_posix() if path != folder else ""
                yield "/".join(part for part in (base.name, below) if part), path


def _read(path: Path, name: str, reader: RecordReader) -> Entry:
    """Return the record in a file with its level.

    Raises:
        ArtefactDamaged: It is no whole record, or what lies beside it is another record's.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MOST_BYTES else b""
    except OSError as error:
        raise ArtefactDamaged(f"{name} cannot be read ({error.strerror})") from error
    if size > MOST_BYTES:
        raise ArtefactDamaged(f"{name} is {size / 1e6:.1f} MB large; a record is under {MOST_BYTES / 1e6:.1f} MB")
    record = reader.read(content, where=name)
    if not KEY.fullmatch(record.key):
        raise ArtefactDamaged(
            f"{name} has the key {cut(record.key, 60)!r}, which is none: keys are short lower-case letters and digits"
        )
    if _nests(record):
        raise ArtefactDamaged(f"{name} nests values more than {DEEPEST} deep, which no record needs")
    sidecar = path.with_suffix(".npz")
    if record.sidecar is not None and sidecar.is_file() and file_sha256(sidecar) != record.sidecar:
        raise ArtefactDamaged(f"the predictions beside {name} do not match its checksum; they were edited or damaged")
    return Entry(record, standing(record, path), path)


def _nests(record: Record) -> bool:
    """Return whether values of a record's free fields stand inside each other deeper than any real record's."""
    blocks = [block.values for block in record.options.values()]
    precision = (record.precision.student, record.precision.recover)
    return any(_deeper(part, DEEPEST) for part in (*blocks, *precision, record.protocol, record.student, record.host))


def _deeper(value: Any, left: int) -> bool:
    """Return whether a list or table holds others more than `left` deep."""
    items = value.values() if isinstance(value, dict) else value
    return any(left == 0 or _deeper(item, left - 1) for item in items if isinstance(item, dict | list | tuple))


def _refusal(name: str, record: Record, quarantine: Sequence[Quarantined]) -> LeftOut | None:
    """Return why a whole record may not enter, or None."""
    if record.smoke:
        return LeftOut(name, "smoke", f"{name} comes from a smoke run, whose training was shortened")
    for one in quarantine:
        if one.holds(record.cell.protocol, record.protocol_sha256):
            why = f"{name} used protocol {cut(record.cell.protocol, 60)}, quarantined on {one.date}: {one.reason}"
            return LeftOut(name, "quarantined", why)
    if not has_metric(record, METRIC):
        return LeftOut(name, "unranked metric", f"{name} has no {METRIC}")
    block = next(one for one in record.metrics if one.name == METRIC)
    if (block.unit, block.higher_is_better) != ("fraction", True):
        why = f"{name} has a {METRIC} in {cut(block.unit, 20)!r}, {'more' if block.higher_is_better else 'less'} being better"
        return LeftOut(name, "damaged", f"{why}; it is a fraction, and more is better")
    value = block.value
    if not 0 <= value <= 1:
        return LeftOut(name, "damaged", f"{name} has a {METRIC} of {value:g}, which is no fraction between 0 and 1")
    return None


def _one_of(found: Sequence[tuple[str, Entry]]) -> Entry | list[LeftOut]:
    """Return the one record that several files hold under one key, the most trusted copy, or why none of them may enter."""
    contents = [found[0][1].record.repeatable()] if len(found) > 1 else []
    if any(entry.record.repeatable() != contents[0] for _, entry in found[1:]):
        names = ", ".join(name for name, _ in found[:5])
        key = found[0][1].record.key
        why = f"different records stand under the key {key} ({names}); none of them is taken"
        return [LeftOut(name, "clash", f"{name}: {why}") for name, _ in found]
    return min((entry for _, entry in found), key=lambda entry: (-LEVELS.index(entry.standing.level), entry.record.sha256))

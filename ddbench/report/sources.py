"""Where records come from: a store, folders of record files, or both; what is damaged is told, never used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import ArtefactDamaged, DataMissing
from ddbench.provenance import LEVELS, Standing, standing
from ddbench.reading import RecordReader, no_search_for_cycles
from ddbench.report.sidecars import Sidecars

if TYPE_CHECKING:
    from ddbench.records import Record
    from ddbench.store import Store


@dataclass(frozen=True)
class Loaded:
    """Records, each key once, in a fixed order."""

    records: tuple[Record, ...]
    problems: tuple[str, ...]
    """A sentence for every file that was left out."""
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """By key: the record's level, and what it rests on."""
    sidecars: Sidecars = field(default_factory=lambda: Sidecars({}))
    """Beside the records: which test images each student got right."""


@no_search_for_cycles()
def load(store: Store | None, folders: Iterable[Path] = ()) -> Loaded:
    """Return the records of a store and of folders, sorted by student, then key.

    Raises:
        DataMissing: A folder is not there.
    """
    found: dict[str, Record] = {}
    standings: dict[str, list[Standing]] = {}
    problems: list[str] = []
    beside: dict[str, Path] = {}
    reader = RecordReader()
    for record in store.records(reader) if store else ():
        found[record.key] = record
        standings[record.key] = [store.standing(record)] if store else []
        if store:
            beside[record.key] = store.root / "records" / f"{record.key}.npz"
    for folder in folders:
        for path in record_files(folder):
            try:
                record = reader.read(path.read_bytes(), where=str(path))
                _add(record, found, path)
            except ArtefactDamaged as problem:
                problems.append(f"left out: {problem}")
            else:
                standings.setdefault(record.key, []).append(standing(record, path))
                beside.setdefault(record.key, path.with_suffix(".npz"))
    if store:
        problems += store.damaged
    problems += [one.problem for many in standings.values() for one in many if one.problem]
    ordered = sorted(found.values(), key=lambda record: (record.cell.student, record.key))
    return Loaded(tuple(ordered), tuple(problems), {key: _highest(many) for key, many in standings.items()}, Sidecars(beside))


def record_files(folder: Path) -> Iterator[Path]:
    """Give the record files at or below a folder, sorted; a single file stands for itself.

    Raises:
        DataMissing: It is not there.
    """
    if folder.is_file():
        yield folder
    elif folder.is_dir():
        yield from sorted(folder.rglob("*.json"))
    else:
        raise DataMissing(f"no records at {folder}: it is neither a folder nor a file")


def _highest(standings: Iterable[Standing]) -> Standing:
    """Return the standing to be trusted most, of copies of one record."""
    return max(standings, key=lambda one: LEVELS.index(one.level))


def _add(record: Record, found: dict[str, Record], path: Path) -> None:
    """Keep a record under its key; a second one must be the same.

    Raises:
        ArtefactDamaged: Another record has the key.
    """
    known = found.setdefault(record.key, record)
    if known is not record and known.repeatable() != record.repeatable():
        raise ArtefactDamaged(f"{path} holds another record under the key {record.key} than the one already read")

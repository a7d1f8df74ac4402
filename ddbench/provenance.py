"""How far a record's number can be trusted: its level, kept in a small checksummed file beside the record, which never changes.

`claimed`: a number somebody states. `submitted`: a record with its checksums; what every record is that has nothing beside it.
`verified`: the student was trained again from the same distilled set and agreed. `reproduced`: the set was distilled again too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import pydantic

from ddbench.errors import ArtefactDamaged
from ddbench.records import checksum

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.records import Record

Level = Literal["claimed", "submitted", "verified", "reproduced"]

LEVELS: tuple[Level, ...] = get_args(Level)
"""From least to most to be trusted."""

UNCHECKED: Level = "submitted"
"""The level of a record that has nothing beside it."""

SUFFIX = ".provenance"
"""Of the file beside `<key>.json`; it is JSON, but no folder of records takes it for one."""

MOST_BYTES = 1024**2
"""A larger file is no provenance."""


class _Block(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A part of a provenance file."""


class Measured(_Block):
    """What one student, trained again, came to."""

    eval_seed: int
    value: float = pydantic.Field(allow_inf_nan=False)


class Check(_Block):
    """One time that a record's level was set."""

    level: Level
    how: Literal["stated", "retrained", "redistilled"]
    """`stated`: by somebody's word; `retrained`: students from the same set; `redistilled`: the set and the students."""
    by: str = pydantic.Field(max_length=200)
    """Who checked, as they call themselves."""
    when: str = pydantic.Field(max_length=40)
    """UTC, ISO 8601."""
    metric: str = pydantic.Field("top1", max_length=100)
    recorded: float | None = None
    """The record's value of that metric."""
    measured: tuple[Measured, ...] = ()
    """By the eval seeds they were trained with; the record's own seed first."""
    interval: tuple[float, float] | None = None
    """Where the value of one more student is expected, with 95 % confidence; None where predictions agreed one by one."""
    same_predictions: bool | None = None
    """Whether the record's own eval seed gave its predictions again, each and every one; None where that was not compared."""
    host: Mapping[str, Any] = {}
    """Hardware and library versions, as in a record."""
    ddbench_version: str = ""
    note: str = pydantic.Field("", max_length=2000)


class Provenance(_Block):
    """The checks of one record, oldest first."""

    schema_version: Literal[1] = 1
    key: str
    record_sha256: str
    """The record's own checksum: a file beside another record counts for nothing."""
    checks: tuple[Check, ...]
    sha256: str = ""

    @property
    def level(self) -> Level:
        """The highest level that a check came to."""
        return max((check.level for check in self.checks), key=LEVELS.index, default=UNCHECKED)

    def sealed(self) -> Provenance:
        """Return the same with its own checksum."""
        return self.model_copy(update={"sha256": checksum(self.model_dump(mode="json"))})


@dataclass(frozen=True)
class Standing:
    """A record's level, the file it rests on, and why that file does not count, where it does not."""

    level: Level
    provenance: Provenance | None = None
    problem: str = ""

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks that count, oldest first."""
        return self.provenance.checks if self.provenance else ()


def beside(record_path: Path) -> Path:
    """Return where the provenance of the record in a file lies."""
    return record_path.with_suffix(SUFFIX)


def standing(record: Record, record_path: Path) -> Standing:
    """Return the level of a record that was read from `record_path`; a file that does not match it counts for nothing."""
    path = beside(record_path)
    try:
        content = _content(path)
        return Standing(UNCHECKED) if content is None else _matching(content, record, path)
    except ArtefactDamaged as problem:
        return Standing(UNCHECKED, problem=f"{problem}; the record counts as {UNCHECKED}")


def with_check(known: Provenance | None, record: Record, check: Check) -> Provenance:
    """Return a sealed provenance that ends with `check`; earlier checks are kept."""
    earlier = known.checks if known else ()
    return Provenance(key=record.key, record_sha256=record.sha256, checks=(*earlier, check)).sealed()


def as_bytes(provenance: Provenance) -> bytes:
    """Return the file's content."""
    return json.dumps(provenance.model_dump(mode="json"), indent=1, allow_nan=False).encode()


def _content(path: Path) -> bytes | None:
    """Return a file's bytes, or None where there is none.

    Raises:
        ArtefactDamaged: It cannot be read, or is too large to be a provenance.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ArtefactDamaged(f"{path} cannot be read ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise ArtefactDamaged(f"{path} is larger than any provenance ({MOST_BYTES} bytes)")
    return content


def _matching(content: bytes, record: Record, path: Path) -> Standing:
    """Return the level that a file gives a record.

    Raises:
        ArtefactDamaged: It is no provenance, fails its checksum, or is another record's.
    """
    try:
        raw = json.loads(content)
        found, whole = Provenance.model_validate(raw), raw["sha256"] == checksum(raw)
    except (ValueError, KeyError, RecursionError) as error:  # ValueError: of JSON, of its encoding and of pydantic alike
        raise ArtefactDamaged(f"{path} is no whole provenance: {str(error).splitlines()[0]}") from error
    if not whole:
        raise ArtefactDamaged(f"{path} does not match its own checksum; it was edited or damaged")
    if (found.key, found.record_sha256) != (record.key, record.sha256):
        raise ArtefactDamaged(f"{path} was written for another record than the one beside it")
    return Standing(found.level, found)

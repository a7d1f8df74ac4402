"""Reads many records: fields that are written the same are parsed, checked and kept once, and shared by all that hold them."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pydantic

from ddbench.records import BETWEEN, FIRST, LAST, MIGRATIONS, Record, read_record

OWN = ("key", "cell", "training", "metrics", "time", "cost", "sidecar", "distilled_key", "distilled_sha256", "sha256")
"""Fields that are hardly ever the same in two records."""


class _Unusual(Exception):
    """Text that is not laid out as a store writes it; it may still be a record."""


class _Field(NamedTuple):
    """A field that was seen in a record."""

    name: str
    value: Any
    """As a checked record has it."""


_TYPES: dict[str, Any] = {name: (Record.model_fields[name].annotation, Record.model_fields[name]) for name in OWN}

_Own = pydantic.create_model("_Own", __config__=pydantic.ConfigDict(extra="forbid", frozen=True), **_TYPES)
"""The fields of one record that are its own."""


class RecordReader:
    """Reads records that have much in common: a table's, a store's.

    What it returns equals what `read_record` returns, and the checksum is that of the whole content. Text that a store did not
    write, and text with anything wrong, is left to `read_record`.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Field] = {}
        """By a field's line."""

    def read(self, text: bytes, *, where: str = "record") -> Record:
        """Return a record from JSON of any known version.

        Raises:
            ArtefactDamaged: It is cut short, not a record, of an unknown version, or fails its checksum.
        """
        try:
            return self._read(text.decode())
        except (_Unusual, ValueError, TypeError, RecursionError):  # pydantic's errors are ValueErrors
            return read_record(text, where=where)

    def _read(self, text: str) -> Record:
        if not (text.startswith(FIRST) and text.endswith(LAST)):
            raise _Unusual
        lines = text[len(FIRST) : -len(LAST)].split(BETWEEN)
        content, own, fresh = dict[str, Any](), dict[str, str](), dict[str, str]()
        for line in lines:
            field = self._seen.get(line)
            if field is not None:
                content[field.name] = field.value
            else:
                name = line[1 : line.index('":')]
                (own if name in OWN else fresh)[name] = line
        checked = vars(_Own.model_validate_json(f"{{{','.join(own.values())}}}"))
        if _checksum(lines, own.get("sha256", "")) != checked["sha256"]:
            raise _Unusual
        content |= {name: checked[name] for name in own}
        content |= json.loads(f"{{{','.join(fresh.values())}}}")
        if len(content) != len(lines):
            raise _Unusual  # a field stands twice, or a line holds two
        record = Record.model_validate(_migrated(content))
        for name, line in fresh.items():
            self._seen[line] = _Field(name, content[name] if name == "schema_version" else getattr(record, name))
        return record


@contextmanager
def no_search_for_cycles() -> Iterator[None]:
    """Pause Python's search for cycles of garbage: looking through thousands of records again and again doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.unfreeze()  # what was made now counts as old, and is not looked through at once
            gc.enable()


def _checksum(lines: list[str], own: str) -> str:
    """Return the sha256 of a record without the line of its own."""
    whole = ",".join([line for line in lines if line is not own])
    return hashlib.sha256(f"{{{whole}}}".encode()).hexdigest()


def _migrated(content: dict[str, Any]) -> dict[str, Any]:
    version = content.get("schema_version")
    if not isinstance(version, int) or version not in MIGRATIONS:
        raise _Unusual
    return MIGRATIONS[version](content)

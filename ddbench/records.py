"""The record: the immutable JSON a finished cell leaves. Reads every older version."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

import pydantic

from ddbench.api.protocol import LabelRegime
from ddbench.errors import ArtefactDamaged

SCHEMA_VERSION = 3

LONGEST_REASON = 500
"""Characters of why content is no record: a field's name may be of any length."""

FIRST, BETWEEN, LAST = "{\n", ",\n", "\n}\n"
"""Of a record's text: a line for each field."""

UNREPEATABLE = ("time", "cost", "host", "sha256")
"""Blocks that may differ between two runs that are otherwise the same, byte for byte."""


class _Block(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A part of a record."""


class CellBlock(_Block):
    """The coordinate of the cell."""

    synthesizer: str
    dataset: str
    ipc: int
    teacher: str | None
    """Way and full network name, `scratch:ddbench/resnet18`; None where nothing in the cell needs one."""
    student: str
    protocol: str
    label_regime: LabelRegime
    distill_seed: int
    eval_seed: int


class OptionsBlock(_Block):
    """A plugin's resolved options, each value with where it came from."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The values as short text, as labels show them."""
        return {name: _text(value) for name, value in self.values.items()}

    @cached_property
    def chosen(self) -> tuple[tuple[str, str], ...]:
        """Options that are no defaults, each with its source."""
        return tuple((name, source) for name, source in self.sources.items() if source != "default")


class PluginBlock(_Block):
    """Who made a part of the result."""

    kind: str
    name: str
    version: int | str
    """The thing's own version; a protocol's content hash."""
    distribution: str
    distribution_version: str
    files_sha256: str
    api: int | None = None
    """Version of ddbench's plugin API that it says it was written against; None where it says nothing."""


class DatasetBlock(_Block):
    """What the cell ran on."""

    name: str
    sha256: str
    classes_sha256: str
    num_classes: int
    shape: tuple[int, int, int]
    test_images: int
    test_order_sha256: str
    """Order of the test split: predictions of two records are paired only where it agrees."""


class TrainingBlock(_Block):
    """What training the student took, apart from time."""

    optimiser_steps: int
    images_seen: int
    parameters: int
    curve: tuple[tuple[int, float], ...]
    """Epoch, counted from 0, and mean training loss; about a hundred points, the last epoch among them."""


class MetricBlock(_Block):
    """One number, with the evaluator that made it."""

    name: str
    value: float
    unit: str
    higher_is_better: bool
    evaluator: str
    """Name, version, and the options that are not the default: `calibration 1 bins=20`. Numbers that differ in it are not
    compared."""


class PrecisionBlock(_Block):
    """How the student was trained and what the distilled set was made with."""

    student: Mapping[str, Any]
    recover: Mapping[str, Any]
    device: str
    notes: tuple[str, ...] = ()


class StageCost(_Block):
    """Seconds and peak memory of one stage, as measured when it ran (also where its result was reused)."""

    seconds: float
    peak_bytes: int | None = None


class EvaluatorBlock(_Block):
    """How something was measured."""

    options: OptionsBlock
    needs: Mapping[str, str] = {}
    """Keys of what was made for the evaluator, by name."""
    key: str | None = None
    """Scope `set`: of the stored evaluation, which every student of the set shares."""
    sidecar: str | None = None
    """Scope `set`: sha256 of the npz of what it keeps, if anything. What scope `student` keeps is in the record's own sidecar."""


class Record(_Block):
    """One trained student and its numbers, with everything that decides them."""

    schema_version: Literal[3] = 3
    key: str
    ddbench_version: str
    numerics_version: int
    cell: CellBlock
    options: Mapping[str, OptionsBlock]
    """By `synthesizer`, `teacher`, and what else took part: `objective`, `selector`, and needs by their names."""
    protocol: Mapping[str, Any]
    protocol_sha256: str
    student: Mapping[str, Any]
    """The fitted network: name, version, shape, classes, fitting."""
    plugins: tuple[PluginBlock, ...]
    dataset: DatasetBlock
    teacher_key: str | None
    needs: Mapping[str, str] = {}
    """Keys of what was made for the synthesizer, by name: its teacher, prior, experts, classifier."""
    external_data: bool = False
    """Whether other images than the dataset's train split went into it, by way of a prior."""
    distilled_key: str
    distilled_sha256: str
    labels_key: str | None
    view_seed: int | None
    """Under `soft_epoch`, what fixed batch order, views and mixing for every eval seed; None elsewhere."""
    images: int
    """Images in the distilled set."""
    start: str
    """What the synthesizer's images start from: `real`, `noise`, `prior`."""
    training: TrainingBlock
    precision: PrecisionBlock
    metrics: tuple[MetricBlock, ...]
    evaluators: Mapping[str, EvaluatorBlock] = {}
    """By name; empty in records from before schema version 3, whose evaluators had no options."""
    bytes: Mapping[str, int]
    smoke: bool
    sidecar: str | None = None
    """sha256 of the sidecar with the predictions."""
    time: Mapping[str, str]
    cost: Mapping[str, StageCost]
    host: Mapping[str, Any]
    sha256: str = ""

    def metric(self, name: str) -> float:
        """Return a metric's value.

        Raises:
            KeyError: The record has no such metric.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric.value
        raise KeyError(name)

    def repeatable(self) -> dict[str, Any]:
        """Return the record without the blocks that may differ between equal runs."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in UNREPEATABLE}

    def sealed(self) -> Record:
        """Return the record with its own checksum."""
        return self.model_copy(update={"sha256": checksum(self.model_dump(mode="json"))})


def checksum(content: Mapping[str, Any]) -> str:
    """Return the sha256 of a card's or record's content without its `sha256` field."""
    return hashlib.sha256(canonical({key: value for key, value in content.items() if key != "sha256"})).hexdigest()


def record_text(content: Mapping[str, Any]) -> bytes:
    """Return the JSON of a record as it is stored: a line for each field, sorted; without breaks, what its checksum is taken of."""
    lines = (f'"{name}":{canonical(content[name]).decode()}' for name in sorted(content))
    return (FIRST + BETWEEN.join(lines) + LAST).encode()


def canonical(content: object) -> bytes:
    """Return JSON bytes that equal content always gives; NaN and infinity are refused."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def read_record(text: str | bytes, *, where: str = "record") -> Record:
    """Return a record from JSON of any known version.

    Raises:
        ArtefactDamaged: It is cut short, not a record, of an unknown version, or fails its checksum.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if not isinstance(version, int) or version not in MIGRATIONS:
            raise ArtefactDamaged(f"{where} has schema version {repr(version)[:40]}; this ddbench reads {sorted(MIGRATIONS)}")
        if content.get("sha256") != checksum(content):
            raise ArtefactDamaged(f"{where} does not match its own checksum; it was edited or damaged")
        return Record.model_validate(MIGRATIONS[version](content))
    except (RecursionError, pydantic.ValidationError, ValueError) as error:  # ValueError: of JSON and of its encoding too
        raise ArtefactDamaged(f"{where} is not a whole record: {str(error)[:LONGEST_REASON]}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number a record may hold")


def _unchanged(content: dict[str, Any]) -> dict[str, Any]:
    return content


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Return a record of version 1: its only need, if any, was the teacher."""
    return _from_2(content)


def _from_2(content: dict[str, Any]) -> dict[str, Any]:
    """Return a record of version 2 as one of version 3: its evaluators had no options and needed nothing."""
    return {**content, "schema_version": 3}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2, 3: _unchanged}
"""By schema version: how content of that version becomes content of the current one.

They add, drop and rename whole fields and do not look into one: `RecordReader` gives them fields that are checked already.
"""


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value) if type(value) is int else json.dumps(value, sort_keys=True)  # most are whole numbers, and there are many


def finite(value: float) -> bool:
    """Return whether a metric's value may enter a record."""
    return math.isfinite(value)

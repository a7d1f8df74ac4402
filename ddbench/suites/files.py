"""Suite files: TOML that names many cells as grids, lists and named variants. Read and expanded here; nothing is planned or run.

name = "dwa-cifar"
title = "DWA, table 1: CIFAR"
source = "Du et al., 2024"

[settings]                        # shared by every cell
protocol = "dwa-cifar-author/1"
options = { "teacher.epochs" = 200 }

[variants.coupled]                # a synthesizer with options of its own, under a name
synthesizer = "dwa"
options = { r_var = 1.0 }

[datasets.cifar100]               # what is different for one dataset
teacher = "resnet18"

[limits]                          # of every cell, and of every stage that cells share
time = "6h"
memory = "20G"

[[cells]]                         # each block is a grid: every method on every dataset at every ipc
methods = ["random", "sre2l", "dwa", "coupled"]
datasets = ["cifar10", "cifar100"]
ipc = [10, 50]
sweep = { rho = [0.0, 0.015] }    # options with several values: every combination
"""

from __future__ import annotations

import hashlib
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from ddbench.cells import Request
from ddbench.errors import BadRequest
from ddbench.suites.amounts import bytes_in, seconds_in

Value = bool | int | float | str | list[Any] | dict[str, Any]


class _Table(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A table of a suite file."""


class Settings(_Table):
    """How cells are made; what a stronger table says wins: settings < dataset < block < variant < sweep."""

    protocol: str | None = None
    teacher: str | None = None
    students: tuple[str, ...] = ()
    preset: str | None = None
    distill_seeds: int | None = pydantic.Field(default=None, ge=1)
    eval_seeds: int | None = pydantic.Field(default=None, ge=1)
    evaluators: tuple[str, ...] = ()
    precision: Literal["auto", "fp32", "bf16"] | None = None
    compile: Literal["auto", "on", "off"] | None = None
    threads: int | None = pydantic.Field(default=None, ge=1)
    smoke: float | None = pydantic.Field(default=None, gt=0, le=1)
    max_label_bytes: int | None = pydantic.Field(default=None, ge=1)
    options: Mapping[str, Value] = {}
    """Taken where they fit: `rho` by every method that has it, `dwa.rho` by one, `teacher.epochs` by teachers."""


class Variant(_Table):
    """A synthesizer with options of its own, under a name."""

    synthesizer: str
    title: str = ""
    options: Mapping[str, Value] = {}
    """Each must fit the synthesizer or what it works with."""


class Block(_Table):
    """A grid of cells."""

    methods: tuple[str, ...] = pydantic.Field(min_length=1)
    """Synthesizers, or names of variants."""
    datasets: tuple[str, ...] = pydantic.Field(min_length=1)
    ipc: tuple[pydantic.PositiveInt, ...] = pydantic.Field(min_length=1)
    sweep: Mapping[str, tuple[Value, ...]] = {}
    """Options with several values; each must fit every method of the block."""
    settings: Settings = Settings()


class LimitsTable(_Table):
    """What one cell, or one stage that cells share, may take; what exceeds it is ended, and fails."""

    time: str | None = None
    """`90m`, `2h`, `1h30m`, or seconds."""
    memory: str | None = None
    """`8G`, `512M`, or bytes."""

    @pydantic.field_validator("time")
    @classmethod
    def _a_duration(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_in(value)
        return value

    @pydantic.field_validator("memory")
    @classmethod
    def _a_size(cls, value: str | None) -> str | None:
        if value is not None:
            bytes_in(value)
        return value


class Suite(_Table):
    """A suite file."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str = ""
    source: str = ""
    settings: Settings = Settings()
    variants: Mapping[str, Variant] = {}
    datasets: Mapping[str, Settings] = {}
    limits: LimitsTable = LimitsTable()
    cells: tuple[Block, ...] = pydantic.Field(min_length=1)

    @property
    def sha256(self) -> str:
        """Hash of what the file says, comments and order of keys aside."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class Asked:
    """One request of a suite: a method at one place of a grid."""

    method: str
    """As the suite names it: a synthesizer or a variant."""
    values: Mapping[str, Any]
    """What a sweep gave it."""
    request: Request
    title: str = ""
    """Of the variant, where it has one."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self._with_values(self.method)

    @property
    def row(self) -> str:
        """What its row of a table is called."""
        return self._with_values(self.title or self.method)

    def _with_values(self, name: str) -> str:
        return " ".join([name, *(f"{option}={value}" for option, value in self.values.items())])


def read_suite(path: Path) -> Suite:
    """Return a suite from its file.

    Raises:
        BadRequest: The file is not there, is no TOML, holds an unknown key or a value out of bounds, or names what it does not use.
    """
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise BadRequest(f"there is no suite file {path}; benchmarks/suites holds those that come with ddbench") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadRequest(f"suite file {path} cannot be read: {error}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"suite file {path}, {where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error
    _refuse_unused(suite, path)
    return suite


def expand(suite: Suite) -> list[Asked]:
    """Return the requests of a suite in the order of the file, each once."""
    found: dict[str, Asked] = {}
    for block in suite.cells:
        for asked in _expand_block(suite, block):
            found.setdefault(repr(asked.request), asked)
    return list(found.values())


def _expand_block(suite: Suite, block: Block) -> Iterator[Asked]:
    for dataset, ipc, method in itertools.product(block.datasets, block.ipc, block.methods):
        variant = suite.variants.get(method) or Variant(synthesizer=method)
        for values in itertools.product(*block.sweep.values()):
            swept = dict(zip(block.sweep, values, strict=True))
            layers = [suite.settings, suite.datasets.get(dataset, Settings()), block.settings]
            request = Request(
                (variant.synthesizer,),
                dataset=dataset,
                ipc=ipc,
                options={**variant.options, **swept},
                shared={name: value for layer in layers for name, value in layer.options.items()},
                source="suite",
                **_merged(layers),
            )
            yield Asked(method, swept, request, variant.title)


def _merged(layers: list[Settings]) -> dict[str, Any]:
    """Return the fields of a request that the layers set, later ones winning."""
    merged: dict[str, Any] = {}
    for layer in layers:
        set_here = layer.model_dump(exclude_unset=True, exclude={"options"})
        merged |= {name: value for name, value in set_here.items() if value not in (None, ())}
    return merged


def _refuse_unused(suite: Suite, path: Path) -> None:
    """Raise BadRequest for a variant or a dataset's table that no block names: most likely a misspelling."""
    methods = {method for block in suite.cells for method in block.methods}
    datasets = {dataset for block in suite.cells for dataset in block.datasets}
    for kind, named, used in (("variants", suite.variants, methods), ("datasets", suite.datasets, datasets)):
        unused = sorted(set(named) - used)
        if unused:
            raise BadRequest(f"suite file {path}: no block of cells names {kind}.{unused[0]}; it names {', '.join(sorted(used))}")

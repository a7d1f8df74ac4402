"""What a suite will take: seconds and bytes of its missing units, from what like ones took in this store, else from the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.executors.units import missing
from ddbench.records import canonical
from ddbench.stages import DistilledStage, ExpertsStage, LabelsStage, StudentStage, TeacherStage

if TYPE_CHECKING:
    from ddbench.estimates import Estimates
    from ddbench.executors.local import Budget
    from ddbench.executors.units import Stage, Unit
    from ddbench.place import Place
    from ddbench.planning import Known
    from ddbench.suites.planning import SuitePlan

LOOKED_AT = 3
"""Earlier results of one kind whose durations are read: they hardly differ, and a store may hold thousands."""

RECORD_BYTES = 12_000
"""Of a record without its predictions."""

Like = tuple[Hashable, ...]


@dataclass
class Measured:
    """What earlier results took, by what they have in common with one that is missing."""

    seconds: dict[Like, list[float]] = field(default_factory=dict)
    sizes: dict[Like, list[int]] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    """Measured against expected seconds, by folder of the store; under `""` those of all."""

    def ratio(self, folder: str) -> float:
        """Return how much longer things took than the table says; 1 where nothing was made yet."""
        return statistics.median(self.ratios.get(folder) or self.ratios.get("") or [1.0])


@dataclass(frozen=True)
class Price:
    """What one unit is expected to take."""

    seconds: float
    bytes: int
    measured: bool
    """Whether it is what a like one took, and not what the table says."""


@dataclass(frozen=True)
class Priced:
    """The chosen cells of a suite, what they lack, and what that is expected to take."""

    planned: SuitePlan
    chosen: list[str]
    """Keys of cells, in order."""
    lacking: list[Unit]
    """What must be made, in order; nothing of cells whose dataset is not here."""
    absent: list[Unit]
    """The same of those."""
    prices: Mapping[str, Price]
    """By unit, of both."""
    budget: Budget
    place: Place

    @property
    def missing(self) -> int:
        """Cells that have no record and can be made."""
        return sum(unit.folder == "records" for unit in self.lacking)

    @property
    def units(self) -> list[Unit]:
        """Everything that is priced."""
        return [*self.lacking, *self.absent]

    @property
    def work_s(self) -> float:
        """Seconds of all units, one after another."""
        return sum(self.prices[unit.key].seconds for unit in self.units)

    @property
    def wall_s(self) -> float:
        """Seconds until all is done with what the budget runs side by side."""
        return wall_s(self.units, self.prices, self.budget)

    @property
    def bytes(self) -> int:
        """What the store grows by."""
        return sum(self.prices[unit.key].bytes for unit in self.units)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        planned = self.planned
        users = planned.users(self.units, self.chosen)
        return {
            "suite": planned.suite.name,
            "cells": [planned.cells[key].to_json() for key in self.chosen],
            "units": [
                {
                    "key": unit.key,
                    "title": unit.title,
                    "kind": unit.folder,
                    "cells": users[unit.key],
                    "threads": unit.threads,
                    "expected_s": self.prices[unit.key].seconds,
                    "expected_bytes": self.prices[unit.key].bytes,
                    "measured": self.prices[unit.key].measured,
                }
                for unit in self.units
            ],
            "blocked": [vars(one) for one in planned.blocked],
            "expected": {"work_s": self.work_s, "wall_s": self.wall_s, "bytes": self.bytes},
            "notes": list(planned.notes),
        }


def priced(planned: SuitePlan, chosen: list[str], known: Known, budget: Budget) -> Priced:
    """Return what the chosen cells lack and what that should take."""
    root, cells = known.workspace.store.root, planned.cells
    lacking = missing(planned.units, [key for key in chosen if not cells[key].outlined], root)
    absent = missing(planned.units, [key for key in chosen if cells[key].outlined], root)
    found = prices(planned, [*lacking, *absent], root, known.estimates)
    return Priced(planned, chosen, lacking, absent, found, budget, known.place(planned.device))


def prices(planned: SuitePlan, lacking: Sequence[Unit], root: Path, estimates: Estimates) -> dict[str, Price]:
    """Return what each missing unit is expected to take, by key."""
    if not lacking:
        return {}
    table: dict[str, float] = {}
    for unit in planned.units.values():
        table[unit.stage_key] = table.get(unit.stage_key, 0.0) + unit.expected_s
    gone = {unit.key for unit in lacking}
    kept = [unit for key, unit in planned.units.items() if key not in gone and key in planned.stages]
    earlier = _measured(kept, planned.stages, table, root)
    return {unit.key: _price(unit, planned.stages[unit.stage_key], (earlier, table), estimates) for unit in lacking}


def wall_s(units: Iterable[Unit], priced: Mapping[str, Price], budget: Budget) -> float:
    """Return the seconds until all is done: the longest chain, or all work shared out among what the budget runs side by side."""
    chain: dict[str, float] = {}
    work = 0.0
    for unit in units:
        seconds = priced[unit.key].seconds
        chain[unit.key] = seconds + max((chain.get(need, 0.0) for need in unit.needs), default=0.0)
        work += seconds / _side_by_side(unit, budget)
    return max(max(chain.values(), default=0.0), work)


def _side_by_side(unit: Unit, budget: Budget) -> int:
    """Return how many units like this one run at a time."""
    room = budget.threads // max(1, unit.threads) if unit.device == "cpu" else max(1, len(budget.devices)) * budget.per_device
    return max(1, min(budget.workers, room))


def _measured(units: Iterable[Unit], stages: Mapping[str, Stage], table: Mapping[str, float], root: Path) -> Measured:
    found = Measured()
    for unit in units:
        like = likeness(stages[unit.key])
        if len(found.seconds.get(like, ())) >= LOOKED_AT:
            continue
        told = _told(unit, root)
        if told is not None:
            seconds, size = told
            found.seconds.setdefault(like, []).append(seconds)
            found.sizes.setdefault(like, []).append(size)
            if table[unit.key] > 0:
                for folder in (unit.folder, ""):
                    found.ratios.setdefault(folder, []).append(seconds / table[unit.key])
    return found


def _told(unit: Unit, root: Path) -> tuple[float, int] | None:
    """Return the seconds and bytes that a stored unit tells of, or None where it cannot be read."""
    try:
        if unit.folder == "records":
            content = json.loads((root / unit.leaves[0]).read_bytes())
            seconds = sum(content["cost"][name]["seconds"] for name in ("student", "test"))
            return seconds, sum((root / path).stat().st_size for path in unit.leaves)
        folder = root / unit.leaves[0]
        card = json.loads((folder / ("manifest.json" if unit.folder == "distilled" else "card.json")).read_bytes())
        return card["cost"]["seconds"], sum(entry["bytes"] for entry in card["files"].values())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _price(unit: Unit, stage: Stage, known: tuple[Measured, Mapping[str, float]], estimates: Estimates) -> Price:
    """Return a unit's price; a group of jobs has its share of the set's time, and the set all of the bytes."""
    (earlier, table), like = known, likeness(stage)
    of_group = unit.key != unit.stage_key
    size = 0 if of_group else statistics.median_high(earlier.sizes[like]) if like in earlier.sizes else _bytes(stage, estimates)
    whole = table[unit.stage_key]
    if like in earlier.seconds:
        share = unit.expected_s / whole if whole else float(not of_group)
        return Price(share * statistics.median(earlier.seconds[like]), size, measured=True)
    return Price(unit.expected_s * earlier.ratio("distilled" if of_group else unit.folder), size, measured=False)


def likeness(stage: Stage) -> Like:
    """Return what two stages have in common that take equally long: everything but seeds and, for students, the images' maker."""
    if isinstance(stage, StudentStage):
        cell = stage.cell
        return ("student", cell.facts.sha256, cell.ipc, cell.student, cell.recipe.sha256, cell.recipe.smoke, stage.precision.dtype)
    if isinstance(stage, DistilledStage):
        return ("set", stage.method.name, _options(stage.method.options.dump()), stage.facts.sha256, stage.ipc)
    if isinstance(stage, LabelsStage):
        return ("labels", stage.teacher.key, stage.distilled.ipc, stage.recipe.sha256)
    return (stage.folder, stage.key)


def _options(dumped: Mapping[str, Any]) -> str:
    return canonical(dict(dumped)).decode()


def _bytes(stage: Stage | None, estimates: Estimates) -> int:
    """Return the bytes of a stage's result, counted from shapes; 0 where nobody can tell, as of a prior."""
    if isinstance(stage, StudentStage):
        return RECORD_BYTES + stage.cell.facts.test_images
    if isinstance(stage, DistilledStage):
        channels, height, width = stage.facts.shape
        return sum(len(job.labels) for job in stage.jobs) * (channels * height * width * 4 + 8)
    if isinstance(stage, LabelsStage):
        images = sum(len(job.labels) for job in stage.distilled.jobs)
        return stage.recipe.label_bytes(images, stage.distilled.facts.num_classes)
    if isinstance(stage, TeacherStage):
        return 4 * estimates.size(stage.choice.network).parameters
    if isinstance(stage, ExpertsStage):
        options: Any = stage.choice.options.values
        return 4 * estimates.size(stage.choice.network).parameters * int(options.count) * (int(options.epochs) + 1)
    return 0

"""Units: what executors start, each one stage, or one group of jobs of a distilled set.

A unit is known by the key its result is stored under, so whoever plans the same request at the same place finds the same units.
What it reads and leaves in a store is listed, so that it may be made in another store than the one it is kept in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cells import Request
from ddbench.distilling import job_file
from ddbench.making import SETTINGS
from ddbench.place import Place, place_from_json
from ddbench.stages import DistilledStage, EvaluationStage, LabelsStage, NeedStage, StudentStage

if TYPE_CHECKING:
    from ddbench.planning import Plan, PlannedCell

SPLIT_S = 20.0
"""A set that is expected to take longer is made group by group, so that several workers may share it."""

Stage = NeedStage | DistilledStage | LabelsStage | EvaluationStage | StudentStage


@dataclass(frozen=True)
class Unit:
    """One piece of work."""

    key: str
    """What its result is stored under; of a group of jobs, the set's key and the group's number: `3f…c0-2`."""
    folder: str
    """Where in the store its result lies: `teachers`, …, `records`; of a group `work`."""
    title: str
    needs: tuple[str, ...]
    """Keys of the units that come before it."""
    reads: tuple[str, ...]
    """Files and folders that it may read, by their paths in the store; some may be absent."""
    leaves: tuple[str, ...]
    """Files and folders that are there when it is done."""
    expected_s: float
    threads: int
    """CPU threads of the process that makes it."""
    device: str

    @property
    def stage_key(self) -> str:
        """The key of its stage: its own, or the set's that a group of jobs belongs to."""
        return self.key.partition("-")[0]

    def stored(self, root: Path) -> bool:
        """Return whether all that it leaves is there, whole or damaged."""
        return all((root / path).exists() for path in self.leaves)

    @property
    def work(self) -> str | None:
        """The store's folder that nobody needs once the unit's result is stored; None for a group, whose result lies in it."""
        return None if self.folder in {"work", "records"} else f"work/{self.key}"


@dataclass(frozen=True)
class Task:
    """All that a worker must be told to make a unit: it plans the request again and makes the unit with this key."""

    request: Request
    place: Place
    key: str

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON values."""
        return {"request": asdict(self.request), "place": self.place.to_json(), "key": self.key}


def task_from_json(content: Mapping[str, Any]) -> Task:
    """Return the task that `Task.to_json` told of, also after it was written and read as JSON."""
    return Task(request_from_json(content["request"]), place_from_json(content["place"]), str(content["key"]))


def request_from_json(content: Mapping[str, Any]) -> Request:
    """Return a request from its fields; JSON knows no tuples, so lists become tuples again."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    return Request(**values)


def units_of(planned: Plan, stages: Mapping[str, Stage] | None = None) -> dict[str, Unit]:
    """Return the units of a plan by key, each after those that it needs; its stages may be given, where they are known."""
    expected = {stage.key: stage.expected_s for stage in planned.stages}
    expected |= {one.record_key: one.expected_s for one in planned.cells}
    found: dict[str, Unit] = {}
    for stage in (stages or stages_of(planned.cells)).values():
        for unit in _units(stage, planned, expected.get(stage.key, 0.0)):
            found[unit.key] = unit
    return found


def stages_of(cells: Iterable[PlannedCell]) -> dict[str, Stage]:
    """Return the stages of cells by key, each after those that it needs."""
    found: dict[str, Stage] = {}
    for one in cells:
        student = one.stage
        if student.key in found:
            continue
        needs = [stage for _, stage in student.distilled.needs.values()]
        needs += [stage for measure in student.evaluators for _, stage in measure.needs.values()]
        for stage in (*needs, student.teacher, student.distilled, student.labels, *student.evaluations, student):
            if stage is not None:
                found.setdefault(stage.key, stage)
    return found


def missing(units: Mapping[str, Unit], wanted: Iterable[str], root: Path) -> list[Unit]:
    """Return what must be made for the wanted keys: the wanted units that are not stored, and what they lack, in order."""
    lacking, ask = set[str](), [key for key in wanted if key in units]
    while ask:
        unit = units[ask.pop()]
        if unit.key not in lacking and not unit.stored(root):
            lacking.add(unit.key)
            ask += [key for key in unit.needs if key in units]
    return [unit for key, unit in units.items() if key in lacking]


def _units(stage: Stage, planned: Plan, expected_s: float) -> Iterator[Unit]:
    """Give the units of a stage: itself, and before it the groups of a set that takes long."""
    needs = _before(stage)
    groups: list[Unit] = []
    if isinstance(stage, DistilledStage) and len(stage.groups) > 1 and expected_s >= SPLIT_S:
        share = expected_s / len(stage.groups)
        groups = [_group(stage, number, planned, (needs, share)) for number in range(len(stage.groups))]
    yield from groups
    yield Unit(
        key=stage.key,
        folder=stage.folder,
        title=stage.title,
        needs=tuple(unit.key for unit in groups) or tuple(need.key for need in needs),
        reads=(*_places(stage, needs), *_resumed(stage)),
        leaves=(f"records/{stage.key}.json", f"records/{stage.key}.npz")
        if isinstance(stage, StudentStage)
        else (f"{stage.folder}/{stage.key}",),
        expected_s=0.0 if groups else expected_s,
        threads=planned.threads,
        device=str(planned.device),
    )


def _group(stage: DistilledStage, number: int, planned: Plan, about: tuple[Sequence[Stage], float]) -> Unit:
    needs, expected_s = about
    settings, jobs = f"work/{stage.key}/{SETTINGS}", [job_file(job.index) for job in stage.groups[number]]
    return Unit(
        key=f"{stage.key}-{number}",
        folder="work",
        title=f"{stage.title}, jobs {number + 1}/{len(stage.groups)}",
        needs=tuple(need.key for need in needs),
        reads=(*_places(stage, needs), settings),
        leaves=(settings, *(f"work/{stage.key}/{name}" for name in jobs)),
        expected_s=expected_s,
        threads=planned.threads,
        device=str(planned.device),
    )


def _before(stage: Stage) -> list[Stage]:
    """Return the stages whose results a stage uses."""
    if isinstance(stage, DistilledStage):
        return [need for _, need in stage.needs.values()]
    if isinstance(stage, LabelsStage):
        return [stage.distilled, stage.teacher]
    if isinstance(stage, EvaluationStage):
        return [*([stage.teacher] if stage.teacher else []), stage.distilled, *(need for _, need in stage.measure.needs.values())]
    if isinstance(stage, StudentStage):
        asked = [need for measure in stage.evaluators if not measure.of_set for _, need in measure.needs.values()]
        used = (stage.distilled, stage.teacher, stage.labels, *stage.evaluations, *asked)
        return [one for one in used if one is not None]
    return []


def _places(stage: Stage, needs: Sequence[Stage]) -> list[str]:
    """Return where what a stage uses lies; of what its set was made with, a student reads the card alone, for its cost."""
    used = [f"{need.folder}/{need.key}" for need in needs]
    if isinstance(stage, StudentStage):
        made_with = [need for _, need in stage.distilled.needs.values() if need not in needs]
        used += [f"{need.folder}/{need.key}/card.json" for need in made_with]
    return list(dict.fromkeys(used))


def _resumed(stage: Stage) -> list[str]:
    """Return the folder that holds how far an interrupted stage is, where it has one."""
    return [] if isinstance(stage, StudentStage | EvaluationStage) else [f"work/{stage.key}"]

"""Plans a run: every name resolved, every option checked, every stage's key known, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ddbench import cells as coordinates
from ddbench.api.context import Precision
from ddbench.cells import BoundPart, Cell, ExpertsChoice, Method, PriorChoice, Request, TeacherChoice
from ddbench.data import Prepared, defaults_for, is_outline, open_dataset, outlined
from ddbench.errors import BadRequest, DataMissing, LabelsTooLarge
from ddbench.estimates import LONG_S, Estimates, seconds_of
from ddbench.networks import resolve as resolve_network
from ddbench.place import Place, here
from ddbench.stages import DistilledStage, ExpertsStage, LabelsStage, Measure, NeedStage, PriorStage, StudentStage, TeacherStage
from ddbench.training.precision import resolve_precision

if TYPE_CHECKING:
    import torch

    from ddbench.api.context import Need
    from ddbench.api.dataset import DatasetDefaults, DatasetFacts
    from ddbench.api.network import NetworkFamily, NetworkSpec
    from ddbench.api.protocol import ProtocolSpec
    from ddbench.plugins import Entry
    from ddbench.training.work import Work
    from ddbench.workspace import Workspace

CHEAP = "cpu"
"""The preset that is offered where a run would take hours."""

SMALL_STEP_FLOPS = 8e9
"""A training step below this is too little work for more than one CPU thread."""

SIDE_BY_SIDE = 4
"""Cells from which a helper process is worth its start."""

DEFAULT_LABEL_BYTES = 2 * 1024**3
"""Stored labels above this are refused unless `--max-label-bytes` says otherwise."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell, the key of its record, and whether the store has it."""

    cell: Cell
    stage: StudentStage
    stored: bool
    expected_s: float
    small: bool
    """Whether its training steps are too little work for more than one CPU thread."""

    @property
    def record_key(self) -> str:
        return self.stage.key


@dataclass(frozen=True)
class PlannedStage:
    """A stage that cells share, or the students together."""

    title: str
    key: str | None
    stored: bool
    expected_s: float


@dataclass(frozen=True)
class Plan:
    """All that a run will do."""

    request: Request
    data: Prepared
    defaults: DatasetDefaults
    place: Place
    threads: int
    """Of each process."""
    cells: tuple[PlannedCell, ...]
    stages: tuple[PlannedStage, ...]
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        return self.place.device

    @property
    def helpers(self) -> int:
        """Processes that make cells besides this one: as many as there are threads that this one leaves idle."""
        missing = sum(not one.stored for one in self.cells)
        if self.device.type != "cpu" or self.request.threads or missing < SIDE_BY_SIDE:
            return 0
        return min(self.place.threads // self.threads - 1, missing // 2)

    @property
    def facts(self) -> DatasetFacts:
        return self.data.facts

    @property
    def expected_s(self) -> float:
        """Nominal seconds of the missing stages."""
        return sum(stage.expected_s for stage in self.stages if not stage.stored)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "cells": [
                {**planned.cell.coordinate(), "role": planned.cell.role, "key": planned.record_key, "stored": planned.stored}
                for planned in self.cells
            ],
            "stages": [{"title": s.title, "key": s.key, "stored": s.stored, "expected_s": s.expected_s} for s in self.stages],
            "expected_s": self.expected_s,
            "notes": list(self.notes),
        }


@dataclass
class Known:
    """What planning looked up: kept from one request to the next, it is looked up once."""

    workspace: Workspace
    places: dict[str, Place] = field(default_factory=dict)
    """By the device's name."""
    datasets: dict[str, Prepared] = field(default_factory=dict)
    outline: bool = False
    """Whether a dataset that is not here may be planned from its source's outline. Such a plan's keys are not those that
    the cells will have, and running it fails."""
    _estimates: Estimates | None = None

    @property
    def estimates(self) -> Estimates:
        self._estimates = self._estimates or Estimates(self.workspace.plugins.all("network"))
        return self._estimates

    def place(self, device: str) -> Place:
        """Return this machine as the place of a device, unless another was given for it."""
        if device not in self.places:
            self.places[device] = here(device)
        return self.places[device]

    def dataset(self, name: str) -> Prepared:
        """Return an opened dataset, or its outline where that is enough and the dataset is not here."""
        if name not in self.datasets:
            self.datasets[name] = self._outlined(name) if self.outline else self._opened(name)
        return self.datasets[name]

    def _opened(self, name: str, *, offline: bool = False) -> Prepared:
        settings, sources = self.workspace.settings, self.workspace.plugins.all("dataset")
        offline = offline or settings.offline
        return open_dataset(name, roots=settings.data_roots, sources=sources, offline=offline, report=self._report)

    def _outlined(self, name: str) -> Prepared:
        """Return the dataset, or its outline where it is not here; nothing is downloaded."""
        try:
            return self._opened(name, offline=True)
        except DataMissing:
            data = outlined(self.workspace.plugins.get("dataset", name).value)
            if data is None:
                raise
            return data

    def _report(self, what: str, done: int, total: int) -> None:
        if done == 0:
            self.workspace.reporter.note(f"{what} ({total / 1e6:.0f} MB)" if total else what)


def plan(request: Request, workspace: Workspace, *, known: Known | None = None) -> Plan:
    """Return what a request comes to.

    Args:
        request: What is asked for.
        workspace: Store, plugins, and who is told.
        known: What was looked up for earlier requests; it may also name another place than this machine.

    Raises:
        DdbenchError: A name, an option or a combination is wrong, or the dataset is not there.
    """
    return _Planner(request, known or Known(workspace)).plan()


def _is_small(work: Work) -> bool:
    return work.flops < SMALL_STEP_FLOPS * max(1, work.steps)


class _Planner:
    """Holds what planning looks up once."""

    def __init__(self, request: Request, known: Known) -> None:
        self.request, self.workspace, self.plugins = request, known.workspace, known.workspace.plugins
        self.place = known.place(request.device)
        self.data = known.dataset(request.dataset)
        self.facts = self.data.facts
        self.defaults = defaults_for(self.facts, self.plugins.all("dataset"))
        self.families: Mapping[str, NetworkFamily] = self.plugins.all("network")
        self.recipe = self._recipe()
        self.estimates = known.estimates
        self.notes: dict[str, None] = dict.fromkeys(self._not_here())
        self._precisions: dict[object, Precision] = {}
        self._works: dict[tuple[str, int, bool], Work] = {}
        self._teachers: dict[int, TeacherStage] = {}
        self._sets: dict[tuple[int, int], DistilledStage] = {}
        """By method and distill seed: cells of one set share its stage, so that its jobs are planned and hashed once."""

    def plan(self) -> Plan:
        request, defaults = self.request, self.defaults
        ipc = defaults.ipc if request.ipc is None else request.ipc
        seeds = tuple(self._count(name, given, default) for name, given, default in self._seed_counts())
        if ipc < 1:
            raise BadRequest(f"ipc must be at least 1, given {ipc}")
        measured = coordinates.evaluators(request, self.plugins, self.facts)
        methods = coordinates.methods(request, self.plugins, self.facts, measured)
        students = [self._student(name) for name in request.students or defaults.students]
        choice = self._choice() if self.recipe.needs_teacher or any(self._asks_teacher(method) for method in methods) else None
        way = [choice.entry] if choice else [self.plugins.get("teacher", coordinates.DEFAULT_WAY)]
        entries = [*(entry for method in methods for entry in self._entries(method)), *way, *(part.entry for part in measured)]
        coordinates.check_preset(request, entries)
        planned = [self._planned(cell, measured) for cell in self._cells(methods, students, choice, ipc, (seeds[0], seeds[1]))]
        self._refuse_large_labels(planned)
        stages = tuple(self._stages(planned))
        threads = self._threads(planned)
        notes = (*self.notes, *self._trained_again(planned))
        whole = Plan(request, self.data, defaults, self.place, threads, tuple(planned), stages, notes)
        used = entries if choice else [entry for entry in entries if entry not in way]
        return replace(whole, notes=(*notes, *self._cheaper(whole.expected_s, used)))

    def _not_here(self) -> Iterator[str]:
        """Give the note that nothing can be run yet, where the dataset is an outline."""
        name = self.facts.name
        if is_outline(self.facts):
            yield f"dataset {name!r} is not here; planned from its outline. Before running: ddbench data prepare {name}"

    def _entries(self, method: Method) -> Iterator[Entry]:
        """Give everything in a method that may have presets."""
        yield method.entry
        yield from (part.entry for part in method.parts.values())
        yield from (self.plugins.get("prior", need.name) for need in method.needs(self.facts).values() if need.kind == "prior")

    def _cheaper(self, expected_s: float, entries: list[Entry]) -> Iterator[str]:
        """Give the note that names the cheaper recipe, where a run takes hours and was not asked for by name."""
        having = {entry.name: coordinates.presets_of(entry) for entry in entries}
        titles = {name: presets[CHEAP].title for name, presets in having.items() if CHEAP in presets}
        if expected_s > LONG_S and self.request.preset is None and titles:
            told = "; ".join(f"{name}: {title}" for name, title in titles.items())
            yield f"this takes hours; cheaper: --preset {CHEAP} ({told})"

    def _trained_again(self, planned: list[PlannedCell]) -> Iterator[str]:
        """Give the note that students are trained again because of what is measured besides, where the store has them without."""
        besides = [measure for measure in self.request.evaluators if measure not in coordinates.ALWAYS]
        missing = [one.stage for one in planned if besides and not one.stored]
        usual = (
            replace(stage, evaluators=[measure for measure in stage.evaluators if measure.name in coordinates.ALWAYS])
            for stage in missing
        )
        count = sum(self.workspace.store.has_record(stage.key) for stage in usual)
        if count:
            which = "1 student is" if count == 1 else f"{count} students are"
            yield f"{which} trained again for {', '.join(besides)}: records are in the store, trained networks are not kept"

    def _threads(self, planned: list[PlannedCell]) -> int:
        """Return the threads of a process: all of them, or one where steps are so small that two cells side by side are faster.

        Nothing here depends on what the store has, so that an interrupted run goes on with the threads it began with.
        """
        if self.request.threads:
            return self.request.threads
        small = self.place.device.type == "cpu" and all(one.small for one in planned)
        return 1 if small and len(planned) >= SIDE_BY_SIDE else self.place.threads

    def _seed_counts(self) -> list[tuple[str, int | None, int]]:
        request, defaults = self.request, self.defaults
        return [("distill", request.distill_seeds, defaults.distill_seeds), ("eval", request.eval_seeds, defaults.eval_seeds)]

    def _count(self, name: str, given: int | None, default: int) -> int:
        count = default if given is None else given
        if count < 1:
            raise BadRequest(f"--{name}-seeds must be at least 1, given {count}")
        return count

    def _cells(
        self, methods: list[Method], students: list[NetworkSpec], choice: TeacherChoice | None, ipc: int, seeds: tuple[int, int]
    ) -> Iterator[Cell]:
        for method in methods:
            asked = method.name in self.request.synthesizers
            for variant in filter(None, (method, coordinates.zero_iterations(method))):
                role: coordinates.Role = "asked" if asked and variant is method else "control"
                needed = choice if self.recipe.needs_teacher or self._asks_teacher(variant) else None
                for student in students:
                    first = Cell(variant, self.facts, ipc, needed, student, self.recipe, 0, 0, role)
                    yield from coordinates.expand(first, (self._different_sets(first, seeds[0]), seeds[1]))

    def _different_sets(self, first: Cell, asked: int) -> int:
        """Return how many of the sets asked for are different: one where a method plans the same jobs for every distill seed."""
        if asked == 1 or self._distilled(first).jobs != self._distilled(replace(first, distill_seed=1)).jobs:
            return asked
        self.notes[f"{first.synthesizer} draws nothing: every distill seed would give the same set, and one is made"] = None
        return 1

    def _recipe(self) -> ProtocolSpec:
        entry = self.plugins.get("protocol", self.request.protocol or self.defaults.protocol)
        recipe: ProtocolSpec = entry.value
        if self.request.smoke is None:
            return recipe
        if not 0 < self.request.smoke <= 1:
            raise BadRequest(f"--smoke is a fraction of the training, above 0 and at most 1; given {self.request.smoke}")
        return recipe.shortened(self.request.smoke)

    def _student(self, name: str) -> NetworkSpec:
        spec = self._network(name)
        if not self.recipe.admits(spec.name):
            raise BadRequest(
                f"protocol {self.recipe.name} is defined for {', '.join(self.recipe.students)} only, not for {spec.name}"
            )
        return spec

    def _network(self, name: str) -> NetworkSpec:
        return resolve_network(name, self.families, shape=self.facts.shape, num_classes=self.facts.num_classes)

    def _choice(self, name: str = "teacher", need: Need | None = None) -> TeacherChoice:
        """Return the user's teacher, or the one that a need names, its options under the need's own name."""
        asked = replace(self.request, teacher=need.name) if need and need.name else self.request
        entry, network = coordinates.teacher_way(asked, self.plugins, self.defaults.teacher)
        spec = self._network(network)
        options = coordinates.needed_options(entry, self.request, self.facts, name=name, need=need)
        return TeacherChoice(entry, options, spec, self._family(spec))

    def _family(self, spec: NetworkSpec) -> Entry:
        return self.plugins.get("network", spec.name.partition("/")[0])

    def _asks_teacher(self, method: Method) -> bool:
        """Return whether a method needs the teacher that the user chose for the cell."""
        return any(need.kind == "teacher" and not need.name for need in method.needs(self.facts).values())

    def _planned(self, cell: Cell, measured: list[BoundPart]) -> PlannedCell:
        answers = self._teacher(cell.choice) if cell.recipe.needs_teacher and cell.choice else None
        distilled = self._distilled(cell)
        labels = (
            LabelsStage(distilled, answers, cell.recipe, self.request.view_seed)
            if answers and cell.label_regime == "soft_epoch"
            else None
        )
        images = sum(len(job.labels) for job in distilled.jobs)
        work = self._work(cell, images)
        precision = self._precision(work)
        evaluators = [self._measure(part, cell) for part in measured]
        stage = StudentStage(
            cell, distilled, answers, labels, self._family(cell.network), evaluators, precision, self.request.view_seed
        )
        seconds = seconds_of(work, precision, self.place.abilities)
        return PlannedCell(cell, stage, self.workspace.store.has_record(stage.key), seconds, small=_is_small(work))

    def _measure(self, part: BoundPart, cell: Cell) -> Measure:
        """Return an evaluator with the stages that make its needs; a teacher it asks for is no part of the cell."""
        needs = part.entry.value.needs(part.options.values, self.facts).items()
        return Measure(part, {name: (need, self._needed(name, need, cell)) for name, need in needs})

    def _work(self, cell: Cell, images: int) -> Work:
        """Return the work of a student, which its seeds and the maker of its images do not change."""
        known = (cell.student, images, cell.choice is None)
        if known not in self._works:
            self._works[known] = self.estimates.student(cell, images)
        return self._works[known]

    def _teacher(self, choice: TeacherChoice) -> TeacherStage:
        known = id(choice)  # the stage holds the choice, so that no other can have its number
        if known not in self._teachers:
            precision = self._precision(self.estimates.teacher(choice, self.facts))
            self._teachers[known] = TeacherStage(choice, self.facts, precision)
        return self._teachers[known]

    def _distilled(self, cell: Cell) -> DistilledStage:
        known = (id(cell.method), cell.distill_seed)  # the methods live as long as the plan is made
        if known not in self._sets:
            self._sets[known] = self._new_distilled(cell)
        return self._sets[known]

    def _new_distilled(self, cell: Cell) -> DistilledStage:
        needs = {name: (need, self._needed(name, need, cell)) for name, need in cell.method.needs(self.facts).items()}
        stage = DistilledStage(cell.method, self.facts, cell.ipc, cell.distill_seed, needs, Precision())
        return replace(stage, precision=self._precision(self.estimates.of(stage)[0]))

    def _needed(self, name: str, need: Need, cell: Cell) -> NeedStage:
        """Return the stage that makes a need, its options under the need's own name on the command line."""
        if need.kind == "prior":
            return self._prior(name, need)
        if need.kind == "experts":
            return self._experts(name, need)
        return self._teacher(cell.choice if cell.choice and not need.name else self._choice(name, need))

    def _prior(self, name: str, need: Need) -> PriorStage:
        """Return a prior's stage.

        Raises:
            PriorMismatch: It is for images of another shape, or for other classes.
        """
        entry = self.plugins.get("prior", need.name)
        choice = PriorChoice(entry, coordinates.needed_options(entry, self.request, self.facts, name=name, need=need))
        choice.prior.spaces(choice.options.values, self.facts)
        return PriorStage(choice, self.facts, self._precision(self.estimates.prior(choice, self.facts)))

    def _experts(self, name: str, need: Need) -> ExpertsStage:
        spec = self._network(need.name)
        choice = ExpertsChoice(coordinates.experts_options(self.request, name=name, need=need), spec, self._family(spec))
        return ExpertsStage(choice, self.facts, self._precision(self.estimates.experts(choice, self.facts)))

    def _precision(self, work: Work) -> Precision:
        if work not in self._precisions:
            request = self.request
            resolved = resolve_precision(
                device=self.place.device,
                precision=request.precision,
                compile=request.compile,
                work=work,
                abilities=self.place.abilities,
            )
            self._precisions[work] = resolved.precision
            self.notes.update(dict.fromkeys(resolved.notes))
        return self._precisions[work]

    def _refuse_large_labels(self, planned: list[PlannedCell]) -> None:
        limit = self.request.max_label_bytes or DEFAULT_LABEL_BYTES
        for one in planned:
            if one.stage.labels:
                images = sum(len(job.labels) for job in one.stage.distilled.jobs)
                size = one.cell.recipe.label_bytes(images, self.facts.num_classes)
                if size > limit:
                    raise LabelsTooLarge(
                        f"{one.cell.protocol} would store {size / 1e6:.0f} MB of labels for {images} images; "
                        f"the limit is {limit / 1e6:.0f} MB: raise it with --max-label-bytes {size}, or use a soft_online protocol"
                    )

    def _seconds(self, stage: NeedStage | DistilledStage | StudentStage) -> float:
        return self.estimates.seconds(stage, self.place.abilities)

    def _stages(self, planned: list[PlannedCell]) -> Iterator[PlannedStage]:
        """Give every shared stage once, in the order they are made, then the students together."""
        store, seen = self.workspace.store, set[str]()
        for one in planned:
            shared: list[NeedStage | DistilledStage] = [stage for _, stage in one.stage.distilled.needs.values()]
            shared += [one.stage.teacher] if one.stage.teacher else []
            shared += [stage for measure in one.stage.evaluators for _, stage in measure.needs.values()]
            for stage in (*shared, one.stage.distilled):
                if stage.key not in seen:
                    seen.add(stage.key)
                    stored = (store.root / stage.folder / stage.key).is_dir()
                    yield PlannedStage(stage.title, stage.key, stored, self._seconds(stage))
        missing = [one for one in planned if not one.stored]
        seconds = sum(one.expected_s for one in missing)
        yield PlannedStage(f"{len(missing) or 'all'} students", None, not missing, seconds)

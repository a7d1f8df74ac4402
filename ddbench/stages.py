"""Stages: the key of each, a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from ddbench.api.experts import EXPERTS_VERSION
from ddbench.records import canonical
from ddbench.store import key_of

if TYPE_CHECKING:
    from ddbench.api.context import Need, Precision
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.network import NetworkSpec
    from ddbench.api.protocol import ProtocolSpec
    from ddbench.api.synthesizer import Job
    from ddbench.cells import BoundPart, Cell, ExpertsChoice, Method, PriorChoice, TeacherChoice
    from ddbench.plugins import Entry


def identity(entry: Entry) -> dict[str, Any]:
    """Return what of a plugin's thing decides results: its version and its plugin's files."""
    return {"name": entry.name, "version": entry.value.version, "files": entry.owner.files_sha256}


def network_identity(spec: NetworkSpec) -> dict[str, Any]:
    """Return the fitted network as JSON."""
    return {**vars(spec), "shape": list(spec.shape), "fitting": dict(spec.fitting)}


def dataset_identity(facts: DatasetFacts) -> dict[str, Any]:
    """Return what of a dataset decides results: its images, its classes in order, its normalisation."""
    return {"sha256": facts.sha256, "classes": facts.classes_sha256, "mean": list(facts.mean), "std": list(facts.std)}


@dataclass(frozen=True)
class TeacherStage:
    """Squeeze: a network trained on the real train split."""

    choice: TeacherChoice
    facts: DatasetFacts
    precision: Precision
    folder: ClassVar[str] = "teachers"

    @cached_property
    def key(self) -> str:
        return key_of(
            stage="teacher",
            way=identity(self.choice.entry),
            fingerprint=self.choice.way.fingerprint(self.choice.options.values),
            options=self.choice.options.dump(),
            network=network_identity(self.choice.network),
            family=identity(self.choice.family),
            dataset=dataset_identity(self.facts),
            seed=self.choice.seed,
            dtype=self.precision.dtype,
        )

    @property
    def title(self) -> str:
        return f"teacher {self.choice.name}"


@dataclass(frozen=True)
class PriorStage:
    """A generative prior, trained on the real train split or as it comes, and judged by the quality gate."""

    choice: PriorChoice
    facts: DatasetFacts
    precision: Precision
    folder: ClassVar[str] = "priors"

    @cached_property
    def key(self) -> str:
        return key_of(
            stage="prior",
            prior=identity(self.choice.entry),
            fingerprint=self.choice.prior.fingerprint(self.choice.options.values),
            options=self.choice.options.dump(),
            dataset=dataset_identity(self.facts),
            seed=self.choice.seed,
            dtype=self.precision.dtype,
        )

    @property
    def title(self) -> str:
        return f"prior {self.choice.name}"


@dataclass(frozen=True)
class ExpertsStage:
    """Training trajectories on the real train split."""

    choice: ExpertsChoice
    facts: DatasetFacts
    precision: Precision
    folder: ClassVar[str] = "experts"

    @cached_property
    def key(self) -> str:
        return key_of(
            stage="experts",
            version=EXPERTS_VERSION,
            options=self.choice.options.dump(),
            network=network_identity(self.choice.network),
            family=identity(self.choice.family),
            dataset=dataset_identity(self.facts),
            seed=self.choice.seed,
            dtype=self.precision.dtype,
        )

    @property
    def title(self) -> str:
        return self.choice.name


NeedStage = TeacherStage | PriorStage | ExpertsStage
"""What a synthesizer may need made before it starts."""


@dataclass(frozen=True)
class DistilledStage:
    """Recover: a distilled set."""

    method: Method
    facts: DatasetFacts
    ipc: int
    seed: int
    needs: Mapping[str, tuple[Need, NeedStage]]
    precision: Precision
    folder: ClassVar[str] = "distilled"

    @cached_property
    def jobs(self) -> Sequence[Job]:
        return self.method.synthesizer.jobs(self.method.options.values, self.facts, self.ipc, self.seed)

    @cached_property
    def groups(self) -> list[Sequence[Job]]:
        """Jobs that are computed together, fixed by the method's options alone."""
        stack = max(1, self.method.synthesizer.stack(self.method.options.values, self.facts))
        return [self.jobs[start : start + stack] for start in range(0, len(self.jobs), stack)]

    @cached_property
    def key(self) -> str:
        plan = [[[job.index, list(job.labels)] for job in group] for group in self.groups]
        return key_of(
            stage="distilled",
            synthesizer=identity(self.method.entry),
            options=self.method.options.dump(),
            **self._parts(),
            dataset=dataset_identity(self.facts),
            needs={name: stage.key for name, (_, stage) in self.needs.items()},
            jobs=hashlib.sha256(canonical(plan)).hexdigest(),
            seed=self.seed,
            dtype=self.precision.dtype,
        )

    def _parts(self) -> dict[str, Any]:
        """Return what of the method's parts decides results; nothing where it has none, as in keys from before there were any."""
        parts = self.method.parts.items()
        return {"parts": {kind: [identity(part.entry), part.options.dump()] for kind, part in parts}} if parts else {}

    @property
    def teachers(self) -> dict[str, TeacherStage]:
        """The needs that are teachers, by name."""
        return {name: stage for name, (_, stage) in self.needs.items() if isinstance(stage, TeacherStage)}

    @property
    def title(self) -> str:
        stopped = " before its first step" if self.method.stopped else ""
        return f"{self.method.name}{stopped}, ipc {self.ipc}, distill seed {self.seed}"


@dataclass(frozen=True)
class LabelsStage:
    """Relabel: soft labels stored per epoch and view."""

    distilled: DistilledStage
    teacher: TeacherStage
    recipe: ProtocolSpec
    view_seed: int
    folder: ClassVar[str] = "labels"

    @cached_property
    def key(self) -> str:
        return key_of(
            stage="labels",
            distilled=self.distilled.key,
            teacher=self.teacher.key,
            protocol=self.recipe.sha256,
            view_seed=self.view_seed,
            dtype=self.distilled.precision.dtype,
        )

    @property
    def title(self) -> str:
        return f"labels for {self.distilled.title}"


@dataclass(frozen=True)
class Measure:
    """An evaluator with its options and what it needs."""

    part: BoundPart
    needs: Mapping[str, tuple[Need, NeedStage]]

    @property
    def name(self) -> str:
        return self.part.entry.name

    @property
    def of_set(self) -> bool:
        """Whether it measures the distilled set and not the student."""
        return bool(self.part.entry.value.scope == "set")

    @property
    def changed(self) -> dict[str, Any]:
        """Options that are not the default, as JSON values."""
        return self.part.options.values.model_dump(mode="json", exclude_defaults=True)

    @property
    def label(self) -> str:
        """Name, version and changed options, as records name who made a number: `calibration 1 bins=20`."""
        changed = (f"{name}={json.dumps(value)}" for name, value in sorted(self.changed.items()))
        return " ".join([self.name, str(self.part.entry.value.version), *changed])

    def identity(self) -> dict[str, Any]:
        """Return what decides its numbers; options only where they are changed, as in keys from before there were any."""
        found = identity(self.part.entry)
        found |= {"options": self.changed} if self.changed else {}
        return found | ({"needs": {name: stage.key for name, (_, stage) in self.needs.items()}} if self.needs else {})


@dataclass(frozen=True)
class EvaluationStage:
    """What one evaluator says of a distilled set: found once, and told in the record of every student of the set."""

    measure: Measure
    distilled: DistilledStage
    teacher: TeacherStage | None
    """The teacher that answers during students' training; None under hard labels."""
    soft_label_bytes: int
    folder: ClassVar[str] = "evaluations"

    @cached_property
    def key(self) -> str:
        return key_of(
            stage="evaluation",
            evaluator=self.measure.identity(),
            distilled=self.distilled.key,
            teacher=self.teacher.key if self.teacher else None,
            soft_label_bytes=self.soft_label_bytes,
        )

    @property
    def title(self) -> str:
        return f"{self.measure.name} of {self.distilled.title}"


@dataclass(frozen=True)
class StudentStage:
    """A student trained on a distilled set and tested: what leaves a record."""

    cell: Cell
    distilled: DistilledStage
    teacher: TeacherStage | None
    """The teacher that answers during training; None under hard labels."""
    labels: LabelsStage | None
    family: Entry
    evaluators: Sequence[Measure]
    precision: Precision
    view_seed: int
    folder: ClassVar[str] = "records"

    @cached_property
    def evaluations(self) -> list[EvaluationStage]:
        """What its evaluators of scope `set` say of the distilled set, in their order."""
        return [EvaluationStage(one, self.distilled, self.teacher, self.soft_label_bytes) for one in self.evaluators if one.of_set]

    @property
    def soft_label_bytes(self) -> int:
        """What storing every answer that the protocol asks of the teacher takes, as fp16; 0 under hard labels."""
        recipe, images = self.cell.recipe, sum(len(job.labels) for job in self.distilled.jobs)
        return recipe.label_bytes(images, self.cell.facts.num_classes) if recipe.needs_teacher else 0

    @cached_property
    def key(self) -> str:
        return key_of(
            stage="student",
            coordinate=self.cell.coordinate(),
            distilled=self.distilled.key,
            teacher=self.teacher.key if self.teacher else None,
            network=network_identity(self.cell.network),
            family=identity(self.family),
            protocol=self.cell.recipe.sha256,
            smoke=self.cell.recipe.smoke,
            evaluators=[measure.identity() for measure in self.evaluators],
            eval_seed=self.cell.eval_seed,
            view_seed=self.view_seed if self.labels else None,
            dtype=self.precision.dtype,
        )

    @property
    def title(self) -> str:
        cell = self.cell
        return f"{cell.student} on {cell.synthesizer}, distill seed {cell.distill_seed}, eval seed {cell.eval_seed}"

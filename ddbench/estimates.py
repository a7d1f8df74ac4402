"""How much work a stage is, and how long it should take: counted from shapes and options, never timed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ddbench.networks import build, count_parameters, fit, resolve
from ddbench.stages import DistilledStage, ExpertsStage, NeedStage, PriorStage, StudentStage, TeacherStage
from ddbench.training.precision import COMPILE_S, Abilities, estimated_s
from ddbench.training.recipe import student_recipe
from ddbench.training.work import Size, Work, size_of, together, training_work

if TYPE_CHECKING:
    from torch import nn

    from ddbench.api.context import Precision
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.experts import ExpertOptions
    from ddbench.api.network import NetworkFamily, NetworkSpec
    from ddbench.cells import Cell, ExpertsChoice, Method, PriorChoice, TeacherChoice

NOTHING = Work(0.0, 0)
RECOVER_PASSES = 2
"""Forward passes' worth of an image per iteration: forward, and the gradient with respect to the image."""

LONG_S = 2 * 3600.0
"""A run expected to take longer is told of the cheaper recipe before it starts."""

SMALL = 30_000_000
"""Parameters up to which a network is counted on the CPU: 120 MB, for a moment."""


class Estimates:
    """Counts work; each network is counted once."""

    def __init__(self, families: Mapping[str, NetworkFamily]) -> None:
        self._families = families
        self._sizes: dict[str, Size] = {}
        self._priors: dict[tuple[str, str, DatasetFacts], Work] = {}

    def size(self, spec: NetworkSpec) -> Size:
        """Return the size of a network."""
        known = f"{spec.name} {spec.shape} {spec.num_classes}"
        if known not in self._sizes:
            self._sizes[known] = self._count(spec)
        return self._sizes[known]

    def _count(self, spec: NetworkSpec) -> Size:
        """Return a network counted without drawing its weights; for real where that cannot be done.

        A small one runs on zeros, which takes less time than what torch imports to run it on the meta device.
        """
        with contextlib.suppress(*fit.FAILURES):
            network = self._on_meta(spec)
            if count_parameters(network) <= SMALL:
                with contextlib.suppress(*fit.FAILURES):
                    return size_of(fit.with_zeros(network), spec.shape)
                network = self._on_meta(spec)  # part of it may have left
            return size_of(network, spec.shape)
        return size_of(build(spec, self._families, seed=0), spec.shape)

    def _on_meta(self, spec: NetworkSpec) -> nn.Module:
        return fit.built_on_meta(lambda: build(spec, self._families, seed=0))

    def teacher(self, choice: TeacherChoice, facts: DatasetFacts) -> Work:
        """Return the work of training a teacher; none where its way has no `epochs`."""
        epochs, batch = (getattr(choice.options.values, name, None) for name in ("epochs", "batch"))
        if not epochs or not batch:
            return NOTHING
        images = sum(facts.counts)
        return self.size(choice.network).training(images * epochs, epochs * math.ceil(images / batch))

    def recover(self, method: Method, facts: DatasetFacts, ipc: int, teachers: Sequence[NetworkSpec]) -> Work:
        """Return the work of making a distilled set; none for methods without `iterations`.

        A group of jobs calls the network `iterations` times for each of its class batches, which hold `batch` classes.
        """
        options = method.options.values
        iterations = getattr(options, "iterations", 0)
        if iterations and "objective" in method.parts:
            return self._matching(method, facts, ipc)
        if not iterations or not teachers:
            return NOTHING
        groups = math.ceil(ipc / max(1, method.synthesizer.stack(options, facts)))
        class_batches = math.ceil(facts.num_classes / getattr(options, "batch", facts.num_classes))
        passes = RECOVER_PASSES * facts.num_classes * ipc * iterations
        return replace(self.size(teachers[0]).passes(passes, iterations * groups * class_batches), layers="any")

    def _matching(self, method: Method, facts: DatasetFacts, ipc: int) -> Work:
        """Return the work of a method's steps as its objective tells it; what renders the images is not counted."""
        part = method.parts["objective"]
        step = part.entry.value.work(part.options.values, facts, facts.num_classes * ipc)
        if not step.network:
            return NOTHING
        spec = resolve(step.network, self._families, shape=facts.shape, num_classes=facts.num_classes)
        iterations: int = getattr(method.options.values, "iterations", 0)
        return replace(self.size(spec).passes(step.passes * iterations, iterations), layers="any")

    def prior(self, choice: PriorChoice, facts: DatasetFacts) -> Work:
        """Return the work of fitting a prior, as it tells it: asked once, since it may have to build itself to know."""
        known = (choice.name, repr(choice.options.values), facts)
        if known not in self._priors:
            self._priors[known] = Work(*choice.prior.work(choice.options.values, facts))
        return self._priors[known]

    def experts(self, choice: ExpertsChoice, facts: DatasetFacts) -> Work:
        """Return the work of training all experts."""
        options = cast("ExpertOptions", choice.options.values)
        images, epochs = sum(facts.counts), options.epochs * options.count
        work = self.size(choice.network).training(images * epochs, epochs * math.ceil(images / options.batch))
        return replace(work, layers="any")

    def student(self, cell: Cell, images: int) -> Work:
        """Return the work of training and testing one student."""
        recipe = student_recipe(cell.recipe, cell.student)
        teacher = self.size(cell.choice.network) if cell.label_regime == "soft_online" and cell.choice else None
        size = self.size(cell.network)
        work, tested = training_work(size, recipe, images, teacher=teacher), size.passes(cell.facts.test_images, 0)
        return together(work, tested)

    def of(self, stage: NeedStage | DistilledStage | StudentStage) -> tuple[Work, Precision]:
        """Return a stage's work and how it will run."""
        if isinstance(stage, TeacherStage):
            return self.teacher(stage.choice, stage.facts), stage.precision
        if isinstance(stage, PriorStage):
            return self.prior(stage.choice, stage.facts), stage.precision
        if isinstance(stage, ExpertsStage):
            return self.experts(stage.choice, stage.facts), stage.precision
        if isinstance(stage, DistilledStage):
            networks = [need.choice.network for need in stage.teachers.values()]
            return self.recover(stage.method, stage.facts, stage.ipc, networks), stage.precision
        images = sum(len(job.labels) for job in stage.distilled.jobs)
        return self.student(stage.cell, images), stage.precision

    def seconds(self, stage: NeedStage | DistilledStage | StudentStage, able: Abilities) -> float:
        """Return the nominal seconds of a stage on a device that can so much, from the same table that chooses its precision."""
        return seconds_of(*self.of(stage), able)


def seconds_of(work: Work, precision: Precision, able: Abilities) -> float:
    """Return the nominal seconds of so much work in a way, on a device that can so much."""
    if work == NOTHING:
        return 0.0
    compiling = COMPILE_S if precision.compile else 0.0
    return compiling + estimated_s(work, able, precision)

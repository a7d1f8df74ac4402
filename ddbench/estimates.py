"""How much work a stage is, and how long it should take: counted from shapes and options, never timed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ddbench.networks import build, count_parameters, fit, resolve
from ddbench.stages import DistilledStage, ExpertsStage, NeedStage, PriorStage, StudentStage, TeacherStage
from ddbench.training.precision import COMPILE_S, Abilities, estimated_s
from ddbench.training.recipe import student_recipe
from ddbench.training.work import Layers, Work, forward_flops, layers_of, training_work

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


@dataclass(frozen=True)
class Counted:
    """What is known of a network's size."""

    flops: int
    layers: Layers
    parameters: int


def _counted(network: nn.Module, spec: NetworkSpec) -> Counted:
    return Counted(forward_flops(network, spec.shape), layers_of(network), count_parameters(network))


class Estimates:
    """Counts work; each network is counted once."""

    def __init__(self, families: Mapping[str, NetworkFamily]) -> None:
        self._families = families
        self._counts: dict[str, Counted] = {}
        self._priors: dict[tuple[str, str, DatasetFacts], Work] = {}

    def flops(self, spec: NetworkSpec) -> int:
        """Return the floating-point operations of one image through a network, forward."""
        return self._known(spec).flops

    def layers(self, spec: NetworkSpec) -> Layers:
        """Return what else decides how fast a network trains."""
        return self._known(spec).layers

    def parameters(self, spec: NetworkSpec) -> int:
        """Return how many parameters a network has."""
        return self._known(spec).parameters

    def _known(self, spec: NetworkSpec) -> Counted:
        known = f"{spec.name} {spec.shape} {spec.num_classes}"
        if known not in self._counts:
            self._counts[known] = self._count(spec)
        return self._counts[known]

    def _count(self, spec: NetworkSpec) -> Counted:
        """Return a network counted without drawing its weights; for real where that cannot be done.

        A small one runs on zeros, which takes less time than what torch imports to run it on the meta device.
        """
        with contextlib.suppress(*fit.FAILURES):
            network = self._on_meta(spec)
            if count_parameters(network) <= SMALL:
                with contextlib.suppress(*fit.FAILURES):
                    return _counted(fit.with_zeros(network), spec)
                network = self._on_meta(spec)  # part of it may have left
            return _counted(network, spec)
        return _counted(build(spec, self._families, seed=0), spec)

    def _on_meta(self, spec: NetworkSpec) -> nn.Module:
        return fit.built_on_meta(lambda: build(spec, self._families, seed=0))

    def teacher(self, choice: TeacherChoice, facts: DatasetFacts) -> Work:
        """Return the work of training a teacher; none where its way has no `epochs`."""
        epochs, batch = (getattr(choice.options.values, name, None) for name in ("epochs", "batch"))
        if not epochs or not batch:
            return NOTHING
        images = sum(facts.counts)
        steps = epochs * math.ceil(images / batch)
        return Work(3.0 * self.flops(choice.network) * images * epochs, steps, self.layers(choice.network))

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
        images = facts.num_classes * ipc
        return Work(float(RECOVER_PASSES) * self.flops(teachers[0]) * images * iterations, iterations * groups * class_batches)

    def _matching(self, method: Method, facts: DatasetFacts, ipc: int) -> Work:
        """Return the work of a method's steps as its objective tells it; what renders the images is not counted."""
        part = method.parts["objective"]
        step = part.entry.value.work(part.options.values, facts, facts.num_classes * ipc)
        if not step.network:
            return NOTHING
        spec = resolve(step.network, self._families, shape=facts.shape, num_classes=facts.num_classes)
        iterations: int = getattr(method.options.values, "iterations", 0)
        return Work(step.passes * self.flops(spec) * iterations, iterations)

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
        return Work(3.0 * self.flops(choice.network) * images * epochs, epochs * math.ceil(images / options.batch))

    def student(self, cell: Cell, images: int) -> Work:
        """Return the work of training and testing one student."""
        recipe = student_recipe(cell.recipe, cell.student)
        teacher_flops = self.flops(cell.choice.network) if cell.label_regime == "soft_online" and cell.choice else 0
        flops, layers = self.flops(cell.network), self.layers(cell.network)
        training = training_work(flops, recipe, images, teacher_flops=teacher_flops, layers=layers)
        return Work(training.flops + float(flops) * cell.facts.test_images, training.steps, layers)

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

"""How much work a stage is, and how long it should take: counted from shapes and options, never timed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ddbench.networks import build
from ddbench.stages import DistilledStage, StudentStage, TeacherStage
from ddbench.training.precision import COMPILE_S, device_abilities, estimated_s
from ddbench.training.recipe import student_recipe
from ddbench.training.work import Work, forward_flops, training_work

if TYPE_CHECKING:
    import torch

    from ddbench.api.context import Precision
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.network import NetworkFamily, NetworkSpec
    from ddbench.cells import Cell, Method, TeacherChoice

NOTHING = Work(0.0, 0)
RECOVER_PASSES = 2
"""Forward passes' worth of an image per iteration: forward, and the gradient with respect to the image."""

LONG_S = 2 * 3600.0
"""A run expected to take longer is told of the cheaper recipe before it starts."""


class Estimates:
    """Counts work; each network is counted once."""

    def __init__(self, families: Mapping[str, NetworkFamily]) -> None:
        self._families = families
        self._flops: dict[str, int] = {}

    def flops(self, spec: NetworkSpec) -> int:
        """Return the floating-point operations of one image through a network, forward."""
        known = f"{spec.name} {spec.shape} {spec.num_classes}"
        if known not in self._flops:
            self._flops[known] = forward_flops(build(spec, self._families, seed=0), spec.shape)
        return self._flops[known]

    def teacher(self, choice: TeacherChoice, facts: DatasetFacts) -> Work:
        """Return the work of training a teacher; none where its way has no `epochs`."""
        epochs, batch = (getattr(choice.options.values, name, None) for name in ("epochs", "batch"))
        if not epochs or not batch:
            return NOTHING
        images = sum(facts.counts)
        return Work(3.0 * self.flops(choice.network) * images * epochs, epochs * math.ceil(images / batch))

    def recover(self, method: Method, facts: DatasetFacts, ipc: int, teachers: Sequence[NetworkSpec]) -> Work:
        """Return the work of making a distilled set; none for methods without `iterations`."""
        iterations = getattr(method.options.values, "iterations", 0)
        if not iterations or not teachers:
            return NOTHING
        stack = max(1, method.synthesizer.stack(method.options.values, facts))
        images = facts.num_classes * ipc
        return Work(float(RECOVER_PASSES) * self.flops(teachers[0]) * images * iterations, iterations * math.ceil(ipc / stack))

    def student(self, cell: Cell, images: int) -> Work:
        """Return the work of training and testing one student."""
        recipe = student_recipe(cell.recipe, cell.student)
        teacher_flops = self.flops(cell.choice.network) if cell.label_regime == "soft_online" and cell.choice else 0
        training = training_work(self.flops(cell.network), recipe, images, teacher_flops=teacher_flops)
        return Work(training.flops + float(self.flops(cell.network)) * cell.facts.test_images, training.steps)

    def of(self, stage: TeacherStage | DistilledStage | StudentStage) -> tuple[Work, Precision]:
        """Return a stage's work and how it will run."""
        if isinstance(stage, TeacherStage):
            return self.teacher(stage.choice, stage.facts), stage.precision
        if isinstance(stage, DistilledStage):
            networks = [need.choice.network for _, need in stage.needs.values()]
            return self.recover(stage.method, stage.facts, stage.ipc, networks), stage.precision
        images = sum(len(job.labels) for job in stage.distilled.jobs)
        return self.student(stage.cell, images), stage.precision

    def seconds(self, stage: TeacherStage | DistilledStage | StudentStage, device: torch.device) -> float:
        """Return the nominal seconds of a stage on a device, from the same table that chooses its precision."""
        work, precision = self.of(stage)
        if work == NOTHING:
            return 0.0
        compiling = COMPILE_S if precision.compile else 0.0
        return compiling + estimated_s(work, device_abilities(device), precision.dtype, compiled=precision.compile)

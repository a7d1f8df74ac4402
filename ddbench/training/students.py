"""Students: trained from scratch on a distilled set by a protocol, under its label regime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ddbench.errors import BadRequest
from ddbench.seeding import derive_seed
from ddbench.training.loop import Lesson, RunSettings, Trained, fit, sizes_to_compile
from ddbench.training.losses import criterion
from ddbench.training.precision import forget_compiled
from ddbench.training.recipe import student_recipe
from ddbench.training.teaching import Answers, one_answer_each
from ddbench.training.views import Source, normalised

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.api.network import TrainedNetwork
    from ddbench.api.protocol import ProtocolSpec
    from ddbench.api.synthesizer import Space
    from ddbench.training.labels import StoredLabels
    from ddbench.training.recipe import Recipe
    from ddbench.training.views import BatchDraw

VIEWS = "student views"
"""What batch order, augmentation and mixing are drawn for; equal under every label regime, so that regimes can be paired."""

Target = Callable[[int, "BatchDraw", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class StudentData:
    """A distilled set as a student learns from it."""

    images: Tensor
    """(N, C, H, W): uint8, or float32 in `space`."""
    labels: Tensor
    """int64 (N,)."""
    mean: Tensor
    """float32 (C,): of the dataset's pixels in [0, 1]; students see images normalised by it."""
    std: Tensor
    """float32 (C,)."""
    space: Space = "uint8"
    soft_labels: Tensor | None = None
    """float32 (N, classes), rows summing to one, where the set carries labels of its own; read under `soft_once` only."""
    teacher: TrainedNetwork | None = None
    learned_lr: float | None = None
    """The step size learned with the set."""
    stored: StoredLabels | None = None
    """The teacher's answers, under `soft_epoch`."""


@dataclass(frozen=True)
class StudentSeeds:
    """What decides a student's draws; the initialisation, the batch order and the views come from different streams."""

    eval_seed: int
    view_seed: int | None = None
    """Under `soft_epoch`, decides batch order, views and mixing for every eval seed."""

    @property
    def initialisation(self) -> int:
        """The seed a student's network is built with: the same for rivals of one eval seed."""
        return derive_seed("student initialisation", self.eval_seed)


@dataclass(frozen=True)
class Student:
    """A fresh network and its full name, by which a protocol knows it (`ddbench/convnet3`)."""

    network: nn.Module
    name: str


def train_student(student: Student, data: StudentData, spec: ProtocolSpec, *, seeds: StudentSeeds, run: RunSettings) -> Trained:
    """Train a student in place on a distilled set and return it with what that took; the teacher is left as it was.

    Raises:
        BadRequest: The protocol does not admit the student, or something that its label regime needs is missing.
        SpecialValue: The loss became NaN or infinite.
        OutOfMemory: A step does not fit into memory.
    """
    if not spec.admits(student.name):
        raise BadRequest(f"protocol {spec.name} is defined for {', '.join(spec.students)}, not for {student.name!r}")
    forget_compiled(run.precision)
    recipe = student_recipe(spec, student.name, learned_lr=data.learned_lr)
    lesson, ask = student_lesson(recipe, data, spec, seeds=seeds, run=run)
    trained = fit(student.network, recipe, lesson=lesson, run=run)
    return replace(trained, notes=(*trained.notes, *(ask.notes if ask else ())))


def student_lesson(
    recipe: Recipe, data: StudentData, spec: ProtocolSpec, *, seeds: StudentSeeds, run: RunSettings
) -> tuple[Lesson, Answers | None]:
    """Return what a student learns from under a protocol, and the teacher where it has to answer, now or during training."""
    source = held(data, run.device)
    view_seed = seeds.eval_seed
    if spec.label_regime == "soft_epoch":
        view_seed = _stored(data, spec, seeds, recipe).view_seed
    ask = _asked(data, spec, run, sizes_to_compile(recipe, source.count))
    target = _target(data, spec, source, ask)
    by_view = spec.label_regime == "soft_online"
    noise = ("student layers", seeds.eval_seed)
    lesson = Lesson(source, target, criterion(spec.loss), views=(VIEWS, view_seed), noise=noise, by_view=by_view)
    return lesson, ask


def held(data: StudentData, device: torch.device) -> Source:
    """Return a set's images held on the device: as uint8 where they are, else float32 normalised once."""
    mean, std = data.mean.to(device), data.std.to(device)
    images = data.images.to(device)
    fill = torch.zeros_like(mean) if data.space == "zca" else -mean / std
    if data.space == "unit":
        images = normalised(images, mean, std)

    def fetch(index: Tensor) -> Tensor:
        batch = images[index]
        return normalised(batch, mean, std) if data.space == "uint8" else batch

    return Source(len(images), (images.shape[2], images.shape[3]), fetch, fill)


def _asked(data: StudentData, spec: ProtocolSpec, run: RunSettings, sizes: frozenset[int]) -> Answers | None:
    """Return the set's teacher where it has to answer, now or during training; a single answer an image is not compiled for."""
    once = spec.label_regime == "soft_once" and data.soft_labels is None
    if spec.label_regime == "soft_online" or once:
        return Answers(data, spec.teacher_bn or "running", run, sizes=frozenset() if once else sizes)
    return None


def _target(data: StudentData, spec: ProtocolSpec, source: Source, ask: Answers | None) -> Target:
    """Return how a batch's target comes about under the protocol's label regime."""
    device = source.fill.device
    if spec.label_regime == "soft_epoch":
        return _StoredTarget(data, device)
    if spec.label_regime == "soft_online" and ask:
        return lambda _epoch, _drawn, view: ask(view)
    if spec.label_regime == "soft_once":
        own = data.soft_labels if ask is None else one_answer_each(ask, source, temperature=spec.loss.temperature)
    else:
        own = data.labels
    if own is None:
        raise BadRequest(f"protocol {spec.name} needs a teacher or soft labels of the set")
    targets = own.to(device)
    return lambda _epoch, drawn, _view: targets[drawn.index]


def _stored(data: StudentData, spec: ProtocolSpec, seeds: StudentSeeds, recipe: Recipe) -> StoredLabels:
    """Return the stored labels, held against the set, the protocol and the seeds.

    Raises:
        BadRequest: There are none, they are of another shape, or the view seed is another.
    """
    from ddbench.api.protocol import training_epochs

    if data.stored is None:
        raise BadRequest(f"protocol {spec.name} needs stored labels, and none were given")
    need = (training_epochs(recipe, len(data.images)), len(data.images))
    if tuple(data.stored.logits.shape[:2]) != need:
        raise BadRequest(f"stored labels hold {tuple(data.stored.logits.shape[:2])} epochs and images; {spec.name} needs {need}")
    if seeds.view_seed not in {None, data.stored.view_seed}:
        raise BadRequest(f"stored labels were made with view seed {data.stored.view_seed}; asked for {seeds.view_seed}")
    return data.stored


class _StoredTarget:
    """Reads stored labels, one epoch on the device at a time."""

    def __init__(self, data: StudentData, device: torch.device) -> None:
        if data.stored is None:
            raise BadRequest("stored labels are missing")
        self.logits, self.device, self.epoch = data.stored.logits, device, -1
        self.present = torch.empty(0)

    def __call__(self, epoch: int, drawn: BatchDraw, _view: Tensor) -> Tensor:
        """Return float32 (n, classes): the teacher's logits for the batch's views."""
        if epoch != self.epoch:
            self.present, self.epoch = self.logits[epoch].to(self.device), epoch
        return self.present[drawn.index].float()

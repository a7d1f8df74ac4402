"""Do a network's answers on train images belong to the dataset's classes, in their order?

Weights say nothing about which output means which class. Swapped classes, another normalisation or another
architecture with equal names load without complaint, and everything made from such a teacher is worthless
(trap T16 of the field study: "10 % instead of 60 %" in four repositories' issues).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from scipy.optimize import linear_sum_assignment

from ddbench.errors import TeacherMismatch
from ddbench_plugins.teachers.answers import answers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ddbench import Context, TrainedNetwork

PER_CLASS = 20
TOTAL = 5000
"""Images looked at: 20 of each class, fewer where that would be more than 5000."""

TRUSTED = 10
"""From so many images on, one class's answers are judged by themselves; below, all classes together."""

CLEARLY = 0.25
"""Fraction of images that another order of classes must get right beyond the order given, to be clearly better."""


def probed(ctx: Context, teacher: TrainedNetwork, source: str) -> TrainedNetwork:
    """Return the teacher with what was seen in its card: `train_top1` on so many `train_images`.

    Raises:
        TeacherMismatch: Its answers are at chance, or belong to the classes in another order.
    """
    confusion = confusion_on_train(ctx, teacher)
    images, right = int(confusion.sum()), int(confusion.diagonal().sum())
    check_order(confusion, teacher.classes, source)
    return replace(teacher, card={**teacher.card, "source": source, "train_top1": right / images, "train_images": images})


def confusion_on_train(ctx: Context, teacher: TrainedNetwork) -> Tensor:
    """Return int64 (classes, classes): of each true class (row), how often the network answers each class (column)."""
    classes = len(teacher.classes)
    per_class = max(1, min(PER_CLASS, TOTAL // classes))
    index, labels = _sample(ctx, per_class)
    pairs = labels * classes + answers(ctx, teacher, index)
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def check_order(confusion: Tensor, classes: Sequence[str], source: str) -> None:
    """Do nothing where the answers agree with the classes in their order.

    Raises:
        TeacherMismatch: They are within four standard deviations of guessing, or some classes answer clearly better
            in another order, the best one being found as a linear assignment.
    """
    images, right = int(confusion.sum()), int(confusion.diagonal().sum())
    columns = torch.from_numpy(linear_sum_assignment(confusion.numpy(), maximize=True)[1])
    moved = (columns != torch.arange(len(classes))).nonzero().flatten()
    gain = int(confusion[moved, columns[moved]].sum() - confusion.diagonal()[moved].sum())
    of = int(confusion[moved].sum()) if images >= TRUSTED * len(classes) else images
    if gain > CLEARLY * max(of, TRUSTED):
        worst = max(moved.tolist(), key=lambda row: int(confusion[row, columns[row]]))
        raise TeacherMismatch(
            f"{source} answers in another order of classes: train images of {classes[worst]!r} are called "
            f"{classes[int(columns[worst])]!r}, and {len(moved)} of {len(classes)} classes are moved; "
            "reorder its last layer's rows, or give the dataset with its classes in that order"
        )
    if right <= at_chance(images, len(classes)):
        raise TeacherMismatch(
            f"{source} gets {right} of {images} train images right, as good as guessing; "
            "is it for this dataset, this network and this normalisation (options mean and std)?"
        )


def at_chance(images: int, classes: int) -> float:
    """Return the right answers that guessing stays below but for one time in thirty thousand: mean + 4 standard deviations."""
    chance = 1 / classes
    return images * chance + 4 * math.sqrt(images * chance * (1 - chance))


def _sample(ctx: Context, per_class: int) -> tuple[Tensor, Tensor]:
    """Return int64 positions and labels of up to `per_class` train images of each class, drawn by the stage's generator."""
    index, labels = [], []
    for label in range(ctx.train.facts.num_classes):
        positions = ctx.train.indices(label).cpu()
        drawn = positions[torch.randperm(len(positions), generator=ctx.generator)[:per_class]]
        index.append(drawn)
        labels.append(torch.full((len(drawn),), label, dtype=torch.int64))
    return torch.cat(index), torch.cat(labels)

"""Whether a set's labels mean the dataset's classes in their order: held against a teacher before anything is trained on it.

With M[i, j] the number of images labelled i that the teacher takes for j, the labels' own order agrees on trace(M) images, and the
best order on as many as the assignment that maximises the sum of M[i, pi(i)]. The best is never worse, so that it counts only where

- classes that it moves agree on at least half of their images, and on a quarter of them more than as labelled,
- at least five images more agree, and
- chance does not come near: were the answers to the images that disagree drawn at random, hardly one best order in five hundred
  would agree on as many images. With one image per class, that alone is what speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ddbench.errors import ClassOrderMismatch
from ddbench.seeding import generator_for
from ddbench.training.zca import whitening_of

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.context import Context
    from ddbench.api.network import TrainedNetwork
    from ddbench.api.synthesizer import JobResult

MOST_IMAGES = 10_000
"""Images the teacher is asked about, at most, spread over the set."""

BATCH = 250

GAIN = 0.25
"""Share of the moved classes' images by which the other order must agree on more."""

AGREED = 0.5
"""Share of the moved classes' images on which it must agree."""

FEWEST = 5
"""Images on which it must agree more."""

DRAWS, DRAWS_OF_MANY = 1000, 100
"""Times that answers are drawn; the second above a hundred classes, whose best order takes long to find."""

BY_CHANCE = 0.002
"""Share of drawn answers whose best order may agree on as many images."""

SHOWN = 4


@dataclass(frozen=True)
class Agreement:
    """How an order of classes agrees with the teacher."""

    order: tuple[int, ...]
    """By label, the class that the teacher's answers say it is."""
    agreeing: int
    """Images whose answer is their label, as labelled."""
    agreeing_best: int
    """The same in the other order."""
    images: int
    clear: bool
    """Whether the other order is clearly better."""

    @property
    def moved(self) -> list[int]:
        """Labels that stand for another class in the other order."""
        return [label for label, other in enumerate(self.order) if label != other]


def check_order(ctx: Context, teacher: TrainedNetwork, result: JobResult, name: str) -> Agreement:
    """Return how a set's labels agree with a teacher.

    Raises:
        ClassOrderMismatch: Another order of classes agrees clearly better.
    """
    classes = ctx.train.facts.classes
    labels, answers = ask(ctx, teacher, result)
    found = compare(labels, answers, len(classes))
    if found.clear:
        pairs = ", ".join(f"{classes[label]!r} seems to be {classes[found.order[label]]!r}" for label in found.moved[:SHOWN])
        more = ", …" if len(found.moved) > SHOWN else ""
        raise ClassOrderMismatch(
            f"{name}: its classes look misordered: as labelled, the teacher agrees on {found.agreeing} of {found.images} images, "
            f"in another order on {found.agreeing_best}, where {pairs}{more}; give labels in the order of "
            f"{ctx.train.facts.name}'s classes ({', '.join(classes[:3])}, …), or say --no-class-check"
        )
    return found


def ask(ctx: Context, teacher: TrainedNetwork, result: JobResult) -> tuple[Tensor, Tensor]:
    """Return int64 (n,) labels and the teacher's answers to their images, on the CPU."""
    index = torch.linspace(0, len(result.labels) - 1, min(len(result.labels), MOST_IMAGES)).round().long()
    answers = []
    with torch.no_grad():
        for place in torch.split(index, BATCH):
            unit = _unit(ctx, result.images[place].to(ctx.device), result.space)
            seen = (unit - teacher.mean.view(1, -1, 1, 1)) / teacher.std.view(1, -1, 1, 1)
            answers.append(teacher.module(seen).argmax(dim=1).cpu())
    return result.labels[index], torch.cat(answers)


def compare(labels: Tensor, answers: Tensor, num_classes: int) -> Agreement:
    """Return how labels and answers, both int64 (n,), agree as they are and in the best order of classes."""
    own = int((labels == answers).sum())
    order, best = best_order(labels, answers, num_classes)
    moved = torch.tensor([label != other for label, other in enumerate(order)])[labels]
    count, gain = int(moved.sum()), best - own
    agreeing = int((torch.tensor(order)[labels] == answers)[moved].sum())
    better = gain >= max(FEWEST, GAIN * count) and agreeing >= AGREED * count
    clear = better and _by_chance(labels, answers, num_classes, best) <= BY_CHANCE
    return Agreement(order, own, best, len(labels), clear)


def best_order(labels: Tensor, answers: Tensor, num_classes: int) -> tuple[tuple[int, ...], int]:
    """Return by label the class of the order that agrees on most images, and on how many; ties keep what is labelled."""
    from scipy.optimize import linear_sum_assignment

    confusion = torch.bincount(labels * num_classes + answers, minlength=num_classes**2).view(num_classes, num_classes).double()
    tie = 1.0 / (2 * num_classes + 2)  # all labels in place together weigh less than one image
    rows, columns = linear_sum_assignment((confusion + tie * torch.eye(num_classes)).numpy(), maximize=True)
    return tuple(columns.tolist()), int(confusion[rows, columns].sum())


def _by_chance(labels: Tensor, answers: Tensor, num_classes: int, best: int) -> float:
    """Return how often a best order agrees on `best` images or more where the answers that disagree are drawn at random."""
    generator = generator_for("class order", num_classes, len(labels))
    wrong = labels != answers
    draws = DRAWS if num_classes <= 100 else DRAWS_OF_MANY
    reached = 0
    for _ in range(draws):
        drawn = answers.clone()
        drawn[wrong] = torch.randint(num_classes, (int(wrong.sum()),), generator=generator)
        reached += best_order(labels, drawn, num_classes)[1] >= best
    return reached / draws


def _unit(ctx: Context, images: Tensor, space: str) -> Tensor:
    """Return float32 pixels from 0 to 1, or near, of any space."""
    facts = ctx.train.facts
    if space == "uint8":
        return images.float() / 255
    if space == "unit":
        return images
    if space == "normalised":
        mean, std = (_column(numbers, images) for numbers in (facts.mean, facts.std))
        return images * std + mean
    whitening = whitening_of(ctx.train).to(images.device)
    flat: Tensor = torch.linalg.solve(whitening.matrix, images.flatten(1).T).T  # the matrix is symmetric
    return (flat + whitening.mean).view(images.shape)


def _column(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, device=like.device).view(1, -1, 1, 1)

"""Which real images a job starts from: one rule for `random`, for real initialisation and for zero-iterations controls."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from ddbench.errors import NotEnoughImages
from ddbench.seeding import generator_for

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.dataset import DatasetFacts, TrainSplit
    from ddbench.api.synthesizer import Job


def draw_real(train: TrainSplit, job: Job) -> Tensor:
    """Return int64 (N,): a train position for each of the job's labels.

    Each class has one permutation of its train images, seeded by the distill seed and the label alone; job `i` takes
    element `i` of it, or, where it names the class `r` times, elements `i r` to `i r + r - 1` in order. So images are distinct
    across jobs, a smaller set is a prefix of a larger one, one job with all images (`one_job`) draws what one job per image index
    draws, and every method that starts from real images starts from those that `random` draws at the same seed.

    Raises:
        NotEnoughImages: A class holds too few images.
    """
    drawn = {label: iter(_drawn(train, job, label, times)) for label, times in Counter(job.labels).items()}
    return torch.stack([next(drawn[label]) for label in job.labels])


def refuse_small_classes(facts: DatasetFacts, ipc: int) -> None:
    """Do nothing where every class has `ipc` train images to draw.

    Raises:
        NotEnoughImages: One has not; the smallest is named.
    """
    smallest = min(range(facts.num_classes), key=facts.counts.__getitem__)
    if ipc > facts.counts[smallest]:
        raise _too_few(facts, smallest, ipc)


def _too_few(facts: DatasetFacts, label: int, wanted: int) -> NotEnoughImages:
    count = facts.counts[label]
    return NotEnoughImages(
        f"class {facts.classes[label]!r} of {facts.name} has {count} train images, and {wanted} were asked for; "
        f"ask for at most {count} with --ipc"
    )


def _drawn(train: TrainSplit, job: Job, label: int, times: int) -> Tensor:
    """Return int64 (times,): the train positions that a job takes of one class."""
    positions = train.indices(label).cpu()
    first, end = job.index * times, (job.index + 1) * times
    if end > len(positions):
        raise _too_few(train.facts, label, end)
    order = torch.randperm(len(positions), generator=generator_for("real images", job.seed, label))
    return positions[order[first:end]]

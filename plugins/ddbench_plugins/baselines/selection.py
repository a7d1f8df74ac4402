"""Selecting real images by a teacher's features, one class at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ddbench import Context, Job, JobResult, TrainedNetwork, TrainSplit
from ddbench.kit import features

BATCH = 256

Order = Callable[[Tensor, int], Tensor]
"""From float64 (n, D) features of a class and a count to int64 (count,) rows in the order of picking."""


def picked(train: TrainSplit, index: Tensor, labels: Sequence[int]) -> JobResult:
    """Return the train images at int64 (N,) positions, with the positions kept as `real_index`."""
    return JobResult(train.images(index).cpu(), torch.tensor(labels), space="uint8", extras={"real_index": index.cpu()})


def select(ctx: Context, group: Sequence[Job], order: Order, *, normalise: bool) -> list[JobResult]:
    """Return job `i`'s result: pick number `i` of every class, in the order that `order` gives its features."""
    count = 1 + max(job.index for job in group)
    picks = []
    for label in range(ctx.train.facts.num_classes):
        index = ctx.train.indices(label).cpu()
        vectors = class_features(ctx, ctx.needs["teacher"], index)
        picks.append(index[order(normalize(vectors) if normalise else vectors, count)])
        ctx.progress(label + 1, ctx.train.facts.num_classes)
    return [picked(ctx.train, torch.stack([picks[label][job.index] for label in job.labels]), job.labels) for job in group]


def class_features(ctx: Context, teacher: TrainedNetwork, index: Tensor) -> Tensor:
    """Return float64 (n, D) on the CPU: the teacher's last features of the train images at int64 (n,) positions."""
    mean, std = (values.to(ctx.device).view(-1, 1, 1) for values in (teacher.mean, teacher.std))
    parts = []
    for chunk in torch.split(index, BATCH):
        images = (ctx.train.images(chunk).float() / 255 - mean) / std
        parts.append(features(teacher.module, images).double().cpu())
    return torch.cat(parts)

"""A teacher's answers to train images as they are, without augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddbench.training.precision import autocast, memory_format, suited
from ddbench.training.views import normalised

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench import Context, TrainedNetwork

BATCH = 500


def train_top1(ctx: Context, teacher: TrainedNetwork) -> float:
    """Return the fraction of the train split that the teacher, in eval mode, gets right."""
    right = 0
    for label in range(ctx.train.facts.num_classes):
        right += int((answers(ctx, teacher, ctx.train.indices(label)) == label).sum())
    return right / sum(ctx.train.facts.counts)


def answers(ctx: Context, teacher: TrainedNetwork, index: Tensor) -> Tensor:
    """Return int64 (N,) on the CPU: the classes that the teacher, in eval mode, gives the train images at (N,) positions."""
    mean, std = teacher.mean.to(ctx.device), teacher.std.to(ctx.device)
    layout = memory_format(ctx.precision)

    def answered(part: Tensor) -> Tensor:
        logits: Tensor = teacher.module(normalised(ctx.train.images(part), mean, std).contiguous(memory_format=layout))
        return logits.argmax(dim=1)

    with torch.inference_mode(), suited(teacher.module, ctx.precision, ctx.device), autocast(ctx.precision, ctx.device):
        parts = [answered(part) for part in torch.split(index, BATCH)]
    return torch.cat(parts).cpu().clone()

"""Squeeze: a classifier trained on the real train split, by the same loop as students; what teachers are made by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddbench.data.splits import train_labels
from ddbench.training.loop import Lesson, RunSettings, Trained, fit
from ddbench.training.losses import cross_entropy
from ddbench.training.precision import forget_compiled
from ddbench.training.views import Source, normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from ddbench.api.context import Context
    from ddbench.training.recipe import Recipe
    from ddbench.training.views import BatchDraw

Normalisation = tuple["Sequence[float]", "Sequence[float]"]
"""Mean and standard deviation per channel, of pixels in [0, 1]."""


def train_classifier(network: nn.Module, recipe: Recipe, ctx: Context, *, normalisation: Normalisation | None = None) -> Trained:
    """Train a network in place with hard labels on `ctx.train`, normalised by mean and std: the dataset's unless given.

    Every draw comes from one number taken from `ctx.generator`. The state is offered to `ctx.checkpoint` after every epoch; a
    killed training that goes on from `ctx.resumed()` ends with the bytes of one that was never killed.

    Raises:
        SpecialValue: The loss became NaN or infinite.
    """
    forget_compiled(ctx.precision)
    seed = int(torch.randint(2**62, (), generator=ctx.generator))
    labels = train_labels(ctx.train).to(ctx.device)

    def target(_epoch: int, drawn: BatchDraw, _view: Tensor) -> Tensor:
        return labels[drawn.index]

    lesson = Lesson(_source(ctx, normalisation), target, cross_entropy, ("squeeze views", seed), ("squeeze layers", seed))
    run = RunSettings(ctx.device, ctx.precision, ctx.progress)
    trained = fit(network, recipe, lesson=lesson, run=run, keeper=ctx)
    for line in trained.notes:
        ctx.note(line)
    return trained


def _source(ctx: Context, normalisation: Normalisation | None) -> Source:
    facts = ctx.train.facts
    mean, std = (torch.tensor(values, device=ctx.device) for values in normalisation or (facts.mean, facts.std))

    def fetch(index: Tensor) -> Tensor:
        return normalised(ctx.train.images(index), mean, std)

    return Source(sum(facts.counts), facts.shape[1:], fetch, -mean / std, host=not getattr(ctx.train, "held", False))

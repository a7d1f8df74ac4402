"""Matching in pixels: one leg of a walk whose latents are the images themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ddbench import JobResult, Latents
from ddbench.kit import IdentityPrior, Leg, Pixels, WalkRecipe, draw_real, walk
from ddbench.seeding import generator_for
from ddbench.training.zca import whitening_of

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench import Context, Job, Matching
    from ddbench.api.synthesizer import Space

    from .pixels import PixelMatching


def optimised(ctx: Context, method: PixelMatching, o: Any, job: Job) -> JobResult:
    """Return the job's images after `o.iterations` steps, in the objective's space; real ones after none stay uint8."""
    labels = torch.tensor(job.labels)
    index = draw_real(ctx.train, job) if o.init == "real" else None
    kept = {} if index is None else {"real_index": index}
    if o.iterations == 0 and index is not None:
        return JobResult(ctx.train.images(index).cpu(), labels, extras=kept)
    part = ctx.plugin("objective")
    matching: Matching = part.value.start(ctx, part.options, job)
    start = Latents("pixel", {"x": _begun(ctx, f"{method.name} noise", job, index, space=matching.space)}, labels.to(ctx.device))
    leg = Leg("pixel", o.iterations, {"x": o.lr})
    recipe = WalkRecipe((leg,), momentum=o.momentum, chunk=len(labels), advice=method.advice)
    walked = walk(ctx, IdentityPrior(ctx.train.facts.shape), start, matching, recipe)
    space: Space = "zca" if matching.space == "zca" else "normalised"
    return JobResult(walked.images.cpu(), labels, space, extras={**kept, **walked.extras(), **matching.extras()})


def _begun(ctx: Context, purpose: str, job: Job, index: Tensor | None, *, space: str) -> Tensor:
    """Return float32 (N, C, H, W) in a space, on the device: real images at their positions, or noise drawn for a purpose."""
    if index is None:
        generator = generator_for(purpose, job.seed, job.index)
        return torch.randn(len(job.labels), *ctx.train.facts.shape, generator=generator).to(ctx.device)
    real = ctx.train.images(index)
    if space == "zca":
        return whitening_of(ctx.train).to(ctx.device).apply(real)
    return Pixels.of_facts(ctx.train.facts, ctx.device).normalise(real)

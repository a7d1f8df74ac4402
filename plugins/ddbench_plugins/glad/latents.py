"""One job of `glad` or `hglad`: latents begin, are walked, and are decoded."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import torch

from ddbench import JobResult
from ddbench.errors import BadRequest
from ddbench.kit import Pixels, Walked, WalkRecipe, draw_real, rendered_unit, walk
from ddbench.seeding import generator_for
from ddbench_plugins.glad.options import LatentOptions, begins_as

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench import Context, Job, Judge, Latents, LoadedPrior, Matching


def distil(ctx: Context, o: LatentOptions, job: Job, recipe: WalkRecipe) -> JobResult:
    """Return the images that the latents decode to after the walk, with its curves.

    Images decoded from latents are float32 in [0, 1]; those of a walk that ends in pixels are normalised, and may leave that range.

    Raises:
        BadRequest: The prior cannot begin as asked, or the objective wants images that no prior gives.
        SpecialValue: A loss or a score became NaN or infinite.
    """
    prior: LoadedPrior = ctx.needs["prior"]
    start = begun(ctx, prior, o, job, recipe.legs[0].space)
    matching = _matching(ctx, job)
    judge = _judge(ctx, job) if recipe.select_every and o.iterations else None
    walked = walk(ctx, prior, start, matching, recipe, judge=judge)
    images, space = _images(prior, walked, recipe.chunk)
    return JobResult(images.cpu(), torch.tensor(job.labels), space, extras=_extras(o, walked, matching))


def begun(ctx: Context, prior: LoadedPrior, o: LatentOptions, job: Job, space: str) -> Latents:
    """Return the latents that the walk starts from; what is drawn depends on the job alone."""
    how = begins_as(o, max(Counter(job.labels).values()))
    real = None
    if how == "encode":
        pixels = Pixels.of_facts(ctx.train.facts, ctx.device)
        real = pixels.normalise(ctx.train.images(draw_real(ctx.train, job)))
    labels = torch.tensor(job.labels, device=ctx.device)
    return prior.init_latents(labels, space, how=how, real=real, generator=generator_for("latents", job.seed, job.index))


def _matching(ctx: Context, job: Job) -> Matching:
    """Return the objective at work."""
    part = ctx.plugin("objective")
    matching: Matching = part.value.start(ctx, part.options, job)
    if matching.space != "normalised":
        raise BadRequest(
            f"objective {part.value.name!r} asks for images in space {matching.space!r}, and a prior gives normalised ones; "
            "let it match plain images (-o objective.zca=false)"
        )
    return matching


def _judge(ctx: Context, job: Job) -> Judge:
    part = ctx.plugin("selector")
    judge: Judge = part.value.start(ctx, part.options, job)
    return judge


def _images(prior: LoadedPrior, walked: Walked, chunk: int) -> tuple[Tensor, Literal["unit", "normalised"]]:
    """Return the images to keep, and their space."""
    if prior.value_range is None or walked.latents.space == "pixel":
        return walked.images, "normalised"
    return rendered_unit(prior, walked.latents, chunk=chunk), "unit"


def _extras(o: LatentOptions, walked: Walked, matching: Matching) -> dict[str, Tensor]:
    """Return the walk's curves, what the objective learned, and the latents where they are kept."""
    latents = {f"latents.{name}": tensor for name, tensor in walked.latents.tensors.items()} if o.keep_latents else {}
    return {**(walked.extras() if o.iterations else {}), **matching.extras(), **latents}

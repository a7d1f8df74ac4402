"""Runs a group of recover jobs: class batch by class batch, all jobs stacked, from a resumed state if there is one."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.api.synthesizer import Job, JobResult
from ddbench.errors import SpecialValue
from ddbench.kit.descent import Start
from ddbench.kit.draw import draw_real
from ddbench.kit.making import Making
from ddbench.kit.pixels import Pixels, refuse_no_jpeg
from ddbench.kit.recover import RecoverRecipe, recover
from ddbench.kit.tapped import TappedTeacher, tapped_teacher
from ddbench.kit.views import views_of
from ddbench.seeding import generator_for

if TYPE_CHECKING:
    from ddbench.api.context import Context
    from ddbench.api.dataset import DatasetFacts

STACKED_IMAGES = 500
STACKED_PIXELS = STACKED_IMAGES * 32 * 32
"""How much is optimised at once at most, where jobs are small: a machine is well used by it and memory is not."""

Adjust = Callable[[TappedTeacher, "Starts", int], Tensor | None]
"""Moves the tapped teacher's weights before class batch `number`, and may return a gradient to add in its first step.

It is called for every class batch in order, those finished before a resume too, so that it may build on what it did."""


@dataclass(frozen=True)
class Starts:
    """The class batches of a group of jobs. All draws depend on the distill seed, the job and the class batch alone."""

    ctx: Context
    recipe: RecoverRecipe
    group: Sequence[Job]
    pixels: Pixels

    def __len__(self) -> int:
        """Return the number of class batches."""
        return math.ceil(len(self.group[0].labels) / self.recipe.batch)

    def labels(self, number: int) -> Tensor:
        """Return int64 (G * B,): the labels of class batch `number`, job after job."""
        part = self._part(number)
        return torch.tensor([label for job in self.group for label in job.labels[part]], device=self.ctx.device)

    def images(self, number: int) -> Tensor:
        """Return float32 (G * B, C, H, W), normalised: real images, or noise."""
        part = self._part(number)
        if self.recipe.init == "real":
            return self.pixels.normalise(self.ctx.train.images(self.real_index[:, part].flatten()))
        shape = (len(self.group[0].labels[part]), *self.ctx.train.facts.shape)
        drawn = [torch.randn(shape, generator=generator) for generator in self.generators("recover noise", number)]
        return torch.cat(drawn).to(self.ctx.device)

    def views(self, number: int) -> Tensor:
        """Return int64 (iterations, G, P): the views of all steps."""
        size = self.ctx.train.facts.shape[1:]
        generators = self.generators("recover views", number)
        return views_of(self.recipe.view_rule, self.recipe.iterations, size, generators).to(self.ctx.device)

    def generators(self, purpose: str, number: int) -> list[torch.Generator]:
        """Return one generator for each job, for one purpose in one class batch."""
        return [generator_for(purpose, job.seed, job.index, number) for job in self.group]

    @cached_property
    def real_index(self) -> Tensor:
        """Return int64 (G, labels): the train positions of the real images that the jobs start from."""
        return torch.stack([draw_real(self.ctx.train, job) for job in self.group])

    def _part(self, number: int) -> slice:
        return slice(number * self.recipe.batch, (number + 1) * self.recipe.batch)


def stacked_jobs(recipe: RecoverRecipe, facts: DatasetFacts) -> int:
    """Return how many jobs that share a teacher's weights are optimised together."""
    batch = min(recipe.batch, facts.num_classes)
    images = min(STACKED_IMAGES, STACKED_PIXELS // (facts.shape[1] * facts.shape[2]))
    return max(1, images // batch)


def recover_jobs(ctx: Context, recipe: RecoverRecipe, group: Sequence[Job], *, adjust: Adjust | None = None) -> list[JobResult]:
    """Return each job's images as uint8, and the positions of the real images it started from as `real_index`.

    Args:
        ctx: Gives the train split and the need `teacher`.
        recipe: With `iterations` 0 the images are what they start from; real ones are then untouched.
        group: Jobs of equal labels, optimised side by side.
        adjust: Moves the teacher's copy before each class batch.

    Raises:
        BadRequest: The teacher has no batch norm, or JPEG cannot hold images of that many channels.
        NotEnoughImages: A class cannot give the real images to start from.
        OutOfMemory: Memory does not suffice for one job.
        SpecialValue: Images became NaN or infinite.
    """
    if recipe.jpeg:
        refuse_no_jpeg(ctx.train.facts.shape[0])
    starts = Starts(ctx, recipe, group, Pixels.of(ctx.needs["teacher"], ctx.device))
    images = _recovered(starts, adjust) if recipe.iterations else _untouched(starts)
    extras = [{"real_index": index} for index in starts.real_index] if recipe.init == "real" else [{} for _ in group]
    return [
        JobResult(made.cpu(), torch.tensor(job.labels), space="uint8", extras=extra)
        for job, made, extra in zip(group, images, extras, strict=True)
    ]


def _untouched(starts: Starts) -> Tensor:
    """Return uint8 (G, labels, C, H, W): the images as they start."""
    if starts.recipe.init == "real":
        return torch.stack([starts.ctx.train.images(index) for index in starts.real_index])
    drawn = [starts.pixels.to_uint8(starts.images(number)) for number in range(len(starts))]
    return torch.cat([_by_job(part, starts) for part in drawn], dim=1)


def _recovered(starts: Starts, adjust: Adjust | None) -> Tensor:
    """Return uint8 (G, labels, C, H, W): the optimised images."""
    making = Making.resumed(starts.ctx, starts.group, (len(starts), starts.recipe.iterations))
    while making.present:
        try:
            _recover_side_by_side(replace(starts, group=making.present), making, adjust)
        except RuntimeError as error:  # what torch raises where memory runs out, and for all else
            making.retreat(error)
        else:
            making.finish_jobs()
            continue
        _free_memory(starts.ctx.device)
    return torch.stack(making.made)


def _recover_side_by_side(starts: Starts, making: Making, adjust: Adjust | None) -> None:
    """Optimise the images of some jobs at once, and keep each class batch as it is finished."""
    ctx, recipe = starts.ctx, starts.recipe
    tapped = tapped_teacher(ctx.needs["teacher"].module, ctx.train.facts.shape, ctx.precision)
    for number in range(len(starts)):
        gradient = adjust(tapped, starts, number) if adjust else None
        if number < len(making.done):
            continue
        start = Start(starts.images(number), starts.labels(number), starts.views(number), gradient, making.state)
        images = recover(tapped, start, recipe, pixels=starts.pixels, watch=making.watch)
        _pass_on_notes(tapped, ctx)
        _refuse_special_values(images, starts)
        saved = starts.pixels.to_jpeg(images) if recipe.jpeg else starts.pixels.to_uint8(images)
        making.finish_batch(_by_job(saved, starts))


def _pass_on_notes(tapped: TappedTeacher, ctx: Context) -> None:
    for line in tapped.notes:
        ctx.note(line)
    tapped.notes.clear()


def _free_memory(device: torch.device) -> None:
    """Give back what a step that ran out of memory has left."""
    gc.collect()
    if device.type != "cpu":
        torch.accelerator.empty_cache()


def _by_job(images: Tensor, starts: Starts) -> Tensor:
    """Return (G * B, C, H, W) as (G, B, C, H, W)."""
    return images.view(len(starts.group), -1, *images.shape[1:])


def _refuse_special_values(images: Tensor, starts: Starts) -> None:
    """Raise SpecialValue if a job's images hold NaN or infinity."""
    finite = _by_job(images, starts).isfinite().flatten(1).all(dim=1).tolist()
    if not all(finite):
        failed = starts.group[finite.index(False)]
        raise SpecialValue(
            f"the images of job {failed.index} became NaN or infinite; try a smaller learning rate "
            f"(-o lr={starts.recipe.lr / 10:g}, given {starts.recipe.lr:g}) or --precision fp32"
        )

"""Runs a group of recover jobs: class batch by class batch, all jobs stacked, from a resumed state if there is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.api.synthesizer import Job, JobResult
from ddbench.errors import SpecialValue
from ddbench.kit.draw import draw_real
from ddbench.kit.pixels import Pixels, refuse_no_jpeg
from ddbench.kit.recover import RecoverRecipe, RecoverState, Start, recover
from ddbench.kit.tapped import TappedTeacher, tapped_teacher
from ddbench.kit.views import views_of
from ddbench.seeding import generator_for

if TYPE_CHECKING:
    from ddbench.api.context import Context
    from ddbench.api.dataset import DatasetFacts

STACKED_IMAGES = 500
STACKED_PIXELS = STACKED_IMAGES * 32 * 32
"""How much is optimised at once at most, where jobs are small: a machine is well used by it and memory is not."""

CHECKPOINT_STEPS = 50

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
    ctx = starts.ctx
    tapped = tapped_teacher(ctx.needs["teacher"].module, ctx.train.facts.shape, ctx.precision)
    so_far = _SoFar.resumed(starts)
    for number in range(len(starts)):
        gradient = adjust(tapped, starts, number) if adjust else None
        if number < len(so_far.done):
            continue
        start = Start(starts.images(number), starts.labels(number), starts.views(number), gradient, so_far.state)
        images = recover(tapped, start, starts.recipe, pixels=starts.pixels, watch=so_far.watch)
        _refuse_special_values(images, starts)
        so_far.finish(images)
    return torch.cat(so_far.done, dim=1)


@dataclass
class _SoFar:
    """What of a group is made: finished class batches, and the state to go on from in the next one."""

    starts: Starts
    done: list[Tensor] = field(default_factory=list)
    """Of each finished class batch: uint8 (G, B, C, H, W)."""
    state: RecoverState | None = None

    @classmethod
    def resumed(cls, starts: Starts) -> _SoFar:
        """Return what an interrupted run of the same group left, or nothing made."""
        kept = starts.ctx.resumed()
        if kept is None or kept["jobs"].tolist() != [job.index for job in starts.group]:
            return cls(starts)
        device = starts.ctx.device
        tensors = {name: kept[name].to(device) for name in ("images", "exp_avg", "exp_avg_sq")}
        done = [kept[f"done.{number}"].to(device) for number in range(int(kept["finished"]))]
        return cls(starts, done, RecoverState(step=int(kept["step"]), **tensors))

    def watch(self, state: RecoverState, ce: Tensor, bn: Tensor) -> None:
        """Report a step, and keep the state now and then."""
        ctx, steps = self.starts.ctx, self.starts.recipe.iterations
        ctx.progress(len(self.done) * steps + state.step, len(self.starts) * steps, ce=ce, bn=bn)
        if state.step % CHECKPOINT_STEPS == 0:
            ctx.checkpoint(self._tensors(state))

    def finish(self, images: Tensor) -> None:
        """Keep a class batch's images as they will be saved."""
        pixels = self.starts.pixels
        saved = pixels.to_jpeg(images) if self.starts.recipe.jpeg else pixels.to_uint8(images)
        self.done.append(_by_job(saved, self.starts))
        self.state = None

    def _tensors(self, state: RecoverState) -> dict[str, Tensor]:
        return {
            "jobs": torch.tensor([job.index for job in self.starts.group]),
            "finished": torch.tensor(len(self.done)),
            "step": torch.tensor(state.step),
            "images": state.images,
            "exp_avg": state.exp_avg,
            "exp_avg_sq": state.exp_avg_sq,
            **{f"done.{number}": part for number, part in enumerate(self.done)},
        }


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

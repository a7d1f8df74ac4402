"""What of a group of recover jobs is made, how many are optimised at once, and what of it a resume finds again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.errors import OutOfMemory
from ddbench.kit.descent import RecoverState
from ddbench.training.memory import ran_out

if TYPE_CHECKING:
    from ddbench.api.context import Context
    from ddbench.api.synthesizer import Job

CHECKPOINT_STEPS = 50


@dataclass
class Making:
    """A group on its way: some jobs are made; the next few are optimised side by side, class batch by class batch.

    Jobs do not depend on each other, so how many are optimised at once changes nothing but rounding: all of a group, until memory
    runs out, and then half as many.
    """

    ctx: Context
    group: Sequence[Job]
    per_job: tuple[int, int]
    """Class batches of a job, and steps of each."""
    at_once: int
    """How many jobs are optimised side by side."""
    made: list[Tensor] = field(default_factory=list)
    """Of each job that is made: uint8 (labels, C, H, W)."""
    done: list[Tensor] = field(default_factory=list)
    """Of the present jobs, each finished class batch: uint8 (G, B, C, H, W)."""
    state: RecoverState | None = None
    """Where the present class batch is to go on from."""

    @property
    def present(self) -> Sequence[Job]:
        """The jobs to optimise side by side now; none when all are made."""
        return self.group[len(self.made) : len(self.made) + self.at_once]

    @classmethod
    def resumed(cls, ctx: Context, group: Sequence[Job], per_job: tuple[int, int]) -> Making:
        """Return what an interrupted run of the same group left, or nothing made."""
        kept = ctx.resumed()
        if kept is None or "group" not in kept or kept["group"].tolist() != [job.index for job in group]:
            return cls(ctx, group, per_job, at_once=len(group))
        here = {name: values.to(ctx.device) for name, values in kept.items()}
        state = RecoverState(int(kept["step"]), here["images"], here["exp_avg"], here["exp_avg_sq"])
        made = [here[f"made.{number}"] for number in range(int(kept["made"]))]
        done = [here[f"done.{number}"] for number in range(int(kept["done"]))]
        return cls(ctx, group, per_job, int(kept["at_once"]), made, done, state)

    def watch(self, state: RecoverState, ce: Tensor, bn: Tensor) -> None:
        """Report a step, and keep the state now and then."""
        batches, steps = self.per_job
        reached = len(self.done) * steps + state.step
        whole = len(self.made) * batches * steps + len(self.present) * reached
        self.ctx.progress(whole // len(self.group), batches * steps, ce=ce, bn=bn)
        if state.step % CHECKPOINT_STEPS == 0:
            self.ctx.checkpoint(self._tensors(state))

    def finish_batch(self, images: Tensor) -> None:
        """Keep the present jobs' images of a class batch, uint8 (G, B, C, H, W)."""
        self.done.append(images)
        self.state = None

    def finish_jobs(self) -> None:
        """Go over to the next jobs."""
        self.made.extend(torch.cat(self.done, dim=1))
        self.done = []

    def retreat(self, error: RuntimeError) -> None:
        """Optimise half as many jobs at once from now on, the present ones from their start; say so in a note.

        Raises:
            OutOfMemory: There is one job left to halve.
            RuntimeError: It was about something else than memory.
        """
        if not ran_out(error):
            raise error
        count = len(self.present)
        if count == 1:
            raise OutOfMemory(
                "memory does not suffice for a single job: take a smaller batch (-o batch=…, which is another recipe), "
                "another teacher (--teacher …), or run with --device cpu"
            ) from error
        self.at_once = count // 2
        self.done, self.state = [], None
        self.ctx.note(f"memory ran out at {count} jobs side by side: went on with {self.at_once}")

    def _tensors(self, state: RecoverState) -> dict[str, Tensor]:
        return {
            "group": torch.tensor([job.index for job in self.group]),
            "at_once": torch.tensor(self.at_once),
            "made": torch.tensor(len(self.made)),
            "done": torch.tensor(len(self.done)),
            "step": torch.tensor(state.step),
            "images": state.images,
            "exp_avg": state.exp_avg,
            "exp_avg_sq": state.exp_avg_sq,
            **{f"made.{number}": images for number, images in enumerate(self.made)},
            **{f"done.{number}": images for number, images in enumerate(self.done)},
        }

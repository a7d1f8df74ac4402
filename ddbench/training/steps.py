"""One step of training on batches of one size, taken anew each time or, where the device records it, replayed.

Drawing, augmenting and mixing a batch stay outside of a recording: they differ from batch to batch in what is done at all. What
comes out of them is copied to where the recording reads it: the view, and its target unless that is recorded too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ddbench.training.views import view

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.training.graphs import Replayed, Step
    from ddbench.training.loop import Lesson
    from ddbench.training.optimisers import Optimizer
    from ddbench.training.recipe import Recipe
    from ddbench.training.views import BatchDraw

Objective = Callable[["Tensor", "Tensor"], "Tensor"]
"""From a batch's view and its target to the loss, a scalar."""


class TrainingStep:
    """A step; called with the epoch and a batch's draws."""

    def __init__(
        self,
        lesson: Lesson,
        recipe: Recipe,
        layout: torch.memory_format,
        moved_by: tuple[Objective, Optimizer],
        replayed: Callable[[Step[Tensor]], Replayed[Tensor]],
    ) -> None:
        """Make a step that was not taken yet.

        Args:
            lesson: Where images and targets come from.
            recipe: How images are augmented and mixed.
            layout: Of the view.
            moved_by: The loss, and what moves the network down its gradient.
            replayed: Wraps what is the same in every step.
        """
        self.lesson, self.recipe, self.layout = lesson, recipe, layout
        self.objective, self.optimiser = moved_by
        self.images, self.target = torch.empty(0), torch.empty(0)
        self._ask: Callable[[Tensor], Tensor] | None = None
        self._replayed = replayed(self._moved)

    def __call__(self, epoch: int, drawn: BatchDraw) -> Tensor:
        """Make one step and return its loss, detached, which the next may overwrite."""
        images = view(self.lesson.source, self.recipe, drawn).contiguous(memory_format=self.layout)
        self.images = self._kept(self.images, images)
        if self.lesson.by_view:
            self._ask = lambda shown: self.lesson.target(epoch, drawn, shown)
        else:
            self.target = self._kept(self.target, self.lesson.target(epoch, drawn, images))
        return self._replayed()

    def _moved(self) -> Tensor:
        target = self.target if self._ask is None else self._ask(self.images)
        self.optimiser.zero_grad()
        loss = self.objective(self.images, target)
        torch.autograd.backward(loss)
        self.optimiser.step()
        return loss.detach()

    def _kept(self, place: Tensor, values: Tensor) -> Tensor:
        """Return the values, where a recorded step reads them if there is one."""
        return place.copy_(values) if self._replayed.recorded else values

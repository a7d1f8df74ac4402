"""Recover: images optimised until a frozen teacher knows their classes and its batch norm layers their statistics.

SRe2L (Yin et al., 2023) and what follows it. Several independent jobs may be stacked along the batch: in eval mode a teacher
treats images one by one, and losses and statistics are taken group by group, so each group moves as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ddbench.errors import BadOption
from ddbench.kit.descent import Descent, RecoverState, Start
from ddbench.kit.views import ViewKind, ViewRule
from ddbench.training.graphs import Replayed, recorder_of

if TYPE_CHECKING:
    from ddbench.kit.pixels import Pixels
    from ddbench.kit.tapped import TappedTeacher
    from ddbench.options import Options


@dataclass(frozen=True)
class RecoverRecipe:
    """What decides a recovered set; the fields have the names of the options that set them."""

    iterations: int
    batch: int
    lr: float
    r_bn: float
    r_var: float
    first_bn: float
    view: ViewKind
    roll_low: int
    roll_high: int
    crop_annealing: float
    init: Literal["noise", "real"]
    jpeg: bool
    tv_l2: float
    l2_scale: float

    @classmethod
    def of(cls, options: Options) -> RecoverRecipe:
        """Return the recipe that a method's options of the same names give."""
        return cls(**options.model_dump(include={field.name for field in fields(cls)}))

    def __post_init__(self) -> None:
        """Refuse what no single option can see.

        Raises:
            BadOption: The offsets are the wrong way round, or crops are to anneal where nothing is cropped.
        """
        if self.roll_low > self.roll_high:
            raise BadOption(f"roll_low ({self.roll_low}) is above roll_high ({self.roll_high}); give the lower offset first")
        if self.crop_annealing > 0 and self.view == "roll":
            raise BadOption(f"crop_annealing ({self.crop_annealing}) needs crops; add -o view=rrc_flip_roll or set it to 0")

    @property
    def view_rule(self) -> ViewRule:
        """From what views are drawn."""
        return ViewRule(self.view, (self.roll_low, self.roll_high), annealing=self.crop_annealing)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: a cosine from `lr` to 0 over all steps, without warm-up."""
        return 0.5 * (1 + math.cos(math.pi * step / self.iterations)) * self.lr


Watch = Callable[[RecoverState, Tensor, Tensor], None]
"""Told after each step: the state, and the group means of cross entropy and of the batch norm term, on the device."""


def recover(tapped: TappedTeacher, start: Start, recipe: RecoverRecipe, *, pixels: Pixels, watch: Watch | None = None) -> Tensor:
    """Return float (G * B, C, H, W), normalised and inside of [black, white]: the images after the last step.

    Args:
        tapped: The teacher, with whatever weights it holds now; they are not moved.
        start: Where the images start.
        recipe: The optimisation.
        pixels: The teacher's normalisation.
        watch: Told how it goes. On a device with graphs the tensors it is told of are overwritten by the next step.
    """
    descent = Descent(tapped, start, recipe, pixels)
    step = Replayed(descent.step, recorder_of(start.images.device), tapped.note)
    for number in range(descent.begun, recipe.iterations):
        carried = start.first_gradient if number == 0 else None
        ce, bn = step() if carried is None else descent.step(carried)
        if watch is not None:
            watch(descent.state(number + 1), ce, bn)
    if descent.loss_of.note:
        tapped.note(descent.loss_of.note)
    return descent.images.detach()

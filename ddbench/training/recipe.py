"""What students' protocols and squeeze recipes share: everything the training loop must know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from ddbench.api.protocol import Augment, Mix, Optimiser, ProtocolSpec, Schedule


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; exactly one of `epochs` and `steps` is given."""

    optimiser: Optimiser
    schedule: Schedule
    batch: int
    epochs: int | None = None
    steps: int | None = None
    augment: tuple[Augment, ...] = ()
    mix: Mix | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise BadRequest(f"a recipe needs exactly one of epochs and steps; given epochs={self.epochs}, steps={self.steps}")

    @property
    def lr(self) -> float:
        """The learning rate as a number.

        Raises:
            BadRequest: It is still `set`: only a distilled set can say what it is.
        """
        if self.optimiser.lr == "set":
            raise BadRequest("the learning rate 'set' is learned with a distilled set; a recipe needs a number")
        return self.optimiser.lr


SqueezeRecipe = Recipe
"""The same thing by the name that teachers know it by."""


def student_recipe(spec: ProtocolSpec, student: str, *, learned_lr: float | None = None) -> Recipe:
    """Return a protocol's recipe for one student, overrides and a learned step size considered.

    Args:
        spec: The protocol.
        student: The student's full name.
        learned_lr: The step size learned with the set, used where the protocol's rate is `set`.
    """
    lr = spec.lr_for(student)
    learned = learned_lr if learned_lr is not None else spec.optimiser.lr_without_set
    optimiser = spec.optimiser.model_copy(update={"lr": learned if lr == "set" else lr})
    return Recipe(
        optimiser=optimiser,
        schedule=spec.schedule,
        batch=spec.batch,
        epochs=spec.epochs,
        steps=spec.steps,
        augment=spec.augment,
        mix=spec.mix,
        ema=spec.ema,
    )

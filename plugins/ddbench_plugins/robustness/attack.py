"""attack: what is left of a student's top1 when every test image may be moved a little against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import EvaluationContext, Evaluator, Metric, Options

if TYPE_CHECKING:
    from collections.abc import Sequence


class AttackOptions(Options):
    """How far and how hard."""

    epsilon: float = Field(default=8 / 255, gt=0, le=1, description="Largest change of a value, of pixels in [0, 1].")
    steps: int = Field(default=10, ge=1, description="Gradient steps.")
    step_size: float | None = Field(default=None, gt=0, le=1, description="Of one step; 2.5 · epsilon / steps unless given.")
    restarts: int = Field(default=1, ge=1, description="Random starts; the one that fools the student counts.")
    images: int = Field(default=500, ge=0, description="Test images, the same for every student; 0 for all of them.")


class Attack(Evaluator):
    """Top1 under projected gradient descent in the L∞ ball (Madry et al., 2018), with the student's gradients.

    x_0 is uniform in the ball; x_{t+1} = clip(x_t + step_size * sign(d CE(f(x_t), y) / d x)) to the ball around x and to [0, 1]. An
    image counts as right if the student is right about it before the attack and at the end of every restart. It is an upper
    bound of the top1 under the worst such change: a student that hides its gradients looks better than it is.
    """

    name = "attack"
    version = 1
    options = AttackOptions
    scope: Literal["student", "set"] = "student"

    def evaluate(self, ctx: EvaluationContext, o: Options) -> Sequence[Metric]:
        """Return `attack_top1`, and `attack_clean_top1` of the same images as they are."""
        from ddbench_plugins.robustness.attacking import top1_attacked

        clean, attacked = top1_attacked(ctx, cast("AttackOptions", o))
        return [Metric("attack_top1", attacked, "fraction"), Metric("attack_clean_top1", clean, "fraction")]

"""top1: the fraction of the real test split that a student gets right after its last epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ddbench import EvaluationContext, Evaluator, Metric, NoOptions, Options

if TYPE_CHECKING:
    from collections.abc import Sequence


class Top1(Evaluator):
    """Accuracy on the whole test split, as a fraction in [0, 1]."""

    name = "top1"
    version = 1  # bump when a change moves a number
    options = NoOptions
    scope: Literal["student", "set"] = "student"

    def evaluate(self, ctx: EvaluationContext, o: Options) -> Sequence[Metric]:
        """Return one metric, `top1`."""
        right = ctx.predictions().cpu() == ctx.test_labels().cpu()
        return [Metric("top1", right.double().mean().item(), "fraction")]

"""calibration: whether a student's probabilities can be taken at their word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import EvaluationContext, Evaluator, Metric, Options

if TYPE_CHECKING:
    from collections.abc import Sequence


class CalibrationOptions(Options):
    """How confidences are binned."""

    bins: int = Field(default=15, ge=1, le=1000, description="Bins of equal width over the confidence, for `ece`.")


class Calibration(Evaluator):
    """Expected calibration error, negative log likelihood and Brier score on the test split.

    With p the softmax of a test image's logits and y its class:

        ece    sum over bins b of |b| / N * |top1 of b - mean confidence of b|     (Naeini et al., 2015; Guo et al., 2017)
        nll    mean of -log p[y], in nats
        brier  mean of sum over classes c of (p[c] - 1{c = y})^2, from 0 to 2        (Brier, 1950)
    """

    name = "calibration"
    version = 1
    options = CalibrationOptions
    scope: Literal["student", "set"] = "student"

    def evaluate(self, ctx: EvaluationContext, o: Options) -> Sequence[Metric]:
        """Return `ece`, `nll` and `brier`."""
        import torch
        from torchmetrics.functional.classification import multiclass_calibration_error

        bins = cast("CalibrationOptions", o).bins
        labels = ctx.test_labels().cpu()
        logs = ctx.logits().cpu().double().log_softmax(dim=1)
        right = torch.nn.functional.one_hot(labels, logs.shape[1])
        ece = multiclass_calibration_error(logs.exp(), labels, logs.shape[1], n_bins=bins, norm="l1")
        values = {
            "ece": (ece, "fraction"),
            "nll": (-(logs * right).sum(dim=1).mean(), ""),
            "brier": ((logs.exp() - right).square().sum(dim=1).mean(), ""),
        }
        return [Metric(name, float(value), unit, higher_is_better=False) for name, (value, unit) in values.items()]

"""diversity: how far apart the images of a class are, how much of the real images they reach, and whether they are copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import EvaluationContext, Evaluator, Metric, Need, Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ddbench import DatasetFacts


class DiversityOptions(Options):
    """Who looks, and at how many real images."""

    teacher: str = Field(default="", description="Another teacher: network, way or `way:network`. Else the run's.")
    real: int = Field(default=200, ge=2, description="Real train images of each class at most, the same for every set.")
    neighbours: int = Field(default=5, ge=1, description="Coverage: how many real neighbours the ball around a real image reaches.")


class Diversity(Evaluator):
    """Spread and coverage in the teacher's last features, class by class, and the distance to the nearest real image in pixels.

    With F the synthetic and R the real features of a class:

        within_class_distance  mean |f - f'| over pairs of F, divided by the mean |r - r'| over pairs of R; 1 is as far apart as
                               real images (after DWA, fig. 4; the normalisation by real images is ours)
        coverage               fraction of R whose ball, as far as its k-th nearest in R, holds an f of F (Naeem et al., 2020)
        nearest_real           root mean square difference to the nearest real train image of the class, of pixels in [0, 1]
        copies                 fraction of the images whose `nearest_real` is below 1/255

    Means are over classes, or over images for the last two. Classes with fewer than two synthetic images have no distance; where
    that is every class, `within_class_distance` is left out.
    """

    name = "diversity"
    version = 1
    options = DiversityOptions
    scope: Literal["student", "set"] = "set"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"teacher": Need("teacher", cast("DiversityOptions", o).teacher)}

    def evaluate(self, ctx: EvaluationContext, o: Options) -> tuple[Sequence[Metric], Mapping[str, Tensor]]:
        """Return the metrics, and by class `distance` and `coverage`, by image `nearest`, `nearest_index` and `labels`."""
        from ddbench_plugins.diversity.spread import measured

        kept = measured(ctx, cast("DiversityOptions", o))
        distance = kept["distance"][kept["distance"].isfinite()]
        values = {"within_class_distance": distance.mean().item()} if len(distance) else {}
        values |= {"coverage": kept["coverage"].mean().item(), "nearest_real": kept["nearest"].mean().item()}
        metrics = [Metric(name, value, "fraction" if name == "coverage" else "") for name, value in values.items()]
        copies = (kept["nearest"] < 1 / 255).double().mean().item()
        return [*metrics, Metric("copies", copies, "fraction", higher_is_better=False)], kept

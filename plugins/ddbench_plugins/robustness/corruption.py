"""corruption: how much of a student's top1 is left where test images are noisy, blurred, too bright, flat or coarse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field

from ddbench import EvaluationContext, Evaluator, Metric, Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

Kind = Literal["gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "brightness", "contrast", "pixelate"]

KINDS: tuple[Kind, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "gaussian_blur",
    "brightness",
    "contrast",
    "pixelate",
)


class CorruptionOptions(Options):
    """Which corruptions, how strong, on how many test images."""

    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1, description="Corruptions.")
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        default=(1, 3, 5), min_length=1, description="Strengths, from 1 to 5."
    )
    images: int = Field(default=0, ge=0, description="Test images, the same for every student; 0 for all of them.")


class Corruption(Evaluator):
    """Top1 on corrupted test images: the mean over kinds, each the mean over its severities.

    Every student of a dataset is shown the same corrupted images, rounded to 8 bits as a camera would.
    """

    name = "corruption"
    version = 1
    options = CorruptionOptions
    scope: Literal["student", "set"] = "student"

    def evaluate(self, ctx: EvaluationContext, o: Options) -> tuple[Sequence[Metric], Mapping[str, Tensor]]:
        """Return `corruption_top1`, `corruption_top1.<kind>` for each kind, and all of them by kind and severity as `top1`."""
        import torch

        from ddbench_plugins.robustness.corrupting import drawn_images, drawn_seed, top1_under

        options = cast("CorruptionOptions", o)
        chosen, seed = drawn_images(ctx, options.images), drawn_seed(ctx)
        found = [[top1_under(ctx, chosen, (kind, level), seed) for level in options.severities] for kind in options.kinds]
        table = torch.tensor(found, dtype=torch.float64)
        by_kind = dict(zip(options.kinds, table.mean(dim=1).tolist(), strict=True))
        metrics = [Metric("corruption_top1", table.mean().item(), "fraction")]
        metrics += [Metric(f"corruption_top1.{kind}", value, "fraction") for kind, value in by_kind.items()]
        return metrics, {"top1": table}

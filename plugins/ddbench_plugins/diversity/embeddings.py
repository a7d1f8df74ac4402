"""embeddings: a teacher's last features of the set and of real train images, kept for pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import EvaluationContext, Evaluator, Metric, Need, Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ddbench import DatasetFacts


class EmbeddingsOptions(Options):
    """Who looks, and at what."""

    teacher: str = Field(default="", description="Another teacher: network, way or `way:network`. Else the run's.")
    real: int = Field(default=100, ge=1, description="Real train images of each class at most, the same for every set.")
    classes: int = Field(default=10, ge=1, description="Only the first so many classes: a picture of more cannot be read.")


class Embeddings(Evaluator):
    """No metric: the features of both kinds of images as a sidecar, for `ddbench figure tsne`."""

    name = "embeddings"
    version = 1
    options = EmbeddingsOptions
    scope: Literal["student", "set"] = "set"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"teacher": Need("teacher", cast("EmbeddingsOptions", o).teacher)}

    def evaluate(self, ctx: EvaluationContext, o: Options) -> tuple[Sequence[Metric], Mapping[str, Tensor]]:
        """Return no metric; `features` and `labels` of the set, `real_features`, `real_labels`, `real_index` of the train split."""
        import torch

        from ddbench.kit import features
        from ddbench_plugins.diversity.looking import as_pixels, drawn_real, seen_by

        options = cast("EmbeddingsOptions", o)
        teacher, labels = ctx.needs["teacher"], ctx.distilled.labels
        shown = range(min(options.classes, ctx.facts.num_classes))
        mine = (labels < len(shown)).nonzero().flatten()
        real = [drawn_real(ctx, label, options.real) for label in shown]
        index = torch.cat(real)
        return [], {
            "features": features(teacher.module, seen_by(teacher, as_pixels(ctx)[mine])),
            "labels": labels[mine],
            "real_features": features(teacher.module, seen_by(teacher, ctx.train.images(index))),
            "real_labels": torch.cat([torch.full_like(positions, label) for label, positions in enumerate(real)]),
            "real_index": index,
        }

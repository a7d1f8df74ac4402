"""storage: what a distilled set takes on disk, labels included, beside the real train split."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Literal

from ddbench import EvaluationContext, Evaluator, Metric, NoOptions, Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ddbench import DatasetFacts, TrainedNetwork

PROVENANCE = ("real_index", "walk.loss", "walk.score", "walk.scored_at", "walk.chosen")
"""Extras that say where images came from, or how they were optimised, and that no student needs; kept, shown, not charged."""


class Storage(Evaluator):
    """Bytes of images, labels and extras, their total, and its ratio to the real train split.

    IPC is not a budget, bytes are (`evaluation.md` rule 6; trap T9 of the field study: stored soft labels can outweigh
    the whole real train split). Answers of a teacher are charged at the cheaper of storing them and storing the teacher.
    """

    name = "storage"
    version = 1
    options = NoOptions
    scope: Literal["student", "set"] = "set"

    def evaluate(self, ctx: EvaluationContext, o: Options) -> Sequence[Metric]:
        """Return `image_bytes`, `label_bytes`, `extra_bytes`, `total_bytes` and `real_ratio`."""
        images, labels = size_bytes(ctx.distilled.images), size_bytes(ctx.distilled.labels)
        if ctx.distilled.soft_labels is not None:
            labels += size_bytes(ctx.distilled.soft_labels)
        labels += teacher_answer_bytes(ctx.teacher, ctx.soft_label_bytes)
        extras = extra_bytes(ctx.distilled.extras)
        total = images + labels + extras
        sizes = {"image_bytes": images, "label_bytes": labels, "extra_bytes": extras, "total_bytes": total}
        metrics = [Metric(name, float(size), "bytes", higher_is_better=False) for name, size in sizes.items()]
        ratio = total / real_bytes(ctx.facts, ctx.distilled.labels.element_size())
        return [*metrics, Metric("real_ratio", ratio, "fraction", higher_is_better=False)]


def size_bytes(tensor: Tensor) -> int:
    """Return the bytes a tensor's values take."""
    return tensor.numel() * tensor.element_size()


def extra_bytes(extras: Mapping[str, Tensor]) -> int:
    """Return the bytes of whatever else must be kept to use the set: latents, a learned step size."""
    return sum(size_bytes(tensor) for name, tensor in extras.items() if name not in PROVENANCE)


def teacher_answer_bytes(teacher: TrainedNetwork | None, stored: int) -> int:
    """Return min(stored answers, teacher weights): whoever has the teacher can make its answers again.

    Args:
        teacher: The teacher whose answers the student learns from; None under hard labels.
        stored: Bytes of every answer the protocol asks for; 0 under hard labels.
    """
    if teacher is None:
        return stored
    return min(stored, sum(size_bytes(tensor) for tensor in teacher.module.state_dict().values()))


def real_bytes(facts: DatasetFacts, label_bytes: int) -> int:
    """Return the raw bytes of the real train split: uint8 pixels, and one label of `label_bytes` per image."""
    return sum(facts.counts) * (prod(facts.shape) + label_bytes)

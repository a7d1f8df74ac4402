"""Evaluators: from one trained student, or one distilled set, to named metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ddbench.api.context import Need
    from ddbench.api.dataset import DatasetFacts, TrainSplit
    from ddbench.api.network import TrainedNetwork
    from ddbench.distilled import DistilledSet
    from ddbench.options import Options


@dataclass(frozen=True)
class Metric:
    """One named number."""

    name: str
    value: float
    unit: str
    """`fraction`, `bytes`, `s`, or empty."""
    higher_is_better: bool = True


class EvaluationContext(Protocol):
    """What an evaluator sees: in scope `student` after training is over, in scope `set` the distilled set and no test image."""

    facts: DatasetFacts
    train: TrainSplit
    distilled: DistilledSet
    student: TrainedNetwork
    """The trained student; scope `student` only (reading it in scope `set` raises BadRequest). Where the set is in the space
    `zca` it takes whitened images; `logits` sees to that."""
    teacher: TrainedNetwork | None
    """The teacher whose answers the student learns from; None under hard labels."""
    soft_label_bytes: int
    """What storing every answer the protocol asks of the teacher takes, as fp16; 0 under hard labels."""
    needs: Mapping[str, Any]
    """By the names in the evaluator's `needs`: a `TrainedNetwork`, a `LoadedPrior`, or `Experts`."""
    device: torch.device
    generator: torch.Generator
    """On the CPU, seeded by the evaluator's name alone, so that every set and every student is measured on the same draws."""

    def test_labels(self) -> Tensor:
        """Return int64 (N,): the test split's labels; scope `student` only."""
        ...

    def test_images(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device: test images at int64 positions; scope `student` only."""
        ...

    def answers(self, pixels: Tensor) -> Tensor:
        """Return float32 (N, classes), on the device: the student's answers to images of its own, seen as the test split is.

        Args:
            pixels: uint8 (N, C, H, W), or float32 in [0, 1]; where they carry a gradient, so do the answers.
        """
        ...

    def logits(self) -> Tensor:
        """Return float32 (N, classes): the student's answers on the test split, made once and shared."""
        ...

    def predictions(self) -> Tensor:
        """Return int64 (N,): the argmax of `logits`, as kept beside the record."""
        ...


@runtime_checkable
class Evaluator(Protocol):
    """Turns one trained student (scope `student`) or one distilled set (scope `set`) into metrics."""

    name: str
    version: int
    options: type[Options]
    scope: Literal["student", "set"]

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:  # noqa: ARG002 - for those that override it
        """Return what must be made before, by the name under which `ctx.needs` gives it; nothing unless overridden."""
        return {}

    def evaluate(self, ctx: EvaluationContext, o: Options) -> Sequence[Metric] | tuple[Sequence[Metric], Mapping[str, Tensor]]:
        """Return metrics, or metrics and tensors to keep beside the record."""
        ...

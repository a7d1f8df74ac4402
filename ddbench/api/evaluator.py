"""Evaluators: from one trained student, or one distilled set, to named metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

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
    """What an evaluator sees, after training is over."""

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
    device: torch.device
    generator: torch.Generator

    def test_labels(self) -> Tensor:
        """Return int64 (N,): the test split's labels."""
        ...

    def test_images(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device: test images at int64 positions."""
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

    def evaluate(self, ctx: EvaluationContext, o: Options) -> Sequence[Metric] | tuple[Sequence[Metric], Mapping[str, Tensor]]:
        """Return metrics, or metrics and tensors to keep beside the record."""
        ...

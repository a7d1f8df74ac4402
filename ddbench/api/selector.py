"""Selectors: which latents of a walk through a generator's spaces are handed on to the next space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.context import Context, Need
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.synthesizer import Job
    from ddbench.options import Options


@dataclass(frozen=True)
class Candidate:
    """What a selector may judge by."""

    images: Tensor
    """float32 (N, C, H, W), normalised by the dataset's mean and std, without a gradient."""
    labels: Tensor
    """int64 (N,)."""
    loss: Tensor
    """Of the objective, a scalar on the device: what the step at these images found."""
    step: int
    """Steps made in this space before these images."""


class Judge(Protocol):
    """A selector at work on one job."""

    def score(self, candidate: Candidate) -> float:
        """Return how far a candidate is from what is wanted; the lowest score of a space is handed on, the first of equal ones."""
        ...


@runtime_checkable
class Selector(Protocol):
    """A rule for choosing among the latents met in one space. It never sees the test split."""

    name: str
    version: int
    options: type[Options]

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        """Return what must be made before, merged into the synthesizer's own needs."""
        ...

    def start(self, ctx: Context, o: Options, job: Job) -> Judge:
        """Return the selector at work on one job: a classifier at hand, means of real features taken."""
        ...

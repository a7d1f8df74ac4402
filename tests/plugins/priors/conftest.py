"""A small dataset, and the context a prior is fitted in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from ddbench import Precision, TrainSplit
from ddbench.data import HeldSplit
from ddbench.seeding import generator_for
from ddbench.testing import toy_dataset
from ddbench_plugins.priors.trained import TrainedOptions

SMALL: dict[str, Any] = {"channels": 8, "max_channels": 16}


@dataclass
class Fitting:
    """A stage's context that keeps nothing."""

    train: TrainSplit
    precision: Precision = field(default_factory=Precision)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    generator: torch.Generator = field(default_factory=lambda: generator_for("prior", 0))
    notes: list[str] = field(default_factory=list)
    kept: Any = None

    def note(self, line: str) -> None:
        self.notes.append(line)

    def progress(self, step: int, total: int, **scalars: Any) -> None:
        assert 0 < step <= total

    def checkpoint(self, state: Any) -> None:
        """Keep nothing."""

    def resumed(self) -> Any:
        return self.kept


@pytest.fixture(scope="session")
def data():
    return toy_dataset(per_class=30)


@pytest.fixture
def fitting(data):
    """Return a function that makes a context."""
    return lambda **settings: Fitting(HeldSplit(data), **settings)


@pytest.fixture
def options():
    """Return a function that makes small options."""
    return lambda **values: TrainedOptions(**{**SMALL, "steps": 10, "batch": 8, **values})

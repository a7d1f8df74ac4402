"""A toy dataset that a linear network answers perfectly, and the context a teacher is made in."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ddbench import DatasetFacts, NetworkSpec, Precision

CLASSES = ("ant", "bee", "cat", "dog")
PER_CLASS = 30
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.2, 0.2)


@dataclass
class ToyTrain:
    """Images whose top-left pixels say the class: one bright pixel in one of four places."""

    facts: DatasetFacts
    pixels: Tensor
    labels: Tensor

    def indices(self, label: int) -> Tensor:
        return (self.labels == label).nonzero().flatten()

    def images(self, index: Tensor) -> Tensor:
        return self.pixels[index]


def toy_facts(**changes) -> DatasetFacts:
    known = {
        "name": "toy",
        "classes": CLASSES,
        "shape": (3, 4, 4),
        "mean": MEAN,
        "std": STD,
        "counts": (PER_CLASS,) * 4,
        "test_images": 1,
        "sha256": "0" * 64,
    }
    return DatasetFacts(**{**known, **changes})


@pytest.fixture
def train() -> ToyTrain:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(PER_CLASS)
    pixels = torch.randint(90, 130, (len(labels), 3, 4, 4), dtype=torch.uint8, generator=generator)
    pixels[torch.arange(len(labels)), :, 0, labels] = 250
    return ToyTrain(toy_facts(), pixels, labels)


class Linear(nn.Module):
    """One linear layer over a batch-normalised image."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(48, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(images).flatten(1))


def perfect_weights() -> dict[str, Tensor]:
    """Return weights that read the bright pixel."""
    state = Linear().state_dict()
    weight = torch.zeros(4, 3, 4, 4)
    for label in range(4):
        weight[label, :, 0, label] = 1.0
    return {**state, "head.weight": weight.flatten(1), "head.bias": torch.zeros(4)}


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return perfect_weights()


@pytest.fixture
def spec() -> NetworkSpec:
    return NetworkSpec("toy/linear", 1, (3, 4, 4), 4)


@pytest.fixture
def context(train) -> SimpleNamespace:
    return SimpleNamespace(
        train=train,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(0),
        precision=Precision(),
        needs={},
        offline=False,
        progress=lambda *_, **__: None,
        checkpoint=lambda _: None,
        resumed=lambda: None,
        network=lambda _, __: Linear(),
    )

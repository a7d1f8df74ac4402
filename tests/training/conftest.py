"""Small networks and sets, so that training takes milliseconds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ddbench.api.context import Precision
from ddbench.api.network import TrainedNetwork
from ddbench.seeding import seeded_globally
from ddbench.training.loop import RunSettings
from ddbench.training.students import StudentData

CPU = torch.device("cpu")


class Small(nn.Module):
    """One convolution, a norm and a linear layer."""

    def __init__(self, *, norm=True, dropout=0.0, channels=3, classes=4, size=6):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(8 * size * size, classes)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))).flatten(1)))


@pytest.fixture
def small():
    """Return a function that builds a small network from a seed."""

    def build(seed=0, **settings):
        with seeded_globally(seed):
            return Small(**settings)

    return build


def toy_pixels(count, *, classes=4, channels=3, size=6, seed=0):
    """Return uint8 images and labels: each class has its own bright channel, the last none, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 160, (count, channels, size, size), generator=generator)
    for index, label in enumerate(labels.tolist()):
        images[index, label : label + 1] += 60
    return images.to(torch.uint8), labels


@pytest.fixture
def toy():
    """Return a function that makes a small set, as a student learns from it."""

    def make(count=24, *, seed=0, **settings):
        images, labels = toy_pixels(count, seed=seed)
        mean, std = torch.tensor([0.3, 0.35, 0.4]), torch.tensor([0.2, 0.25, 0.3])
        return StudentData(images, labels, mean, std, **settings)

    return make


@pytest.fixture
def pixels():
    return toy_pixels


@pytest.fixture
def run():
    return RunSettings(CPU, Precision())


@pytest.fixture
def teacher(small):
    """Return a frozen network with batch-norm statistics that are not those of a fresh one."""
    module = small(11)
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(3)) * 2 + 0.5)
    module.eval().requires_grad_(requires_grad=False)
    return TrainedNetwork(module, ("a", "b", "c", "d"), torch.tensor([0.3, 0.35, 0.4]), torch.tensor([0.2, 0.25, 0.3]))

"""Small teachers with batch norm, a toy train split, and recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddbench import DatasetFacts, Job, Precision, TrainedNetwork
from ddbench.context import StageContext
from ddbench.kit import Pixels, RecoverRecipe
from ddbench.seeding import seeded_globally

COUNTS = (6, 9, 5, 7)
SHAPE = (3, 8, 8)
RECIPE = RecoverRecipe(
    iterations=5,
    batch=100,
    lr=0.1,
    r_bn=0.05,
    r_var=3.0,
    first_bn=10.0,
    view="roll",
    roll_low=-2,
    roll_high=3,
    crop_annealing=0.0,
    init="noise",
    jpeg=False,
    tv_l2=0.0,
    l2_scale=0.0,
)


class Branching(nn.Module):
    """Batch norm before and after a branch, so that module order is not a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.left = nn.Sequential(nn.Conv2d(6, 10, 3, 2, 1), nn.BatchNorm2d(10), nn.ReLU(inplace=True))
        self.right = nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 10, 1, 2))
        self.head = nn.Linear(10, len(COUNTS))

    def forward(self, images: Tensor) -> Tensor:
        stem = self.norm(self.stem(images)).relu()
        return self.head((self.left(stem) + self.right(stem)).mean((2, 3)))


@dataclass(frozen=True)
class ToyTrain:
    """Random images, their classes interleaved."""

    facts: DatasetFacts
    pixels: Tensor
    targets: Tensor

    def indices(self, label: int) -> Tensor:
        return (self.targets == label).nonzero().flatten()

    def images(self, index: Tensor) -> Tensor:
        return self.pixels[index]


def settled(network: nn.Module) -> nn.Module:
    """Return the network frozen, with statistics and affine parameters as if it had been trained."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.copy_(torch.randn(part.num_features, generator=generator) * 0.3)
                part.running_var.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
                part.weight.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
                part.bias.copy_(torch.randn(part.num_features, generator=generator) * 0.1)
    return network.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def teacher() -> nn.Module:
    """A small float64 network in eval mode."""
    with seeded_globally(3):
        return settled(Branching()).double()


@pytest.fixture
def wide_teacher() -> Callable[[], nn.Module]:
    """Return a frozen float64 network whose second and third convolution have channels enough for Winograd's kernels, each time."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        with seeded_globally(5):
            for made, given in ((32, 3), (32, 32), (64, 32)):
                layers += [nn.Conv2d(given, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU()]
            return settled(nn.Sequential(*layers, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 4)).double())

    return build


@pytest.fixture
def recipe() -> RecoverRecipe:
    return RECIPE


@pytest.fixture
def pixels() -> Pixels:
    mean, std = torch.tensor([0.45, 0.5, 0.55], dtype=torch.float64), torch.tensor([0.2, 0.25, 0.3], dtype=torch.float64)
    return Pixels(mean.view(-1, 1, 1), std.view(-1, 1, 1))


@pytest.fixture
def train() -> ToyTrain:
    generator = torch.Generator().manual_seed(0)
    targets = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    targets = targets[torch.randperm(len(targets), generator=generator)]
    images = torch.randint(0, 256, (len(targets), *SHAPE), dtype=torch.uint8, generator=generator)
    classes = tuple(f"class {label}" for label in range(len(COUNTS)))
    facts = DatasetFacts("toy", classes, SHAPE, (0.45, 0.5, 0.55), (0.2, 0.25, 0.3), COUNTS, 5, "0" * 64)
    return ToyTrain(facts, images, targets)


@pytest.fixture
def jobs() -> list[Job]:
    return [Job(index, tuple(range(len(COUNTS))), seed=7) for index in range(4)]


@pytest.fixture
def context(train, teacher, tmp_path) -> StageContext:
    """The harness's context, with the small teacher in float32 and a folder for checkpoints."""
    mean, std = torch.tensor(train.facts.mean), torch.tensor(train.facts.std)
    needs = {"teacher": TrainedNetwork(teacher.float(), train.facts.classes, mean, std)}
    return StageContext(
        train, torch.device("cpu"), torch.Generator(), Precision(), {}, needs, work=tmp_path, write=Path.write_bytes
    )

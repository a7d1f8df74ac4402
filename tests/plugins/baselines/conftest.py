"""A toy dataset of unequal classes, and the context a baseline is run in."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ddbench import DatasetFacts, Precision, TrainedNetwork

COUNTS = (7, 12, 9)


@dataclass
class ToyTrain:
    """Random images whose classes stand interleaved."""

    facts: DatasetFacts
    pixels: Tensor
    labels: Tensor
    looked_at: list[int] = field(default_factory=list)

    def indices(self, label: int) -> Tensor:
        return (self.labels == label).nonzero().flatten()

    def images(self, index: Tensor) -> Tensor:
        self.looked_at.extend(index.tolist())
        return self.pixels[index]


def facts(counts=COUNTS, shape=(3, 4, 4), **changes) -> DatasetFacts:
    known = {"name": "toy", "mean": (0.45, 0.5, 0.55), "std": (0.2, 0.25, 0.3), "test_images": 5, "sha256": "0" * 64}
    return DatasetFacts(classes=tuple(f"class {i}" for i in range(len(counts))), counts=counts, shape=shape, **{**known, **changes})


@pytest.fixture
def train() -> ToyTrain:
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    pixels = torch.randint(0, 256, (len(labels), 3, 4, 4), dtype=torch.uint8, generator=generator)
    return ToyTrain(facts(), pixels, labels)


class Flat(nn.Module):
    """A network whose last features are its input, so that selections can be checked on plain pixels."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


@pytest.fixture
def teacher(train) -> TrainedNetwork:
    torch.manual_seed(0)
    mean, std = torch.tensor(train.facts.mean), torch.tensor(train.facts.std)
    return TrainedNetwork(Flat(48, len(COUNTS)).eval(), train.facts.classes, mean, std)


@pytest.fixture
def context(train, teacher) -> SimpleNamespace:
    return SimpleNamespace(
        train=train,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(0),
        precision=Precision(),
        needs={"teacher": teacher},
        progress=lambda *_, **__: None,
    )


@pytest.fixture
def distil(context):
    """Run a synthesizer with its plan cut as its `stack` says, or as the test says, and give the jobs' results."""

    def run(synthesizer, ipc, *, seed=0, stack=None, **options):
        o = synthesizer.options(**options)
        jobs = synthesizer.jobs(o, context.train.facts, ipc, seed)
        size = stack or synthesizer.stack(o, context.train.facts)
        groups = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        results = [result for group in groups for result in synthesizer.run(context, o, group)]
        for job, result in zip(jobs, results, strict=True):
            assert tuple(result.labels.tolist()) == job.labels
            assert (result.images.dtype, result.space) == (torch.uint8, "uint8")
        return results

    return run

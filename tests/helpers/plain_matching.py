"""Matching the naive way, in float64: the plain twin of the benchmarks, given the draws that the objectives document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from plain import matching as plain
from torch import Tensor, nn

from ddbench import Job, Precision
from ddbench.context import StageContext
from ddbench.data import HeldSplit, Prepared, in_memory
from ddbench.kit import Pixels
from ddbench.seeding import generator_for
from ddbench.testing import toy_dataset
from ddbench.training.dsa import dsa
from ddbench_plugins.networks import Ddbench


@dataclass
class Float64Context(StageContext):
    """A stage's context whose networks are in float64; `build` makes them where it is given."""

    build: Callable[[], nn.Module] | None = None
    dtype: torch.dtype = torch.float64

    def network(self, name: str, generator: torch.Generator) -> nn.Module:
        if self.build is None:
            return super().network(name, generator).to(self.dtype)
        network = self.build().to(self.dtype)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
        return network


def context(data: Prepared | None = None, **more) -> Float64Context:
    """Return a context on the CPU for toy images (or others), without a work folder."""
    held = HeldSplit(data or toy_dataset())
    more = {"precision": Precision(), "families": {"ddbench": Ddbench()}, "offline": True, **more}
    return Float64Context(held, torch.device("cpu"), torch.Generator(), **more)


def uneven_dataset() -> Prepared:
    """Return a dataset of three classes with 5, 9 and 12 train images."""
    generator = generator_for("uneven dataset")
    labels = torch.tensor([0] * 5 + [1] * 9 + [2] * 12)
    images = torch.randint(0, 256, (len(labels), 3, 8, 8), generator=generator).to(torch.uint8)
    return in_memory((images, labels), (images, labels), name="uneven")


def a_job(labels: tuple[int, ...] = (0, 1, 2, 3, 0, 1, 2, 3), *, seed: int = 0) -> Job:
    return Job(index=0, labels=labels, seed=seed)


def images_of(job: Job, shape: tuple[int, int, int] = (3, 8, 8), *, seed: int = 0) -> Tensor:
    """Return float64 noise for the images of a job."""
    return torch.randn(len(job.labels), *shape, generator=generator_for("images", seed), dtype=torch.float64)


def labels_of(job: Job) -> Tensor:
    return torch.tensor(job.labels)


def fresh(ctx: Float64Context, name: str, job: Job, objective: str, number: int) -> nn.Module:
    """Return the network that an objective draws as number `number`, dropout off."""
    return ctx.network(name, generator_for(f"{objective} network", job.seed, job.index, number)).eval()


def real_images(ctx: Float64Context, job: Job, what: str, parts: tuple[int, ...], count: int) -> Tensor:
    """Return the real images that an objective draws of a class (the last of `parts`), float64 and normalised."""
    positions = ctx.train.indices(parts[-1])
    order = torch.randperm(len(positions), generator=generator_for(what, job.seed, job.index, *parts))
    pixels = Pixels.of_facts(ctx.train.facts, torch.device("cpu"))
    return pixels.normalise(ctx.train.images(positions[order[:count]])).double()


def batches(ctx: Float64Context, job: Job, objective: str, step: int, *, count: int, strategy: str | None = None) -> list:
    """Return what each class brings to a step, drawn as the objectives say they draw."""
    found = []
    for label in sorted(set(job.labels)):
        rows = [row for row, other in enumerate(job.labels) if other == label]
        real = real_images(ctx, job, f"{objective} real", (step, label), count)
        more = {"augment": _siamese(strategy, f"{objective} augmentation", job, step, label)} if strategy else {}
        found.append(plain.ClassBatch(label, real, rows, **more))
    return found


def _siamese(strategy: str, purpose: str, job: Job, step: int, label: int) -> Callable[[Tensor], Tensor]:
    def alike(images: Tensor) -> Tensor:
        return dsa(images, strategy, generator_for(purpose, job.seed, job.index, step, label), siamese=True)

    return alike


def trained(network: nn.Module, images: Tensor, labels: Tensor, job: Job, step: int, *, epochs: int, batch: int, lr: float) -> None:
    """Train a network in place as gradient matching does before a step, without augmentation."""
    generator = generator_for("gradient training", job.seed, job.index, step)

    def drawn() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.randperm(len(images), generator=generator), batch):
            yield images[rows], labels[rows]

    for _ in range(epochs):
        plain.train_epoch(network, list(drawn()), lr)

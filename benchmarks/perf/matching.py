"""A step of distribution matching and one of gradient matching, each against its plain twin; the fast side runs as `auto` chooses.

The issue's size: CIFAR-10's shape, ConvNet-3, 10 images of each of 10 classes, 256 real ones. Images are random pixels and weights
are fresh: neither decides how long a step takes. Both sides draw a network and real images for every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from pairs import Pair, Ratio, Side, compare
from plain import matching as plain
from torch import nn

from ddbench import one_job
from ddbench.context import StageContext
from ddbench.data import HeldSplit, in_memory
from ddbench.networks import build, resolve
from ddbench.plugins import Plugins
from ddbench.training.dsa import dsa
from ddbench.training.precision import resolve_precision
from ddbench.training.work import Work, forward_flops
from ddbench_plugins.matching import DC, DM, Distribution, Gradient

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench import Matching, Objective, Synthesizer

DEVICE = torch.device("cpu")
SHAPE, CLASSES, IPC, REAL, HELD = (3, 32, 32), 10, 10, 256, 500
"""Of images; their classes; synthetic images of a class, real ones in a step, real ones in all."""


@dataclass(frozen=True)
class Fast:
    """An objective at work on one job, and the arithmetic of one of its steps."""

    matching: Matching
    flops: float


def dm_step() -> list[Ratio]:
    """Compare a step of distribution matching, augmented as it is by default."""
    fast, images, numbers = _fast(Distribution(), DM), _synthetic(), count()
    strategy = fast.matching.o.strategy  # type: ignore[attr-defined]  # of this objective

    def plainly() -> None:
        step = next(numbers)
        network = _network(step).requires_grad_(requires_grad=False)
        embed = nn.Sequential(*list(network.children())[:-1])
        plain.dm_step(embed, images, _batches(step, strategy))

    return [_compared("DM step, ConvNet-3, IPC 10 of CIFAR-10, 256 real images a class", plainly, fast, images)]


def dc_step() -> list[Ratio]:
    """Compare a step of gradient matching."""
    fast, images, numbers = _fast(Gradient(), DC), _synthetic(), count()

    def plainly() -> None:
        step = next(numbers)
        plain.dc_step(_network(step), images, _batches(step, None))

    return [_compared("DC step, ConvNet-3, IPC 10 of CIFAR-10, 256 real images a class", plainly, fast, images)]


PARTS: dict[str, Callable[[], list[Ratio]]] = {"dm-step": dm_step, "dc-step": dc_step}


def _compared(name: str, plainly: Callable[[], None], fast: Fast, images: Tensor) -> Ratio:
    numbers, labels = count(), torch.arange(CLASSES, device=DEVICE).repeat(IPC)
    step = Side(lambda: fast.matching.loss_and_grad(images, labels, next(numbers)))
    return compare(Pair(name, Side(plainly), step, 1.3, 2.0, flops=fast.flops, rounds=3, warm_ups=1, device=DEVICE))


def _fast(objective: Objective, method: Synthesizer) -> Fast:
    """Return the objective at work as a whole run of the method would have it."""
    options, facts = objective.options(), _train().facts
    step, iterations = objective.work(options, facts, CLASSES * IPC), method.options().iterations  # type: ignore[attr-defined]
    flops = step.passes * forward_flops(_network(0), SHAPE)
    precision = resolve_precision(device=DEVICE, work=Work(flops * iterations, iterations)).precision
    families = _plugins().all("network")
    context = StageContext(_train(), DEVICE, torch.Generator(), precision, families, offline=True)
    (job,) = one_job(facts, IPC, 0)
    return Fast(objective.start(context, options, job), flops)


def _batches(step: int, strategy: str | None) -> list[plain.ClassBatch]:
    """Return what every class brings to a step, its real images from a tensor of normalised ones, as the released code does."""
    held, generator = _normalised(), torch.Generator().manual_seed(step)
    batches = []
    for label in range(CLASSES):
        rows = torch.randperm(HELD, generator=generator)[:REAL].to(DEVICE)
        seed = int(torch.randint(100_000, (), generator=generator))
        more: dict[str, Any] = {"augment": _siamese(strategy, seed)} if strategy else {}
        batches.append(plain.ClassBatch(label, held[label][rows], range(label, CLASSES * IPC, CLASSES), **more))
    return batches


def _siamese(strategy: str, seed: int) -> Callable[[Tensor], Tensor]:
    return lambda images: dsa(images, strategy, torch.Generator().manual_seed(seed), siamese=True)


def _synthetic() -> Tensor:
    return torch.randn(CLASSES * IPC, *SHAPE, generator=torch.Generator().manual_seed(0)).to(DEVICE)


@cache
def _train() -> HeldSplit:
    labels = torch.arange(CLASSES).repeat(HELD)
    pixels = torch.randint(0, 256, (len(labels), *SHAPE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return HeldSplit(in_memory((pixels, labels), (pixels[:CLASSES], labels[:CLASSES]), name="random pixels"), device=DEVICE)


@cache
def _normalised() -> list[Tensor]:
    """Return float32 (500, 3, 32, 32) of each class."""
    train = _train()
    mean, std = (torch.tensor(values, device=DEVICE).view(-1, 1, 1) for values in (train.facts.mean, train.facts.std))
    return [(train.images(train.indices(label)).float() / 255 - mean) / std for label in range(CLASSES)]


@cache
def _plugins() -> Plugins:
    return Plugins(allowed=())


def _network(seed: int) -> nn.Module:
    families = _plugins().all("network")
    return build(resolve("ddbench/convnet3", families, shape=SHAPE, num_classes=CLASSES), families, seed=seed).to(DEVICE)

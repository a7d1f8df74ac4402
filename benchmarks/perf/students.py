"""Student training, a whole student and squeeze, each against its plain twin; the fast side computes as `auto` chooses.

Images are random pixels of CIFAR-10's shape and weights are fresh: neither decides how long a step takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import torch
from pairs import Pair, Ratio, Side, compare, composed
from plain import students as plain
from plain.squeeze import squeeze_epoch, squeeze_optimiser

from ddbench.api.network import TrainedNetwork
from ddbench.api.protocol import DSA_GROUPS, Augment, Loss, Optimiser, ProtocolSpec, Schedule, TestView
from ddbench.networks import build, resolve
from ddbench.plugins import Plugins
from ddbench.training.loop import RunSettings, epoch_by_epoch
from ddbench.training.precision import forget_compiled, resolve_precision
from ddbench.training.predict import TestImages, logits
from ddbench.training.recipe import student_recipe
from ddbench.training.students import StudentData, StudentSeeds, student_lesson
from ddbench.training.work import size_of, training_work

if TYPE_CHECKING:
    from torch import nn

DEVICE = torch.device("cpu")
SHAPE = (3, 32, 32)
CLASSES = 10
SET = 100
"""Images of a distilled set at IPC 10."""

TEST_IMAGES, TESTED = 10_000, 500
"""Test images of CIFAR-10, and how many of them a measured pass answers; a whole pass is scaled from it."""

SQUEEZED = 384
"""Real images in the measured part of a squeeze epoch."""

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)

SQUEEZE = ProtocolSpec(
    name="squeeze/1",
    title="SRe2L's squeeze on CIFAR",
    source="SRe2L",
    label_regime="hard",
    optimiser=Optimiser(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4),
    schedule=Schedule(name="cosine"),
    batch=128,
    epochs=200,
    augment=(Augment(name="crop", pad=4), Augment(name="flip")),
    loss=Loss(name="ce"),
)


@dataclass(frozen=True)
class Fast:
    """Training by ddbench, epoch by epoch."""

    network: nn.Module
    run: RunSettings
    epoch: Callable[[], None]
    flops: float
    """Of one epoch."""
    first_s: float
    """Seconds of the first epoch, compiling included."""


@cache
def plugins() -> Plugins:
    """Return ddbench's own plugins."""
    return Plugins(allowed=())


def student_soft() -> list[Ratio]:
    """Compare an epoch of `dwa-cifar/1`, which is one step, on 100 images, with the released loader processes and without.

    Starting processes from one that trains on a CPU costs it the pages they share; without them the arithmetic alone is compared.
    """
    return list(_soft()[0])


def student_hard() -> list[Ratio]:
    """Compare an epoch of `dc-hard/1`, which is one step under DSA, on 100 images."""
    pixels, network = pixels_of(SET), network_of("convnet3")
    fast = _fast("convnet3", protocol_of("dc-hard/1"), pixels)
    images = torch.stack([plain.viewed(pixels, i, offset=(plain.PAD, plain.PAD), flipped=False) for i in range(SET)])
    batches = plain.OnDevice(plain.tensor_batches(images, pixels.labels, batch=256), DEVICE)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    side = Side(lambda: plain.hard_epoch(network, optimiser, batches, strategy=DSA_GROUPS), quick=True)
    pair = Pair(
        "student step, hard with DSA, ConvNet-3, 100 images",
        side,
        Side(fast.epoch, quick=True),
        3.0,
        4.0,
        flops=fast.flops,
        rounds=11,
        device=DEVICE,
    )
    return [compare(pair)]


def student_whole() -> list[Ratio]:
    """Compose a student of `dwa-cifar/1` with its test passes; the plain side tests every tenth epoch, the fast side once."""
    epochs = protocol_of("dwa-cifar/1").epochs or 0
    steps, fast = _soft()
    test = _test_pass(fast)
    return [test, *(_whole(step, test, fast, epochs) for step in steps)]


def _whole(step: Ratio, test: Ratio, fast: Fast, epochs: int) -> Ratio:
    whole = TEST_IMAGES / TESTED
    parts = [(step, float(epochs), float(epochs)), (test, plain.tests_of(epochs) * whole, whole)]
    if fast.run.precision.compile:
        compiling = replace(step, name="compiling", plain_s=0.0, fast_s=fast.first_s - step.fast_s)
        parts.append((compiling, 1.0, 1.0))
    loaders = step.name.rpartition(", ")[2]
    name = f"one whole student, soft_online, ResNet-18, IPC 10 of CIFAR-10, {loaders}"
    return composed(name, parts, at_least=6.0, stretch=8.0)


def squeeze() -> list[Ratio]:
    """Compare part of a squeeze epoch."""
    pixels, network = pixels_of(SQUEEZED), network_of("resnet18")
    fast = _fast("resnet18", SQUEEZE, pixels)
    optimiser, batches = squeeze_optimiser(network), plain.OnDevice(plain.train_batches(pixels, batch=SQUEEZE.batch), DEVICE)
    side = Side(lambda: squeeze_epoch(network, optimiser, batches))
    name = f"squeeze epoch, ResNet-18, {SQUEEZED} of CIFAR-10's images"
    return [compare(Pair(name, side, Side(fast.epoch), 2.0, 3.0, flops=fast.flops, rounds=3, warm_ups=1, device=DEVICE))]


PARTS: dict[str, Callable[[], list[Ratio]]] = {
    "student-soft": student_soft,
    "student-hard": student_hard,
    "student-whole": student_whole,
    "squeeze": squeeze,
}


@cache
def _soft() -> tuple[tuple[Ratio, ...], Fast]:
    pixels, student, teacher = pixels_of(SET), network_of("resnet18"), network_of("resnet18", seed=1).eval()
    spec = protocol_of("dwa-cifar/1")
    fast = _fast("resnet18", spec, pixels, teacher="resnet18")
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.01)

    def compared(workers: int, loaders: str) -> Ratio:
        batches = plain.OnDevice(plain.train_batches(pixels, batch=spec.batch, workers=workers), DEVICE)
        side = Side(lambda: plain.soft_epoch((student, teacher), optimiser, batches, temperature=30.0, alpha=0.8))
        name = f"student step, soft_online, ResNet-18 taught by ResNet-18, 100 images, {loaders}"
        return compare(Pair(name, side, Side(fast.epoch), 2.2, 2.6, flops=fast.flops, warm_ups=1, device=DEVICE))

    return (compared(plain.RELEASED_WORKERS, "plain with two loader processes"), compared(0, "plain without loaders")), fast


def _test_pass(fast: Fast) -> Ratio:
    """Compare a pass over some test images."""
    pixels, network = pixels_of(TESTED), network_of("resnet18")
    batches = plain.OnDevice(plain.eval_batches(pixels), DEVICE)
    test = TestImages(lambda index: pixels.images[index], TESTED, torch.tensor(MEAN), torch.tensor(STD), SHAPE[1:])
    sides = Side(lambda: plain.tested(network, batches)), Side(lambda: logits(fast.network, test, TestView(), fast.run))
    return compare(
        Pair(f"test pass over {TESTED} images, ResNet-18", *sides, at_least=1.0, stretch=1.0, rounds=3, warm_ups=1, device=DEVICE)
    )


def _fast(name: str, spec: ProtocolSpec, pixels: plain.Pixels, *, teacher: str | None = None) -> Fast:
    """Return the training of a fresh network by a protocol, its first epoch done."""
    network, recipe = network_of(name), student_recipe(spec, f"ddbench/{name}")
    answering = size_of(network_of(teacher), SHAPE) if teacher else None
    whole = training_work(size_of(network, SHAPE), recipe, len(pixels.labels), teacher=answering)
    precision = resolve_precision(device=DEVICE, work=whole).precision
    run = RunSettings(DEVICE, precision)
    forget_compiled(precision)
    lesson, _ = student_lesson(recipe, data_of(pixels, teacher), spec, seeds=StudentSeeds(0), run=run)
    train, numbers = epoch_by_epoch(network, recipe, lesson=lesson, run=run), count()
    begun = time.perf_counter()
    train(next(numbers))
    first_s = time.perf_counter() - begun
    return Fast(network, run, lambda: train(next(numbers)), whole.flops / (spec.epochs or 1), first_s)


def data_of(pixels: plain.Pixels, teacher: str | None) -> StudentData:
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    names = tuple(str(label) for label in range(CLASSES))
    answering = TrainedNetwork(network_of(teacher, seed=1).eval(), names, mean, std) if teacher else None
    return StudentData(pixels.images, pixels.labels, mean, std, teacher=answering)


def pixels_of(images: int) -> plain.Pixels:
    drawn = torch.randint(0, 256, (images, *SHAPE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return plain.Pixels(drawn, torch.arange(images) % CLASSES, MEAN, STD)


def network_of(name: str, *, seed: int = 0) -> nn.Module:
    families = plugins().all("network")
    return build(resolve(f"ddbench/{name}", families, shape=SHAPE, num_classes=CLASSES), families, seed=seed).to(DEVICE)


def protocol_of(name: str) -> ProtocolSpec:
    spec = plugins().get("protocol", name).value
    if not isinstance(spec, ProtocolSpec):
        raise TypeError(f"{name} is no protocol")
    return spec

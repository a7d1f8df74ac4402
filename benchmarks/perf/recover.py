"""Recover against its plain twin: a step of one batch, ten jobs that share a teacher, and ten that each have weights of their own.

Images are noise of CIFAR's shape and weights are fresh: neither decides how long a step takes. The fast side computes as `auto`
chooses for a thousand steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import torch
from pairs import Pair, Ratio, Side, compare, composed
from plain.recover import PlainJob, PlainRecover, plain_adjust
from torch import nn

from ddbench.kit import Pixels, RecoverRecipe, Start, TappedTeacher, views_of
from ddbench.kit.descent import Descent
from ddbench.networks import build, resolve
from ddbench.plugins import Plugins
from ddbench.seeding import generator_for
from ddbench.training.graphs import Replayed, recorder_of
from ddbench.training.precision import forget_compiled, resolve_precision
from ddbench.training.work import Work, forward_flops
from ddbench_plugins.dwa import DwaOptions
from ddbench_plugins.dwa.adjust import Shown, ascend
from ddbench_plugins.sre2l import Sre2lOptions

if TYPE_CHECKING:
    from ddbench.api.context import Precision

DEVICE = torch.device("cpu")
SHAPE = (3, 32, 32)
JOBS = 10
BATCH = 10
"""Images of a CIFAR-10 job: one of each class."""

PASSES = 2
"""Forward passes' worth of an image in a step: forward, and the gradient of the image."""


def recover_step() -> list[Ratio]:
    """Compare a step of 100 images of 100 classes: as DWA's release has it, whose weights take gradients, and as SRe2L's, frozen.

    In bf16 the ratio to the frozen one can be no larger than the machine's bf16 peak by the speed of its float32 convolutions.
    """
    recipe = RecoverRecipe.of(Sre2lOptions())
    fast, rows = descent(recipe, 1, 100), []
    for frozen, of, at_least, stretch in ((False, "as DWA's release", 3.5, 4.0), (True, "as SRe2L's release, frozen", 1.0, 1.0)):
        slow = _plain(recipe, 100, frozen=frozen)
        name = f"recover step, ResNet-18, 32×32, 100 images, plain {of}"
        sides = Side(slow, quick=True), Side(fast, quick=True)
        rows.append(compare(Pair(name, *sides, at_least, stretch, flops=_flops(100), rounds=5, device=DEVICE)))
    return rows


def recover_stacked() -> list[Ratio]:
    """Compare a step of ten jobs of ten images side by side with a step of each after another, as SRe2L's release has it."""
    recipe = RecoverRecipe.of(Sre2lOptions())
    fast, slow = descent(recipe, JOBS, BATCH), _plain(recipe, BATCH)
    name = "SRe2L recover step, ResNet-18, ten jobs of 10 images"
    return [
        compare(
            Pair(
                name,
                Side(slow, JOBS, quick=True),
                Side(fast, quick=True),
                4.5,
                5.0,
                flops=_flops(JOBS * BATCH),
                rounds=5,
                device=DEVICE,
            )
        )
    ]


def recover_dwa() -> list[Ratio]:
    """Compare a step of ten jobs of ten images, each with its own weights, one after another on both sides; the weights take
    gradients on the plain side, as in DWA's release. Then the adjustment, and the two together over a thousand steps."""
    recipe = RecoverRecipe.of(DwaOptions())
    fast, slow = descent(recipe, 1, BATCH), _plain(recipe, BATCH, frozen=False)
    name = "DWA recover step, ResNet-18, ten jobs of 10 images"
    sides = Side(slow, JOBS, quick=True), Side(fast, JOBS, quick=True)
    step = compare(Pair(name, *sides, at_least=4.0, stretch=4.5, flops=_flops(JOBS * BATCH), rounds=5, device=DEVICE))
    adjust = adjustment()
    parts = [(step, float(recipe.iterations), float(recipe.iterations)), (adjust, JOBS, JOBS)]
    whole = composed("DWA, ResNet-18, ten jobs of 10 images, adjusted and recovered", parts, at_least=4.0, stretch=4.5)
    return [step, adjust, whole]


def ratios() -> list[Ratio]:
    """Return all that is measured here."""
    return [ratio for part in PARTS.values() for ratio in part()]


PARTS: dict[str, Callable[[], list[Ratio]]] = {
    "recover-step": recover_step,
    "recover-stacked": recover_stacked,
    "recover-dwa": recover_dwa,
}


def adjustment(batch: int = BATCH) -> Ratio:
    """Compare the ascent of one job: K steps over all weights."""
    options, start = DwaOptions(), _start(RecoverRecipe.of(DwaOptions()), 1, batch)
    network, plain = _network(batch), copy.deepcopy(_network(batch)).requires_grad_(requires_grad=True)
    theta = {name: values.detach() for name, values in network.named_parameters()}
    shown = [Shown(start.images, start.labels, start.views[0])]
    job = PlainJob(start.images, start.labels, start.views[:, 0])
    slow = Side(lambda: plain_adjust(plain, job, rho=options.rho, steps=options.steps))
    fast = Side(lambda: ascend(network, theta, shown, options=options, precision=_precision(JOBS * batch)))
    return compare(Pair("DWA adjustment of one job", slow, fast, 1.0, 1.0, rounds=3, warm_ups=1, device=DEVICE))


def descent(recipe: RecoverRecipe, jobs: int, batch: int, *, of: int = 1) -> Callable[[], object]:
    """Return what takes a step of stacked jobs, recorded where the device records; computed as a stage of at least `of` jobs is."""
    precision = _precision(max(jobs, of, JOBS if batch == BATCH else 1) * batch)
    forget_compiled(precision)
    tapped = TappedTeacher(_network(batch), SHAPE, precision)
    return Replayed(Descent(tapped, _start(recipe, jobs, batch), recipe, _pixels()).step, recorder_of(DEVICE), print)


def _plain(recipe: RecoverRecipe, batch: int, *, frozen: bool = True) -> Callable[[], None]:
    """Return what takes a step of one job."""
    start = _start(recipe, 1, batch)
    job = PlainJob(start.images, start.labels, start.views[:, 0])
    return PlainRecover(_network(batch), job, recipe=recipe, pixels=_pixels(), frozen=frozen).step


def _start(recipe: RecoverRecipe, jobs: int, batch: int) -> Start:
    generators = [generator_for("perf", job) for job in range(jobs)]
    images = torch.cat([torch.randn(batch, *SHAPE, generator=generator) for generator in generators])
    labels = torch.arange(batch).repeat(jobs)
    views = views_of(recipe.view_rule, recipe.iterations, SHAPE[1:], generators)
    return Start(images.to(DEVICE), labels.to(DEVICE), views.to(DEVICE))


def _precision(images: int) -> Precision:
    """Return how `auto` computes a thousand steps of so many images in all."""
    flops = _flops(images)
    return resolve_precision(device=DEVICE, work=Work(1000 * flops, 1000)).precision


def _flops(images: int) -> float:
    return float(PASSES * images * forward_flops(_network(BATCH), SHAPE))


def _pixels() -> Pixels:
    mean, std = (torch.tensor(values, device=DEVICE).view(-1, 1, 1) for values in ((0.491, 0.482, 0.447), (0.202, 0.199, 0.201)))
    return Pixels(mean, std)


@cache
def _network(num_classes: int) -> nn.Module:
    families = Plugins(allowed=()).all("network")
    made = build(resolve("resnet18", families, shape=SHAPE, num_classes=num_classes), families, seed=0)
    return made.to(DEVICE).eval().requires_grad_(requires_grad=False)

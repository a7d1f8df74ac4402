"""The table of DWA's paper on CIFAR-100, put together from its measured stages: what an accelerator needs for all of it.

SRe2L, DWA and random; IPC 10 and 50; five students with three eval seeds each; the teacher trained anew. Of every stage some steps
are measured, as `auto` computes the whole stage, and multiplied by how often the table needs them. Images are random pixels of
CIFAR's shape: they do not decide how long a step takes. What the harness adds is measured apart (`cell-overhead`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import recover
import students
import torch
from figures import Figure
from pairs import finish

from ddbench.api.dataset import DatasetFacts
from ddbench.api.protocol import TestView, training_steps
from ddbench.kit import RecoverRecipe
from ddbench.kit.jobs import stacked_jobs
from ddbench.training.graphs import WARM_UPS
from ddbench.training.loop import RunSettings, epoch_by_epoch
from ddbench.training.precision import forget_compiled, resolve_precision
from ddbench.training.predict import TestImages, logits
from ddbench.training.recipe import student_recipe
from ddbench.training.students import StudentSeeds, student_lesson
from ddbench.training.work import size_of, training_work
from ddbench_plugins.dwa import DwaOptions
from ddbench_plugins.sre2l import Sre2lOptions

if TYPE_CHECKING:
    from ddbench.api.context import Precision
    from ddbench.api.protocol import ProtocolSpec

DEVICE = torch.device("cpu")
CLASSES, TRAIN, TEST = 100, 50_000, 10_000
IPCS = (10, 50)
METHODS, EVAL_SEEDS = 3, 3
NETWORKS = ("resnet18", "resnet50", "mobilenetv2-cifar", "efficientnetb0-cifar", "shufflenetg2-cifar")
BATCHES = 8
"""Whole batches in a measured epoch."""

MEASURED = 3
"""Epochs that are measured, after those in which kernels are chosen and a step is recorded."""

SHAPE = (3, 32, 32)
COUNTS = (TRAIN // CLASSES,) * CLASSES
FACTS = DatasetFacts("random pixels", tuple(map(str, range(CLASSES))), SHAPE, (0.5,) * 3, (0.25,) * 3, COUNTS, TEST, "0" * 64)


@dataclass(frozen=True)
class Stage:
    """What a stage of training costs."""

    step_s: float
    first_s: float
    """What the first steps take beyond that: compiling, recording, choosing kernels."""
    test_s: float
    """One pass over the test split."""


def paper_table() -> list[Figure]:
    """Compose the table; nothing on a CPU, where it would take days."""
    if DEVICE.type == "cpu":
        return []
    recover.DEVICE = students.DEVICE = DEVICE
    students.CLASSES = CLASSES
    parts = {"teacher, 200 epochs": _teacher(), "SRe2L, 50 images a class": _sre2l(), "DWA, 50 images a class": _dwa()}
    parts |= {f"students, {name}, {METHODS * EVAL_SEEDS * len(IPCS)} of them": _students(name) for name in NETWORKS}
    total = sum(parts.values()) / 60
    title = "DWA's table of CIFAR-100"
    rows = [Figure(f"{title}: {name}", seconds / 60, "min", "–", MEASURED, None) for name, seconds in parts.items()]
    return [*rows, Figure(f"{title}, composed of these", total, "min", "at most 60", MEASURED, total <= 60)]


FIGURES: dict[str, Callable[[], list[Figure]]] = {"paper-table": paper_table}


def _teacher() -> float:
    stage = _stage("resnet18", students.SQUEEZE, TRAIN, teacher=None)
    steps = training_steps(student_recipe(students.SQUEEZE, ""), TRAIN)
    return steps * stage.step_s + stage.first_s + stage.test_s


def _sre2l() -> float:
    recipe = RecoverRecipe.of(Sre2lOptions())
    jobs = stacked_jobs(recipe, FACTS)
    return math.ceil(max(IPCS) / jobs) * recipe.iterations * _step_s(recover.descent(recipe, jobs, CLASSES, of=max(IPCS)))


def _dwa() -> float:
    recipe = RecoverRecipe.of(DwaOptions())
    step = _step_s(recover.descent(recipe, 1, CLASSES, of=max(IPCS)))
    return max(IPCS) * (recipe.iterations * step + recover.adjustment(CLASSES).fast_s)


def _students(name: str) -> float:
    spec, total = students.protocol_of("dwa-cifar/1"), 0.0
    for ipc in IPCS:
        images = ipc * CLASSES
        stage = _stage(name, spec, images, teacher="resnet18")
        steps = training_steps(student_recipe(spec, f"ddbench/{name}"), images)
        total += METHODS * EVAL_SEEDS * (steps * stage.step_s + stage.first_s + stage.test_s)
    return total


def _stage(name: str, spec: ProtocolSpec, images: int, *, teacher: str | None) -> Stage:
    """Measure a training as `auto` computes it on so many images."""
    recipe, network = student_recipe(spec, f"ddbench/{name}"), students.network_of(name)
    answering = size_of(students.network_of(teacher), SHAPE) if teacher else None
    work = training_work(size_of(network, SHAPE), recipe, images, teacher=answering)
    return _measured(name, spec.name, resolve_precision(device=DEVICE, work=work).precision, teacher)


@cache
def _measured(name: str, protocol: str, precision: Precision, teacher: str | None) -> Stage:
    """Measure epochs of a few whole batches, and a test pass."""
    spec = students.SQUEEZE if protocol == students.SQUEEZE.name else students.protocol_of(protocol)
    recipe, network, run = student_recipe(spec, f"ddbench/{name}"), students.network_of(name), RunSettings(DEVICE, precision)
    forget_compiled(precision)
    data = students.data_of(students.pixels_of(BATCHES * recipe.batch), teacher)
    begun = time.perf_counter()
    lesson, _ = student_lesson(recipe, data, spec, seeds=StudentSeeds(0), run=run)
    train, numbers = epoch_by_epoch(network, recipe, lesson=lesson, run=run), count()
    warm = 1 + math.ceil((WARM_UPS + 1) / BATCHES)
    first_s = _seconds(lambda: [train(next(numbers)) for _ in range(warm)], begun)
    step_s = _seconds(lambda: [train(next(numbers)) for _ in range(MEASURED)]) / (MEASURED * BATCHES)
    pixels = students.pixels_of(TEST)
    test = TestImages(lambda index: pixels.images[index], TEST, torch.tensor(students.MEAN), torch.tensor(students.STD))
    test_s = _seconds(lambda: logits(network, test, TestView(), run))
    return Stage(step_s, max(0.0, first_s - warm * BATCHES * step_s), test_s)


def _step_s(step: Callable[[], object]) -> float:
    for _ in range(WARM_UPS + 2):
        step()
    return _seconds(lambda: [step() for _ in range(20)]) / 20


def _seconds(call: Callable[[], object], begun: float | None = None) -> float:
    """Return the seconds of a call until the device is done with it; from an earlier moment where one is given."""
    finish(DEVICE)
    begun = begun or time.perf_counter()
    call()
    finish(DEVICE)
    return time.perf_counter() - begun

from __future__ import annotations

import importlib

import pytest
import torch

import ddbench
from ddbench import ExpertOptions, one_job
from ddbench.context import StageContext
from ddbench.data import HeldSplit, in_memory
from ddbench.data.moving import moved
from ddbench.plugins import Plugins
from ddbench_plugins.matching import Distribution, Gradient, Trajectory

CPU = torch.device("cpu")
CLASSES, IPC, HELD, SHAPE = 10, 2, 40, (3, 32, 32)
WALK = importlib.import_module("ddbench.kit.walk")
"""`ddbench.kit.walk` itself is the function."""
QUICK = {"protocol": "quick-hard/1", "students": ["convnet1-w32"], "eval_seeds": 1, "distill_seeds": 1, "ipc": 1, "smoke": 0.02}


def split_on(device):
    """Return some random images held on a device."""
    labels = torch.arange(CLASSES).repeat(HELD)
    pixels = torch.randint(0, 256, (len(labels), *SHAPE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return HeldSplit(in_memory((pixels, labels), (pixels[:CLASSES], labels[:CLASSES]), name="random pixels"), device=device)


@pytest.fixture
def train(device):
    return split_on(device)


class Kept:
    """Two experts at two times, on the CPU, where files are read."""

    count, epochs, network, card = 2, 40, "ddbench/convnet3", {}
    options = ExpertOptions()

    def __init__(self, network, device):
        self.made, self.device = [network("convnet3", seed=seed).state_dict() for seed in range(4)], device

    def weights(self, expert, epoch):
        return {name: moved(value, self.device) for name, value in self.made[2 * expert + epoch % 2].items()}


def matching(objective, train, device, needs=None, **options):
    context = StageContext(
        train, device, torch.Generator(), ddbench.Precision(), Plugins(allowed=()).all("network"), needs or {}, offline=True
    )
    (job,) = one_job(train.facts, IPC, 0)
    return objective.start(context, objective.options(**options), job)


OBJECTIVES = {
    "DM": (Distribution(), {}),
    "DM, batch norm": (Distribution(), {"network": "convnet3-bn"}),
    "DC": (Gradient(), {}),
    "DC, whole loops": (Gradient(), {"augment": "dsa", "outer": 3, "inner": 2}),
    "DC, batch norm": (Gradient(), {"network": "convnet3-bn"}),
    "MTT": (Trajectory(), {"syn_steps": 3, "batch_syn": 5}),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_makes_nobody_wait(device, train, network, unhindered, name):
    objective, options = OBJECTIVES[name]
    at_work = matching(objective, train, device, {"experts": Kept(network, device)}, **options)
    images = torch.randn(CLASSES * IPC, *SHAPE, device=device)
    labels = torch.arange(CLASSES, device=device).repeat(IPC)
    for step in range(4):
        at_work.loss_and_grad(images, labels, step)
    with unhindered():
        for step in range(4, 8):
            at_work.loss_and_grad(images, labels, step)


@pytest.mark.parametrize("name", ["DM", "DC"])
def test_an_accelerator_finds_the_gradient_that_a_cpu_finds(device, train, name):
    objective, options = OBJECTIVES[name]
    images = torch.randn(CLASSES * IPC, *SHAPE, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(CLASSES).repeat(IPC)
    there = matching(objective, train, device, **options).loss_and_grad(images.to(device), labels.to(device), 0)
    cpu = split_on(CPU)
    here = matching(objective, cpu, CPU, **options).loss_and_grad(images, labels, 0)
    for one, other in zip(there, here, strict=True):
        assert float((one.cpu() - other).norm() / other.norm()) < 5e-3


@pytest.mark.parametrize("selector", ["last", "feature"])
def test_steps_of_a_walk_make_nobody_wait_between_candidates(device, unhindered, monkeypatch, tmp_path, selector):
    steps, real = [], WALK._Walker._step

    def step(self, state, rates):
        steps.append(state.step)
        every = self.recipe.select_every
        if len(steps) < 4 or (every and state.step % every == 0):
            return real(self, state, rates)
        with unhindered():
            return real(self, state, rates)

    monkeypatch.setattr(WALK._Walker, "_step", step)
    options = {"prior": "random", "selector": selector, "iterations": 12}
    made = ddbench.run("hglad", store=tmp_path, device=str(device), options=options, **QUICK)
    assert not made.failures
    assert len(steps) == 12

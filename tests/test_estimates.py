"""Work is counted from shapes and options: against numbers worked out by hand, and never by building what is large."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddbench import NetworkFamily, NetworkSpec
from ddbench import estimates as estimates_module
from ddbench.cells import Method
from ddbench.estimates import NOTHING, Estimates
from ddbench.networks import build, resolve
from ddbench.options import Layer
from ddbench.options import resolve as resolve_options
from ddbench.plugins import Plugins
from ddbench.testing import toy_dataset
from ddbench.training.work import Work, forward_flops

SIZE = 512


class Dense(NetworkFamily):
    """One dense layer, whose builder remembers where it was asked to build."""

    name, version = "dense", 1

    def __init__(self, *, reads_its_weights=False):
        self.reads, self.built_on = reads_its_weights, []

    def names(self):
        return ["one"]

    def fit(self, name, *, shape, num_classes):
        return NetworkSpec("dense/one", 1, shape, num_classes)

    def build(self, spec):
        layer = nn.Linear(SIZE, spec.num_classes)
        self.built_on.append(layer.weight.device.type)
        network = nn.Sequential(nn.Flatten(), layer)
        if self.reads:
            network.register_forward_hook(lambda *_: float(layer.weight.sum()))
        return network


SPEC = NetworkSpec("dense/one", 1, (2, 16, 16), 10)


def method(name, **options):
    entry = Plugins(()).get("synthesizer", name)
    return Method(entry, resolve_options(entry.value.options, [Layer("test", options)], owner=name))


def test_a_network_is_counted_without_its_memory_and_once():
    family = Dense()
    estimates = Estimates({"dense": family})
    assert [estimates.size(SPEC).flops for _ in range(2)] == [2 * SIZE * 10] * 2
    assert family.built_on == ["meta"]


def test_a_network_that_cannot_run_without_memory_is_counted_for_real(monkeypatch):
    monkeypatch.setattr(estimates_module, "SMALL", 0)
    family = Dense(reads_its_weights=True)
    assert Estimates({"dense": family}).size(SPEC).flops == 2 * SIZE * 10
    assert family.built_on == ["meta", "cpu"]


@pytest.mark.parametrize(
    "name",
    [
        "convnet3",
        "resnet18",
        "vit",
        "mobilenetv2-cifar",
        "timm/resnet10t",
        "timm/vit_tiny_patch16_224",
        "torchvision/regnet_x_400mf",
    ],
)
def test_the_count_is_that_of_the_built_network(name):
    families = Plugins(()).all("network")
    spec = resolve(name, families, shape=(3, 32, 32), num_classes=10)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    counted = Estimates(families).size(spec).flops
    assert torch.get_rng_state().equal(before)
    network, counter = build(spec, families, seed=0).eval(), FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.randn(1, *spec.shape))
    assert counted == counter.get_total_flops() == forward_flops(network, spec.shape)


@pytest.mark.parametrize(("most", "devices"), [(SIZE * 10 + 10, ["cpu"]), (SIZE * 10 + 9, ["meta"])], ids=["small", "large"])
def test_a_small_network_is_counted_on_zeros_and_a_large_one_without_memory(monkeypatch, most, devices):
    asked = []
    monkeypatch.setattr(estimates_module, "SMALL", most)
    monkeypatch.setattr(estimates_module, "size_of", lambda network, _: asked.append(next(network.parameters()).device.type))
    Estimates({"dense": Dense()}).size(SPEC)
    assert asked == devices


@pytest.mark.parametrize(
    ("name", "sizes", "calls"),
    [
        ("sre2l", (50, 100, 5), 10),  # all classes at once, five jobs at once
        ("sre2l", (50, 30, 5), 4 * 10),  # four class batches: 30, 30, 30 and 10
        ("sre2l", (51, 1000, 5), 11),  # a batch larger than there are classes; a last group of one job
        ("dwa", (50, 30, 1), 4 * 50),
    ],
)
def test_recover_calls_its_network_for_each_class_batch_of_each_group(monkeypatch, name, sizes, calls):
    ipc, batch, stack = sizes
    facts = toy_dataset(classes=100, per_class=1).facts
    one = method(name, iterations=7, batch=batch)
    monkeypatch.setattr(type(one.synthesizer), "stack", lambda self, o, facts: stack)
    spec = replace(SPEC, num_classes=100)
    work = Estimates({"dense": Dense()}).recover(one, facts, ipc, [spec])
    assert work == Work(2.0 * 2 * SIZE * 100 * 100 * ipc * 7, 7 * calls, values=2.0 * 100 * 100 * ipc * 7)


def test_what_has_no_iterations_or_no_network_takes_no_work():
    facts, estimates = toy_dataset().facts, Estimates({"dense": Dense()})
    assert estimates.recover(method("random"), facts, 1, [SPEC]) == NOTHING
    assert estimates.recover(method("sre2l"), facts, 1, []) == NOTHING
    assert estimates.recover(method("sre2l", iterations=0), facts, 1, [SPEC]) == NOTHING

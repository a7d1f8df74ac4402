"""Sums at the end of residual blocks: a trace finds them and the tap before them takes them, where nothing else is meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.kit.residual import join_sums


class Doubling(nn.Module):
    """Stands for a tap: doubles what it is given; with a shortcut it adds that and rectifies."""

    def __init__(self, *, wrong: bool = False) -> None:
        super().__init__()
        self.wrong, self.joined = wrong, 0

    def forward(self, images: Tensor, added: Tensor | None = None) -> Tensor:
        self.joined += added is not None
        return 2 * images if added is None else F.relu(2 * images + added * (2 if self.wrong else 1))


class Network(nn.Module):
    def __init__(self, end: Any, tap: Doubling | None = None) -> None:
        super().__init__()
        self.end, self.tap, self.first = end, tap or Doubling(), nn.Conv2d(1, 1, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        shortcut = self.first(images)
        return self.end(self, self.tap(shortcut), shortcut)


IMAGES = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def joined(network: nn.Module, images: Tensor = IMAGES) -> int:
    with torch.no_grad():
        return join_sums(network, Doubling, nn.ReLU, images)


def in_place(self: Network, out: Tensor, shortcut: Tensor) -> Tensor:
    out += shortcut
    return self.relu(out)


JOINED = {
    "a sum in place": in_place,
    "a sum": lambda self, out, shortcut: self.relu(out + shortcut),
    "the other way round": lambda self, out, shortcut: self.relu(shortcut + out),
    "a function": lambda self, out, shortcut: self.relu(torch.add(out, shortcut)),
    "a method": lambda self, out, shortcut: self.relu(out.add_(shortcut)),
    "a rectifying function": lambda self, out, shortcut: F.relu(out + shortcut),
    "a rectifying method": lambda self, out, shortcut: (out + shortcut).relu_() * 3,
}


@pytest.mark.parametrize("end", JOINED.values(), ids=JOINED)
def test_a_tap_takes_a_sum_and_its_rectifier(end):
    network = Network(end)
    images = IMAGES.clone().requires_grad_()
    before = network(images)
    (expected,) = torch.autograd.grad(before.square().sum(), images)
    assert joined(network) == 1
    network.tap.joined = 0
    after = network(images)
    assert network.tap.joined == 1
    assert torch.equal(after, before)
    assert torch.allclose(torch.autograd.grad(after.square().sum(), images)[0], expected)


def read_twice(self: Network, out: Tensor, shortcut: Tensor) -> Tensor:
    total = out + shortcut
    return self.relu(total.clone()) + total


def with_hook(self: Network) -> Network:
    self.relu.register_forward_hook(lambda layer, given, found: found * 2)
    return self


LEFT = {
    "a weighted sum": lambda: Network(lambda self, out, shortcut: self.relu(torch.add(out, shortcut, alpha=2))),
    "a number": lambda: Network(lambda self, out, _: self.relu(out + 1)),
    "a sum that something else reads": lambda: Network(read_twice),
    "a tap that something else reads": lambda: Network(lambda self, out, shortcut: self.relu(out + shortcut) + out),
    "a tap with itself": lambda: Network(lambda self, out, _: self.relu(out + out)),
    "no tap": lambda: Network(lambda self, out, shortcut: self.relu(out * 3 + shortcut)),
    "no rectifier": lambda: Network(lambda self, out, shortcut: torch.sigmoid(out + shortcut)),
    "a rectifier with a hook": lambda: with_hook(Network(JOINED["a sum"])),
    "code that decides by what it sees": lambda: Network(
        lambda self, out, shortcut: self.relu(out + shortcut) if out.sum() > 0 else out
    ),
    "answers that would change": lambda: Network(JOINED["a sum"], Doubling(wrong=True)),
}


@pytest.mark.parametrize("built", LEFT.values(), ids=LEFT)
def test_other_sums_are_left_alone(built):
    network = built()
    before = network(IMAGES)
    assert joined(network) == 0
    network.tap.joined = 0
    assert torch.equal(network(IMAGES), before)
    assert network.tap.joined == 0
    assert "forward" not in vars(network)

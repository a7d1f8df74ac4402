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
        self.seen = images.detach()
        return 2 * images if added is None else F.relu(2 * images + added * (2 if self.wrong else 1))


class Network(nn.Module):
    def __init__(self, end: Any, tap: Doubling | None = None) -> None:
        super().__init__()
        self.end, self.tap, self.first = end, tap or Doubling(), nn.Conv2d(1, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.first.weight.fill_(1.7), self.first.bias.fill_(-0.2)

    def forward(self, images: Tensor) -> Tensor:
        shortcut = self.first(images)
        return self.end(self, self.tap(shortcut), shortcut)


IMAGES = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def joined(network: nn.Module, images: Tensor = IMAGES) -> int:
    def told() -> list[Tensor]:
        given = images.clone().requires_grad_()
        answers = network(given)
        return [answers, network.tap.seen, *torch.autograd.grad(answers.square().sum(), given)]

    return join_sums(network, Doubling, nn.ReLU, told)


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


class Passing(torch.autograd.Function):
    """Rounds, and lets gradients pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def gated(self: Network, out: Tensor, shortcut: Tensor) -> Tensor:
    with torch.no_grad():
        gate = torch.sigmoid(shortcut)
    return self.relu(out + shortcut) * gate


def called_twice(self: Network, out: Tensor, shortcut: Tensor) -> Tensor:
    return self.relu(self.tap(out * 2) + out)


def of_its_own(network: Network) -> Network:
    forward = network.forward
    network.forward = lambda images: forward(images) * 2
    return network


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
    "gradients of its own": lambda: Network(lambda self, out, shortcut: Passing.apply(self.relu(out + shortcut))),
    "a gate without gradients": lambda: Network(gated),
    "a tap that is called twice": lambda: Network(called_twice),
    "a forward of the instance": lambda: of_its_own(Network(JOINED["a sum"])),
    "answers that would change": lambda: Network(JOINED["a sum"], Doubling(wrong=True)),
}


@pytest.mark.parametrize("built", LEFT.values(), ids=LEFT)
def test_other_sums_are_left_alone(built):
    network, images = built(), IMAGES.clone().requires_grad_()
    before = network(images)
    (expected,) = torch.autograd.grad(before.square().sum(), images)
    assert joined(network) == 0
    network.tap.joined = 0
    after = network(images)
    assert torch.equal(after, before)
    assert torch.equal(torch.autograd.grad(after.square().sum(), images)[0], expected)
    assert network.tap.joined == 0
    assert type(network) is Network


class Outer(nn.Module):
    """Code of its own around a block: it is not looked into."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Network(JOINED["a sum in place"])
        self.tap = self.block.tap

    def forward(self, images: Tensor) -> Tensor:
        if images.sum() > 0:  # which no trace could follow
            images = images * 2
        return Passing.apply(self.block(images))


def test_code_around_a_block_stays():
    network, images = Outer(), IMAGES.clone().requires_grad_()
    before = network(images)
    (expected,) = torch.autograd.grad(before.square().sum(), images)
    assert joined(network) == 1
    after = network(images)
    assert torch.equal(after, before)
    assert torch.allclose(torch.autograd.grad(after.square().sum(), images)[0], expected)
    assert type(network) is Outer
    assert type(network.block).__name__ == "Network"


class Registered(nn.Module):
    """A block of a kind that takes each name once."""

    names: set[str] = set()  # noqa: RUF012 - a registry, as people write them

    def __init_subclass__(cls) -> None:
        if cls.__name__ in cls.names:
            raise ValueError(f"{cls.__name__} is registered twice")
        cls.names.add(cls.__name__)


class Once(Registered):
    def __init__(self) -> None:
        super().__init__()
        self.tap, self.relu = Doubling(), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.tap(images) + images)


def test_a_block_whose_kind_refuses_another_class_stays():
    network = Once()
    before = network(IMAGES)
    assert joined(network) == 0
    assert torch.equal(network(IMAGES), before)

"""A hierarchical prior of three layers and an objective with a memory, small and smooth enough for exact comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ddbench import Latents, NoOptions, Objective, Prior
from ddbench.errors import BadRequest
from ddbench.seeding import generator_for

WIDTH = 4


@dataclass
class ToyPrior:
    """`w+` → `f1` → `f2` → `pixel`; each layer is modulated by its own style, and `advance` is exact but for the clip."""

    shape: tuple[int, int, int] = (3, 8, 8)
    dtype: torch.dtype = torch.float32
    clip: float = 10.0
    spaces: tuple[str, ...] = ("w+", "f1", "f2", "pixel")
    value_range: tuple[float, float] | None = (-1.0, 1.0)
    largest_graph: int = 0
    """Rows of the largest batch decoded with a graph."""
    layers: list[Tensor] = field(default_factory=list)

    def __post_init__(self):
        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        generator = generator_for("toy prior", *self.shape)
        sizes = [(WIDTH, 6), (6, 6), (6, pixels), (WIDTH, 6), (WIDTH, pixels)]
        self.layers = [torch.randn(*size, generator=generator, dtype=torch.float64).to(self.dtype) * 0.5 for size in sizes]

    def init_latents(self, labels, space, *, how, real, generator):
        if space not in self.spaces:
            raise BadRequest(f"no space {space}")
        codes = torch.randn(len(labels), 3, WIDTH, generator=generator, dtype=torch.float64)
        if how == "class_mean":
            codes = codes * 0.01 + labels.view(-1, 1, 1) * 0.3
        if how == "encode":
            codes = real.flatten(1)[:, :WIDTH, None].double().expand(-1, -1, 3).transpose(1, 2)
        start = Latents("w+", {"w": codes.to(self.dtype)}, labels)
        return start if space == "w+" else self.advance(start, space)

    def decode(self, z):
        if torch.is_grad_enabled():
            self.largest_graph = max(self.largest_graph, len(z))
        if z.space == "pixel":
            return z.tensors["x"]
        at, values = self.spaces.index(z.space), z.tensors.get("f")
        for layer in range(at, 3):
            values = self._layer(layer, values, z.tensors["w"])
        return values.view(len(z), *self.shape)

    def advance(self, z, to):
        at, target = self.spaces.index(z.space), self.spaces.index(to)
        if target <= at:
            raise BadRequest(f"{to} is not finer")
        if to == "pixel":
            return Latents(to, {"x": self.decode(z).detach().clone()}, z.labels)
        values = z.tensors.get("f")
        for layer in range(at, target):
            values = self._layer(layer, values, z.tensors["w"])
        carried = Latents(to, {"w": z.tensors["w"].detach().clone(), "f": values.detach().clone()}, z.labels, z.frozen)
        self.regularise(carried)
        return carried

    def regularise(self, z):
        for tensor in z.tensors.values():
            tensor.nan_to_num_(nan=0.0).clamp_(-self.clip, self.clip)

    def _layer(self, number, values, w):
        a1, a2, a3, b2, b3 = self.layers
        if number == 0:
            return torch.tanh(w[:, 0] @ a1)
        straight, style = (a2, b2) if number == 1 else (a3, b3)
        return torch.tanh((values @ straight) * (1 + w[:, number] @ style))


class ToyPriorKind(Prior):
    """The toy prior as a plugin has it."""

    name = "toy"
    version = 1
    options = NoOptions
    licence = "none"
    external_data = False
    gated = False

    def spaces(self, o, facts):
        return ToyPrior().spaces

    def fit(self, ctx, o):
        return {}, {}

    def load(self, weights, o, facts):
        return ToyPrior(facts.shape)


@dataclass
class ToyMatching:
    """Class means of images, drawn to noisy targets that follow what it remembers of earlier images; all by step and seed."""

    classes: int
    shape: tuple[int, int, int]
    seed: int = 0
    scale: float = 1.0
    space: str = "normalised"
    spoil: Mapping[int, float] = field(default_factory=dict)
    """By step: what its loss is multiplied by."""
    memory: Tensor | None = None
    asked: list[int] = field(default_factory=list)
    lr: float = 0.01

    def loss_and_grad(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        self.asked.append(step)
        images = images.detach().requires_grad_()
        loss = sum(((images[labels == c].mean(dim=0) - goal) ** 2).mean() for c, goal in enumerate(self._goals(step, images)))
        loss = loss * self.scale * self.spoil.get(step, 1.0)
        (grad,) = torch.autograd.grad(loss, images)
        self.memory = 0.9 * self._memory(images) + 0.1 * images.detach().mean(dim=0)
        return loss.detach(), grad

    def state(self):
        return {} if self.memory is None else {"memory": self.memory}

    def load(self, state):
        self.memory = state["memory"].clone() if "memory" in state else None

    def extras(self):
        return {"lr": torch.tensor([self.lr])}

    def _memory(self, images: Tensor) -> Tensor:
        return torch.zeros_like(images[0]) if self.memory is None else self.memory

    def _goals(self, step: int, images: Tensor) -> Tensor:
        centres = torch.randn(self.classes, *self.shape, generator=generator_for("goals", self.seed), dtype=torch.float64)
        noise = torch.randn(self.classes, *self.shape, generator=generator_for("noise", self.seed, step), dtype=torch.float64)
        return (centres + 0.1 * noise).to(images) + 0.2 * self._memory(images)


class ToyObjective(Objective):
    """The toy objective as a plugin has it."""

    name = "toy"
    version = 1
    options = NoOptions

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def needs(self, o, facts):
        return {}

    def start(self, ctx, o, job):
        facts = ctx.train.facts
        return ToyMatching(facts.num_classes, facts.shape, job.seed, **self.changes)


@dataclass
class Nearness:
    """A judge: the squared distance of images to a fixed one."""

    goal: Tensor
    seen: list[tuple[int, float, Tensor]] = field(default_factory=list)
    """Step, loss and images of every candidate."""

    def score(self, candidate):
        self.seen.append((candidate.step, float(candidate.loss), candidate.images.clone()))
        return float(((candidate.images - self.goal) ** 2).mean())


class ToySelector:
    """The judge as a plugin has it."""

    name = "toy"
    version = 1
    options = NoOptions

    def needs(self, o, facts):
        return {}

    def start(self, ctx, o, job):
        return Nearness(torch.zeros(ctx.train.facts.shape))


def same(a: Latents, b: Latents) -> bool:
    """Return whether two latents are alike, bit by bit."""
    return a.space == b.space and a.tensors.keys() == b.tensors.keys() and all(a.tensors[n].equal(b.tensors[n]) for n in a.tensors)


def with_tensors(z: Latents, **tensors: Tensor) -> Latents:
    return replace(z, tensors={**z.tensors, **tensors})

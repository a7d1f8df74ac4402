"""Optimisers: SGD and Adam in torch's own kernels, fused where the device can, with the parameters that decay written down.

torch's optimiser classes import its compiler when the first is made, over a second of every process's start; the functions that
they call do not, so that here are classes of our own around them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.optim.adam import adam
from torch.optim.sgd import sgd

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.training.recipe import Recipe

FUSED = ("cpu", "cuda", "mps", "xpu")
"""Devices on which the whole update is one kernel; on others each of its operations is told apart."""

EPS = 1e-8
"""Added to the root of Adam's second moving average."""

Group = dict[str, Any]
"""`params`, their `lr` (a number, or a tensor that a recorded step reads) and their `weight_decay`, as in torch."""


class Optimizer(Protocol):
    """What moves parameters down their gradients."""

    param_groups: list[Group]
    state: dict[Tensor, dict[str, Tensor]]
    """By parameter, what is kept from step to step; nothing before the first."""

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        ...

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...


class _Kept:
    """What optimisers have in common: groups of parameters, what is kept of each, and gradients to forget."""

    def __init__(self, groups: Iterable[Group], lr: float | Tensor) -> None:
        self.param_groups = [{"lr": lr, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        first: Tensor = self.param_groups[0]["params"][0]
        self.fused: bool | None = True if first.device.type in FUSED else None

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class Sgd(_Kept):
    """Heavy-ball SGD without dampening; decay is coupled into the gradient."""

    def __init__(self, groups: Iterable[Group], *, lr: float | Tensor, momentum: float) -> None:
        """Take groups of parameters, each with its `weight_decay`, and the rate of all."""
        super().__init__(groups, lr)
        self.momentum = momentum

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            balls: list[Tensor | None] = [self.state[p].get("momentum_buffer") if self.momentum else None for p in moved]
            sgd(
                moved,
                [parameter.grad for parameter in moved],
                balls,
                fused=self.fused,
                weight_decay=group["weight_decay"],
                momentum=self.momentum,
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            for parameter, ball in zip(moved, balls, strict=True):
                if ball is not None:
                    self.state[parameter]["momentum_buffer"] = ball


class Adam(_Kept):
    """Adam, or AdamW where the decay is decoupled from the gradient."""

    def __init__(
        self,
        groups: Iterable[Group],
        *,
        lr: float | Tensor,
        betas: tuple[float, float],
        decoupled: bool = False,
        recorded: bool = False,
    ) -> None:
        """Take groups of parameters, each with its `weight_decay`, and what holds for all.

        Args:
            groups: The parameters.
            lr: The rate.
            betas: Of the two moving averages.
            decoupled: Shrink weights by their decay instead of adding it to the gradient.
            recorded: Whether a graph may record the step: its number is then kept on the device.
        """
        super().__init__(groups, lr)
        self.betas, self.decoupled, self.recorded = betas, decoupled, recorded

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            kept = [self.state[parameter] or self._begun(parameter) for parameter in moved]
            adam(
                moved,
                [parameter.grad for parameter in moved],
                [one["exp_avg"] for one in kept],
                [one["exp_avg_sq"] for one in kept],
                [],
                [one["step"] for one in kept],
                fused=self.fused,
                capturable=self.recorded,
                decoupled_weight_decay=self.decoupled,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=EPS,
                maximize=False,
            )

    def count(self, steps: int, like: Tensor) -> Tensor:
        """Return a number of steps as it is kept beside a parameter."""
        return torch.tensor(float(steps), device=like.device if self.fused or self.recorded else "cpu")

    def _begun(self, parameter: Tensor) -> dict[str, Tensor]:
        self.state[parameter] = {
            "step": self.count(0, parameter),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        return self.state[parameter]


def parameter_groups(network: nn.Module, *, weight_decay: float, decay: str) -> list[Group]:
    """Return the optimiser's groups: one for `all`; for `matrices` a decaying one and one that does not.

    Under `all` biases and the scales of normalisation layers decay as well, as torch's optimisers do unless told otherwise.
    Under `matrices` only parameters of two dimensions and more decay. Parameters that need no gradient are left out.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    if decay == "all":
        return [{"params": trained, "weight_decay": weight_decay}]
    groups: list[Group] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimiser(network: nn.Module, recipe: Recipe, *, recorded: bool = False) -> Optimizer:
    """Return the recipe's optimiser over a network's parameters; the loop sets the rate before each step.

    Args:
        network: What is trained, on its device.
        recipe: Kind and settings.
        recorded: Make one whose step a graph can record: rate and number of steps are read on the device.
    """
    o = recipe.optimiser
    groups = parameter_groups(network, weight_decay=o.weight_decay, decay=o.decay)
    rate = torch.tensor(recipe.lr, device=groups[0]["params"][0].device) if recorded else recipe.lr
    if o.name == "sgd":
        return Sgd(groups, lr=rate, momentum=o.momentum)
    return Adam(groups, lr=rate, betas=o.betas, decoupled=True, recorded=recorded)


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def forget_moments(optimiser: Optimizer) -> None:
    """Let the optimiser go on as if its next step were its first; what it keeps stays where it is."""
    for kept in optimiser.state.values():
        for value in kept.values():
            value.zero_()

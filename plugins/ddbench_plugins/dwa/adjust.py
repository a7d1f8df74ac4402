"""Directed weight adjustment: the teacher's weights go uphill on the images that a job starts from.

Du et al., 2024, "Diversity-driven synthesis: enhancing dataset distillation through directed weight adjustment", and what its
released code does: K normalised steps of gradient ascent over every parameter, on one view that stays for all of them. Weight
decay and the batch norm term have no part in it, and buffers do not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from ddbench.kit import apply_views, draw_views
from ddbench.training.precision import autocast, memory_format, suited

if TYPE_CHECKING:
    from ddbench import Context, Precision
    from ddbench.kit import Starts, TappedTeacher
    from ddbench_plugins.dwa import DwaOptions

TINY = 1e-12
"""Added to a gradient's norm before dividing by it, as released."""

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Shown:
    """One class batch as the ascent sees it."""

    images: Tensor
    """float (B, C, H, W), normalised."""
    labels: Tensor
    """int64 (B,)."""
    view: Tensor
    """int64 (1, P): the view, the same in every step."""


@dataclass(frozen=True)
class Adjustment:
    """Moves a tapped teacher's weights before each class batch of one job, by the scope that the options name."""

    ctx: Context
    options: DwaOptions

    def __call__(self, tapped: TappedTeacher, starts: Starts, number: int) -> Tensor | None:
        """Move the weights; return the images' gradients where they are to be carried into recover, else None."""
        o = self.options
        if o.scope == "per_ipc" and number > 0:
            return None  # moved once, for all classes of the job
        if o.scope != "reference_cumulative" or number == 0:
            tapped.restore()
        theta = {name: values.detach().clone() for name, values in tapped.moved.items()}
        if o.direction == "random":
            tapped.load(moved_at_random(theta, o.rho, starts.generators("dwa direction", number)[0]))
            return None
        numbers = range(len(starts)) if o.scope == "per_ipc" else [number]
        network = self.ctx.needs["teacher"].module
        theta, carried = ascend(network, theta, self._shown(starts, numbers), options=o, precision=self.ctx.precision)
        tapped.load(theta)
        return carried if o.carry_xgrad else None

    def _shown(self, starts: Starts, numbers: Sequence[int]) -> list[Shown]:
        """Return class batches under one view, drawn from a generator of its own: recover's draws are not disturbed."""
        generator = starts.generators("dwa view", numbers[0])[0]
        size = self.ctx.train.facts.shape[1:]
        view = draw_views(starts.recipe.view_rule, 1, size, generator).to(self.ctx.device)
        return [Shown(starts.images(number), starts.labels(number), view) for number in numbers]


def ascend(
    network: nn.Module, theta: Weights, shown: Sequence[Shown], *, options: DwaOptions, precision: Precision
) -> tuple[Weights, Tensor]:
    """Return the weights after K steps, and the gradients of the images (B, C, H, W) over those steps, summed.

    theta <- theta + (rho / K) g / (||g|| + 1e-12), g taken anew at each theta and ||g|| over all parameters together; so the path
    is rho long and the weights end at most rho away.

    Args:
        network: Gives the function and the buffers; its own weights are not used and nothing of it changes.
        theta: Every parameter by name, where the ascent starts.
        shown: What the loss is the mean over.
        options: `rho`, `steps` and `normalize`.
        precision: Of convolutions and matrix products.
    """
    carried = torch.zeros_like(torch.cat([part.images for part in shown]))
    layout = memory_format(precision)
    theta = {name: values.contiguous(memory_format=layout) if values.ndim == 4 else values for name, values in theta.items()}
    with suited(network, precision, carried.device):
        for _ in range(options.steps):
            with autocast(precision, carried.device):
                gradient, of_images = loss_gradient(network, theta, shown, layout=layout)
            length = options.rho / options.steps
            scale = length / (global_norm(gradient) + TINY) if options.normalize == "global_l2" else length
            theta = _moved(theta, gradient, scale)
            carried += of_images
    return theta, carried


def loss_gradient(
    network: nn.Module, theta: Weights, shown: Sequence[Shown], *, layout: torch.memory_format = torch.contiguous_format
) -> tuple[Weights, Tensor]:
    """Return the gradient of the mean cross entropy over all that is shown: for every parameter, and for the images."""
    count = sum(len(part.labels) for part in shown)
    gradient: list[Tensor] = []
    of_images = []
    for part in shown:
        leaves = {name: values.detach().requires_grad_() for name, values in theta.items()}
        images = part.images.detach().requires_grad_()
        logits = functional_call(network, leaves, (apply_views(images, part.view).contiguous(memory_format=layout),))
        loss = cross_entropy(logits.to(images.dtype), part.labels, reduction="sum") / count
        *grads, of_part = torch.autograd.grad(loss, [*leaves.values(), images], allow_unused=True, materialize_grads=True)
        gradient = list(torch._foreach_add(gradient, grads)) if gradient else grads  # noqa: SLF001 - torch's one name for it
        of_images.append(of_part)
    return dict(zip(theta, gradient, strict=True)), torch.cat(of_images)


def _moved(theta: Weights, gradient: Weights, scale: Tensor | float) -> Weights:
    """Return theta + scale gradient; all tensors at once, because there are many small ones."""
    steps = torch._foreach_mul(list(gradient.values()), scale)  # noqa: SLF001
    return dict(zip(theta, torch._foreach_add(list(theta.values()), steps), strict=True))  # noqa: SLF001


def global_norm(weights: Weights) -> Tensor:
    """Return the Euclidean norm of all tensors together."""
    each = torch._foreach_norm(list(weights.values()))  # noqa: SLF001
    norm: Tensor = torch.linalg.vector_norm(torch.stack(list(each)))
    return norm


def moved_at_random(theta: Weights, rho: float, generator: Generator) -> Weights:
    """Return weights exactly rho away in a direction drawn uniformly: the control for the ascent's direction."""
    drawn = {name: torch.randn(values.shape, generator=generator).to(values) for name, values in theta.items()}
    scale = rho / global_norm(drawn)
    return {name: values + scale * drawn[name] for name, values in theta.items()}

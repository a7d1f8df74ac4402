"""One optimisation of a batch of images, step by step: the loss, the views, Adam, and all that changes kept in tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from ddbench.kit.views import apply_views
from ddbench.training.optimisers import FUSED, Adam
from ddbench.training.precision import Compiled

if TYPE_CHECKING:
    from ddbench.kit.pixels import Pixels
    from ddbench.kit.recover import RecoverRecipe
    from ddbench.kit.tapped import TappedTeacher

BETAS = (0.5, 0.9)

COMPILED_SHAPES = 8
"""Torch compiles one function for at most this many kinds of input before it refuses."""


@dataclass(frozen=True)
class RecoverState:
    """Where the optimisation stands after `step` steps: all it needs to go on."""

    step: int
    images: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


@dataclass(frozen=True)
class Start:
    """What a batch of images starts from; G groups of B images, group after group."""

    images: Tensor
    """float (G * B, C, H, W), normalised."""
    labels: Tensor
    """int64 (G * B,)."""
    views: Tensor
    """int64 (iterations, G, P): the view of every step and group (`views_of`)."""
    first_gradient: Tensor | None = None
    """Added to the gradient of the first step; shaped as the images."""
    resumed: RecoverState | None = None
    """The state to go on from; None starts anew."""


class Descent:
    """The optimisation of a batch of images. A step reads and writes nothing but tensors that stay where they are.

    Even the number of the step, its views and its learning rate are read on the device: the host need not know how far it is, and
    any step does as a recording of all others.
    """

    def __init__(self, tapped: TappedTeacher, start: Start, recipe: RecoverRecipe, pixels: Pixels) -> None:
        """Lay out what steps need; what is given does not change."""
        resumed, device = start.resumed, start.images.device
        self.tapped, self.labels, self.views = tapped, start.labels, start.views
        self.begun = resumed.step if resumed else 0
        self.images = (resumed.images if resumed else start.images).detach().clone().requires_grad_()
        self.number = torch.tensor([self.begun], device=device)
        rates = torch.tensor([recipe.rate(step) for step in range(recipe.iterations)], dtype=torch.float64)
        self.rates = rates.to(device, torch.float64 if device.type == "cpu" else torch.float32)  # as fused kernels read it
        self.rate = torch.zeros_like(self.rates[0])
        self.adam = _adam(self.images, self.rate, resumed)
        self.low, self.high = pixels.bounds()
        self.scales = (layer_weights(tapped, recipe), recipe.tv_l2, recipe.l2_scale)
        self.loss_of = _loss_function(tapped, start)

    def step(self, carried: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move the images by one step, and return the group means of cross entropy and of the batch norm term before it.

        Args:
            carried: Added to the images' gradient, and shaped as they are.
        """
        views = self.views.index_select(0, self.number)[0]
        loss, ce, bn = self.loss_of(self.tapped, self.images, self.labels, views, self.scales)
        (self.images.grad,) = torch.autograd.grad(loss, self.images)
        if carried is not None:
            self.images.grad += carried
        self.rate.copy_(self.rates.index_select(0, self.number)[0])
        self.adam.step()
        with torch.no_grad():
            self.images.clamp_(self.low, self.high)
        self.number += 1
        return ce, bn

    def state(self, step: int) -> RecoverState:
        """Return where it stands after `step` steps; the next one overwrites it."""
        state = self.adam.state[self.images]
        return RecoverState(step, self.images.detach(), state["exp_avg"], state["exp_avg_sq"])


def recover_loss(
    tapped: TappedTeacher, images: Tensor, labels: Tensor, views: Tensor, scales: tuple[Tensor, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss summed over groups, and the group means of cross entropy and of the batch norm term.

    L = CE_mean(f(v), y) + r_bn sum_l m_l (r_var ||rvar_l - var_l(v)|| + ||rmean_l - mean_l(v)||) [+ tv_l2 TV + l2_scale L2]
    for every group, v being its view; norms are plain Euclidean ones over channels, variances biased, m_0 = first_bn.

    Args:
        tapped: The teacher.
        images: float (G * B, C, H, W), normalised.
        labels: int64 (G * B,).
        views: int64 (G, P): each group's view.
        scales: `layer_weights`, and what total variation and the norm of the images count.
    """
    weights, tv_l2, l2_scale = scales
    groups = len(views)
    seen = apply_views(images, views)
    logits, norms = tapped(seen, groups)
    ce = cross_entropy(logits, labels, reduction="sum") / (len(labels) // groups)
    bn = (norms * weights).sum()
    loss = ce + bn
    if tv_l2 > 0:
        loss = loss + tv_l2 * total_variation(seen, groups)
    if l2_scale > 0:
        loss = loss + l2_scale * torch.linalg.vector_norm(seen.flatten(1), dim=1).sum() / (len(labels) // groups)
    return loss, ce.detach() / groups, bn.detach() / groups


def total_variation(images: Tensor, groups: int) -> Tensor:
    """Return the Frobenius norms of each group's four finite differences (across, down and both diagonals), summed."""
    grouped = images.view(groups, -1, *images.shape[1:])
    differences = [
        grouped[..., :, :-1] - grouped[..., :, 1:],
        grouped[..., :-1, :] - grouped[..., 1:, :],
        grouped[..., 1:, :-1] - grouped[..., :-1, 1:],
        grouped[..., :-1, :-1] - grouped[..., 1:, 1:],
    ]
    return torch.stack([torch.linalg.vector_norm(each.flatten(1), dim=1).sum() for each in differences]).sum()


def layer_weights(tapped: TappedTeacher, recipe: RecoverRecipe) -> Tensor:
    """Return (2, L): what each layer's distance of means, and of variances, counts in the loss."""
    of_layer = pad(tapped.targets.new_full((1,), recipe.first_bn), (0, len(tapped.layer_names) - 1), value=1.0)
    return recipe.r_bn * torch.stack([of_layer, recipe.r_var * of_layer])


def _adam(images: Tensor, rate: Tensor, resumed: RecoverState | None) -> Adam:
    """Return Adam over the images alone, its rate a tensor, and such as can be recorded."""
    group = {"params": [images], "weight_decay": 0.0}
    adam = Adam([group], lr=rate, betas=BETAS, recorded=images.device.type in FUSED and images.device.type != "cpu")
    if resumed is not None:
        moments = {"exp_avg": resumed.exp_avg.clone(), "exp_avg_sq": resumed.exp_avg_sq.clone()}
        adam.state[images] = {"step": adam.count(resumed.step, images), **moments}
    return adam


_compiled_for: set[tuple[int, torch.Size, torch.Size]] = set()


def _loss_function(tapped: TappedTeacher, start: Start) -> Compiled:
    """Return `recover_loss`, compiled where asked; what was compiled is forgotten before torch would refuse to compile more."""
    kind = (id(tapped), start.images.shape, start.views.shape[1:])
    if tapped.precision.compile and kind not in _compiled_for:
        if len(_compiled_for) == COMPILED_SHAPES:
            torch.compiler.reset()
            _compiled_for.clear()
        _compiled_for.add(kind)
    return Compiled(recover_loss, tapped.precision)

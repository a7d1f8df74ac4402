"""The gradient of trajectory matching: through N SGD steps on synthetic images to the images and the step size.

With weights theta_0 = theta*_t and g_i the gradient of the loss on the images of step i,

    theta_(i+1) = theta_i - alpha g_i(theta_i, x)        L = |theta_N - theta*_(t+M)|^2 / |theta*_t - theta*_(t+M)|^2

Writing lambda_i for dL / dtheta_i, the chain rule reads backwards

    lambda_N = 2 (theta_N - theta*_(t+M)) / |..|^2       lambda_i = lambda_(i+1) - alpha d<lambda_(i+1), g_i> / dtheta
    dL/dx = - alpha sum_i d<lambda_(i+1), g_i> / dx      dL/dalpha = - sum_i <lambda_(i+1), g_i>

`exact` is just that. TESLA (Cui et al., 2023; as GLaD uses it) leaves out what a step's images do to the gradients of later steps:
every lambda is lambda_N. Then the order of the steps does not matter and no weights need be kept. At N = 1 they are the same.
One step's graph is all that is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

StepLoss = Callable[["Tensor", "Tensor", int], "Tensor"]
"""From weights (P,), images (N, C, H, W) and the step's number to the loss that the step descends, a scalar."""


@dataclass(frozen=True)
class Matched:
    """What one matching found; all of it without a graph."""

    loss: Tensor
    """A scalar."""
    images: Tensor
    """Its gradient with respect to the images."""
    rate: Tensor
    """Its derivative with respect to the step size, a scalar."""


@dataclass(frozen=True)
class Ends:
    """Where an expert stood."""

    start: Tensor
    """float (P,)."""
    target: Tensor
    """float (P,): some epochs later."""


@dataclass(frozen=True)
class Descent:
    """SGD on synthetic images."""

    loss: StepLoss
    """Called twice for each step; it must be the same function both times."""
    images: Tensor
    """float (N, C, H, W), of the weights' dtype."""
    rate: Tensor
    """alpha, a scalar on the device."""
    steps: int
    """N."""


def matched(descent: Descent, ends: Ends, *, exact: bool = False) -> Matched:
    """Return the matching loss and its gradients; `exact` leaves nothing out and keeps the weights of every step meanwhile."""
    theta, passed = ends.start, [ends.start]
    for i in range(descent.steps):
        theta = theta - descent.rate * _gradient(descent, theta, i)
        if exact:
            passed.append(theta)
    scale = (ends.start - ends.target).square().sum()
    residual = theta - ends.target
    adjoint = 2.0 * residual / scale
    found = _all_of_it(descent, passed, adjoint) if exact else _tesla(descent, ends.start, adjoint)
    return Matched(residual.square().sum() / scale, *found)


def _tesla(descent: Descent, theta: Tensor, adjoint: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to images and step size, every lambda taken for the last."""
    to_images, to_rate = torch.zeros_like(descent.images), torch.zeros_like(descent.rate)
    for i in range(descent.steps):
        gradient, (pulled,) = _derivatives(descent, theta, i=i, adjoint=adjoint, of_weights=False)
        to_images -= descent.rate * pulled
        to_rate -= adjoint @ gradient
        theta = theta - descent.rate * gradient
    return to_images, to_rate


def _all_of_it(descent: Descent, passed: list[Tensor], adjoint: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to images and step size, lambda carried back from step to step."""
    to_images, to_rate = torch.zeros_like(descent.images), torch.zeros_like(descent.rate)
    for i in reversed(range(descent.steps)):
        gradient, (pulled, carried) = _derivatives(descent, passed[i], i=i, adjoint=adjoint, of_weights=True)
        to_images -= descent.rate * pulled
        to_rate -= adjoint @ gradient
        adjoint = adjoint - descent.rate * carried
    return to_images, to_rate


def _gradient(descent: Descent, theta: Tensor, i: int) -> Tensor:
    """Return g_i, (P,), without a graph."""
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(descent.loss(theta, descent.images.detach(), i), theta)[0]


def _derivatives(
    descent: Descent, theta: Tensor, *, i: int, adjoint: Tensor, of_weights: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return g_i, and the derivatives of <adjoint, g_i> with respect to the images and, where asked, to the weights."""
    theta, images = theta.detach().requires_grad_(), descent.images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(descent.loss(theta, images, i), theta, create_graph=True)
    return gradient.detach(), torch.autograd.grad(gradient @ adjoint, (images, theta) if of_weights else (images,))

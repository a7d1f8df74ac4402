"""Gradient and distribution matching the plain way: class by class, eagerly, in the order and by the calls of the released code.

What the release of DC, DSA and DM does is kept, and what it costs with it: a graph of the real images' pass that is dropped at
once, a network of its own for every step, a loss whose graph holds all classes until the one backward pass. What is drawn is given
from outside, so that the same draws can be given to the fast path: this is the numerical reference of the tests too, right in any
float type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor, nn

EPS = 1e-6


@dataclass(frozen=True)
class ClassBatch:
    """What one class brings to one step."""

    label: int
    real: Tensor
    """float (B, C, H, W), normalised."""
    rows: Sequence[int]
    """Of the synthetic images of the class."""
    augment: Callable[[Tensor], Tensor] = lambda images: images
    """What real and synthetic images of the class go through alike."""


def dm_step(embed: nn.Module, images: Tensor, batches: Sequence[ClassBatch]) -> tuple[Tensor, Tensor]:
    """Return distribution matching's loss and its gradient with respect to the images.

    Args:
        embed: The network up to its last features, its parameters frozen.
        images: float (N, C, H, W), normalised.
        batches: One for each class.
    """
    images = images.detach().clone().requires_grad_()
    loss = images.new_zeros(())
    for batch in batches:
        output_real = embed(batch.augment(batch.real)).detach()
        output_syn = embed(batch.augment(images[list(batch.rows)]))
        loss += torch.sum((torch.mean(output_real, dim=0) - torch.mean(output_syn, dim=0)) ** 2)
    loss.backward()
    return loss.detach(), _gradient_of(images)


def dm_step_together(embed: nn.Module, images: Tensor, batches: Sequence[ClassBatch]) -> tuple[Tensor, Tensor]:
    """Return the same for networks with batch norm, in train mode: all real images in one pass, all synthetic ones in another."""
    images = images.detach().clone().requires_grad_()
    output_real = embed(torch.cat([batch.augment(batch.real) for batch in batches])).detach()
    output_syn = embed(torch.cat([batch.augment(images[list(batch.rows)]) for batch in batches]))
    loss = images.new_zeros(())
    for batch in batches:
        real = output_real[: len(batch.real)].mean(dim=0)
        synthetic = output_syn[: len(batch.rows)].mean(dim=0)
        output_real, output_syn = output_real[len(batch.real) :], output_syn[len(batch.rows) :]
        loss += torch.sum((real - synthetic) ** 2)
    loss.backward()
    return loss.detach(), _gradient_of(images)


def dc_step(
    network: nn.Module, images: Tensor, batches: Sequence[ClassBatch], *, distance: str = "layerwise"
) -> tuple[Tensor, Tensor]:
    """Return gradient matching's loss and its gradient with respect to the images.

    Args:
        network: Gives logits; batch norm, if any, in eval mode.
        images: float (N, C, H, W), normalised.
        batches: One for each class.
        distance: `layerwise`, `mse` or `cos`.
    """
    images = images.detach().clone().requires_grad_()
    parameters = list(network.parameters())
    loss = images.new_zeros(())
    for batch in batches:
        labels = torch.full((len(batch.real),), batch.label, device=images.device)
        loss_real = F.cross_entropy(network(batch.augment(batch.real)), labels)
        gw_real = [part.detach().clone() for part in torch.autograd.grad(loss_real, parameters)]
        synthetic = batch.augment(images[list(batch.rows)])
        loss_syn = F.cross_entropy(network(synthetic), torch.full((len(batch.rows),), batch.label, device=images.device))
        gw_syn = torch.autograd.grad(loss_syn, parameters, create_graph=True)
        loss = loss + match_loss(gw_syn, gw_real, distance)
    loss.backward()  # for the network's parameters too, which nobody reads
    network.zero_grad()
    return loss.detach(), _gradient_of(images)


def match_loss(synthetic: Sequence[Tensor], real: Sequence[Tensor], distance: str) -> Tensor:
    """Return the distance between two lists of gradients, layer by layer and row by row, or of all parameters end to end."""
    if distance == "layerwise":
        total = real[0].new_zeros(())
        for gws, gwr in zip(synthetic, real, strict=True):
            if gwr.dim() > 1:
                total = total + torch.sum(1 - _cosine(gws.reshape(len(gws), -1), gwr.reshape(len(gwr), -1)))
        return total
    whole_syn, whole_real = (torch.cat([part.reshape(-1) for part in parts]) for parts in (synthetic, real))
    return torch.sum((whole_syn - whole_real) ** 2) if distance == "mse" else 1 - _cosine(whole_syn, whole_real)


def train_epoch(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], lr: float) -> None:
    """Train a network in place on batches of images and labels, by SGD without momentum."""
    optimiser = torch.optim.SGD(network.parameters(), lr=lr)
    for images, labels in batches:
        loss = F.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.sum(a * b, dim=-1) / (torch.norm(a, dim=-1) * torch.norm(b, dim=-1) + EPS)


def _gradient_of(images: Tensor) -> Tensor:
    gradient = images.grad
    if gradient is None:
        raise RuntimeError("the loss does not depend on the images")
    return gradient

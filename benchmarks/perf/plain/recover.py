"""Recover and weight adjustment the plain way: one job at a time, eagerly, in the order and by the calls of the released code.

What the releases of SRe2L and DWA do is kept, what it costs with it: hooks that copy every activation, a transform built anew in
every step, the loss read by the host in every step for a best result that is never used, a clamp for each channel, Adam without
fusing; and in DWA a teacher whose weights take gradients to the end. It is the numerical reference of the tests too: written apart
from the fast path, by library calls alone, and right in any float type.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

if TYPE_CHECKING:
    from ddbench.kit import Pixels, RecoverRecipe

BEST_COST = 1e4
"""Never updated in the released code, so that every step's images are copied and none of the copies is used."""


class Hooked:
    """Watches every batch norm layer of a network and keeps the two distances of its last input."""

    def __init__(self, network: nn.Module) -> None:
        self.layers = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        self.distances: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        for layer in self.layers:
            layer.register_forward_hook(self._keep)

    def _keep(self, layer: nn.BatchNorm2d, inputs: tuple[Tensor], _: Tensor) -> None:
        channels = inputs[0].shape[1]
        mean = inputs[0].mean([0, 2, 3])
        var = inputs[0].permute(1, 0, 2, 3).contiguous().reshape(channels, -1).var(1, unbiased=False)
        self.distances[layer] = ((layer.running_mean - mean).norm(2), (layer.running_var - var).norm(2))

    def term(self, first: float, r_var: float) -> Tensor:
        """Return the weighted sum over layers."""
        terms = [r_var * self.distances[layer][1] + self.distances[layer][0] for layer in self.layers]
        return sum(term * (first if number == 0 else 1.0) for number, term in enumerate(terms))


@dataclass(frozen=True)
class PlainJob:
    """What one job starts from."""

    images: Tensor
    """float (B, C, H, W), normalised."""
    labels: Tensor
    """int64 (B,)."""
    views: Tensor
    """int64 (iterations, P): the parameters of each step's view."""
    first_gradient: Tensor | None = None
    """Added to the first step's gradient."""


class PlainRecover:
    """One job, step by step."""

    def __init__(self, teacher: nn.Module, job: PlainJob, *, recipe: RecoverRecipe, pixels: Pixels, frozen: bool = True) -> None:
        """Copy a teacher and the images, so that nothing of what is given changes.

        Args:
            teacher: Any network with batch norm.
            job: What the images start from.
            recipe: The options of recover by their names.
            pixels: The teacher's normalisation.
            frozen: As SRe2L has it; False lets the weights take gradients, step upon step, as DWA does.
        """
        self.network = copy.deepcopy(teacher).eval().requires_grad_(requires_grad=not frozen)
        self.hooked = Hooked(self.network)
        self.images = job.images.clone().requires_grad_()
        if job.first_gradient is not None:
            self.images.grad = job.first_gradient.clone()
        self.job, self.recipe = job, recipe
        self.mean, self.std = pixels.mean.flatten().tolist(), pixels.std.flatten().tolist()
        self.optimiser = torch.optim.Adam([self.images], lr=recipe.lr, betas=(0.5, 0.9), eps=1e-8, foreach=False)
        self.best = self.images.detach().clone()
        self.done = 0

    def step(self) -> None:
        """Move the images by one step."""
        recipe, step = self.recipe, self.done
        for group in self.optimiser.param_groups:
            group["lr"] = 0.5 * (1 + math.cos(math.pi * step / recipe.iterations)) * recipe.lr
        if step > 0 or self.job.first_gradient is None:
            self.optimiser.zero_grad()
        loss = self.loss(plain_view(self.images, self.job.views[step].tolist()))
        loss.backward()
        self.optimiser.step()
        self.images.data = plain_clamp(self.images.data, self.mean, self.std)
        if loss.item() < BEST_COST:
            self.best = self.images.data.clone()
        self.done += 1

    def loss(self, view: Tensor) -> Tensor:
        """Return the loss of a view: cross entropy, the batch norm term, and what the recipe adds."""
        recipe = self.recipe
        loss = nn.CrossEntropyLoss()(self.network(view), self.job.labels)
        loss = loss + recipe.r_bn * self.hooked.term(recipe.first_bn, recipe.r_var)
        if recipe.tv_l2 > 0:
            loss = loss + recipe.tv_l2 * plain_total_variation(view)
        if recipe.l2_scale > 0:
            loss = loss + recipe.l2_scale * view.reshape(len(view), -1).norm(2, dim=1).mean()
        return loss


def plain_recover(teacher: nn.Module, job: PlainJob, *, recipe: RecoverRecipe, pixels: Pixels, frozen: bool = True) -> Tensor:
    """Return the images (B, C, H, W) of one job after the last step."""
    running = PlainRecover(teacher, job, recipe=recipe, pixels=pixels, frozen=frozen)
    for _ in range(recipe.iterations):
        running.step()
    return running.images.detach()


def plain_adjust(network: nn.Module, job: PlainJob, *, rho: float, steps: int) -> Tensor:
    """Move a network's weights up the cross entropy of a job's images; return the images' gradients of all steps, summed.

    Args:
        network: In eval mode, its weights taking gradients; they are moved in place.
        job: What is shown, in its first view.
        rho: Length of the path.
        steps: K.
    """
    images, view = job.images.clone().requires_grad_(), job.views[0].tolist()
    for _ in range(steps):
        network.zero_grad()
        nn.CrossEntropyLoss()(network(plain_view(images, view)), job.labels).backward()
        norm = torch.norm(torch.stack([parameter.grad.norm(2) for parameter in network.parameters()]), 2)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(parameter.grad * (rho / steps / (norm + 1e-12)))
    return images.grad


def plain_view(images: Tensor, parameters: list[int]) -> Tensor:
    """Return what the view's parameters say, by a transform built for them and `torch.roll`."""
    *crop, down, right = parameters
    seen = _cropping(crop, list(images.shape[2:]))(images) if crop else images
    return torch.roll(seen, (down, right), (2, 3))


def _cropping(crop: list[int], size: list[int]) -> v2.Compose:
    top, left, height, width, flip = crop
    resized = partial(functional.resized_crop, top=top, left=left, height=height, width=width, size=size, antialias=True)
    return v2.Compose([resized, *([functional.horizontal_flip] if flip else [])])


def plain_clamp(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """Return images whose pixels are held between black and white, one channel after another."""
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        images[:, channel] = torch.clamp(images[:, channel], -m / s, (1 - m) / s)
    return images


def plain_total_variation(images: Tensor) -> Tensor:
    """Return the Frobenius norms of four finite differences, summed."""
    across = images[:, :, :, :-1] - images[:, :, :, 1:]
    down = images[:, :, :-1, :] - images[:, :, 1:, :]
    one = images[:, :, 1:, :-1] - images[:, :, :-1, 1:]
    other = images[:, :, :-1, :-1] - images[:, :, 1:, 1:]
    return across.norm() + down.norm() + one.norm() + other.norm()

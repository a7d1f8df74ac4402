"""Recover the plain way: one job at a time, eagerly, by hooks and library calls; slow, and written apart from the fast one."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms


class Hooked:
    """Watches every batch norm layer of a network and keeps the two distances of its last input."""

    def __init__(self, network: nn.Module) -> None:
        self.layers = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        self.distances: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        for layer in self.layers:
            layer.register_forward_hook(self._keep)

    def _keep(self, layer: nn.BatchNorm2d, inputs: tuple[Tensor], _: Tensor) -> None:
        values = inputs[0].permute(1, 0, 2, 3).contiguous().reshape(inputs[0].shape[1], -1)
        mean, var = values.mean(dim=1), values.var(dim=1, unbiased=False)
        self.distances[layer] = ((layer.running_mean - mean).norm(2), (layer.running_var - var).norm(2))

    def term(self, first: float, r_var: float) -> Tensor:
        """Return the weighted sum over layers."""
        terms = [r_var * self.distances[layer][1] + self.distances[layer][0] for layer in self.layers]
        return sum(term * (first if number == 0 else 1.0) for number, term in enumerate(terms))


def plain_view(images: Tensor, parameters: list[int]) -> Tensor:
    """Return what the view's parameters say, by torchvision and `torch.roll`."""
    *crop, down, right = parameters
    if crop:
        top, left, height, width, flip = crop
        images = transforms.resized_crop(images, top, left, height, width, list(images.shape[2:]), antialias=True)
        images = images.flip(-1) if flip else images
    return torch.roll(images, (down, right), (2, 3))


def plain_recover(teacher, images, labels, views, *, recipe, mean, std, first_gradient=None) -> Tensor:
    """Return the images (B, C, H, W) of one job after the last step.

    Args:
        teacher: Copied, so that nothing of it changes.
        images: Normalised start.
        labels: int64 (B,).
        views: int64 (iterations, P): the parameters of each step's view.
        recipe: The options of recover by their names.
        mean: Per channel.
        std: Per channel.
        first_gradient: Added to the first step's gradient.
    """
    network = copy.deepcopy(teacher).eval()
    hooked = Hooked(network)
    images = images.clone().requires_grad_()
    optimiser = torch.optim.Adam([images], lr=recipe.lr, betas=(0.5, 0.9), eps=1e-8, foreach=False)
    for step in range(recipe.iterations):
        for group in optimiser.param_groups:
            group["lr"] = 0.5 * (1 + math.cos(math.pi * step / recipe.iterations)) * recipe.lr
        optimiser.zero_grad()
        if step == 0 and first_gradient is not None:
            images.grad = first_gradient.clone()
        view = plain_view(images, views[step].tolist())
        loss = nn.CrossEntropyLoss()(network(view), labels) + recipe.r_bn * hooked.term(recipe.first_bn, recipe.r_var)
        if recipe.tv_l2 > 0:
            loss = loss + recipe.tv_l2 * plain_total_variation(view)
        if recipe.l2_scale > 0:
            loss = loss + recipe.l2_scale * view.reshape(len(view), -1).norm(2, dim=1).mean()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for channel in range(images.shape[1]):
                low, high = (0 - mean[channel]) / std[channel], (1 - mean[channel]) / std[channel]
                images[:, channel] = images[:, channel].clamp(low, high)
    return images.detach()


def plain_total_variation(images: Tensor) -> Tensor:
    across = images[:, :, :, :-1] - images[:, :, :, 1:]
    down = images[:, :, :-1, :] - images[:, :, 1:, :]
    one = images[:, :, 1:, :-1] - images[:, :, :-1, 1:]
    other = images[:, :, :-1, :-1] - images[:, :, 1:, 1:]
    return across.norm() + down.norm() + one.norm() + other.norm()

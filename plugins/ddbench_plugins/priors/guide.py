"""A classifier that learns ahead of the generator and beside it, and tells it whether its images look like their classes.

After AC-GAN (Odena et al., 2017). A classifier's gradients are mostly patterns that only it can see; those of one that knows images
shifted, in other light, with a part missing and under noise are shapes and colours that other classifiers see as well.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddbench.training.dsa import PARAMETERS, dsa_group
from ddbench_plugins.priors.levels import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator

    from ddbench_plugins.priors.trunk import Shape

WIDTHS = (48, 96, 192)

NOISE = 0.3
"""Standard deviation of what is added to images in [-1, 1]."""

LIGHT = 0.4
"""Contrast is multiplied by 1 ± half of it, and as much is added or taken away."""

VIEW = 2 * PARAMETERS + 3
"""Uniform draws of a view: of a shift, of a missing part, whether there is one, contrast, brightness."""


class Guide(nn.Module):
    """Three convolutions of stride two, group norm, mean and maximum over places, one linear layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = (shape.image[0], *WIDTHS)
        self.convs = nn.ModuleList(nn.Conv2d(into, out, 3, stride=2, padding=1) for into, out in pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(width // GROUP, width) for width in WIDTHS)
        self.head = nn.Linear(2 * WIDTHS[-1], shape.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 (N, classes) logits from images in [-1, 1]."""
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.silu(norm(conv(x)))
        logits: Tensor = self.head(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)).float()
        return logits


def draw_views(shape: Sequence[int], generator: Generator) -> tuple[Tensor, Tensor]:
    """Return what images of `shape`, (N, C, H, W), are seen by: noise, standard normal, and uniform (N, 9) draws; on the CPU."""
    return torch.randn(*shape, generator=generator), torch.rand(shape[0], VIEW, generator=generator)


def seen(images: Tensor, noise: Tensor, view: Tensor) -> Tensor:
    """Return images as the guide sees them: shifted by up to an eighth, half of them with a square missing, in other light, noisy.

    Args:
        images: float32 (N, C, H, W) in [-1, 1].
        noise: Shaped like them, standard normal.
        view: Uniform draws, (N, 9).
    """
    shift, part = view[:, :PARAMETERS], view[:, PARAMETERS : 2 * PARAMETERS]
    missing, contrast, brightness = (column[:, None, None, None] for column in view[:, 2 * PARAMETERS :].unbind(1))
    shown = dsa_group(images, "crop", shift)
    shown = torch.where(missing < 0.5, dsa_group(shown, "cutout", part), shown)
    return shown * (1 + LIGHT * (contrast - 0.5)) + LIGHT * (brightness - 0.5) + NOISE * noise


def lesson(guide: Guide, shown: Tensor, labels: Tensor) -> Tensor:
    """Return the guide's loss on real images as it sees them; its gradient is the guide's."""
    return F.cross_entropy(guide(shown), labels)


def confusion(guide: Guide, shown: Tensor, labels: Tensor) -> Tensor:
    """Return the guide's loss on generated images as it sees them; its gradient is the images' alone."""
    fixed = {name: weight.detach() for name, weight in guide.named_parameters()}
    return F.cross_entropy(functional_call(guide, fixed, (shown,)), labels)

"""A classifier that learns beside the generator and tells it whether samples look like their classes (after AC-GAN: Odena et al.).

It sees images under noise: the gradients of classifiers trained so are shapes and colours, those of others mostly patterns that
only they themselves can see.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ddbench_plugins.priors.levels import GROUP

if TYPE_CHECKING:
    from ddbench_plugins.priors.trunk import Shape

WIDTHS = (32, 64, 128)

NOISE = 0.3
"""Standard deviation of what is added to images in [-1, 1]."""


class Guide(nn.Module):
    """Three convolutions, all but the first with stride two, group norm, the mean over places, one linear layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = (shape.image[0], *WIDTHS)
        self.convs = nn.ModuleList(
            nn.Conv2d(into, out, 3, stride=2 if place else 1, padding=1) for place, (into, out) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(width // GROUP, width) for width in WIDTHS)
        self.head = nn.Linear(WIDTHS[-1], shape.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 (N, classes) logits from images in [-1, 1]."""
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.silu(norm(conv(x)))
        logits: Tensor = self.head(x.mean(dim=(2, 3))).float()
        return logits


def lesson(guide: Guide, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Return the guide's loss on real images under noise, standard normal and shaped like them; its gradient is the guide's."""
    return F.cross_entropy(guide(images + NOISE * noise), labels)


def confusion(guide: Guide, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Return the guide's loss on generated images under noise; its gradient is the images' alone."""
    fixed = {name: weight.detach() for name, weight in guide.named_parameters()}
    return F.cross_entropy(functional_call(guide, fixed, (images + NOISE * noise,)), labels)

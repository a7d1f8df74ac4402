"""The recognition network of the autoencoder: from an image and its class to where its z lies."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench_plugins.priors.levels import GROUP
from ddbench_plugins.priors.trunk import LABEL_DIM, Z_DIM, Shape

HIDDEN = 256


class Encoder(nn.Module):
    """The generator's levels in reverse, one strided convolution each, then a head that knows the class."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = tuple(reversed(shape.widths))
        self.stem = nn.Conv2d(shape.image[0], widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(into // GROUP, into), nn.SiLU(), nn.Conv2d(into, out, 3, stride=2, padding=1))
            for into, out in pairwise(widths)
        )
        self.label = nn.Embedding(shape.num_classes, LABEL_DIM)
        height, width = shape.sizes[0]
        self.norm = nn.GroupNorm(widths[-1] // GROUP, widths[-1])
        self.hidden = nn.Linear(widths[-1] * height * width + LABEL_DIM, HIDDEN)
        self.out = nn.Linear(HIDDEN, 2 * Z_DIM)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z | x, y), each float32 (N, 64), from images in [-1, 1] and int64 (N,)."""
        x = self.stem(images)
        for step in self.down:
            x = step(x)
        features = torch.cat([F.silu(self.norm(x)).flatten(1), self.label(labels)], dim=1)
        mean, log_variance = self.out(F.silu(self.hidden(features))).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 8.0)

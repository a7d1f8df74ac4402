"""A class-conditional generator of hierarchical features. Each image depends on its own row alone: no batch norm, no noise.

From z and a class to a style w; from a learned constant through levels of growing size, each layer modulated by its own
style; to an image. The modulation is that of StyleGAN's lineage with group normalisation in place of instance normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench_plugins.priors.levels import GROUP

Z_DIM = 64
LABEL_DIM = 64
STYLE_DIM = 128


@dataclass(frozen=True)
class Shape:
    """What a generator is built for."""

    image: tuple[int, int, int]
    num_classes: int
    sizes: tuple[tuple[int, int], ...]
    """Height and width of each level, from coarse to fine."""
    widths: tuple[int, ...]
    """Channels of each level."""
    layers: int = 1
    """Convolutions of each level, the skip not counted."""


class Mapping(nn.Module):
    """From z and a class to a style of mean square one, so that styles have one scale whatever the weights."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.label = nn.Embedding(num_classes, LABEL_DIM)
        self.hidden = nn.Linear(Z_DIM + LABEL_DIM, STYLE_DIM)
        self.out = nn.Linear(STYLE_DIM, STYLE_DIM)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return float32 (N, 128) from float32 (N, 64) and int64 (N,)."""
        hidden = F.leaky_relu(self.hidden(torch.cat([z, self.label(labels)], dim=1)), 0.2)
        style = F.leaky_relu(self.out(hidden), 0.2).float()
        return style * (style.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class Modulation(nn.Module):
    """Group normalisation whose scale and shift come from a style (AdaGN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = channels // GROUP
        self.style = nn.Linear(STYLE_DIM, 2 * channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return (N, C, H, W), normalised and modulated by float32 (N, 128)."""
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)
        modulated: Tensor = F.group_norm(x, self.groups) * (1 + scale) + shift
        return modulated


class Layer(nn.Module):
    """Convolution, modulation, SiLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)  # the shift does what a bias would
        self.modulation = Modulation(channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return (N, channels, H, W)."""
        return F.silu(self.modulation(self.conv(x), w))


class Level(nn.Module):
    """Layers beside a skip, their sum normalised, so that features have one scale; all levels but the first double the size."""

    def __init__(self, channels_in: int, channels: int, *, layers: int, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        self.groups = channels // GROUP
        self.skip = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.layers = nn.ModuleList(Layer(channels if place else channels_in, channels) for place in range(layers))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return (N, channels, H, W) from the level before and float32 (N, layers, 128)."""
        if self.doubles:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        skipped = self.skip(x)
        for place, layer in enumerate(self.layers):
            x = layer(x, w[:, place])
        return F.group_norm(skipped + x, self.groups)


class Trunk(nn.Module):
    """The generator. Styles are float32 (N, num_ws, 128): one for each layer, from coarse to fine, the last for the colours."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.mapping = Mapping(shape.num_classes)
        self.start = nn.Parameter(torch.randn(1, shape.widths[0], *shape.sizes[0]))
        before = (shape.widths[0], *shape.widths[:-1])
        self.levels = nn.ModuleList(
            Level(into, out, layers=shape.layers, doubles=place > 0)
            for place, (into, out) in enumerate(zip(before, shape.widths, strict=True))
        )
        self.colour_modulation = Modulation(shape.widths[-1])
        self.colour = nn.Conv2d(shape.widths[-1], shape.image[0], 3, padding=1)

    @property
    def num_ws(self) -> int:
        """Styles of one image."""
        return self.shape.layers * len(self.levels) + 1

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return images, float32 (N, C, H, W) in [-1, 1], from float32 (N, 64) and int64 (N,)."""
        w = self.styles(z, labels)
        return self.image(self.climb(None, w, to=len(self.levels)), w)

    def styles(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return float32 (N, num_ws, 128): each image's one style, repeated."""
        w: Tensor = self.mapping(z, labels)
        return w[:, None].expand(-1, self.num_ws, -1)

    def climb(self, f: Tensor | None, w: Tensor, *, done: int = 0, to: int) -> Tensor:
        """Return what level `to` leaves, from what level `done` left; None and 0 begin with the constant."""
        x = self.start.expand(len(w), -1, -1, -1) if f is None else f
        layers = self.shape.layers
        for place in range(done, to):
            x = self.levels[place](x, w[:, layers * place : layers * (place + 1)])
        return x

    def image(self, f: Tensor, w: Tensor) -> Tensor:
        """Return float32 (N, C, H, W) in [-1, 1] from what the finest level left."""
        return torch.tanh(self.colour(F.silu(self.colour_modulation(f, w[:, -1]))).float())

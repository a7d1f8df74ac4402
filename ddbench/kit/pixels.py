"""Between pixels as uint8 and images as a network sees them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.network import TrainedNetwork

JPEG_QUALITY = 75
"""PIL's default, with which the released code saves (4:2:0 chroma)."""


@dataclass(frozen=True)
class Pixels:
    """A network's normalisation: pixels in [0, 1], less `mean`, by `std`."""

    mean: Tensor
    """float (C, 1, 1)."""
    std: Tensor
    """float (C, 1, 1)."""

    @classmethod
    def of(cls, network: TrainedNetwork, device: torch.device) -> Pixels:
        """Return the normalisation that a trained network expects."""
        return cls(network.mean.to(device).view(-1, 1, 1), network.std.to(device).view(-1, 1, 1))

    @classmethod
    def of_facts(cls, facts: DatasetFacts, device: torch.device) -> Pixels:
        """Return a dataset's own normalisation."""
        mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (facts.mean, facts.std))
        return cls(mean, std)

    def normalise(self, images: Tensor) -> Tensor:
        """Return float (N, C, H, W), normalised, of uint8 images."""
        return (images.to(self.mean) / 255 - self.mean) / self.std

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return black and white, (C, 1, 1), normalised: what a pixel may not pass."""
        return -self.mean / self.std, (1 - self.mean) / self.std

    def to_uint8(self, images: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W): the nearest of 256 values to each normalised pixel, clamped to black and white."""
        return self._scaled(images).round().to(torch.uint8)

    def to_jpeg(self, images: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) as the released code leaves it: truncated, saved as JPEG and read again.

        Args:
            images: float (N, C, H, W), normalised, of one or three channels.
        """
        return torch.stack([_through_jpeg(image) for image in self._scaled(images).to(torch.uint8).cpu()]).to(images.device)

    def _scaled(self, images: Tensor) -> Tensor:
        return (images * self.std + self.mean).clamp(0, 1) * 255


def refuse_no_jpeg(channels: int) -> None:
    """Do nothing where JPEG can hold images of that many channels.

    Raises:
        BadRequest: There are neither one nor three.
    """
    if channels not in {1, 3}:
        raise BadRequest(f"JPEG holds images of one or three channels, not {channels}; run with -o jpeg=false")


def _through_jpeg(image: Tensor) -> Tensor:
    """Return uint8 (C, H, W) encoded and decoded once."""
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    pixels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    decoded = torch.from_numpy(np.array(Image.open(buffer)))
    return decoded[None] if image.shape[0] == 1 else decoded.permute(2, 0, 1)

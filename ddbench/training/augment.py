"""Batched augmentation on pixels: crop, flip, shift and random resized crop, each image with its own draw.

Every function takes float32 (N, C, H, W) images in whatever space, already on the device, and draws made on the CPU. What
falls outside an image is `fill`, float32 (C,): black in the images' space. Sampling commutes with normalisation, so acting
on normalised images with a normalised black is the same as acting on pixels (torchvision crops before it normalises).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ddbench.training.dsa import PARAMETERS, dsa_group

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ddbench.api.protocol import Augment

RRC_RATIO = (3 / 4, 4 / 3)
RRC_ATTEMPTS = 10
"""As torchvision's RandomResizedCrop; after ten misses it takes the largest centred crop of an allowed ratio."""


def draw(step: Augment, count: int, *, size: tuple[int, int], generator: Generator) -> Tensor:
    """Return the draws of one augmentation for `count` images of `size`, on the CPU: (count, k), int64 or float32.

    `crop` and `shift`: int64 (count, 2), row and column where the crop of the padded image begins. `flip`: float32
    (count, 1), flipped below 0.5. `rrc`: int64 (count, 4), top, left, height, width. `dsa`: float32 (count, 3) in [0, 1).
    """
    if step.name in {"crop", "shift"}:
        return torch.randint(0, 2 * border(step) + 1, (count, 2), generator=generator)
    if step.name == "flip":
        return torch.rand(count, 1, generator=generator)
    if step.name == "rrc":
        return draw_boxes(count, size, scale=step.scale, generator=generator)
    return torch.rand(count, PARAMETERS, generator=generator)


def augmented(images: Tensor, step: Augment, drawn: Tensor, *, fill: Tensor, group: str | None = None) -> Tensor:
    """Return the images after one augmentation with the draws of `draw`; `group` is what `dsa` drew for the batch."""
    if step.name in {"crop", "shift"}:
        return crop(images, drawn, pad=border(step), fill=fill)
    if step.name == "flip":
        return torch.where(drawn[:, :, None, None] < 0.5, images.flip(3), images)
    if step.name == "rrc":
        return resized_crop(images, drawn)
    return images if group is None else dsa_group(images, group, drawn.to(images.dtype))


def border(step: Augment) -> int:
    """Return how many pixels of black `crop` or `shift` puts around an image."""
    return step.pad if step.name == "crop" else step.pixels


def crop(images: Tensor, offsets: Tensor, *, pad: int, fill: Tensor) -> Tensor:
    """Return the images padded by `pad` pixels of `fill` on every side and cropped to their size at int64 (N, 2) offsets."""
    count, channels, height, width = images.shape
    padded = fill.view(1, channels, 1, 1).expand(count, channels, height + 2 * pad, width + 2 * pad).clone()
    padded[:, :, pad : pad + height, pad : pad + width] = images
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def draw_boxes(count: int, size: tuple[int, int], *, scale: tuple[float, float], generator: Generator) -> Tensor:
    """Return int64 (count, 4): top, left, height, width of random crops with torchvision's RandomResizedCrop distribution."""
    height, width = size
    uniform = torch.rand(count, RRC_ATTEMPTS, 2, generator=generator)
    place = torch.rand(count, 2, generator=generator)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[..., 0])
    low, high = (math.log(ratio) for ratio in RRC_RATIO)
    ratio = torch.exp(low + (high - low) * uniform[..., 1])
    h, w = torch.round(torch.sqrt(area / ratio)), torch.round(torch.sqrt(area * ratio))
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    h, w = h.gather(1, first).squeeze(1), w.gather(1, first).squeeze(1)
    top, left = torch.floor(place[:, 0] * (height - h + 1)), torch.floor(place[:, 1] * (width - w + 1))
    boxes = torch.stack([top, left, h, w], dim=1).long()
    return torch.where(fits.any(dim=1, keepdim=True), boxes, torch.tensor(_centred_box(height, width)))


def resized_crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Return each image's box, int64 (N, 4) as top, left, height, width, resized bilinearly to the image's own size.

    Output pixel d reads source position (d + 0.5) h / H - 0.5, held inside the box: torchvision's crop, then resize. A box is
    never larger than the image, so that resizing only enlarges and antialiasing does not matter.
    """
    _, _, height, width = images.shape
    rows = _positions(boxes[:, 0], boxes[:, 2], height)
    columns = _positions(boxes[:, 1], boxes[:, 3], width)
    grid = torch.stack(
        [columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)],
        dim=-1,
    )
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _positions(start: Tensor, length: Tensor, out: int) -> Tensor:
    """Return float32 (N, out): where each output pixel reads, in grid_sample's [-1, 1] between the centres of the end pixels."""
    place = (torch.arange(out, device=start.device) + 0.5) * (length[:, None] / out) - 0.5
    place = torch.minimum(place.clamp_min(0.0), (length[:, None] - 1).float()) + start[:, None]
    return place * (2.0 / max(out - 1, 1)) - 1.0


def _centred_box(height: int, width: int) -> list[int]:
    h, w = height, width
    if width / height < RRC_RATIO[0]:
        h = min(round(width / RRC_RATIO[0]), height)
    elif width / height > RRC_RATIO[1]:
        w = min(round(height * RRC_RATIO[1]), width)
    return [(height - h) // 2, (width - w) // 2, h, w]

"""Corruptions as batched tensor code: a pure function of images, severity and a generator.

The strengths are those published for CIFAR-10-C (Hendrycks and Dietterich, 2019), of pixels in [0, 1]. The corruptions are
written anew, so numbers compare within ddbench and not with CIFAR-10-C's own files: brightness is added to every channel alike,
and blur grows with the image, so that 64 pixels are blurred by twice as many as 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ddbench.seeding import generator_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from ddbench import EvaluationContext

STRENGTHS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # sd
    "shot_noise": (500, 250, 100, 75, 50),  # photons of a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # fraction of values set to 0 or 1
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # sd in pixels of a 32-pixel image
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # of the distance to the image's mean that is left
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # of the side that is left
}
"""By kind, for severities 1 to 5."""

BATCH = 256
"""Images corrupted at once: fixed, so that draws do not depend on memory."""

BLUR_SIDE = 32


def drawn_images(ctx: EvaluationContext, count: int) -> Tensor:
    """Return int64 (n,) sorted test positions: all where `count` is 0, else so many drawn from the evaluator's generator."""
    total = ctx.facts.test_images
    if not 0 < count < total:
        return torch.arange(total)
    return torch.randperm(total, generator=ctx.generator)[:count].sort().values


def drawn_seed(ctx: EvaluationContext) -> int:
    """Return the seed of all corruptions of one evaluation."""
    return int(torch.randint(2**62, (), generator=ctx.generator))


def top1_under(ctx: EvaluationContext, chosen: Tensor, how: tuple[str, int], seed: int) -> float:
    """Return the student's top1, a fraction, on the chosen test images under one corruption.

    Args:
        ctx: The evaluation.
        chosen: int64 (n,) positions in the test split.
        how: The kind, and the severity from 1 to 5.
        seed: Kind and severity have a stream of their own under it, so that asking for fewer changes nothing in the others.
    """
    kind, severity = how
    generator = generator_for("corruption", seed, kind, severity)
    labels, right = ctx.test_labels().cpu(), 0
    with torch.no_grad():
        for index in torch.split(chosen, BATCH):
            corrupted = corrupt(ctx.test_images(index), kind, severity, generator=generator)
            right += int((ctx.answers(corrupted).argmax(dim=1).cpu() == labels[index]).sum())
    return right / len(chosen)


def corrupt(images: Tensor, kind: str, severity: int, *, generator: Generator) -> Tensor:
    """Return uint8 (N, C, H, W), corrupted and rounded, on the device of uint8 `images`; noise is drawn on the CPU."""
    strength = STRENGTHS[kind][severity - 1]
    noisy = NOISES.get(kind)
    if noisy is not None:
        unit = noisy(images.cpu().float() / 255.0, strength, generator).to(images.device)
    else:
        unit = PLAIN[kind](images.float() / 255.0, strength)
    return unit.clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)


def gaussian_noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Return x + strength * n with n standard normal."""
    return images + strength * torch.randn(images.shape, generator=generator)


def shot_noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Return Poisson(strength * x) / strength: the light of `strength` photons where x is white."""
    return torch.poisson(images * strength, generator=generator) / strength


def impulse_noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Return x with a fraction `strength` of its values set to 0 or 1, evenly."""
    drawn = torch.rand(images.shape, generator=generator)
    salted = torch.where(drawn > 1 - strength / 2, torch.ones_like(images), images)
    return torch.where(drawn < strength / 2, torch.zeros_like(images), salted)


def gaussian_blur(images: Tensor, strength: float) -> Tensor:
    """Return x blurred with sd `strength`, in pixels of a 32-pixel image, edges mirrored."""
    from torchvision.transforms.v2.functional import gaussian_blur as blurred

    side = min(images.shape[2:])
    sigma = strength * max(1.0, side / BLUR_SIDE)
    radius = min(round(4 * sigma), side - 1)  # mirrored edges are at most as wide as the image
    found: Tensor = blurred(images, kernel_size=[2 * radius + 1] * 2, sigma=[sigma, sigma])
    return found


def brightness(images: Tensor, strength: float) -> Tensor:
    """Return x + strength."""
    return images + strength


def contrast(images: Tensor, strength: float) -> Tensor:
    """Return m + strength * (x - m), with m the mean of each image's channel."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + strength * (images - mean)


def pixelate(images: Tensor, strength: float) -> Tensor:
    """Return x averaged down to `strength` of its sides and enlarged again by repeating pixels."""
    height, width = images.shape[2:]
    coarse = F.adaptive_avg_pool2d(images, (max(1, int(height * strength)), max(1, int(width * strength))))
    return F.interpolate(coarse, (height, width), mode="nearest-exact")


NOISES: dict[str, Callable[[Tensor, float, Generator], Tensor]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
}

PLAIN: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
}

"""Distances between synthetic and real images of one class, in features and in pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddbench.kit import features
from ddbench_plugins.diversity.looking import as_pixels, drawn_real, seen_by

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench import EvaluationContext, TrainSplit
    from ddbench_plugins.diversity.diversity import DiversityOptions

BATCH = 256

EXACT = "donot_use_mm_for_euclid_dist"
"""Differences are squared one by one: through a matrix product the distance of an image to itself is not 0."""


def measured(ctx: EvaluationContext, o: DiversityOptions) -> dict[str, Tensor]:
    """Return float64 `distance` (NaN where a class has under two images) and `coverage` by class; by image `nearest`, float64,
    `nearest_index`, an int64 position in the train split, and `labels`, int64."""
    teacher, pixels, labels = ctx.needs["teacher"], as_pixels(ctx), ctx.distilled.labels
    classes = ctx.facts.num_classes
    found = {name: torch.full((classes,), torch.nan, dtype=torch.float64) for name in ("distance", "coverage")}
    nearest, index = torch.empty(len(labels), dtype=torch.float64), torch.empty(len(labels), dtype=torch.int64)
    for label in range(classes):
        mine = (labels == label).nonzero().flatten()
        real = features(teacher.module, seen_by(teacher, ctx.train.images(drawn_real(ctx, label, o.real))))
        fake = features(teacher.module, seen_by(teacher, pixels[mine])) if len(mine) else real[:0]
        found["distance"][label] = mean_distance(fake) / mean_distance(real)
        found["coverage"][label] = coverage(fake, real, o.neighbours)
        nearest[mine], index[mine] = nearest_real(pixels[mine], ctx.train, ctx.train.indices(label))
    return {**found, "nearest": nearest, "nearest_index": index, "labels": labels.clone()}


def mean_distance(features: Tensor) -> float:
    """Return the mean Euclidean distance of all pairs of (N, D) features; NaN for fewer than two."""
    if len(features) < 2:
        return float("nan")
    return float(torch.pdist(features.cpu().double()).mean())


def coverage(fake: Tensor, real: Tensor, neighbours: int) -> float:
    """Return the fraction of (M, D) real features whose ball holds one of the (N, D) fake ones.

    A ball reaches as far as the `neighbours`-th nearest other real feature, or the furthest where there are fewer.
    """
    if not len(fake):
        return 0.0
    between = torch.cdist(real.double(), real.double(), compute_mode=EXACT)
    reach = between.sort(dim=1).values[:, min(neighbours, len(real) - 1)]  # column 0 is the feature itself
    to_fake = torch.cdist(real.double(), fake.double(), compute_mode=EXACT).amin(dim=1)
    return float((to_fake <= reach).double().mean())


def nearest_real(pixels: Tensor, train: TrainSplit, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each image the root mean square difference to the nearest of some train images, and which one that is.

    Args:
        pixels: float32 (N, C, H, W) in the units of pixels in [0, 1].
        train: The train split.
        positions: int64 (M,), which of its images.

    Returns:
        float64 (N,) and int64 (N,) positions in the train split, the first of equal ones; on the CPU.
    """
    best = torch.full((len(pixels),), torch.inf, device=pixels.device)
    which = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)
    for chunk in torch.split(positions, BATCH) if len(pixels) else ():
        real = train.images(chunk).float() / 255.0
        distance, place = torch.cdist(pixels.flatten(1), real.flatten(1), compute_mode=EXACT).min(dim=1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        which = torch.where(closer, chunk.to(which.device)[place], which)
    size = pixels[0].numel() if len(pixels) else 1
    return best.double().cpu() / size**0.5, which.cpu()

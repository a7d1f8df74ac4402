"""Which test images a method's students got right: pairs two methods on the images, which are a sample as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.report.spread import Spread, part

if TYPE_CHECKING:
    from numpy.typing import NDArray

Hits = Mapping[str, Mapping[int, "NDArray[np.bool_]"]]
"""By distilled set, by eval seed: bool (images,), whether a student named the right class; all in one order of images."""


@dataclass(frozen=True)
class ImageShares:
    """How often each test image is named right by a method's students."""

    shares: NDArray[Any]
    """float64 (..., images), in [0, 1]."""
    noise: NDArray[Any]
    """(...): the part of the shares' variance over images that sets and students explain, which other parts count already."""


def image_shares(hits: NDArray[np.bool_]) -> ImageShares:
    """Return the shares of hits (..., sets, seeds, images); several sets are a sample, one is taken as given."""
    n, m = hits.shape[-3:-1]
    by_set = hits.mean(-2)
    shares = by_set.mean(-2)
    if n > 1:
        noise = by_set.var(-2, ddof=1).mean(-1) / n
    elif m > 1:
        noise = hits[..., 0, :, :].var(-2, ddof=1).mean(-1) / m
    else:
        noise = np.zeros(shares.shape[:-1])
    return ImageShares(shares, noise)


def of_images(first: ImageShares, second: ImageShares) -> Spread:
    """Return the spread of the difference that is due to these test images and no others."""
    return _spread((first.shares - second.shares).var(-1, ddof=1), first.noise + second.noise, first.shares.shape[-1])


def of_image_pairs(methods: Sequence[ImageShares]) -> Spread:
    """Return the same for every pair of methods, (methods, methods)."""
    covariance = np.atleast_2d(np.cov(np.stack([one.shares for one in methods])))
    own = np.diagonal(covariance)
    noise = np.stack([one.noise for one in methods])
    varied = own[:, None] + own[None, :] - 2 * covariance
    return _spread(varied, noise[:, None] + noise[None, :], methods[0].shares.shape[-1])


def _spread(varied: NDArray[Any], noise: NDArray[Any], images: int) -> Spread:
    variance = np.maximum(varied - noise, 0) / images
    return part(variance, variance**2, images - 1)

"""Every pair of a column's methods compared, and which pairs differ once Holm has corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ddbench.report import spread
from ddbench.report.spread import LEVEL, Spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.report.spread import Numbers


def p_values(blocks: Sequence[Numbers], images: Spread | None = None) -> Numbers:
    """Return two-sided p values of all pairs, (..., methods, methods), from scores (..., sets, seeds) under equal seeds.

    A pair's variance has the parts of `spread.of_difference`, but each is taken at no less than its mean over all methods of
    the column, with that mean's degrees of freedom. Among 190 pairs, some have by chance a variance far too small, which
    would otherwise tell equal methods apart; and where a method's own variance is no larger than others', theirs help to
    know it. No p value is below that of the pair alone, so that no rank claims what the interval of the difference denies.
    """
    means = np.stack([one.mean((-1, -2)) for one in blocks], -1)
    differences = means[..., :, None] - means[..., None, :]
    own_sets, sets = _of_sets(blocks)
    own_seeds, seeds = _of_seeds(blocks)
    own, column = own_sets + own_seeds, sets + seeds
    if images is not None:
        own, column = own + images, column + images
    return np.maximum(own.interval_p_value(differences), column.p_value(differences))


def told_apart(p: Numbers) -> NDArray[np.bool_]:
    """Return which of all pairs differ, from their p values (methods, methods), at a family-wise error of 5 % (Holm 1979)."""
    upper = np.triu_indices(len(p), 1)
    apart = np.zeros_like(p, dtype=bool)
    apart[upper] = adjusted(p[upper]) <= 1 - LEVEL
    return np.asarray(apart | apart.T)


def adjusted(p: Numbers) -> Numbers:
    """Return p values (count,) adjusted for how many there are by Holm's steps (1979), so that each may be compared with 0.05."""
    order = np.argsort(p)
    found = np.empty_like(p)
    found[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return found


def _of_sets(blocks: Sequence[Numbers]) -> tuple[Spread, Spread]:
    """Return for every pair how the sets of both vary, by themselves and at no less than usual; one set adds nothing."""
    counts = np.array([one.shape[-2] for one in blocks])
    nothing = np.zeros(blocks[0].shape[:-2])
    own = np.stack([spread.of_mean(one.mean(-1)).variance if one.shape[-2] > 1 else nothing for one in blocks], -1)
    freedom = int((counts - 1).sum())
    if not freedom:
        return spread.none(_pairs(own)), spread.none(_pairs(own))
    common = (own * counts * (counts - 1)).sum(-1, keepdims=True) / freedom
    floor = np.where(counts > 1, common / counts, 0)
    shared = _pairs(np.where(own > floor, 0, floor))
    usual = spread.part(shared, shared**2, freedom)  # one estimate, whether one side takes it or both
    return _sides(own, counts), _sides(np.where(own > floor, own, 0), counts) + usual


def _sides(variances: Numbers, counts: NDArray[np.int_]) -> Spread:
    """Return for every pair the sum of both methods' variances over sets, each known by itself."""
    squares = variances**2
    return Spread(_pairs(variances), _pairs(squares / np.maximum(counts - 1, 1)), _pairs(squares / (counts + 1)))


def _of_seeds(blocks: Sequence[Numbers]) -> tuple[Spread, Spread]:
    """Return for every pair how its difference varies over eval seeds, beyond what the rest of both explains, likewise."""
    m = blocks[0].shape[-1]
    by_seed = np.stack([one.mean(-2) for one in blocks], -2)
    methods = by_seed.shape[-2]
    if m == 1:
        nothing = spread.none(np.zeros((*by_seed.shape[:-2], methods, methods)))
        return nothing, nothing
    rests = np.stack([spread.rest(one) for one in blocks], -1)
    own = spread.excess(_paired(by_seed), _pairs(rests), m - 1)
    freedom = (methods - 1) * (m - 1)
    common = 2 * (spread.interaction(by_seed) ** 2).sum((-1, -2)) / (freedom * m)
    shared = spread.excess(common, 2 * rests.mean(-1), freedom)
    usual = Spread(*(values[..., None, None] for values in (shared.variance, shared.cautious, shared.unbiased)))
    return own, spread.larger(own, usual)


def _paired(by_seed: Numbers) -> Numbers:
    """Return the variance of every pair's mean difference over seeds, from (..., methods, seeds)."""
    m = by_seed.shape[-1]
    centred = spread.from_first(by_seed, -1)
    centred = centred - centred.mean(-1, keepdims=True)
    product = centred @ centred.swapaxes(-1, -2)
    own = np.diagonal(product, axis1=-2, axis2=-1)
    return np.asarray((_pairs(own) - 2 * product) / ((m - 1) * m))


def _pairs(values: Numbers) -> Numbers:
    """Return the sum of both methods' values for every pair, (..., methods) as (..., methods, methods)."""
    return values[..., :, None] + values[..., None, :]

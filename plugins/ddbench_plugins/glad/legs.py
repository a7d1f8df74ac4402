"""Which spaces are walked, for how long and how fast: GLaD stays in one, H-GLaD walks them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench.errors import BadOption
from ddbench.kit import Leg, WalkRecipe, known_spaces
from ddbench_plugins.glad.options import LAST, MIDDLE, GladOptions, HgladOptions, LatentOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench import LoadedPrior

PIXEL = "pixel"

CANDIDATES = 10
"""How many candidates, beside the last, a space has unless told otherwise."""

ADVICE = "smaller learning rates (-o lr_f=…, -o lr_w=…, -o lr_pixel=…)"


def glad_recipe(o: GladOptions, prior: LoadedPrior) -> WalkRecipe:
    """Return a walk of one leg.

    Raises:
        BadRequest: The prior has no such space; the message names those it has.
    """
    space = middle(prior.spaces) if o.space == MIDDLE else o.space
    known_spaces(prior, [space])
    return _recipe(o, [Leg(space, o.iterations, rates(o))], select_every=0)


def hglad_recipe(o: HgladOptions, prior: LoadedPrior) -> WalkRecipe:
    """Return a walk through the spaces, `iterations` steps altogether.

    Raises:
        BadRequest: The prior lacks a space, or they are not from coarse to fine.
        BadOption: There are more or fewer spaces than step counts or factors.
    """
    spaces = o.spaces or walked_spaces(prior.spaces, include_pixels=o.include_pixels)
    known_spaces(prior, spaces)
    steps = o.space_steps if o.space_steps and o.iterations else evenly(o.iterations, len(spaces))
    factors = o.space_lr or (1.0,) * len(spaces)
    if not len(spaces) == len(steps) == len(factors):
        raise BadOption(
            f"{len(steps)} space_steps and {len(factors)} space_lr were given for {len(spaces)} spaces: {', '.join(spaces)}"
        )
    legs = [Leg(space, count, rates(o, factor)) for space, count, factor in zip(spaces, steps, factors, strict=True)]
    every = o.select_every or max(1, o.iterations // (CANDIDATES * len(spaces)))
    return _recipe(o, legs, select_every=0 if o.selector == LAST else every)


def middle(spaces: Sequence[str]) -> str:
    """Return the middle one of the spaces between the coarsest and pixels; the finer one of two."""
    inner = [space for space in spaces[1:] if space != PIXEL] or list(spaces)
    return inner[len(inner) // 2]


def walked_spaces(spaces: Sequence[str], *, include_pixels: bool) -> tuple[str, ...]:
    """Return the prior's spaces, without pixels unless they are asked for or are all there is."""
    inner = tuple(space for space in spaces if space != PIXEL)
    return tuple(spaces) if include_pixels or not inner else inner


def evenly(steps: int, legs: int) -> tuple[int, ...]:
    """Return how many steps each leg has; where they cannot be equal, the first ones have one more."""
    return tuple(steps // legs + (number < steps % legs) for number in range(legs))


def rates(o: LatentOptions, factor: float = 1.0) -> dict[str, float]:
    """Return learning rates by tensor name."""
    by_name = {"w": o.lr_w, "f": o.lr_f, "x": o.lr_pixel, "other": o.lr_other}
    return {name: rate * factor for name, rate in by_name.items()}


def _recipe(o: LatentOptions, legs: Sequence[Leg], *, select_every: int) -> WalkRecipe:
    return WalkRecipe(
        legs=tuple(legs) if o.iterations else tuple(legs[:1]),
        momentum=o.momentum,
        chunk=o.chunk,
        select_every=select_every,
        keep_ends=o.keep_walk,
        advice=ADVICE,
    )

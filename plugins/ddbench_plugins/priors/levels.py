"""Where the first-party generator works: its levels by image size, and the names of its spaces. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ddbench import Options
from ddbench.errors import PriorMismatch

if TYPE_CHECKING:
    from ddbench import DatasetFacts

SMALLEST = 4
"""No level is smaller: a side is halved while it is even and larger."""

GROUP = 8
"""Channels that are normalised together; widths are multiples of it."""


class TrunkOptions(Options):
    """The generator's size."""

    channels: int = Field(
        default=48,
        ge=GROUP,
        le=1024,
        multiple_of=GROUP,
        description="Channels of the finest level; they double at each coarser one.",
    )
    max_channels: int = Field(default=64, ge=GROUP, le=2048, multiple_of=GROUP, description="Channels of no level are more.")
    layers: int = Field(default=1, ge=1, le=8, description="Convolutions of each level, each with a style of its own.")


def level_sizes(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return height and width of each level, from coarse to fine: 4, 8, 16, 32 for 32 pixels, 7, 14, 28 for 28.

    Raises:
        PriorMismatch: The smallest level would be larger than half of 64 pixels, because a side is odd.
    """
    height, width = shape[1:]
    sizes = [(height, width)]
    while all(side % 2 == 0 and side > SMALLEST for side in sizes[0]):
        sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
    if max(sizes[0]) > 32:
        raise PriorMismatch(
            f"images of {height}×{width} cannot be halved to a size the generator begins at ({sizes[0][0]}×{sizes[0][1]} is left, "
            "at most 32 a side is meant); prepare the dataset at a size such as 32, 64 or 224"
        )
    return sizes


def level_widths(sizes: int, o: TrunkOptions) -> list[int]:
    """Return the channels of each level, from coarse to fine."""
    return [min(o.channels * 2**halvings, max(o.channels, o.max_channels)) for halvings in reversed(range(sizes))]


def space_names(facts: DatasetFacts) -> tuple[str, ...]:
    """Return `w+`, `f1` … and `pixel`: styles, what each level leaves, and images."""
    levels = len(level_sizes(facts.shape))
    return ("w+", *(f"f{level}" for level in range(1, levels + 1)), "pixel")

"""What the selecting baselines plan from a dataset's facts alone; imports no torch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ddbench.errors import NotEnoughImages

if TYPE_CHECKING:
    from ddbench import DatasetFacts

NO_SEED = 0
"""Of jobs that draw nothing: planned without the distill seed, one set is made, however many are asked for."""

GROUP_BYTES = 2 * 2**30
"""Images held at once; below it, one pass over the teacher's features serves the whole set."""


def refuse_small_classes(facts: DatasetFacts, ipc: int, name: str) -> None:
    """Do nothing where every class can give `ipc` images.

    Raises:
        NotEnoughImages: One cannot; the smallest is named.
    """
    smallest = min(range(facts.num_classes), key=facts.counts.__getitem__)
    if ipc > facts.counts[smallest]:
        raise NotEnoughImages(
            f"{name!r} was asked for {ipc} images per class, but class {facts.classes[smallest]!r} of {facts.name} has "
            f"{facts.counts[smallest]}; ask for at most {facts.counts[smallest]} with --ipc"
        )


def jobs_in_memory(facts: DatasetFacts) -> int:
    """Return how many jobs of one image per class may be held at once, at least one."""
    return max(1, GROUP_BYTES // (facts.num_classes * prod(facts.shape)))

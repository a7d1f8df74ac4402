"""The kinds of figures by name, and what each shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench.errors import UnknownName
from ddbench.report.figures import distances, embedding, grids, sweeps, tradeoffs, training, walks

if TYPE_CHECKING:
    from ddbench.report.figures.choosing import Asked
    from ddbench.report.figures.style import Drawing


@dataclass(frozen=True)
class Kind:
    """A kind of figure."""

    name: str
    about: str
    draw: Callable[[Asked], Drawing]


KINDS = (
    Kind("ipc", "a metric against images per class", tradeoffs.against_ipc),
    Kind("bytes", "a metric against the bytes of a set, with the Pareto front", tradeoffs.against_bytes),
    Kind("cost", "a metric against the time of making a set, with the Pareto front", tradeoffs.against_cost),
    Kind("curves", "students' training loss by epoch", training.curves),
    Kind("images", "images of each class across methods", grids.images),
    Kind("tsne", "a teacher's features of each set over the density of real images", embedding.tsne),
    Kind("distance", "distance between the images of a class, class by class", distances.distance),
    Kind("sweep", "a metric against one option, with intervals as bands", sweeps.sweep),
    Kind("heatmap", "a metric over two options", sweeps.heatmap),
    Kind("walk", "a walk through a generator, space by space", walks.walk),
)


def kind_of(name: str) -> Kind:
    """Return a kind of figure by name.

    Raises:
        UnknownName: There is none.
    """
    known = {kind.name: kind for kind in KINDS}
    if name not in known:
        raise UnknownName("figure", name, known, see="ddbench figure --help")
    return known[name]

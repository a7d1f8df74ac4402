"""Priors: the identity, an untrained generator, and one trained on the dataset itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Prior, hookimpl
from ddbench_plugins.priors.pixel import Pixel
from ddbench_plugins.priors.random import Random
from ddbench_plugins.priors.trained import Trained

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Pixel", "Random", "Trained"]


@hookimpl
def ddbench_priors() -> Iterable[Prior]:
    return [Pixel(), Random(), Trained()]

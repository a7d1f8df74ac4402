"""From a name a user types to a fitted specification: which family knows it, and how it is fitted to the images."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ddbench.errors import UnfitNetwork, UnknownName

if TYPE_CHECKING:
    from ddbench.api.network import NetworkFamily, NetworkSpec

FIRST = ("ddbench", "timm", "torchvision")
"""Families asked first for a bare name, in this order; the others follow alphabetically."""


def resolve(name: str, families: Mapping[str, NetworkFamily], *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
    """Return how the network called `name` is fitted to images of `shape`.

    Args:
        name: A bare name, which means the first family that knows it, or `family/name`.
        families: By their name.
        shape: Channels, height, width.
        num_classes: Width of the network's answer.

    Raises:
        UnknownName: No family, or not the family given, knows the name.
        UnfitNetwork: The family cannot fit it to the images.
    """
    prefix, slash, bare = name.partition("/")
    if slash:
        if prefix not in families:
            raise UnknownName("network", name, (f"{family}/{bare}" for family in families))
        asked = [families[prefix]]
    else:
        bare, asked = name, list(_in_order(families))
    found = _fitted(bare, asked, shape, num_classes)
    if found is not None:
        return found
    names = {known for family in asked for known in family.names()}
    with contextlib.suppress(UnfitNetwork):  # variants are many, and not all are listed: `convnet1w32` means convnet1-w32
        parted = re.sub(r"(?<=[0-9])(?=[a-z])", "-", bare)
        names |= {parted} if _fitted(parted, asked, shape, num_classes) else set()
    start = f"{prefix}/" if slash else ""
    raise UnknownName("network", name, {f"{start}{known}" for known in names})


def _fitted(bare: str, asked: Iterable[NetworkFamily], shape: tuple[int, int, int], num_classes: int) -> NetworkSpec | None:
    """Return the network as the first family that knows it fits it, or None where none does."""
    for family in asked:
        with contextlib.suppress(UnknownName):
            return family.fit(bare, shape=shape, num_classes=num_classes)
    return None


def _in_order(families: Mapping[str, NetworkFamily]) -> Iterator[NetworkFamily]:
    """Yield families in the order in which a bare name is looked up."""
    for name in FIRST:
        if name in families:
            yield families[name]
    for name in sorted(set(families) - set(FIRST)):
        yield families[name]

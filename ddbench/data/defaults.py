"""What `ddbench run` uses for a dataset when the command line says nothing: the source's word, else that of its resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ddbench.api.dataset import DatasetDefaults
from ddbench.errors import UnknownName

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetFacts, DatasetSource

CIFAR_SIZE = DatasetDefaults(10, "resnet18", ("resnet18", "convnet3"), "dwa-cifar/1")
"""Up to 32 pixels."""

TINY_SIZE = DatasetDefaults(10, "resnet18", ("resnet18", "convnet4"), "tiny/1")
"""Up to 64 pixels."""

IMAGENET_SIZE = DatasetDefaults(10, "resnet18", ("resnet18",), "dwa-imagenet/1")
"""Above."""


def defaults_of_size(pixels: int) -> DatasetDefaults:
    """Return the defaults of a resolution, by the longer side of its images."""
    return CIFAR_SIZE if pixels <= 32 else TINY_SIZE if pixels <= 64 else IMAGENET_SIZE


def defaults_for(dataset: DatasetFacts | str, sources: Mapping[str, DatasetSource]) -> DatasetDefaults:
    """Return a dataset's defaults: those its source brings, else those of its resolution, marked `derived`.

    Raises:
        UnknownName: Only a name was given, and no source of that name brings defaults; open the dataset first.
    """
    name = dataset if isinstance(dataset, str) else dataset.name
    source = sources.get(name)
    if source is not None and source.defaults is not None:
        return source.defaults
    if isinstance(dataset, str):
        raise UnknownName("dataset", name, [known for known, its in sources.items() if its.defaults], see="ddbench data list")
    return replace(defaults_of_size(max(dataset.shape[1:])), derived=True)

"""The prepared form of datasets: write, check, read, hold on the device or decode on demand.

The names below are loaded when they are first used, so that importing this package imports neither numpy nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.data.defaults import defaults_for, defaults_of_size
    from ddbench.data.folder import FolderSource
    from ddbench.data.index import View
    from ddbench.data.memory import in_memory
    from ddbench.data.opening import Listed, list_datasets, open_dataset, prepare, source_for
    from ddbench.data.outline import is_outline, outlined
    from ddbench.data.prepared import Prepared, open_prepared
    from ddbench.data.splits import HeldSplit, SubsetSplit, TestSplit, validation_cut
    from ddbench.data.writing import Arrays, Description, ImageFiles, write_prepared

_HOMES = {
    "Arrays": "writing",
    "Description": "writing",
    "FolderSource": "folder",
    "HeldSplit": "splits",
    "ImageFiles": "writing",
    "Listed": "opening",
    "Prepared": "prepared",
    "SubsetSplit": "splits",
    "TestSplit": "splits",
    "View": "index",
    "defaults_for": "defaults",
    "defaults_of_size": "defaults",
    "in_memory": "memory",
    "is_outline": "outline",
    "list_datasets": "opening",
    "open_dataset": "opening",
    "open_prepared": "prepared",
    "outlined": "outline",
    "prepare": "opening",
    "source_for": "opening",
    "validation_cut": "splits",
    "write_prepared": "writing",
}

__all__ = [
    "Arrays",
    "Description",
    "FolderSource",
    "HeldSplit",
    "ImageFiles",
    "Listed",
    "Prepared",
    "SubsetSplit",
    "TestSplit",
    "View",
    "defaults_for",
    "defaults_of_size",
    "in_memory",
    "is_outline",
    "list_datasets",
    "open_dataset",
    "open_prepared",
    "outlined",
    "prepare",
    "source_for",
    "validation_cut",
    "write_prepared",
]


def __getattr__(name: str) -> object:
    """Return a public name from the module it lives in.

    Raises:
        AttributeError: The package has no such public name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

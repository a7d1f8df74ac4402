"""Which records a suite's cells have: kept in the store when the suite is run, so that tables need not plan it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.store import Store


def keep_cells(store: Store, suite: str, keys: Sequence[str]) -> None:
    """Keep the keys of a suite's cells, as it was last run."""
    store.write_file(_path(store.root, suite), json.dumps(list(keys)).encode())


def cells_of(root: Path, suite: str) -> list[str]:
    """Return the keys of a suite's cells, as it was last run into a store.

    Raises:
        BadRequest: It was never run there.
    """
    try:
        return [str(key) for key in json.loads(_path(root, suite).read_bytes())]
    except (OSError, ValueError) as error:
        raise BadRequest(f"suite {suite} was not run in {root}; run it with: ddbench suite run FILE") from error


def _path(root: Path, suite: str) -> Path:
    return root / "suites" / "cells" / f"{suite}.json"

"""Which records a suite's cells have, and what it calls them: kept when it is run, so that tables need not plan it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.store import Store


def keep_cells(store: Store, suite: str, names: Mapping[str, str]) -> None:
    """Keep the keys of a suite's cells, as it was last run, with what it calls their methods."""
    store.write_file(_path(store.root, suite), json.dumps(dict(names)).encode())


def cells_of(root: Path, suite: str) -> dict[str, str]:
    """Return the keys of a suite's cells, as it was last run into a store, with what it calls their methods; empty for controls.

    Raises:
        BadRequest: It was never run there.
    """
    try:
        kept = json.loads(_path(root, suite).read_bytes())
        return {str(key): str(name) for key, name in kept.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise BadRequest(f"suite {suite} was not run in {root}; run it with: ddbench suite run FILE") from error


def _path(root: Path, suite: str) -> Path:
    return root / "suites" / "cells" / f"{suite}.json"

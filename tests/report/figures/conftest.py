"""Records made by hand, as figures see them."""

from __future__ import annotations

import pytest

from ddbench.report.figures.choosing import Asked
from ddbench.report.figures.sidecars import Sidecars
from ddbench.store import Store


@pytest.fixture
def asked(tmp_path):
    """Return a function from records to what a figure is asked for, with an empty store."""

    def ask(records, **changes) -> Asked:
        return Asked(tuple(records), Sidecars(Store(tmp_path / "store")), **changes)

    return ask

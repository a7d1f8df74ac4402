"""Fixtures for tests of plugins, found by pytest wherever ddbench is installed.

A package of its own beside `ddbench`, so that pytest runs which use none of them import neither ddbench nor torch. The conformance
kit's assertions are rewritten to say what they found, as those of a test file are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ddbench.context import StageContext
    from ddbench.data import Prepared
    from ddbench.plugins import Plugins
    from ddbench.store import Store
    from ddbench.testing import Bench

pytest.register_assert_rewrite("ddbench.testing")


@pytest.fixture
def ddbench_dataset() -> Prepared:
    """A learnable dataset in memory: 4 classes, 12 train and 12 test images each, 3×8×8."""
    from ddbench.testing import toy_dataset

    return toy_dataset()


@pytest.fixture
def ddbench_bench(tmp_path: Path, ddbench_dataset: Prepared) -> Bench:
    """A bench on the toy dataset, with a store of its own; give it parts and priors with `dataclasses.replace`."""
    from ddbench.testing import Bench

    return Bench(tmp_path / "ddbench-store", data=ddbench_dataset)


@pytest.fixture
def ddbench_context(ddbench_bench: Bench) -> StageContext:
    """What a stage is given: the toy train split, a generator, the toy teacher under `teacher`."""
    from ddbench import Need

    return ddbench_bench.context({"teacher": Need("teacher")})


@pytest.fixture
def ddbench_store(tmp_path: Path) -> Store:
    """An empty store."""
    from ddbench.store import Store

    return Store(tmp_path / "ddbench-store")


@pytest.fixture
def ddbench_plugins() -> Plugins:
    """All plugins that are installed, the one under test among them."""
    from ddbench.plugins import Plugins

    return Plugins()

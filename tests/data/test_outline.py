"""A dataset that is not here can be planned from its outline, and never read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddbench.cells import Request
from ddbench.data import outlined
from ddbench.errors import DataMissing
from ddbench.planning import Known, plan
from ddbench.plugins import Plugins
from ddbench.progress import Silent
from ddbench.runner import run
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import Workspace

SOURCES = Plugins(()).all("dataset")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the built-in plugins and an empty data root."""
    return Workspace(
        Settings(tmp_path / "store", (tmp_path / "data",), (), offline=True), Store(tmp_path / "store"), Plugins(()), Silent()
    )


def test_an_outline_has_as_many_images_as_it_promises() -> None:
    data = outlined(SOURCES["tiny-imagenet"])
    assert data is not None
    assert (data.facts.num_classes, data.facts.shape, set(data.facts.counts)) == (200, (3, 64, 64), {500})
    assert (len(data.train), len(data.test)) == (100_000, 10_000)
    assert data.train.nbytes == 100_000 * 3 * 64 * 64


def test_counts_of_an_outline_add_up_where_classes_cannot_be_equal() -> None:
    data = outlined(SOURCES["imagenet"])
    assert data is not None
    assert sum(data.facts.counts) == 1_281_167
    assert max(data.facts.counts) - min(data.facts.counts) == 1


def test_images_of_an_outline_cannot_be_read() -> None:
    data = outlined(SOURCES["cifar10"])
    assert data is not None
    with pytest.raises(DataMissing, match="ddbench data prepare cifar10"):
        data.train.gather(np.array([0]))
    with pytest.raises(DataMissing, match="is not here"):
        _ = data.test.labels


def test_a_source_without_an_outline_has_none() -> None:
    assert outlined(SOURCES["digits"]) is None


def test_cells_are_priced_on_a_dataset_that_is_not_here_and_a_note_says_so(workspace: Workspace) -> None:
    planned = plan(Request(("dwa",), dataset="cifar100", students=("convnet3",)), workspace, known=Known(workspace, outline=True))
    assert planned.expected_s > 3600
    assert not any(one.stored for one in planned.cells)
    assert any("ddbench data prepare cifar100" in note for note in planned.notes)


def test_without_being_asked_nothing_is_planned_on_a_dataset_that_is_not_here(workspace: Workspace) -> None:
    with pytest.raises(DataMissing):
        plan(Request(("dwa",), dataset="cifar100"), workspace)


def test_a_plan_from_an_outline_cannot_be_run(workspace: Workspace) -> None:
    request = Request(("random",), dataset="cifar10", ipc=1, protocol="quick-hard/1", students=("convnet1",), eval_seeds=1)
    with pytest.raises(DataMissing, match="is not here"):
        run(plan(request, workspace, known=Known(workspace, outline=True)), workspace)

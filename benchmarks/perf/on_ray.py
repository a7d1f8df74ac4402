"""The Ray executor: what it adds to a cell whose synthesizer does nothing, after Ray and its worker are up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from figures import Figure
from workless import CELLS, REQUEST, seconds, task_of

from ddbench.executors.inline import Inline
from ddbench.executors.ray import RayExecutor
from ddbench.executors.ray_cluster import joined
from ddbench.executors.workbench import Workbench
from ddbench.planning import Known, plan
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.workspace import open_workspace


def overhead() -> list[Figure]:
    """Measure cells on one Ray worker against the same cells in this process."""
    with tempfile.TemporaryDirectory() as folder:
        known = Known(open_workspace(Settings(Path(folder, "ray"), (), ())))
        planned = plan(REQUEST, known.workspace, known=known)
        with joined(None, cpus=1, reporter=Silent()) as cluster, RayExecutor(cluster, known, task_of(planned)) as executor:
            on_ray = seconds(planned, executor)
        workbench = Workbench(open_workspace(Settings(Path(folder, "here"), (), ())))
        here = seconds(planned, Inline(workbench, task_of(planned)))
    added = 1e3 * (on_ray - here) / CELLS
    return [Figure(f"Ray executor, added to each of {CELLS} cells without work", added, "ms", "at most 100", 1, added <= 100)]


FIGURES: dict[str, Callable[[], list[Figure]]] = {"ray-overhead": overhead}

"""Workers and nodes of Ray killed at random moments of a run: it ends with exactly what an undisturbed run has."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("ray")

from ddbench.executors import units as units_module
from ddbench.executors.inline import Inline
from ddbench.executors.ray import RETRIES, RayExecutor
from ddbench.executors.ray_cluster import joined
from ddbench.executors.schedule import Rules, run_units
from ddbench.executors.units import Task, units_of
from ddbench.executors.workbench import Workbench
from ddbench.planning import Known, plan
from ddbench.progress import Silent
from ddbench.store import KINDS, Store
from ray_nodes import a_cluster, add_node, at_random_moments, kill_node, kill_worker
from small_runs import REQUEST, Quiet, made, workspace

pytestmark = pytest.mark.slow

REPEATS = int(os.environ.get("REPEATS", "2"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return what an undisturbed run leaves, made in this process."""
    space = workspace(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units_module, "SPLIT_S", 0.0)
        planned = plan(REQUEST, space)
        units = list(units_of(planned).values())
    inline = Inline(Workbench(space), lambda key: Task(REQUEST, planned.place, key))
    state = run_units(units, inline, rules=Rules(), watcher=Quiet())
    assert state.failed == {}
    return made(space.store.root)


@pytest.fixture(scope="module")
def nodes():
    with a_cluster() as found:
        add_node(found)
        yield found


@pytest.fixture
def known(tmp_path, monkeypatch):
    monkeypatch.setattr(units_module, "SPLIT_S", 0.0)
    return Known(workspace(tmp_path / "driver"))


def run(cluster, known):
    known.places["auto"] = cluster.place("cpu")
    planned = plan(REQUEST, known.workspace, known=known)
    units = list(units_of(planned).values())
    with RayExecutor(cluster, known, lambda key: Task(REQUEST, planned.place, key)) as executor:
        return run_units(units, executor, rules=Rules(), watcher=Quiet())


def check(state, store, whole):
    """Assert that nothing is missing, nothing is half there, and all is as it is without a disturbance."""
    assert state.failed == {}
    assert made(store.root) == whole
    fresh = Store(store.root)
    assert all(fresh.find(kind, key) for kind in KINDS for key in fresh.keys(kind))
    assert fresh.damaged == []
    assert [path for path in (store.root / "work", store.root / "temporary") if path.is_dir() and any(path.iterdir())] == []


@pytest.mark.parametrize("seed", range(REPEATS))
def test_workers_killed_at_random_moments_cost_time_and_nothing_else(nodes, known, whole, seed, record_property):
    with joined(nodes.address, reporter=Silent()) as cluster:
        disturbance = at_random_moments(
            lambda draw: kill_worker(cluster.run, draw), seed=seed, between_s=(0.5, 8.0), at_most=RETRIES
        )
        with disturbance as kills:
            state = run(cluster, known)
    check(state, known.workspace.store, whole)
    record_property("kills", len(kills))
    assert kills


@pytest.mark.parametrize("seed", range(REPEATS))
def test_a_node_killed_at_a_random_moment_costs_time_and_nothing_else(nodes, known, whole, seed, record_property):
    second = add_node(nodes)

    def kill(_draw):
        kill_node(second)
        return True

    disturbed = at_random_moments(kill, seed=seed, between_s=(0.5, 8.0), at_most=1)
    with joined(nodes.address, reporter=Silent()) as cluster, disturbed as kills:
        state = run(cluster, known)
    nodes.remove_node(second, allow_graceful=False)
    check(state, known.workspace.store, whole)
    record_property("kills", len(kills))
    assert kills

"""The Ray executor on one Ray that this file's tests share: its start takes seconds, its units hardly any."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray")

import ray

from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.executors import units as units_module
from ddbench.executors.inline import Inline
from ddbench.executors.local import Limits
from ddbench.executors.opening import Choice, machines
from ddbench.executors.ray import Parcels, RayExecutor
from ddbench.executors.ray_cluster import Aside, Ask, Cluster, joined
from ddbench.executors.ray_worker import folder_of, tidy
from ddbench.executors.schedule import Rules, run_units
from ddbench.executors.units import Task, Unit, missing, units_of
from ddbench.executors.workbench import Workbench
from ddbench.planning import Known, plan
from ddbench.progress import Silent
from ddbench.suites.running import Run, run_suite
from ddbench.suites.status import StatusFile
from ray_nodes import reap
from small_runs import REQUEST, Quiet, made, workspace
from small_suites import CELLS, known_at, planned, run_here


@pytest.fixture(scope="module")
def ray_here():
    with joined(None, cpus=2, reporter=Silent()) as found:
        yield found
    reap()


@pytest.fixture
def cluster(ray_here, tmp_path):
    """Return the shared Ray with a run of the test's own, so that no worker has anything of an earlier one."""
    run = tmp_path.name
    yield replace(ray_here, run=run)
    tidy(run)


@pytest.fixture
def known(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(units_module, "SPLIT_S", 0.0)
    found = Known(workspace(tmp_path / "driver"))
    found.places["auto"] = cluster.place("auto")
    return found


def few(planned):
    """Return the units of the first and the last cell: a draw made group by group, and a set made with a teacher."""
    return missing(units_of(planned), [planned.cells[0].record_key, planned.cells[-1].record_key], Path("an empty store"))


def run_on_ray(cluster, known, units, *, request=REQUEST, **more):
    with RayExecutor(cluster, known, lambda key: Task(request, known.places["auto"], key), **more) as executor:
        return run_units(units, executor, rules=Rules(), watcher=Quiet())


def test_units_on_ray_give_what_they_give_in_this_process(tmp_path, cluster, known):
    planned = plan(REQUEST, known.workspace, known=known)
    units = few(planned)
    state = run_on_ray(cluster, known, units)
    assert state.failed == {}
    one = workspace(tmp_path / "one")
    run_units(units, Inline(Workbench(one), lambda key: Task(REQUEST, planned.place, key)), rules=Rules(), watcher=Quiet())
    assert made(known.workspace.store.root) == made(one.store.root)
    assert len(one.store.record_keys()) == 2
    assert folder_of(cluster.run).is_dir()  # each worker had a store of its own


def test_what_a_worker_does_is_shown_and_its_failure_is_told_with_its_cause(cluster, known):
    titles = []

    class Reporter(Silent):
        def stage(self, title):
            titles.append(title)
            return super().stage(title)

    known.workspace.reporter = Reporter()
    planned = plan(REQUEST, known.workspace, known=known)
    first = few(planned)[0]
    elsewhere = replace(first, key="0123", needs=(first.key,), leaves=(f"{first.folder}/0123",))
    state = run_on_ray(cluster, known, [first, elsewhere])
    assert list(state.done) == [first.key]
    assert [problem.error for problem in state.failed.values()] == ["WorkerDiffers"]
    assert "the plan made here has no 0123" in state.stopped
    assert titles


def test_what_tasks_read_is_put_once_and_given_up_beyond_a_limit(known, monkeypatch):
    store = known.workspace.store
    for key in ("one", "two"):
        with store.writing("teachers", key, {}) as folder:
            (folder / "weights.bin").write_bytes(b"weights")
    store.write_file(store.work("one") / "checkpoint", b"far")
    parcels = Parcels(known)
    reads = ["teachers/one", "work/one", "teachers/absent"]
    first, second = parcels.of(reads), parcels.of(reads)
    assert [len(first), len(second)] == [2, 2]
    assert first[0] == second[0]
    assert first[1] != second[1]  # work changes
    assert ray.get(first[0])[0].files["weights.bin"].tobytes() == b"weights"
    parcels.forget(["teachers/one"])
    assert parcels.of(reads)[0] != first[0]
    monkeypatch.setattr("ddbench.executors.ray.SHARED_BYTES", 1)
    kept = parcels.of(["teachers/two"])[0]
    parcels.of(["teachers/one"])
    assert parcels.of(["teachers/two"])[0] != kept


def test_a_dataset_travels_as_it_lies_on_the_disk_and_what_is_too_large_does_not(known, monkeypatch):
    data = known.dataset("digits")
    reference = Parcels(known).of_dataset("digits")
    parcel = ray.get(reference[0])
    assert sorted(parcel.files) == ["dataset.json", "test.safetensors", "train.safetensors"]
    assert all(parcel.files[name].tobytes() == (data.folder / name).read_bytes() for name in parcel.files)
    monkeypatch.setattr("ddbench.executors.ray.TRAVELS_BYTES", 1)
    assert Parcels(known).of_dataset("digits") is None


@pytest.mark.slow
def test_a_unit_that_takes_too_long_is_ended_and_not_tried_again(cluster, known):
    minutes = replace(
        REQUEST, options={**REQUEST.options, "teacher.epochs": 1000}
    )  # a unit of a blink may end before it is looked at
    planned = plan(minutes, known.workspace, known=known)
    teacher = next(unit for unit in few(planned) if unit.folder == "teachers")
    state = run_on_ray(cluster, known, [teacher], request=minutes, limits=Limits(time_s=0.0))
    assert [problem.error for problem in state.failed.values()] == ["TimeLimit"]
    assert known.workspace.store.keys("teachers") == []


def a_unit(**changes):
    return replace(Unit("0", "records", "a unit", (), (), (), 1.0, 2, "cpu"), **changes)


def test_units_ask_for_their_threads_and_for_fractions_where_they_are_given():
    assert Ask().of(a_unit()) == {"num_cpus": 2.0, "num_gpus": 0.0}
    assert Ask(cpus=0.5, gpus=0.25).of(a_unit(device="cuda")) == {"num_cpus": 0.5, "num_gpus": 0.25}


@pytest.mark.parametrize(
    ("nodes", "unit", "slots"),
    [
        ([{"CPU": 8}, {"CPU": 3}], {}, 5),
        ([{"CPU": 8, "GPU": 2}], {"device": "cuda"}, 4),
        ([{"CPU": 64, "GPU": 8}], {"device": "cuda"}, 16),
        ([{"CPU": 64}], {"device": "cuda"}, 1),
        ([], {}, 1),
    ],
)
def test_slots_are_what_the_nodes_bear(nodes, unit, slots, monkeypatch):
    monkeypatch.setattr(Cluster, "nodes", lambda self: nodes)
    assert Cluster(own=False, ask=Ask(gpus=0.5)).slots(a_unit(**unit)) == slots


def test_a_device_by_number_is_refused_because_ray_chooses():
    with pytest.raises(BadRequest, match="give --device cuda, not cuda:1"):
        Cluster(own=False, ask=Ask()).place("cuda:1")


def test_what_ray_prints_becomes_notes_and_the_rest_stays_on_the_standard_output():
    reporter, out = Silent(), io.StringIO()
    with contextlib.redirect_stdout(Aside(reporter, out)):
        for text in (
            "\x1b[33m(raylet)\x1b[0m A worker died or was killed. To troubleshoot, see the logs.\n details",
            "\n",
            "a table\n",
        ):
            sys.stdout.write(text)
    assert reporter.notes == ["Ray: A worker died or was killed."]
    assert out.getvalue() == "a table\n"


def test_an_address_without_a_cluster_is_one_sentence(monkeypatch):
    def no_cluster(*_, **__):
        raise ConnectionError("Could not find any running Ray instance. Please specify the one to connect to.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", no_cluster)
    said = r"'auto' cannot be joined \(Could not find any running Ray instance\.\); see: ray status"
    with pytest.raises(EnvironmentProblem, match=said), joined("auto", reporter=Silent()):
        pass


@pytest.mark.slow
def test_a_suite_on_ray_leaves_the_records_that_it_leaves_here(tmp_path, ray_here):
    here, away = known_at(tmp_path / "here"), known_at(tmp_path / "away")
    assert run_here(tmp_path, here).failures == []
    with machines(Choice("ray"), away, "auto") as found:
        asked = planned(tmp_path, away)
        with found.executor(asked.place, asked.planned.task) as executor:
            status = StatusFile(away.workspace.store, "few", asked.missing)
            outcome = run_suite(asked, away.workspace, Run(executor, status, Rules()))
    assert (len(outcome.made), outcome.failures) == (CELLS, [])
    assert made(away.workspace.store.root) == made(here.workspace.store.root)

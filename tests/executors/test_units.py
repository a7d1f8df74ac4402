"""Units of real plans on digits, and that making them one by one, in any store, gives what a run gives."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

import ddbench
from ddbench.errors import WorkerDiffers
from ddbench.executors import units as units_module
from ddbench.executors.inline import Inline
from ddbench.executors.schedule import Rules, run_units
from ddbench.executors.units import Task, missing, task_from_json, units_of
from ddbench.executors.workbench import Workbench
from ddbench.planning import plan
from small_runs import ASKED, REQUEST, Quiet, made, workspace


@pytest.fixture(autouse=True)
def every_set_is_long(monkeypatch):
    monkeypatch.setattr(units_module, "SPLIT_S", 0.0)


def task(planned, key):
    return task_from_json(json.loads(json.dumps(Task(planned.request, planned.place, key).to_json())))


def test_every_unit_comes_after_what_it_needs_and_a_long_set_is_one_unit_a_group(tmp_path):
    units = units_of(plan(REQUEST, workspace(tmp_path)))
    for number, unit in enumerate(units.values()):
        assert set(unit.needs) <= set(list(units)[:number])
    groups = {unit.key for unit in units.values() if unit.folder == "work"}
    sets = [unit for unit in units.values() if unit.folder == "distilled"]
    assert [len(groups & set(unit.needs)) for unit in sets] == [2, 2, 2, 0]  # three draws of two jobs, and jobs made together
    assert all(unit.leaves == (f"distilled/{unit.key}",) for unit in sets)
    assert {unit.folder for unit in units.values()} == {"teachers", "work", "distilled", "labels", "evaluations", "records"}


def test_a_set_that_is_made_in_no_time_is_one_unit(tmp_path, monkeypatch):
    monkeypatch.setattr(units_module, "SPLIT_S", 20.0)
    units = units_of(plan(REQUEST, workspace(tmp_path)))
    assert not [unit for unit in units.values() if unit.folder == "work"]


def test_units_made_one_by_one_give_what_a_run_gives_and_then_nothing_is_missing(tmp_path):
    whole = ddbench.run("sre2l", store=tmp_path / "whole", **ASKED)
    space = workspace(tmp_path / "units")
    planned = plan(REQUEST, space)
    units = units_of(planned)
    wanted = [one.record_key for one in planned.cells]
    lacking = missing(units, wanted, space.store.root)
    assert lacking == list(units.values())
    state = run_units(lacking, Inline(Workbench(space), lambda key: task(planned, key)), rules=Rules(), watcher=Quiet())
    assert state.failed == {}
    assert made(tmp_path / "units") == made(tmp_path / "whole")
    assert [record.key for record in whole.records] == wanted
    assert missing(units, wanted, space.store.root) == []
    assert list((tmp_path / "units" / "work").iterdir()) == []


def test_a_unit_needs_no_more_of_a_store_than_it_says_and_leaves_what_it_says(tmp_path):
    driver = workspace(tmp_path / "driver")
    planned = plan(REQUEST, driver)
    for number, unit in enumerate(units_of(planned).values()):
        worker = workspace(tmp_path / f"worker-{number}")
        for path in unit.reads:
            _copy(driver.store.root / path, worker.store.root / path)
        before = {kind: worker.store.keys(kind) for kind in ("teachers", "distilled", "labels", "evaluations")}
        Workbench(worker).make(task(planned, unit.key))
        after = {kind: [key for key in worker.store.keys(kind) if key not in before[kind]] for kind in before}
        assert after == {kind: [unit.key] if unit.folder == kind else [] for kind in before}
        for path in unit.leaves:
            _copy(worker.store.root / path, driver.store.root / path)
        assert unit.stored(driver.store.root)
        if unit.work:
            driver.store.discard_work(unit.key)
    ddbench.run("sre2l", store=tmp_path / "whole", **ASKED)
    assert made(tmp_path / "driver") == made(tmp_path / "whole")


def _copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def test_a_unit_that_the_workers_own_plan_lacks_is_refused_in_a_sentence(tmp_path):
    space = workspace(tmp_path)
    planned = plan(REQUEST, space)
    with pytest.raises(WorkerDiffers, match="the plan made here has no 0123: plugins, data") as caught:
        Workbench(space).make(replace(task(planned, "x"), key="0123"))
    assert "ddbench doctor" in str(caught.value)


def test_a_plan_for_another_machine_has_that_machines_keys(tmp_path):
    from ddbench.planning import Known

    space = workspace(tmp_path)
    planned = plan(REQUEST, space)
    elsewhere = replace(planned.place, threads=planned.place.threads + 7)
    again = plan(REQUEST, space, known=Known(space, {"auto": elsewhere}))
    assert again.place == elsewhere
    assert [one.record_key for one in again.cells] == [one.record_key for one in planned.cells]

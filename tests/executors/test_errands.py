"""Units made in stores of their own; what they read and leave crosses the border as bytes. No Ray is needed for it."""

from __future__ import annotations

import itertools
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ddbench.cells import Request
from ddbench.executors import errands
from ddbench.executors import units as units_module
from ddbench.executors.errands import Errand, Outpost, home_of, store_answer
from ddbench.executors.inline import Inline
from ddbench.executors.schedule import Ended, Rules, run_units
from ddbench.executors.telling import Shown, Telling
from ddbench.executors.units import Task, missing, units_of
from ddbench.executors.workbench import Workbench
from ddbench.packing import pack_folder, pack_paths
from ddbench.planning import plan
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

ASKED = {
    "students": ("convnet1-w32",),
    "teacher": "convnet1-bn-w32",
    "protocol": "dwa-cifar-stored/1",
    "options": {"teacher.epochs": 1, "iterations": 2},
    "eval_seeds": 1,
    "ipc": 2,
    "smoke": 0.005,
    "threads": 1,
}
REQUEST = Request(("sre2l",), **ASKED)

MINE = """
import ddbench
from ddbench.kit import draw_real


class Mine(ddbench.Synthesizer):
    name, version, options = "mine", 1, ddbench.NoOptions

    def start(self, o):
        return "real"

    def needs(self, o, facts):
        return {}

    def jobs(self, o, facts, ipc, seed):
        return ddbench.jobs_per_image_index(facts, ipc, seed)

    def run(self, ctx, o, group):
        import torch

        return [ddbench.JobResult(ctx.train.images(draw_real(ctx.train, job)).cpu(), torch.tensor(job.labels)) for job in group]


@ddbench.hookimpl
def ddbench_synthesizers():
    return [Mine()]
"""


@pytest.fixture(autouse=True)
def only_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")
    monkeypatch.setattr(units_module, "SPLIT_S", 0.0)


class Quiet:
    def started(self, unit, state): ...
    def ended(self, unit, ended, state): ...
    def looked(self, state): ...


class Posts:
    """An executor that sends each unit to the next of several outposts, as pickled bytes, and keeps what comes back."""

    def __init__(self, workspace, planned, outposts):
        self.store, self.planned = workspace.store, planned
        self.outposts = itertools.cycle(outposts)
        self.started = []

    def room(self, unit):
        return not self.started

    def start(self, unit):
        self.started.append(unit)

    def ended(self, timeout_s):
        unit = self.started.pop()
        errand = errand_of(self.planned, unit)
        there = crossed((errand, pack_paths(self.store, unit.reads)))
        answer = crossed(next(self.outposts).run(*there, None))
        store_answer(self.store, unit, answer)
        return [Ended(unit.key, answer.seconds, answer.problem)]

    def stop(self): ...


def crossed(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - its own bytes


def errand_of(planned, unit):
    return Errand(Task(planned.request, planned.place, unit.key), planned.facts.sha256, unit.reads, unit.leaves)


def workspace(root, roots=()):
    return open_workspace(Settings(root, roots, ()))


def made(root):
    """Return what must be equal of two stores: files of artefacts, records without time, cost and host."""
    kept = Store(root)
    found = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.safetensors")}
    return found | {key: kept.record(key).repeatable() for key in kept.record_keys()}


def posts(home, folder, count=2):
    return [Outpost(home, folder / f"worker-{number}", Silent()) for number in range(count)]


def first_unit(planned):
    return next(iter(units_of(planned).values()))


@pytest.fixture
def driver(tmp_path):
    return workspace(tmp_path / "driver")


def few(planned):
    """Return the units of the first and the last cell: a draw made group by group, and a set made with a teacher."""
    return missing(units_of(planned), [planned.cells[0].record_key, planned.cells[-1].record_key], Path("an empty store"))


def run(units, executor):
    state = run_units(units, executor, rules=Rules(), watcher=Quiet())
    assert state.failed == {}


def test_units_made_in_stores_of_their_own_give_what_they_give_in_one_store(tmp_path, driver):
    planned = plan(REQUEST, driver)
    units = few(planned)
    assert {unit.folder for unit in units} >= {"teachers", "work", "distilled", "labels", "records"}
    run(units, Posts(driver, planned, posts(home_of(driver), tmp_path / "there")))
    one = workspace(tmp_path / "one")
    run(units, Inline(Workbench(one), lambda key: Task(planned.request, planned.place, key)))
    assert made(driver.store.root) == made(one.store.root)
    assert len(driver.store.record_keys()) == 2
    assert list((driver.store.root / "work").iterdir()) == []


def test_an_artefact_that_was_damaged_at_home_comes_back_with_the_unit_that_had_to_make_it(tmp_path, driver):
    planned = plan(REQUEST, driver)
    units = few(planned)
    teacher = next(unit for unit in units if unit.folder == "teachers")
    user = next(unit for unit in units if unit.folder == "distilled" and teacher.key in unit.needs)
    run([teacher], Posts(driver, planned, posts(home_of(driver), tmp_path / "there", 1)))
    path = driver.store.root / teacher.leaves[0] / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    run([user], Posts(driver, planned, posts(home_of(driver), tmp_path / "elsewhere", 1)))
    assert driver.store.find("teachers", teacher.key) is not None
    assert "weights.safetensors" in driver.store.damaged[0]


def test_a_store_that_has_grown_is_emptied_of_what_the_next_unit_does_not_read(tmp_path, driver, monkeypatch):
    monkeypatch.setattr(errands, "KEPT_BYTES", 1)
    planned = plan(REQUEST, driver)
    there = posts(home_of(driver), tmp_path / "there", 1)
    run(few(planned), Posts(driver, planned, there))
    kept = there[0].workspace.store
    assert len(kept.keys("distilled")) < len(driver.store.keys("distilled"))


def test_how_far_a_unit_was_is_found_by_the_other_workers_of_its_machine_alone(tmp_path, driver):
    lost, other = posts(home_of(driver), tmp_path / "machine")
    elsewhere = posts(home_of(driver), tmp_path / "another", 1)[0]
    lost.workspace.store.write_file(lost.workspace.store.work("0123") / "checkpoint", b"far")
    assert (other.workspace.store.work("0123") / "checkpoint").read_bytes() == b"far"
    assert list(elsewhere.workspace.store.work("0123").iterdir()) == []


def test_a_unit_that_fails_answers_with_its_problem_and_leaves_nothing(tmp_path, driver):
    planned = plan(replace(REQUEST, options={}, synthesizers=("random",), ipc=1), driver)
    set_of_none = replace(first_unit(planned), reads=(), leaves=())
    there = posts(home_of(driver), tmp_path / "there", 1)[0]
    (there.workspace.store.root / "locks").write_text("in the way")
    answer = there.run(errand_of(planned, set_of_none), [], None)
    assert answer.parcels == ()
    assert answer.problem.error == "StoreProblem"
    assert answer.problem.stops_all


@pytest.mark.parametrize("change", [{"version": "0.0.9"}, {"files_sha256": "other"}])
def test_another_ddbench_is_refused_at_the_door(tmp_path, driver, change):
    home = replace(home_of(driver), **change)
    with pytest.raises(errands.WorkerDiffers, match=f"ddbench {home.version}"):
        posts(home, tmp_path, 1)


def changed(home, **change):
    """Return a home where the plugin that registers sre2l is another one."""
    owners = [replace(one, **change) if one.entry_point == "sre2l" else one for one in home.owners]
    return replace(home, owners=tuple(owners))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"files_sha256": "other"}, "has other files"), ({"entry_point": "mine", "distribution": "theirs"}, "is not installed")],
)
def test_a_plugin_that_the_worker_lacks_or_has_in_other_files_is_named(tmp_path, driver, change, said):
    planned = plan(REQUEST, driver)
    errand = replace(errand_of(planned, first_unit(planned)), task=Task(REQUEST, planned.place, "not-in-the-workers-plan"))
    answer = posts(changed(home_of(driver), **change), tmp_path / "there", 1)[0].run(errand, [], None)
    assert answer.problem.error == "WorkerDiffers"
    assert answer.problem.stops_all
    assert "sre2l" in answer.problem.message
    assert said in answer.problem.message


def test_plugins_of_a_folder_go_along_with_the_run(tmp_path):
    own = tmp_path / "methods"
    own.mkdir()
    (own / "mine.py").write_text(MINE)
    driver = open_workspace(Settings(tmp_path / "driver", (), ("mine",), plugin_dirs=(own,)))
    hard = {name: value for name, value in ASKED.items() if name not in {"teacher", "options"}} | {"protocol": "quick-hard/1"}
    planned = plan(Request(("mine",), **hard), driver)
    home = crossed(home_of(driver))
    shutil.rmtree(own)  # no worker sees the folder
    (key,) = [one.record_key for one in planned.cells if one.cell.synthesizer == "mine"]
    run(missing(units_of(planned), [key], Path("an empty store")), Posts(driver, planned, posts(home, tmp_path / "there")))
    assert driver.store.record_keys() == [key]


def test_a_synthesizer_that_the_worker_does_not_know_is_told_as_its_plugin(tmp_path, driver):
    planned = plan(REQUEST, driver)
    unknown = Task(replace(REQUEST, synthesizers=("theirs",)), planned.place, "0123")
    home = changed(home_of(driver), entry_point="theirs", distribution="somebody")
    answer = posts(home, tmp_path / "there", 1)[0].run(replace(errand_of(planned, first_unit(planned)), task=unknown), [], None)
    assert "somebody" in answer.problem.message


def test_other_data_by_the_same_name_is_named(tmp_path, driver):
    planned = plan(REQUEST, driver)
    errand = Errand(Task(REQUEST, planned.place, "0123"), "another hash", (), ())
    answer = posts(home_of(driver), tmp_path / "there", 1)[0].run(errand, [], None)
    assert "dataset 'digits'" in answer.problem.message
    assert "other images or labels" in answer.problem.message


@pytest.fixture
def toy(tmp_path):
    """Return a data root with a dataset that no plugin brings."""
    import numpy as np

    from ddbench.data import Arrays, Description, write_prepared

    draw = np.random.default_rng(0)
    splits = {
        split: Arrays(draw.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8), np.arange(count) % 2)
        for split, count in (("train", 12), ("test", 6))
    }
    write_prepared(tmp_path / "root" / "toy", Description("toy", ("a", "b")), splits)
    return tmp_path / "root"


def test_a_dataset_that_the_worker_lacks_is_fetched_once_for_all_workers_of_its_machine(tmp_path, toy):
    home = workspace(tmp_path / "driver", (toy,))
    planned = plan(replace(REQUEST, synthesizers=("random",), options={}, dataset="toy", ipc=1), home)
    unit = next(unit for unit in units_of(planned).values() if unit.folder == "distilled")
    parcel = pack_folder(toy / "toy", "toy", sorted(path.name for path in (toy / "toy").iterdir()))
    fetched = []

    def fetch():
        fetched.append(parcel)
        return parcel

    away = replace(home_of(home), settings=replace(home.settings, data_roots=()))
    for post in posts(away, tmp_path / "there"):
        answer = post.run(errand_of(planned, unit), [], fetch)
        assert answer.problem is None
    assert len(fetched) == 1
    store_answer(home.store, unit, answer)
    assert home.store.find("distilled", unit.key) is not None


def test_a_dataset_that_is_neither_there_nor_travels_is_asked_for_by_name(tmp_path, toy):
    home = workspace(tmp_path / "driver", (toy,))
    planned = plan(replace(REQUEST, synthesizers=("random",), options={}, dataset="toy", ipc=1), home)
    away = replace(home_of(home), settings=replace(home.settings, data_roots=()))
    answer = posts(away, tmp_path / "there", 1)[0].run(errand_of(planned, first_unit(planned)), [], None)
    assert answer.problem.error == "DataMissing"
    assert "ddbench data prepare toy" in answer.problem.message


def test_what_a_worker_tells_is_shown_by_the_reporter_at_home():
    told = []

    class Reporter(Silent):
        def stage(self, title):
            told.append(("stage", title))
            return super().stage(title)

        def update(self, step, total, **scalars):
            told.append((step, total, scalars))

    shown = Shown(Reporter())
    telling = Telling(shown.show)
    telling.note("a note")
    with telling.stage("a teacher") as stage:
        stage.update(1, 2, loss=0.5)
    stage.update(2, 2)
    assert shown.reporter.notes == ["a note"]
    assert told == [("stage", "a teacher"), (1, 2, {"loss": 0.5})]

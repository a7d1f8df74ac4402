from __future__ import annotations

import json
import os
import time

import filelock
import pytest
from typer.testing import CliRunner

from ddbench.cli.app import app
from ddbench.cli.store import age_s
from ddbench.errors import BadRequest
from ddbench.store import Store
from handmade import record

LONG_AGO = time.time() - 30 * 86400


def aged(path) -> None:
    for one in (*path.rglob("*"), path):
        os.utime(one, (LONG_AGO, LONG_AGO))


@pytest.fixture
def store(tmp_path):
    """A store with a record and its set and teacher, a set nobody needs, and leavings; all old."""
    store = Store(tmp_path / "store")
    one = record(0.5, synthesizer="dwa", teacher_key=None)
    store.add_record(one, None)
    for key, needs in ((one.distilled_key, {"teacher": "t" * 20}), ("unneeded" * 2, {})):
        with store.writing("distilled", key, {"synthesizer": "dwa", "dataset": {"name": "digits"}, "needs": needs}) as folder:
            (folder / "data").write_bytes(b"12345")
    for key in ("t" * 20, "u" * 20):
        with store.writing("teachers", key, {"teacher": "scratch:x", "dataset": {"name": "digits"}}) as folder:
            (folder / "data").write_bytes(b"12345")
    (store.work("stopped") / "job-0").write_bytes(b"123")
    (store.root / "temporary" / "left").mkdir(parents=True)
    (store.root / "locks").mkdir(exist_ok=True)
    (store.root / "locks" / "free.lock").touch()
    aged(store.root)
    return store


def run(store, *arguments: str):
    return CliRunner().invoke(app, ["store", *arguments, "--store", str(store.root)])


def test_list_counts_every_kind(store):
    entries = json.loads(run(store, "list", "--json").stdout)["entries"]
    counts = {entry["kind"]: entry["count"] for entry in entries}
    assert (counts["records"], counts["distilled"], counts["teachers"], counts["work"]) == (1, 2, 2, 1)


@pytest.mark.parametrize(
    ("kind", "part"), [("records", "dwa · digits · 10"), ("distilled", "dwa · digits"), ("teachers", "scratch:x"), ("failures", "")]
)
def test_list_of_a_kind_shows_its_entries(store, kind, part):
    result = run(store, "list", kind)
    assert result.exit_code == 0
    assert part in result.stdout


def test_records_are_listed_with_score_options_and_level_the_newest_first(store):
    times = {"made": "2026-02-01T10:20:30+00:00"}
    store.add_record(record(0.625, synthesizer="dm", options={"lr": 2.0, "momentum": 0.5}, eval_seed=3, **times), None)
    first, second = json.loads(run(store, "list", "records", "--json").stdout)["entries"]
    assert first["what"] == "dm · digits · 10 · ddbench/convnet3 · quick-soft/1 · seeds 0, 3"
    assert (first["top1"], first["finished"], first["level"]) == ("top1 62.5", "2026-02-01 10:20", "submitted")
    assert second["what"].startswith("dwa · digits")


def test_failures_are_listed_with_what_became_of_them(store):
    (made,) = store.record_keys()
    for key in (made, "9" * 20):
        store.add_failure(key, {"key": key, "error": "ValueError", "message": "no"})
    found = {one["key"]: one["since"] for one in json.loads(run(store, "list", "failures", "--json").stdout)["entries"]}
    assert found == {made: "made since", "9" * 20: "not made yet"}


def test_list_of_an_unknown_kind_suggests_the_nearest(store):
    result = run(store, "list", "teacher")
    assert result.exit_code == 2
    assert "'teachers'" in result.stderr


def test_gc_shows_leavings_first_and_removes_nothing(store):
    result = run(store, "gc", "--json")
    found = json.loads(result.stdout)["found"]
    assert sorted(one["kind"] for one in found) == ["locks", "temporary", "work"]
    assert not any(one["removed"] for one in found)
    assert (store.root / "work" / "stopped").is_dir()


def test_gc_with_yes_removes_leavings_and_nothing_else(store):
    assert run(store, "gc", "--yes").exit_code == 0
    assert not any((store.root / kind).iterdir() for kind in ("work", "temporary", "locks") if any((store.root / kind).iterdir()))
    assert len(store.keys("distilled")) == len(store.keys("teachers")) == 2
    assert len(store.record_keys()) == 1


@pytest.mark.parametrize("folder", ["records", "failures", "suites/cells"])
def test_gc_removes_the_part_of_a_file_whose_writer_was_killed(store, folder):
    part = store.root / folder / ".0123.json.77.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(b'{"half')
    run(store, "gc", "--yes", "--older-than", "1h")
    assert part.is_file()  # it may still be written
    aged(part)
    run(store, "gc", "--yes", "--older-than", "1h")
    assert not part.exists()
    assert len(store.record_keys()) == 1


def test_gc_leaves_what_was_touched_lately(store):
    store.work("running")
    run(store, "gc", "--yes", "--older-than", "1h")
    assert [path.name for path in (store.root / "work").iterdir()] == ["running"]


def test_gc_leaves_what_another_process_holds(store):
    held = filelock.FileLock(store.root / "locks" / "stopped.lock")
    with held:
        result = run(store, "gc", "--yes")
        assert (store.root / "work" / "stopped").is_dir()
    assert "in use" in result.stderr


def test_unreferenced_artefacts_go_only_when_asked_and_needs_of_needed_sets_stay(store):
    run(store, "gc", "--yes", "--unreferenced")
    assert store.keys("distilled") == [record(0.5, synthesizer="dwa", teacher_key=None).distilled_key]
    assert store.keys("teachers") == ["t" * 20]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("0.5h", 1800)])
def test_ages_are_read(text, seconds):
    assert age_s(text) == seconds


@pytest.mark.parametrize("text", ["7", "d", "-1d", "7 weeks", ""])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(BadRequest, match="12h or 7d"):
        age_s(text)

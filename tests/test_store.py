from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from ddbench.errors import ArtefactDamaged, StoreProblem
from ddbench.records import checksum, read_record
from ddbench.store import Store, key_of
from factory import a_record

KEY = key_of(what="a test")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def put(store, content=b"weights", key=KEY):
    with store.writing("teachers", key, {"recipe": "some"}) as folder:
        (folder / "weights.bin").write_bytes(content)


def test_an_artefact_comes_back_with_its_card_and_checksums(store):
    put(store)
    artefact = store.find("teachers", KEY)
    assert artefact.card["recipe"] == "some"
    assert artefact.path("weights.bin").read_bytes() == b"weights"
    assert len(artefact.file_sha256("weights.bin")) == 64


def test_a_write_that_fails_leaves_nothing_behind(store):
    def half_a_write():
        with store.writing("teachers", KEY, {}) as folder:
            (folder / "weights.bin").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_a_write()
    assert store.find("teachers", KEY) is None
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["weights.bin", "card.json"])
@pytest.mark.parametrize("position", [0, -2])
def test_a_flipped_bit_is_found_reported_by_name_and_moved_aside(store, name, position):
    put(store)
    path = store.root / "teachers" / KEY / name
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert Store(store.root).find("teachers", KEY) is None
    fresh = Store(store.root)
    assert fresh.find("teachers", KEY) is None
    assert len(list((store.root / "damaged").iterdir())) == 1
    put(fresh)
    assert fresh.find("teachers", KEY) is not None


def test_a_damaged_artefact_is_named(store):
    put(store)
    (store.root / "teachers" / KEY / "weights.bin").unlink()
    store.find("teachers", KEY)
    assert "weights.bin" in store.damaged[0]
    assert "made again" in store.damaged[0]


def test_the_first_of_two_writers_wins_and_the_second_changes_nothing(store):
    put(store, b"first")
    put(store, b"second")
    assert store.find("teachers", KEY).path("weights.bin").read_bytes() == b"first"


def test_what_is_added_after_storing_leaves_the_artefact_whole(store):
    put(store)
    store.annotate("teachers", KEY, "test", {"top1": 0.5})
    assert store.annotations("teachers", KEY) == {"test": {"top1": 0.5}}
    assert Store(store.root).find("teachers", KEY) is not None


def test_what_was_added_and_edited_is_not_believed(store):
    put(store)
    store.annotate("teachers", KEY, "test", {"top1": 0.5})
    path = store.root / "teachers" / KEY / "after-test.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    assert store.annotations("teachers", KEY) == {}


def test_an_edited_card_fails_its_own_checksum(store):
    put(store)
    path = store.root / "teachers" / KEY / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "recipe": "another"}))
    assert store.find("teachers", KEY) is None
    assert "own checksum" in store.damaged[0]


def test_a_record_and_its_sidecar_come_back(store):
    written = store.add_record(a_record(key=KEY), b"predictions")
    assert store.record(KEY) == written
    assert store.record_keys() == [KEY]
    assert [record.key for record in store.records()] == [KEY]


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_truncated_record_or_sidecar_is_moved_aside(store, suffix):
    store.add_record(a_record(key=KEY), b"predictions")
    path = store.root / "records" / f"{KEY}{suffix}"
    path.write_bytes(path.read_bytes()[:-3])
    assert store.record(KEY) is None
    assert len(store.damaged) == 1


def test_looking_at_all_records_moves_none_and_making_a_damaged_one_again_does(store):
    store.add_record(a_record(key=KEY), None)
    other = store.add_record(a_record(key="1" * 20), None)
    path = store.root / "records" / f"{KEY}.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert list(store.records()) == [other]
    (told,) = store.damaged
    assert told.startswith(f"left out: {path} ")
    with pytest.raises(ArtefactDamaged, match=KEY):
        store.read_record(KEY)
    assert path.exists()
    assert store.record(KEY) is None
    assert not path.exists()
    assert store.damaged[1].endswith("and made again")
    assert store.read_record(KEY) is None


def test_an_edited_record_fails_its_own_checksum(store):
    store.add_record(a_record(key=KEY, top1=0.1), None)
    text = (store.root / "records" / f"{KEY}.json").read_text()
    content = json.loads(text)
    content["metrics"][0]["value"] = 0.9
    with pytest.raises(ArtefactDamaged, match="checksum"):
        read_record(json.dumps(content))


def test_a_record_of_version_1_is_read_as_one_without_needs(store):
    content = a_record(key=KEY).model_dump(mode="json")
    del content["needs"], content["external_data"], content["evaluators"]
    content["schema_version"] = 1
    content["sha256"] = checksum(content)
    read = read_record(json.dumps(content))
    assert (read.schema_version, read.needs, read.external_data, read.sha256) == (3, {}, False, content["sha256"])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema_version": 99}', '{"schema_version": 1}', '{"schema_version": NaN}']
)
def test_what_is_no_record_is_refused_with_a_sentence(text):
    with pytest.raises(ArtefactDamaged):
        read_record(text)


def test_replacing_moves_aside_and_deletes_nothing(store):
    put(store, b"old")
    store.replace("teachers", KEY)
    assert store.find("teachers", KEY) is None
    assert next((store.root / "replaced").rglob("weights.bin")).read_bytes() == b"old"


def test_failures_of_one_cell_are_kept_side_by_side(store):
    for number in range(2):
        store.add_failure(KEY, {"error": f"number {number}"})
    assert [failure["error"] for failure in store.failures()] == ["number 0", "number 1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_cannot_be_written_says_so_before_any_work(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StoreProblem, match="cannot be written"):
        Store(tmp_path / "closed" / "store").check_writable()


@pytest.mark.parametrize(
    ("message", "raised"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", StoreProblem),
        ("Error while serializing: tensor 'x' is not contiguous", SafetensorError),
    ],
)
def test_a_full_disk_that_safetensors_found_is_a_full_disk_and_its_other_errors_are_its_own(store, message, raised):
    def write():
        with store.writing("teachers", KEY, {}):
            raise SafetensorError(message)

    with pytest.raises(raised, match="no space left on the device" if raised is StoreProblem else "contiguous"):
        write()
    assert store.find("teachers", KEY) is None


def test_a_store_below_a_file_says_so_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreProblem, match="name another with --store"):
        Store(tmp_path / "file" / "store").check_writable()


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(store, monkeypatch):
    put(store)

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreProblem, match="no space left"):
        put(store, key="other")
    with pytest.raises(StoreProblem, match="no space left"):
        store.write_file(store.root / "records" / "x.json", b"content")
    monkeypatch.undo()
    assert store.find("teachers", "other") is None
    assert store.find("teachers", KEY) is not None
    assert not list(store.root.rglob("*.part"))


COUNT_UP = """
import sys
from pathlib import Path

from ddbench.store import Store

store = Store(Path(sys.argv[1]))
for _ in range(25):
    with store.lock(sys.argv[2]):
        path = store.root / "count"
        path.write_text(str(int(path.read_text()) + 1 if path.exists() else 1))
"""


def test_a_key_is_held_by_one_process_at_a_time(store):
    processes = [subprocess.Popen([sys.executable, "-c", COUNT_UP, str(store.root), KEY]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert (store.root / "count").read_text() == "50"


def test_a_key_that_another_holder_has_is_not_waited_for(store):
    with store.lock(KEY), Store(store.root).lock_if_free(KEY) as free:
        assert not free
    with store.lock_if_free(KEY) as free:
        assert free


def test_equal_parts_give_equal_keys_whatever_their_order_and_any_change_another():
    assert key_of(a=1, b={"x": 1, "y": 2}) == key_of(b={"y": 2, "x": 1}, a=1)
    assert key_of(a=1) != key_of(a=2)
    assert key_of(a=1) != key_of(b=1)

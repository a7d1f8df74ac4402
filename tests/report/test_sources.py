from __future__ import annotations

import json

import pytest

from ddbench.errors import DataMissing
from ddbench.report.sources import load
from ddbench.store import Store
from handmade import record


def saved(folder, *records):
    folder.mkdir(parents=True, exist_ok=True)
    for one in records:
        (folder / f"{one.key}.json").write_text(json.dumps(one.model_dump(mode="json")))
    return folder


def test_records_of_a_store_and_of_folders_are_read_once_each_in_a_fixed_order(tmp_path):
    store = Store(tmp_path / "store")
    first, second = record(0.5), record(0.6, student="ddbench/alexnet")
    stored = store.add_record(first, None)
    found = load(store, [saved(tmp_path / "results" / "deep", second, stored), tmp_path / "results"])
    assert [one.key for one in found.records] == [second.key, first.key]
    assert found.problems == ()


def test_a_tampered_record_is_left_out_and_told(tmp_path):
    folder = saved(tmp_path / "results", record(0.5), record(0.6, eval_seed=1))
    path = folder / f"{record(0.5).key}.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    found = load(None, [folder])
    assert [one.cell.eval_seed for one in found.records] == [1]
    assert "does not match its own checksum" in found.problems[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', '{"top1": NaN}', '"x"', "null"])
def test_what_is_no_record_is_left_out_and_told(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    found = load(None, [tmp_path])
    assert found.records == ()
    assert len(found.problems) == 1


def test_two_records_with_one_key_are_not_both_used(tmp_path):
    one = record(0.5)
    other = record(0.6).model_copy(update={"key": one.key}).sealed()
    saved(tmp_path / "a", one)
    saved(tmp_path / "b", other)
    found = load(None, [tmp_path / "a", tmp_path / "b"])
    assert [found_one.metric("top1") for found_one in found.records] == [0.5]
    assert "another record under the key" in found.problems[0]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataMissing, match="neither a folder nor a file"):
        load(None, [tmp_path / "nowhere"])

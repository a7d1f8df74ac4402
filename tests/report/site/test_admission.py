"""What enters a leaderboard, and what is left out with which sentence."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from boards import resealed, saved
from ddbench.errors import BadRequest, DataMissing
from ddbench.provenance import Check, as_bytes, with_check
from ddbench.report.site.admission import MOST_BYTES, admit
from ddbench.report.site.board import board
from ddbench.report.site.quarantine import Quarantined, read_quarantine, shipped
from ddbench.store import Store
from handmade import nested, record


def content(one) -> dict:
    return one.model_dump(mode="json")


def sentences(found) -> list[tuple[str, str]]:
    return [(one.reason, one.why) for one in found.left_out]


def only_refusal(folder) -> tuple[str, str]:
    found = admit([folder])
    assert [entry.record.key for entry in found.entries] == [record(0.9).key]
    return sentences(found)[0]


@pytest.fixture
def folder(tmp_path):
    """A folder with one good record."""
    return saved(tmp_path / "records", record(0.9))


def test_the_order_and_the_overlap_of_sources_do_not_matter(tmp_path):
    records = nested("random", [[0.6, 0.7], [0.5, 0.4]])
    one, two = saved(tmp_path / "a", *records[:2]), saved(tmp_path / "b", *records[2:])
    first = admit([one, two])
    again = admit([two, one / f"{records[0].key}.json", one, tmp_path / "b"])
    assert [entry.record for entry in first.entries] == [entry.record for entry in again.entries]
    assert len(first.entries) == 4
    assert first.left_out == again.left_out == ()


def test_a_store_gives_its_records_and_none_of_its_cards(tmp_path):
    store = Store(tmp_path / "store")
    with store.writing("distilled", "0" * 20, {"card": "distilled"}) as temporary:
        (temporary / "data.txt").write_text("x")
    store.add_record(record(0.5), None)
    found = admit([tmp_path / "store"])
    assert (len(found.entries), found.left_out) == (1, ())


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataMissing, match="nothing"):
        admit([tmp_path / "nothing"])


def test_a_smoke_record_never_enters(folder):
    saved(folder, record(0.5, smoke=True))
    reason, why = only_refusal(folder)
    assert reason == "smoke"
    assert "smoke run" in why


def test_an_edited_record_never_enters(folder):
    path = saved(folder, record(0.5)) / f"{record(0.5).key}.json"
    path.write_text(path.read_text().replace("0.5", "0.99"))
    assert only_refusal(folder)[0] == "damaged"
    assert "does not match its own checksum" in only_refusal(folder)[1]


def test_a_record_beside_other_predictions_never_enters(folder):
    one = record(0.5)
    resealed(folder / f"{one.key}.json", content(one), sidecar="0" * 64)
    assert len(admit([folder]).entries) == 2  # without the file there is nothing to compare
    (folder / f"{one.key}.npz").write_bytes(b"other predictions")
    assert "do not match its checksum" in only_refusal(folder)[1]


def test_a_quarantined_protocol_never_enters_and_its_reason_is_told(folder):
    saved(
        folder, record(0.5, protocol="bad/1", protocol_sha256="ab" * 32), record(0.5, protocol="bad/1", protocol_sha256="cd" * 32)
    )
    one = Quarantined(protocol="bad/1", sha256="abababab", reason="it tested on train", date=dt.date(2026, 2, 3))
    found = admit([folder], [one])
    assert sorted(entry.record.protocol_sha256[:2] for entry in found.entries if entry.record.cell.protocol == "bad/1") == ["cd"]
    assert found.left_out[0].reason == "quarantined"
    assert "quarantined on 2026-02-03: it tested on train" in found.left_out[0].why
    every = admit([folder], [Quarantined(protocol="bad/1", reason="all of them", date=dt.date(2026, 2, 3))])
    assert [entry.record.cell.protocol for entry in every.entries] == ["quick-soft/1"]


def test_a_quarantine_list_is_read_and_a_wrong_one_is_refused(tmp_path):
    path = tmp_path / "list.toml"
    path.write_text('[[quarantined]]\nprotocol = "a/1"\nreason = "wrong"\ndate = 2026-01-02\n')
    assert [one.protocol for one in read_quarantine(path)] == ["a/1"]
    path.write_text('[[quarantined]]\nprotocol = "a/1"\n')
    with pytest.raises(BadRequest, match="is no quarantine list"):
        read_quarantine(path)
    with pytest.raises(DataMissing):
        read_quarantine(tmp_path / "none.toml")
    assert all(one.reason for one in shipped())


def test_two_records_under_one_key_are_both_refused_by_name(folder):
    one = record(0.5)
    saved(folder / "b", one)
    resealed(folder / f"{one.key}.json", content(one), smoke=False, images=7)
    found = admit([folder])
    assert [entry.record.key for entry in found.entries] == [record(0.9).key]
    assert [reason for reason, _ in sentences(found)] == ["clash", "clash"]
    assert all(f"under the key {one.key}" in why and "none of them is taken" in why for _, why in sentences(found))


def test_of_equal_copies_the_most_trusted_one_counts(folder):
    one = record(0.9)
    copy = saved(folder / "copy", one) / f"{one.key}.provenance"
    check = Check(level="verified", how="retrained", by="somebody", when="2026-01-01T00:00:00Z")
    copy.write_bytes(as_bytes(with_check(None, one, check)))
    assert [entry.standing.level for entry in admit([folder]).entries] == ["verified"]


def test_a_line_is_trusted_as_far_as_the_least_of_its_records(tmp_path):
    one, other = record(0.9, eval_seed=0), record(0.8, eval_seed=1)
    check = Check(level="verified", how="retrained", by="somebody", when="2026-01-01T00:00:00Z")
    kept = saved(tmp_path / "records", one, other)
    (kept / f"{one.key}.provenance").write_bytes(as_bytes(with_check(None, one, check)))
    assert [line.level for _, line in board(admit([kept])).lines] == ["submitted"]
    (kept / f"{other.key}.provenance").write_bytes(as_bytes(with_check(None, other, check)))
    assert [line.level for _, line in board(admit([kept])).lines] == ["verified"]


@pytest.mark.parametrize("key", ["../../escape", "a/b", "", "..", "UPPER1234", "x" * 100, "key\x00with"])
def test_a_key_that_is_none_is_refused(folder, key):
    resealed(folder / "hostile.json", content(record(0.5)), key=key)
    assert "which is none" in only_refusal(folder)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a whole record"),
        ("[" * 100_000, "not a whole record"),
        ('{"top1": NaN}', "NaN is not a number"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 2, "key": "a", "sha256": "b"}', "checksum"),
        ("\ufeff{}", "schema version None"),
    ],
)
def test_what_is_no_record_is_refused_with_a_sentence(folder, text, said):
    (folder / "hostile.json").write_text(text)
    reason, why = only_refusal(folder)
    assert reason == "damaged"
    assert said in why


def test_a_file_too_large_for_a_record_is_not_even_read(folder):
    (folder / "hostile.json").write_text(json.dumps({"name": "x" * (10 * 1024**2)}))
    why = only_refusal(folder)[1]
    assert "is 10.5 MB large" in why
    assert len(why) < 200
    assert 50 * len(json.dumps(content(record(0.5)))) < MOST_BYTES


@pytest.mark.parametrize("value", [1.5, -0.1, 1e300])
def test_a_score_that_is_no_fraction_is_refused(folder, value):
    metrics = [{**content(record(0.5))["metrics"][0], "value": value}]
    resealed(folder / "hostile.json", content(record(0.5)), key="0" * 20, metrics=metrics)
    assert "no fraction between 0 and 1" in only_refusal(folder)[1]


def test_values_inside_values_without_end_are_refused(folder):
    deep: list = []
    for _ in range(200):
        deep = [deep]
    resealed(folder / "hostile.json", content(record(0.5)), key="0" * 20, host={"deep": deep})
    assert "nests values" in only_refusal(folder)[1]


def test_a_record_without_the_ranked_metric_is_told(folder):
    metrics = [{**content(record(0.5))["metrics"][0], "name": "other"}]
    resealed(folder / "hostile.json", content(record(0.5)), key="0" * 20, metrics=metrics)
    assert only_refusal(folder)[0] == "unranked metric"


def test_an_older_schema_is_read(folder):
    older = {name: value for name, value in content(record(0.5)).items() if name not in {"needs", "external_data"}}
    resealed(folder / "older.json", older, schema_version=1, key="0" * 20)
    assert len(admit([folder]).entries) == 2


def test_records_that_newer_ones_stand_in_for_are_told(tmp_path):
    old_code = record(0.4, synthesizer="dwa", code="a" * 64, made="2026-01-01T00:00:00Z")
    new_code = record(0.5, synthesizer="dwa", code="b" * 64, made="2026-01-02T00:00:00Z")
    twice = [record(0.6, made="2026-01-01T00:00:00Z"), record(0.7, made="2026-01-02T00:00:00Z")]
    found = board(admit([saved(tmp_path / "records", old_code, new_code, *twice)]))
    assert {one.reason for one in found.left_out} == {"older code", "superseded"}
    assert found.records == 2
    assert {line.result.estimate.value for _, line in found.lines} == {0.5, 0.7}


@pytest.mark.parametrize("claim", [("fraction", False), ("percent", True)])
def test_accuracy_that_is_read_the_other_way_or_in_another_unit_is_refused(folder, claim):
    saved(folder, record(0.5, metrics={"top1": (0.5, *claim)}))
    reason, why = only_refusal(folder)
    assert reason == "damaged"
    assert "it is a fraction, and more is better" in why

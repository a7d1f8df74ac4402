from __future__ import annotations

import json

import pytest

from ddbench.provenance import LEVELS, Check, Measured, Provenance, as_bytes, beside, standing, with_check
from ddbench.report.sources import load
from ddbench.store import Store
from handmade import record

RETRAINED = Check(
    level="verified",
    how="retrained",
    by="somebody",
    when="2026-01-01T00:00:00+00:00",
    recorded=0.5,
    measured=(Measured(eval_seed=0, value=0.5), Measured(eval_seed=1, value=0.52)),
    interval=(0.4, 0.6),
    same_predictions=False,
    host={"cpu": "some", "packages": {"torch": "2.6"}},
)


@pytest.fixture
def stored(tmp_path):
    store = Store(tmp_path / "store")
    return store, store.add_record(record(0.5), None)


def provenance_file(store, kept):
    return beside(store.root / "records" / f"{kept.key}.json")


def test_levels_rise_from_a_claim_to_a_reproduction():
    assert LEVELS == ("claimed", "submitted", "verified", "reproduced")


def test_a_record_with_nothing_beside_it_is_submitted(stored):
    store, kept = stored
    assert store.standing(kept).level == "submitted"
    assert store.standing(kept).checks == ()
    assert store.standing(kept).problem == ""


def test_a_check_raises_the_level_and_leaves_the_record_as_it_was(stored):
    store, kept = stored
    path = store.root / "records" / f"{kept.key}.json"
    before = path.read_bytes()
    assert store.add_check(kept, RETRAINED).level == "verified"
    assert path.read_bytes() == before
    (check,) = store.standing(kept).checks
    assert check == RETRAINED
    assert store.record_keys() == [kept.key]


def test_the_level_is_the_highest_of_all_checks_and_every_check_is_kept(stored):
    store, kept = stored
    store.add_check(kept, RETRAINED.model_copy(update={"level": "reproduced", "how": "redistilled"}))
    assert store.add_check(kept, RETRAINED).level == "reproduced"
    assert [check.how for check in store.standing(kept).checks] == ["redistilled", "retrained"]


def test_a_record_may_be_no_more_than_claimed(stored):
    store, kept = stored
    assert store.add_check(kept, RETRAINED.model_copy(update={"level": "claimed", "how": "stated"})).level == "claimed"


def test_an_edited_file_counts_for_nothing_and_is_told(stored):
    store, kept = stored
    store.add_check(kept, RETRAINED)
    path = provenance_file(store, kept)
    path.write_text(path.read_text().replace('"verified"', '"reproduced"'))
    found = store.standing(kept)
    assert (found.level, found.provenance) == ("submitted", None)
    assert "does not match its own checksum" in found.problem
    assert load(store).problems == (found.problem,)


def test_a_file_beside_another_record_counts_for_nothing_even_under_the_same_key(stored):
    store, kept = stored
    store.add_check(kept, RETRAINED)
    content = provenance_file(store, kept).read_bytes()
    store.replace("records", kept.key)
    assert not provenance_file(store, kept).exists()
    again = store.add_record(record(0.6).model_copy(update={"key": kept.key}), None)
    provenance_file(store, again).write_bytes(content)
    assert store.standing(again).level == "submitted"
    assert "another record" in store.standing(again).problem


def altered(**changes):
    content = with_check(None, record(0.5), RETRAINED).model_dump(mode="json")
    return json.dumps(content | changes).encode()


HOSTILE = {
    "empty": b"",
    "cut short": altered()[:-9],
    "not an object": b"[]",
    "not text": b"\xff\xfe",
    "NaN": altered(checks=[{**RETRAINED.model_dump(mode="json"), "host": {"cpu": float("nan")}}]),
    "of a later schema": altered(schema_version=2),
    "without a checksum": altered(sha256=""),
    "an unknown level": altered(checks=[{**RETRAINED.model_dump(mode="json"), "level": "perfect"}]),
    "more than there is": altered(extra=1),
    "deep": b"[" * 100_000,
    "large": b" " * (1024**2 + 1),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_provenance_counts_for_nothing_and_is_told_in_a_sentence(stored, content):
    store, kept = stored
    provenance_file(store, kept).write_bytes(content)
    found = store.standing(kept)
    assert found.level == "submitted"
    assert str(provenance_file(store, kept)) in found.problem
    assert "\n" not in found.problem


def test_levels_come_with_records_from_folders_and_the_highest_of_two_copies_counts(tmp_path, stored):
    store, kept = stored
    folder = tmp_path / "results"
    folder.mkdir()
    path = folder / f"{kept.key}.json"
    path.write_bytes((store.root / "records" / path.name).read_bytes())
    assert load(None, [folder]).standings[kept.key].level == "submitted"
    store.add_check(kept, RETRAINED)
    assert load(store, [folder]).standings[kept.key].level == "verified"
    beside(path).write_bytes(as_bytes(Provenance(key=kept.key, record_sha256=kept.sha256, checks=(RETRAINED,)).sealed()))
    assert standing(kept, path).level == "verified"

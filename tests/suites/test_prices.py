"""What a suite is expected to take: by what like stages took in the store, else by the table."""

from __future__ import annotations

import json

import pytest

from ddbench.executors.local import Budget
from ddbench.executors.units import Unit
from ddbench.suites.prices import Price, wall_s
from small_suites import TEXT, known_at, planned, run_here


def unit(key, *needs, threads=1, device="cpu"):
    return Unit(key, "records", key, needs, (), (), 1.0, threads, device)


def test_time_on_the_wall_is_the_longest_chain_or_the_work_shared_out():
    chain = [unit("a"), unit("b", "a"), unit("c", "b")]
    assert wall_s(chain, dict.fromkeys("abc", Price(10.0, 0, measured=False)), Budget(4, 4)) == 30.0
    wide = [unit(name) for name in "abcd"]
    assert wall_s(wide, dict.fromkeys("abcd", Price(10.0, 0, measured=False)), Budget(2, 2)) == 20.0
    large = [unit(name, threads=2) for name in "abcd"]
    assert wall_s(large, dict.fromkeys("abcd", Price(10.0, 0, measured=False)), Budget(2, 2)) == 40.0
    on_gpus = [unit(name, threads=64, device="cuda") for name in "abcd"]
    assert wall_s(on_gpus, dict.fromkeys("abcd", Price(10.0, 0, measured=False)), Budget(4, 1, ("0", "1"), 2)) == 10.0


def test_a_missing_student_is_priced_by_what_its_likes_took_and_others_by_how_far_off_the_table_was(tmp_path):
    known = known_at(tmp_path / "store")
    run_here(tmp_path, known)
    store = known.workspace.store
    for key in store.record_keys():
        path = store.root / "records" / f"{key}.json"
        content = json.loads(path.read_bytes())
        content["cost"] |= {"student": {"seconds": 70.0}, "test": {"seconds": 7.0}}
        path.write_text(json.dumps(content))
    again = known_at(tmp_path / "store")
    first = planned(tmp_path, again).chosen[0]
    (store.root / "records" / f"{first}.json").unlink()
    asked = planned(tmp_path, known_at(tmp_path / "store"))
    assert [one.key for one in asked.lacking] == [first]
    assert asked.prices[first].measured
    assert asked.prices[first].seconds == pytest.approx(77.0)
    other = TEXT.replace('["convnet1-w32"]', '["convnet1-w32", "convnet1-w64"]')
    lacking = planned(tmp_path, known_at(tmp_path / "store"), other)
    new = [one for one in lacking.lacking if "w64" in one.title]
    assert new
    assert all(lacking.prices[one.key].seconds > 10 * one.expected_s for one in new)

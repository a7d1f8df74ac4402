from __future__ import annotations

import json

import pytest

from ddbench.errors import ArtefactDamaged, BadRequest, UnknownName
from ddbench.report import show
from ddbench.report.show import find, sparkline, view
from ddbench.store import Store
from handmade import record

TEACHER = "7" * 20


@pytest.fixture
def store(tmp_path):
    """A store with a record, its distilled set and its teacher."""
    store = Store(tmp_path)
    one = record(0.5, synthesizer="dwa", options={"rho": 0.015})
    store.add_record(one, b"predictions")
    card = {
        "synthesizer": "dwa",
        "dataset": {"name": "digits"},
        "ipc": 10,
        "distill_seed": 0,
        "options": {"rho": 0.015},
        "sources": {"rho": "preset digits: ours"},
    }
    card |= {
        "images": 100,
        "shape": [1, 8, 8],
        "space": "uint8",
        "start": "real",
        "jobs": 10,
        "needs": {"teacher": TEACHER},
        "cost": {"seconds": 2.5},
    }
    with store.writing("distilled", one.distilled_key, card) as folder:
        (folder / "preview.png").write_bytes(b"png")
    made = {"train_top1": 0.9, "curve": [[0, 2.0], [1, 1.0], [2, 0.0]]}
    with store.writing(
        "teachers", TEACHER, {"teacher": "scratch:ddbench/convnet3-bn", "dataset": {"name": "digits"}, "made": made}
    ) as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
    store.annotate("teachers", TEACHER, "test", {"top1": 0.875})
    return store


def lines(found, title: str) -> dict[str, str]:
    return dict(next(section.lines for section in found.sections if section.title == title))


def test_a_record_shows_metrics_options_with_sources_and_files(store):
    key = store.record_keys()[0]
    found = view(store, key)
    assert lines(found, "metrics") == {"top1": "50.00 %"}
    assert lines(found, "options of the synthesizer") == {"rho": "0.015   (default)"}
    assert lines(found, "training")["loss"] == "█▃▁ 2 → 0.5"
    assert set(lines(found, "files")) == {"record", "predictions", "picture"}


def test_a_distilled_set_shows_where_each_option_came_from(store):
    found = view(store, store.keys("distilled")[0])
    assert lines(found, "options")["rho"] == "0.015   (preset digits: ours)"
    assert lines(found, "facts")["needs teacher"] == TEACHER


def test_a_teacher_shows_its_curve_and_its_one_test(store):
    found = view(store, TEACHER[:6])
    facts = lines(found, "facts")
    assert facts["curve"] == "█▅▁"
    assert facts["test top1, measured once"] == "87.5 %"


def test_what_did_not_go_as_planned_is_shown_with_the_record_and_with_the_set(store):
    one = record(0.5, eval_seed=1)
    notes = {"student": {"dtype": "bf16"}, "recover": {"dtype": "bf16", "notes": ["half as many images"]}, "notes": ["uncompiled"]}
    store.add_record(type(one).model_validate({**one.model_dump(), "precision": {**notes, "device": "cpu"}}), None)
    training = lines(view(store, one.key), "training")
    assert (training["note"], training["note on the set"]) == ("uncompiled", "half as many images")
    with store.writing("teachers", "8" * 20, {"precision": {"dtype": "bf16", "notes": ["uncompiled"]}}) as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
    facts = lines(view(store, "8" * 20), "facts")
    assert (facts["precision"], facts["note"]) == ("dtype bf16", "uncompiled")


def test_json_of_every_view_holds_its_files(store):
    for key in (store.record_keys()[0], store.keys("distilled")[0], TEACHER):
        content = json.loads(json.dumps(view(store, key).to_json()))
        assert content["files"]


def test_an_unknown_key_suggests_and_an_ambiguous_one_names_its_candidates(store):
    with pytest.raises(UnknownName, match="ddbench store list"):
        find(store, "zzzz")
    with store.writing("labels", "7777" + "a" * 16, {}) as folder:
        (folder / "x").write_bytes(b"")
    with pytest.raises(BadRequest, match="begins 2 keys"):
        find(store, "7777")


@pytest.mark.parametrize("key", ["abc", "../../etc", "7777/..", ""])
def test_what_is_no_key_is_refused(store, key):
    with pytest.raises(BadRequest, match="is no key"):
        find(store, key)


def test_a_damaged_card_is_told(store):
    path = store.root / "teachers" / TEACHER / "card.json"
    path.write_text(path.read_text().replace("convnet3", "convnet4"))
    with pytest.raises(ArtefactDamaged, match="checksum"):
        view(store, TEACHER)


def test_a_sparkline_reaches_from_its_lowest_to_its_highest_bar():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([]) == ""
    assert (len(sparkline(list(range(1000)))), sparkline([0.0] * 999 + [1.0])[-1]) == (60, "█")


def test_how_student_and_set_were_computed_is_told_in_words():
    native = {"dtype": "fp32", "compile": False, "channels_last": True, "native": True}
    assert show._computed(native) == "fp32, channels last, native layers"
    assert show._computed({"dtype": "bf16", "compile": True}) == "bf16, compiled"
    assert show._computed({}) == "unknown"

"""Labels that fit, legends that hide nothing, and how many rows a figure takes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddbench.errors import BadRequest
from ddbench.report.figures import style
from ddbench.report.figures.naming import LONG, MOST, in_order, names, refuse_many
from ddbench.report.figures.sweeps import sweep
from ddbench.report.figures.tradeoffs import against_bytes, against_ipc
from ddbench.report.figures.training import curves
from swept import a_swept

PARTS = [
    f"objective={name} objective.augment={augment} objective.class_group={group} objective.network={network}"
    for name, augment, group, network in (("distribution", "dsa", 10, "convnet3"), ("gradient", "none", 1, "convnet2"))
]
WALKS = [
    f"glad avg_w=true iterations={iterations} lr_f={lr} lr_w={lr} {PARTS[lr == 1]} space={space}"
    for iterations, lr, space in itertools.product((0, 300), (1, 10), ("f1", "f2"))
]


def many(rows, ipcs=(10,), rates=(1.0,)):
    """Return records of a method with so many rows, with long labels, two sets of each."""
    return [
        a_swept(
            "somebodys_method",
            {"a_long_option_name": row, "another_long_option": f"value-{row % 3}", "third_of_them": "x" * 30, "rate": rate},
            ipc=ipc,
            seeds=(seed, 0),
            top1=0.3 + 0.01 * row + 0.01 * seed,
        )
        for row in range(rows)
        for ipc in ipcs
        for rate in rates
        for seed in range(2)
    ]


def test_short_labels_are_shown_whole():
    labels = ["random", "dwa rho=0.1 steps=1", "dwa rho=0.2 steps=1"]
    found = names(labels)
    assert dict(found.shown) == dict(zip(labels, labels, strict=True))
    assert found.note == ""


def test_of_long_labels_the_options_that_tell_rows_apart_are_shown():
    found = names(["random", *WALKS])
    assert found.shown["random"] == "random"
    assert found.shown[WALKS[0]] == "glad iterations=0 lr_f=1 space=f1 …"
    assert max(map(len, found.shown.values())) <= LONG
    for left_out in ("avg_w", "lr_w", "objective.network"):
        assert left_out in found.note
    assert "iterations" not in found.note


def test_rows_stand_in_the_order_of_their_numbers_after_the_control():
    ordered = ["random", "dm", "dwa rho=1e-05", "dwa rho=0.03 steps=2", "dwa rho=0.1 steps=2", "dwa rho=0.1 steps=10", "dwa rho=2"]
    assert sorted(sorted(ordered), key=in_order) == ordered


def test_methods_are_shortened_each_by_itself():
    found = names([*WALKS, "dm iterations=300"])
    assert found.shown["dm iterations=300"] == "dm iterations=300"


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=90), min_size=1, max_size=8, unique=True))
def test_no_two_rows_are_shown_alike_whatever_records_say(labels):
    shown = list(names(labels).shown.values())
    assert len(set(shown)) == len(labels)


@pytest.mark.parametrize("rows", [10, 20, 30])
@pytest.mark.parametrize(
    ("draw", "measured"),
    [(against_ipc, {"ipcs": (1, 10)}), (against_bytes, {"ipcs": (1, 10)}), (curves, {}), (sweep, {"rates": (0.1, 1.0)})],
)
def test_a_legend_of_many_rows_hides_no_axes_and_is_not_cut(asked, tmp_path, rows, draw, measured):
    drawing = draw(asked(many(rows, **measured), options=("rate",)))
    style.save(drawing, tmp_path / "figure.png")  # a warning would be an error here
    (axes,), (legend,), (caption,) = drawing.figure.axes, drawing.figure.legends, drawing.figure.texts
    box, page = legend.get_window_extent(), drawing.figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0 < box.y1 <= page.y1
    inside = axes.get_tightbbox()
    assert not box.overlaps(inside)
    assert not box.overlaps(caption.get_window_extent())
    assert inside.width > 0.3 * page.width
    assert caption.get_window_extent().x1 <= page.x1


def test_the_json_has_the_full_label_of_what_is_shown(asked):
    drawing = against_ipc(asked(many(12, rates=(1.0, 2.0))))
    full = {point["label"] for point in drawing.data["points"]}
    shown = drawing.data["shown_as"]
    assert set(shown) == full
    assert {text.get_text().replace("\n", " ") for text in drawing.figure.legends[0].get_texts()} == set(shown.values())
    assert "…: options left out" in drawing.caption


def test_more_rows_than_can_be_told_apart_are_refused_with_the_flags_that_narrow(asked):
    refuse_many(["random", "full", *(f"dwa rho={number}" for number in range(MOST))])
    with pytest.raises(BadRequest, match=r"31 rows are more than .* \(30\); take fewer with --method .* --where NAME=VALUE"):
        against_ipc(asked(many(MOST + 1)))
    with pytest.raises(BadRequest, match="a_long_option_name, another_long_option differ"):
        curves(asked(many(MOST + 1)))

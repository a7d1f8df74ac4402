"""What captions say of intervals is true of what is drawn."""

from __future__ import annotations

import pytest

from ddbench.report.figures.intervals import sentences
from ddbench.report.figures.sweeps import heatmap, sweep
from ddbench.report.figures.tradeoffs import against_ipc
from ddbench.report.tables import summary
from swept import a_grid, a_swept

SETS = "95 % t interval over distilled sets and eval seeds."
ONE_SET = "given one distilled set: 95 % t interval on its eval seeds only."
SEVERAL, ONE, ALONE = {"a": {0: 0.1, 1: 0.2}, "b": {0: 0.3, 1: 0.4}}, {"a": {0: 0.1, 1: 0.2}}, {"a": {0: 0.1}}


def swept(sets, **more):
    """Return DWA at two rho, with so many sets of each."""
    return [
        a_swept("dwa", {"rho": rho, "steps": steps}, seeds=(seed, eval_seed), top1=0.5 + 0.01 * seed + 0.002 * eval_seed, **more)
        for rho in (0.1, 0.2)
        for steps in (1, 2)
        for seed in range(sets)
        for eval_seed in range(2)
    ]


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ([SEVERAL], f"Bars: {SETS}"),
        ([ONE], f"Bars: {ONE_SET}"),
        ([SEVERAL, ONE], f"Bars: {SETS} ¹ {ONE_SET}"),
        ([ALONE], "No bars: one student, or students that all score the same, tell no spread."),
        ([ONE, ALONE], f"Bars: {ONE_SET} No bars: one student, or students that all score the same, tell no spread."),
        (
            [{"a": {0: 0.1}, "b": {0: 0.2}}],
            f"Bars: {SETS} Where all students of a point have one eval seed, its bar says nothing of other eval seeds.",
        ),
    ],
)
def test_the_sentence_says_what_the_intervals_are_over(drawn, expected):
    assert sentences(drawn, "Bars") == expected


def test_the_words_are_those_under_a_table_of_the_same_records(asked):
    records = [*a_grid({("random", 10): 0.4}), *a_grid({("dwa", 10): 0.5}, sets=1)]
    (table,) = summary(records)
    caption = against_ipc(asked(records)).caption
    for sentence in (SETS, f"¹ {ONE_SET}"):
        assert sentence in " ".join(table.notes)
        assert sentence in caption


def test_rows_given_one_set_are_marked_where_others_have_several(asked):
    records = [*a_grid({("random", 1): 0.3, ("random", 10): 0.4, ("sre2l", 10): 0.4}), *a_grid({("dwa", 10): 0.5}, sets=1)]
    records += [*a_grid({("mtt", 1): 0.5}, sets=1), *a_grid({("mtt", 10): 0.5})]
    drawing = against_ipc(asked(records))
    shown = {text.get_text() for text in drawing.figure.legends[0].get_texts()}
    assert shown == {"random", "sre2l", "dwa ¹", "mtt ¹ at 1"}


def test_where_all_have_one_set_nothing_is_marked_and_the_caption_says_so(asked):
    drawing = against_ipc(asked(a_grid({("random", 10): 0.4, ("dwa", 10): 0.5}, sets=1)))
    assert f"Bars: {ONE_SET}" in drawing.caption
    assert "over distilled sets" not in drawing.caption
    assert {text.get_text() for text in drawing.figure.legends[0].get_texts()} == {"random", "dwa"}


def test_a_sweep_of_single_sets_claims_no_interval_over_sets(asked):
    alone = sweep(asked(swept(1), options=("rho",)))
    assert f"Bands: {ONE_SET}" in alone.caption
    assert "over distilled sets" not in alone.caption
    beside = sweep(asked([*swept(1), *a_grid({("random", 10): 0.4})], options=("rho",)))
    assert f"Bands: {SETS} ¹ {ONE_SET}" in beside.caption
    shown = {text.get_text() for text in beside.figure.legends[0].get_texts()}
    assert shown == {"random", "dwa steps=1 ¹", "dwa steps=2 ¹"}


def test_a_heat_map_marks_the_cells_that_are_given_one_set(asked):
    mixed = [one for one in swept(2) if one.cell.distill_seed == 0 or one.options["synthesizer"].values["steps"] == 1]
    drawing = heatmap(asked(mixed, options=("steps", "rho")))
    assert f"±: {SETS} ¹ {ONE_SET}" in drawing.caption
    assert sorted(text.get_text().endswith("¹") for text in drawing.figure.axes[0].texts) == [False, False, True, True]
    alone = heatmap(asked(swept(1), options=("steps", "rho")))
    assert f"±: {ONE_SET}" in alone.caption
    assert not any(text.get_text().endswith("¹") for text in alone.figure.axes[0].texts)

"""Trade-offs: what is drawn is what tables compute, and the front is what none beats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddbench.errors import BadRequest, DataMissing
from ddbench.report import grouping
from ddbench.report.figures.tradeoffs import LEAST_S, Point, against_bytes, against_cost, against_ipc, pareto
from ddbench.report.statistics import estimate
from factory import a_record
from swept import a_grid

VALUES = {("random", 1): 0.30, ("random", 10): 0.62, ("dwa", 1): 0.40, ("dwa", 10): 0.60}
NUMBERS = st.integers(0, 6)


def drawn(axes):
    """Return what stands on the axes, by label: x, y and the bars' half widths."""
    found = {}
    for bars in axes.containers:
        line, _, (segments,) = bars.lines
        heights = [(high - low) / 2 for (_, low), (_, high) in segments.get_segments()]
        found[bars.get_label()] = (list(line.get_xdata()), list(line.get_ydata()), heights)
    return found


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12), st.booleans())
def test_the_front_is_every_cost_and_value_that_no_other_point_beats(pairs, higher_is_better):
    points = [Point("any", 1, x, value, None) for x, value in pairs]
    front = {(one.x, one.value) for one in pareto(points, higher_is_better=higher_is_better)}
    sign = 1 if higher_is_better else -1
    expected = {
        (x, value)
        for x, value in pairs
        if not any((a <= x and sign * b >= sign * value and (a, b) != (x, value)) for a, b in pairs)
    }
    assert front == expected


def test_each_point_is_the_estimate_that_tables_give_in_percent(asked):
    records = a_grid(VALUES)
    (axes,) = against_ipc(asked(records)).figure.axes
    found = drawn(axes)
    assert set(found) == {"random", "dwa"}
    for label, (x, y, widths) in found.items():
        for place, ipc in enumerate((1, 10)):
            mine = [record for record in records if (record.cell.synthesizer, record.cell.ipc) == (label, ipc)]
            expected = estimate(grouping.scores(mine, "top1"))
            assert (x[place], y[place]) == (pytest.approx(ipc, rel=0.05), pytest.approx(100 * expected.value))  # side by side
            assert widths[place] == pytest.approx(100 * expected.half_width)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "10"]
    assert axes.get_ylabel() == "top1 [%]"


def test_rows_at_one_place_stand_side_by_side_and_the_json_says_the_place(asked):
    drawing = against_ipc(asked(a_grid(VALUES | {("sre2l", 10): 0.61})))
    places = [x[-1] for x, _, _ in drawn(drawing.figure.axes[0]).values()]
    low, high = drawing.figure.axes[0].get_xlim()
    assert low < min(places) < 10 < max(places) < high
    assert len(set(places)) == 3
    assert {point["x"] for point in drawing.data["points"]} == {1, 10}
    assert "side by side" in drawing.caption


def test_many_rows_at_one_ipc_all_stand_within_the_axes(asked):
    drawing = against_ipc(asked(a_grid({(f"method{number}", 10): 0.5 for number in range(20)})))
    (axes,) = drawing.figure.axes
    low, high = axes.get_xlim()
    places = [x for x, _, _ in drawn(axes).values()]
    assert all(low < x < high for (x,) in places)
    assert len({x for (x,) in places}) == 20


def test_images_per_class_stand_at_points_only_where_they_differ(asked):
    (axes,) = against_bytes(asked(a_grid(VALUES))).figure.axes
    assert {text.get_text() for text in axes.texts} == {"1", "10"}
    (axes,) = against_bytes(asked(a_grid({place: value for place, value in VALUES.items() if place[1] == 10}))).figure.axes
    assert not axes.texts


def test_the_whole_train_split_is_no_rival_on_the_front_and_the_caption_says_what_it_is(asked):
    records = a_grid({("random", 1): 0.3, ("dwa", 1): 0.5, ("full", 1): 0.9}, bytes={"images": 1000})
    drawing = against_bytes(asked(records))
    assert [one["label"] for one in drawing.data["front"]] == ["dwa"]
    assert "full: the whole train split, at any ipc, and no rival." in drawing.caption


def test_bytes_count_labels_and_the_front_is_marked(asked):
    records = [
        *a_grid({("random", 1): 0.3}, bytes={"images": 1000, "labels": 80}),
        *a_grid({("dwa", 1): 0.5}, bytes={"images": 4000, "labels": 80, "stored_labels": 900, "teacher": 500}),
        *a_grid({("dear", 1): 0.4}, bytes={"images": 9000, "labels": 80}),
    ]
    drawing = against_bytes(asked(records))
    assert {label: x for label, (x, _, _) in drawn(drawing.figure.axes[0]).items()} == {
        "random": [1080],
        "dwa": [4000 + 80 + 500],
        "dear": [9080],
    }
    assert [one["label"] for one in drawing.data["front"]] == ["random", "dwa"]
    assert drawing.figure.axes[0].get_xscale() == "linear"


def test_making_a_set_costs_all_stages_but_those_that_judge_it(asked):
    cost = {name: {"seconds": seconds} for name, seconds in {"squeeze": 5, "recover": 2, "student": 50, "test": 9}.items()}
    drawing = against_cost(asked(a_grid({("dwa", 1): 0.5}, cost=cost)))
    ((x, _, _),) = drawn(drawing.figure.axes[0]).values()
    assert x == [7]
    free = against_cost(asked(a_grid({("random", 1): 0.5}, cost={"student": {"seconds": 3}})))
    assert drawn(free.figure.axes[0])["random"][0] == [LEAST_S]


def test_long_makings_are_told_in_hours_of_the_accelerator_they_ran_on(asked):
    precision = {"student": {"dtype": "bf16"}, "recover": {"dtype": "bf16"}, "device": "cuda"}
    changes = {"cost": {"recover": {"seconds": 36000}}, "host": {"cpu": "some", "device": "A fast one"}, "precision": precision}
    drawing = against_cost(asked(a_grid({("dwa", 1): 0.5}, **changes)))
    assert drawn(drawing.figure.axes[0])["dwa"][0] == [10]
    assert drawing.figure.axes[0].get_xlabel().startswith("GPU-hours to make one set")
    assert "on A fast one" in drawing.caption


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"protocol": "other/1"}, "2 different protocol share no axes: other/1, quick-hard/1; choose with --protocol"),
        ({"dataset": "cifar10"}, "2 different dataset share no axes: cifar10, digits; choose with --dataset"),
        ({"student": "ddbench/resnet10"}, "2 students: ddbench/convnet3, ddbench/resnet10; name one with --student"),
        ({"numerics_version": 2}, "2 different numerics_version share no axes"),
    ],
)
def test_what_may_not_share_a_table_shares_no_axes(asked, changes, sentence):
    records = [*a_grid(VALUES), *a_grid({("sre2l", 1): 0.5}, **changes)]
    with pytest.raises(BadRequest, match=sentence):
        against_ipc(asked(records))


def test_numbers_that_were_measured_in_two_ways_share_no_axes(asked):
    def with_ece(evaluator, **changes):
        metric = {"name": "ece", "value": 0.1, "unit": "fraction", "higher_is_better": False, "evaluator": evaluator}
        return a_record(metrics=(metric | changes,), key=f"{evaluator}{changes}")

    usual = with_ece("calibration 1")
    with pytest.raises(BadRequest, match=r"ece was measured in 2 ways: calibration 1 .*; calibration 1 bins=20"):
        against_ipc(asked([usual, with_ece("calibration 1 bins=20")], metric="ece"))
    for changes in ({"higher_is_better": True}, {"unit": "bits"}):
        with pytest.raises(BadRequest, match=r"ece was measured in 2 ways: calibration 1 .*; calibration 1 "):
            against_ipc(asked([usual, with_ece("calibration 1", **changes)], metric="ece"))


def test_a_metric_that_nobody_measured_is_named_with_those_that_are_there(asked):
    with pytest.raises(DataMissing, match="no record here has the metric 'ece'; they have: top1"):
        against_ipc(asked(a_grid(VALUES), metric="ece"))
    with pytest.raises(DataMissing, match="no record matches; make some with: ddbench run dwa"):
        against_ipc(asked([]))


def test_sets_of_one_method_recovered_in_two_dtypes_are_one_line_over_ipc(asked):
    def recovered(dtype):
        return {"student": {"dtype": "fp32"}, "recover": {"dtype": dtype}, "device": "cpu"}

    records = [*a_grid({("dwa", 1): 0.3}, precision=recovered("fp32")), *a_grid({("dwa", 10): 0.5}, precision=recovered("bf16"))]
    assert set(drawn(against_ipc(asked(records)).figure.axes[0])) == {"dwa"}
    both = [*records, *(one for one in a_grid({("dwa", 10): 0.5}, precision=recovered("fp32"), key="other"))]
    assert set(drawn(against_ipc(asked(both)).figure.axes[0])) == {"dwa recover=bf16", "dwa recover=fp32"}


def test_a_metric_of_which_less_is_better_has_its_front_at_the_bottom(asked):
    def measured(synthesizer, size, value):
        metric = {"name": "ece", "value": value, "unit": "fraction", "higher_is_better": False, "evaluator": "calibration 1"}
        return a_record(synthesizer=synthesizer, metrics=(metric,), bytes={"images": size})

    records = [measured("random", 10, 0.3), measured("good", 20, 0.1), measured("bad", 30, 0.5)]
    drawing = against_bytes(asked(records, metric="ece"))
    assert [one["label"] for one in drawing.data["front"]] == ["random", "good"]

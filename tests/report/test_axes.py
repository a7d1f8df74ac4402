from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from ddbench.report.axes import along
from ddbench.report.formats import render
from ddbench.report.layout import Grid, Marks, grid
from ddbench.report.sheets import fits, pieces, sheet_of
from ddbench.report.tables import summary
from handmade import nested, record

RANDOM = [[0.50, 0.52, 0.51], [0.53, 0.52, 0.54], [0.48, 0.50, 0.51]]
STUDENTS = ("ddbench/convnet3", "timm/resnet10t", "ddbench/convnet3-bn")
"""The last has the architecture of the sets' teacher."""


def moved(values: list[list[float]], by: float) -> list[list[float]]:
    return [[value + by for value in one] for one in values]


def across(**changes):
    """Return records of three methods on three students; `dwa` leads on the two that count, `noise` on the teacher's own."""
    leads = {"random": (0, 0, 0), "dwa": (0.2, 0.3, 0.0), "noise": (0.1, 0.1, 0.4)}
    return [
        one
        for name, by_student in leads.items()
        for student, lead in zip(STUDENTS, by_student, strict=True)
        for one in nested(name, moved(RANDOM, lead), student=student, **changes)
    ]


def rows_of(table):
    return {row.label: row for row in table.rows}


def test_the_average_leaves_out_students_of_the_teachers_architecture():
    (table,) = summary(across())
    assert table.averaged == ("convnet3", "resnet10t")
    average = rows_of(table)["noise"].average
    assert average.estimate.value == pytest.approx(np.mean(RANDOM) + 0.1)
    assert average.difference.value == pytest.approx(0.1)


def test_rows_are_in_order_of_their_mean_difference_to_random_and_random_is_first():
    (table,) = summary(across())
    assert [row.label for row in table.rows] == ["random", "dwa", "noise"]


def test_an_average_is_made_set_by_set_and_seed_by_seed():
    """Two students that err in opposite ways at every set and seed leave no doubt of the average."""
    noise = np.random.default_rng(1).normal(0, 0.05, (3, 3))
    records = [*nested("dwa", (0.6 + noise).tolist()), *nested("dwa", (0.6 - noise).tolist(), student="timm/resnet10t")]
    (table,) = summary([*records, *nested("random", RANDOM), *nested("random", RANDOM, student="timm/resnet10t")])
    average = rows_of(table)["dwa"].average
    assert average.estimate.value == pytest.approx(0.6)
    assert average.estimate.half_width is None
    assert rows_of(table)["dwa"].results["convnet3"].estimate.half_width > 0.01


def test_a_row_that_lacks_a_column_has_no_average_comes_last_and_is_named():
    (table,) = summary([*across(), *nested("dm", moved(RANDOM, 0.45))])
    assert [row.label for row in table.rows][-1] == "dm"
    assert rows_of(table)["dm"].average is None
    assert any(note.startswith("No mean: dm ") for note in table.notes)


def test_one_column_has_no_average():
    (table,) = summary(nested("random", RANDOM))
    assert (table.averaged, table.rows[0].average) == ((), None)


def test_averages_are_ranked_like_a_column():
    (table,) = summary(across())
    assert {label: row.average.rank for label, row in rows_of(table).items()}["dwa"] == (1, 1)


@pytest.mark.parametrize(
    ("axis", "changes", "columns"),
    [
        ("ipc", [{"ipc": 1}, {"ipc": 50}, {"ipc": 10}], ("ipc 1", "ipc 10", "ipc 50")),
        ("dataset", [{"dataset": "digits"}, {"dataset": "cifar10", "shape": (3, 32, 32)}], ("cifar10", "digits")),
    ],
)
def test_columns_are_what_was_asked_for(axis, changes, columns):
    records = [one for change in changes for one in nested("random", RANDOM, **change)]
    (table,) = along(summary(records), axis)
    assert table.students == columns
    assert [table.origins[name][0].ipc for name in columns] == sorted(one.get("ipc", 10) for one in changes)
    assert set(table.rows[0].results) == set(columns)


@pytest.mark.parametrize("axis", ["ipc", "dataset"])
@pytest.mark.parametrize(
    "other",
    [{"protocol": "dc-hard/1"}, {"label_regime": "soft_once"}, {"protocol_sha256": "f" * 64}, {"smoke": True}, {"numerics": 2}],
    ids=str,
)
def test_protocols_label_regimes_and_versions_never_share_a_table_along_any_axis(axis, other):
    tables = along(summary([*nested("random", RANDOM), *nested("random", RANDOM, ipc=50, **other)]), axis)
    assert [len(table.students) for table in tables] == [1, 1]


def test_resolutions_of_one_dataset_never_share_a_column():
    records = [*nested("random", RANDOM), *nested("random", moved(RANDOM, 0.1), shape=(1, 16, 16))]
    assert [len(table.students) for table in along(summary(records), "ipc")] == [1, 1]
    (table,) = along(summary([*nested("random", RANDOM), *nested("random", RANDOM, teacher_key="8" * 20)]), "dataset")
    assert len(set(table.students)) == 2


def test_each_student_has_a_table_along_ipc():
    records = [one for ipc in (1, 10) for student in STUDENTS[:2] for one in nested("random", RANDOM, ipc=ipc, student=student)]
    tables = along(summary(records), "ipc")
    assert [(table.title.split("student ")[1].split(" ")[0], len(table.students)) for table in tables] == [
        ("convnet3", 2),
        ("resnet10t", 2),
    ]


def test_options_that_tell_rows_apart_in_one_column_are_shown_in_all():
    records = [
        *nested("dwa", RANDOM, options={"rho": 0}),
        *nested("dwa", RANDOM, options={"rho": 0.1}),
        *nested("dwa", RANDOM, options={"rho": 0}, ipc=50),
    ]
    (table,) = along(summary(records), "ipc")
    assert {row.label: sorted(row.results) for row in table.rows} == {"dwa rho=0": ["ipc 10", "ipc 50"], "dwa rho=0.1": ["ipc 10"]}


def test_along_ipc_sets_are_other_sets_and_are_averaged_in_order():
    records = [one for ipc in (1, 10) for one in nested("random", moved(RANDOM, ipc / 100), ipc=ipc)]
    (table,) = along(summary(records), "ipc")
    average = table.rows[0].average
    assert average.estimate.value == pytest.approx(np.mean(RANDOM) + 0.055)
    assert (average.estimate.sets, average.estimate.students) == (3, 9)


def test_json_and_csv_say_where_each_number_is_from():
    tables = along(summary([*across(ipc=1), *across(ipc=10)]), "ipc")
    rows = [row for table in json.loads(render(tables, "json")) for row in table["rows"]]
    assert {(row["student"], row["ipc"]) for row in rows} >= {("convnet3", 1), ("convnet3", 10), ("mean", None)}
    (first, *_) = csv.DictReader(io.StringIO(render(tables, "csv")))
    assert (first["student"], first["ipc"]) == ("convnet3", "1")


def test_a_grid_too_wide_is_cut_into_parts_that_fit_each_with_the_first_column():
    wide = Grid(("method", *(f"column{i}" for i in range(9))), (("random", *(f"{i}.0 ± 1.0" for i in range(9))),))
    parts = pieces(wide, 60)
    assert all(fits(part, 60) and part.headers[0] == "method" for part in parts)
    assert [header for part in parts for header in part.headers[1:]] == list(wide.headers[1:])
    assert pieces(wide, 500) == [wide]


def test_a_sheet_of_a_table_has_differences_beside_the_scores_where_there_is_room():
    (table,) = summary(across())
    sheet = sheet_of(table, [], {})
    assert len(sheet.wide(Marks()).headers) > len(sheet.narrow(Marks()).headers) == len(grid(table).headers)


@pytest.mark.parametrize("axis", ["ipc", "dataset"])
def test_a_metric_that_was_made_in_two_ways_has_a_table_for_each(axis):
    changes = [{"ipc": 1}, {"ipc": 10}] if axis == "ipc" else [{"dataset": "digits"}, {"dataset": "fashion-mnist"}]
    ways = [{"ece": (value, unit, False)} for value, unit in ((0.1, "fraction"), (0.4, "bins"))]
    records = [record(metrics=way, **change) for change in changes for way in ways]
    found = [
        [result.estimate.value for row in table.rows for result in row.results.values()]
        for table in along(summary(records, metric="ece"), axis)
    ]
    assert sorted(found) == [[0.1, 0.1], [0.4, 0.4]]


def test_networks_of_one_short_name_never_share_a_table():
    records = [record(ipc=ipc, student=student) for ipc, student in ((1, "ddbench/resnet18"), (10, "timm/resnet18"))]
    tables = along(summary(records), "ipc")
    assert [(table.title.split("student ")[1].split(" ")[0], table.students) for table in tables] == [
        ("ddbench/resnet18", ("ipc 1",)),
        ("timm/resnet18", ("ipc 10",)),
    ]


def test_along_datasets_a_student_is_fitted_to_each():
    fitted = {"digits": {"stem": 1}, "cifar10": {"stem": 2}}
    records = [record(dataset=name, fitting=fitting) for name, fitting in fitted.items()]
    (table,) = along(summary(records), "dataset")
    assert table.students == ("cifar10", "digits")


def test_the_mean_is_compared_with_the_control_that_its_columns_have():
    old, new = moved(RANDOM, 0.2), RANDOM
    records = [
        one
        for ipc in (1, 10)
        for one in (
            *nested("random", old, version=10, ipc=ipc, made="2026-01-01"),
            *nested("random", new, version=9, ipc=ipc, made="2026-02-01"),
            *nested("dwa", moved(RANDOM, 0.1), ipc=ipc),
        )
    ]
    (table,) = along(summary(records), "ipc")
    row = rows_of(table)["dwa"]
    for result in (*row.results.values(), row.average):
        assert result.difference.value == pytest.approx(0.1)


def test_a_mean_of_columns_with_different_controls_is_compared_with_none():
    records = [
        one
        for ipc, version in ((1, 1), (10, 2))
        for one in (*nested("random", RANDOM, version=version, ipc=ipc), *nested("dwa", moved(RANDOM, 0.1), ipc=ipc))
    ]
    (table,) = along(summary(records), "ipc")
    row = rows_of(table)["dwa"]
    assert all(result.difference.value == pytest.approx(0.1) for result in row.results.values())
    assert row.average.difference is None
    assert "The columns have different versions of random: their mean is compared with none." in table.notes


def test_what_is_said_of_rows_is_said_of_these_rows():
    records = [*nested("random", RANDOM, ipc=1), *nested("random", [[0.6, 0.62]], ipc=10)]
    (table,) = along(summary(records), "ipc")
    assert len(table.notes) == len(set(table.notes))
    assert [note.startswith("n: ") for note in table.notes].count(True) == 1

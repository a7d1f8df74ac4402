from __future__ import annotations

import pytest

from ddbench.cells import CONTROL as CELLS_CONTROL
from ddbench.report.grouping import CONTROL
from ddbench.report.tables import flat_rows, frame, summary, table_frame
from factory import a_record
from handmade import nested, record

DRAWS = [[0.60, 0.62, 0.61], [0.63, 0.62, 0.64], [0.58, 0.60, 0.61]]


def labels(table) -> list[str]:
    return [row.label for row in table.rows]


def test_the_control_of_reports_is_the_control_of_cells():
    assert CONTROL == CELLS_CONTROL


def test_random_comes_first_and_the_others_alphabetically():
    (table,) = summary([*nested("zeta", DRAWS), *nested("alpha", DRAWS), *nested("random", DRAWS), *nested("noise", DRAWS)])
    assert labels(table) == ["random", "alpha", "noise", "zeta"]


def test_students_stand_in_the_order_of_the_records_without_their_family():
    records = [record(student="timm/resnet10t"), record(student="ddbench/convnet3")]
    assert summary(records)[0].students == ("resnet10t", "convnet3")
    assert summary(records[::-1])[0].students == ("convnet3", "resnet10t")


def test_one_name_in_two_families_keeps_its_family():
    (table,) = summary([record(student="timm/resnet18"), record(student="ddbench/resnet18")])
    assert table.students == ("timm/resnet18", "ddbench/resnet18")


def test_one_network_fitted_in_two_ways_has_two_columns():
    (table,) = summary([record(fitting={"stem": 1}), record(fitting={"stem": 2})])
    assert table.students == ("convnet3 (fitting 1)", "convnet3 (fitting 2)")


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "dc-hard/1"},
        {"protocol": "quick-soft/2"},
        {"protocol_sha256": "f" * 64},
        {"label_regime": "soft_once"},
        {"shape": (1, 16, 16)},
        {"ipc": 50},
        {"dataset": "fashion-mnist"},
        {"smoke": True},
        {"teacher_key": "8" * 20},
        {"numerics": 2},
    ],
    ids=str,
)
def test_records_that_may_not_share_a_column_never_share_a_table(other):
    tables = summary([*nested("random", DRAWS), *nested("random", [[0.1, 0.1, 0.1]], **other)])
    assert sorted(row.results["convnet3"].estimate.students for table in tables for row in table.rows) == [3, 9]
    assert len(tables) == len({table.title for table in tables}) == 2


def test_a_difference_is_only_taken_to_random_of_the_same_table():
    (soft, hard) = summary([*nested("random", DRAWS), *nested("dwa", DRAWS, protocol="dc-hard/1", label_regime="hard")])[::-1]
    assert labels(hard) == ["dwa"]
    assert hard.rows[0].results["convnet3"].difference is None
    assert labels(soft) == ["random"]


def test_under_hard_labels_a_method_with_a_teacher_is_compared_with_random_without_one():
    hard = {"label_regime": "hard", "protocol": "dc-hard/1"}
    (table,) = summary([*nested("random", DRAWS, teacher=None, **hard), *nested("dwa", DRAWS, **hard)])
    assert table.rows[1].results["convnet3"].difference.value == pytest.approx(0)


def test_variants_are_labelled_by_the_options_that_differ():
    records = [record(synthesizer="dwa", options={"rho": rho, "steps": 100}) for rho in (0, 0.015)] + [record(synthesizer="sre2l")]
    assert labels(summary(records)[0]) == ["dwa rho=0", "dwa rho=0.015", "sre2l"]


def test_options_of_an_objective_or_a_prior_tell_rows_apart_too():
    def made(seed, source, **options):
        blocks = {name: {"values": {"network": value}, "sources": {"network": source}} for name, value in options.items()}
        return a_record(synthesizer="hglad", distill_seed=seed, options={"synthesizer": {"values": {}, "sources": {}}, **blocks})

    two = [made(0, "default", objective="convnet3"), made(0, "default", objective="resnet18")]
    assert labels(summary(two)[0]) == ["hglad objective.network=convnet3", "hglad objective.network=resnet18"]
    assert labels(summary([made(0, "suite", prior="big")])[0]) == ["hglad prior.network=big"]


def test_what_only_one_variants_part_takes_is_shown_where_nothing_else_tells_them_apart():
    def made(selector, **options):
        own = {"synthesizer": {"values": {"selector": selector}, "sources": {}}}
        blocks = {name: {"values": {"epochs": value}, "sources": {}} for name, value in options.items()}
        return a_record(synthesizer="hglad", distill_seed=len(selector), options={**own, **blocks})

    apart = [made("cam", classifier=30), made("last")]
    assert labels(summary(apart)[0]) == ["hglad selector=cam", "hglad selector=last"]
    alike = [made("cam", classifier=30), made("cam")]
    assert labels(summary(alike)[0]) == ["hglad", "hglad classifier.epochs=30"]


def test_versions_of_a_synthesizer_have_rows_of_their_own():
    assert labels(summary([record(version=1), record(version=2)])[0]) == ["random version=1", "random version=2"]


def test_only_the_newest_code_of_a_version_is_shown_unless_asked():
    old, new = (
        nested("random", DRAWS, code="a" * 64, made="2026-01-01"),
        nested("random", DRAWS[:1], code="b" * 64, made="2026-02-01"),
    )
    (newest,) = summary([*old, *new])
    assert newest.rows[0].results["convnet3"].estimate.students == 3
    assert any("9 records made by other code" in note for note in newest.notes)
    (each,) = summary([*old, *new], code="each")
    assert labels(each) == ["random code=aaaaaaaa", "random code=bbbbbbbb"]


def test_under_any_code_the_newest_record_of_a_coordinate_counts():
    old, new = (
        nested("random", DRAWS, code="a" * 64, made="2026-01-01"),
        nested("random", [[0.1, 0.1, 0.1]], code="b" * 64, made="2026-02-01"),
    )
    (table,) = summary([*old, *new], code="any")
    assert table.rows[0].results["convnet3"].estimate.students == 9
    assert table.rows[0].results["convnet3"].estimate.value == pytest.approx((0.1 + sum(map(sum, DRAWS[1:])) / 3) / 3)


@pytest.mark.parametrize("other", [("objective", "distribution", 2, "a" * 64), ("objective", "distribution", 1, "b" * 64)])
def test_sets_of_other_versions_and_files_of_what_a_synthesizer_works_with_are_never_averaged(other):
    first = {"works_with": [("objective", "distribution", 1, "a" * 64)], "made": "2026-01-01"}
    records = [
        *nested("dm", DRAWS, **first),
        *nested("dm", [[0.9, 0.9, 0.9]], works_with=[other], made="2026-02-01", set_sha="f" * 64),
    ]
    means = [round(row.results["convnet3"].estimate.value, 3) for table in (summary(records, code="each")) for row in table.rows]
    assert sorted(means) == [0.612, 0.9]
    newest = sorted(round(row.results["convnet3"].estimate.value, 3) for row in summary(records)[0].rows)
    assert newest == ([0.612, 0.9] if other[2] == 2 else [0.9])


def test_under_hard_labels_versions_of_the_teacher_have_rows_of_their_own_too():
    hard = {"label_regime": "hard", "protocol": "dc-hard/1"}
    records = [record(works_with=[("teacher", "scratch", version, "a" * 64)], **hard) for version in (1, 2)]
    assert labels(summary(records)[0]) == ["random teacher.version=1", "random teacher.version=2"]
    soft = [record(works_with=[("teacher", "scratch", version, "a" * 64)]) for version in (1, 2)]
    assert labels(summary(soft)[0]) == ["random"]


def test_options_that_differ_in_the_eighth_digit_are_two_rows():
    records = [record(options={"rho": rho}) for rho in (0.01234560, 0.01234561)]
    assert labels(summary(records)[0]) == ["random rho=0.0123456", "random rho=0.01234561"]


def test_a_set_that_was_distilled_again_under_its_seed_is_no_further_draw():
    once = nested("herding", [[0.6, 0.62, 0.61]], set_sha="a" * 64, made="2026-01-01")
    again = nested("herding", [[0.7, 0.7]], set_sha="b" * 64, made="2026-02-01")
    (table,) = summary([*nested("random", DRAWS), *once, *again])
    found = table.rows[1].results["convnet3"]
    assert (found.estimate.sets, found.estimate.students, found.estimate.value) == (1, 3, pytest.approx(0.61))
    assert found.difference.interval is not None
    assert found.rank is not None
    assert any(note.startswith("2 records are left out: their sets were distilled again") for note in table.notes)
    as_many = nested("herding", [[0.7, 0.7, 0.7]], set_sha="b" * 64, made="2026-02-01")
    assert summary([*once, *as_many])[0].rows[0].results["convnet3"].estimate.value == pytest.approx(0.7)


def test_a_column_that_lacks_the_set_of_a_seed_takes_the_next_one():
    most = [*nested("herding", [[0.6, 0.62, 0.61]], set_sha="a" * 64)]
    other = [record(0.7, synthesizer="herding", set_sha="b" * 64, student=name) for name in ("timm/resnet10t", "ddbench/convnet3")]
    (row,) = summary([*most, *other])[0].rows
    assert {name: result.estimate.value for name, result in row.results.items()} == {
        "convnet3": pytest.approx(0.61),
        "resnet10t": 0.7,
    }


def test_a_metric_that_is_read_in_two_ways_has_two_tables():
    records = [record(metrics={"ece": (0.1, "fraction", better)}, synthesizer=name) for name, better in (("a", True), ("b", False))]
    assert [(labels(table), table.higher_is_better) for table in summary(records, metric="ece")] == [(["b"], False), (["a"], True)]


def test_rows_that_are_the_same_sets_are_named():
    again = [nested("dm", DRAWS[:1], options={"iterations": count}, set_sha="a" * 64) for count in range(6)]
    (table,) = summary([*nested("random", DRAWS), *(one for records in again for one in records)])
    (note,) = [note for note in table.notes if note.startswith("The same sets")]
    assert note.endswith("dm iterations=0, dm iterations=1, dm iterations=2, dm iterations=3, 2 more.")
    assert {row.results["convnet3"].rank for row in table.rows} == {(1, 2)}


def test_two_eval_seeds_are_said_to_cover_less():
    covers = [note for note in summary(nested("random", [[0.6, 0.62]] * 3))[0].notes if "as little as 84 %" in note]
    assert len(covers) == 1
    assert not [note for note in summary(nested("random", DRAWS))[0].notes if "as little as 84 %" in note]


def test_distill_seeds_that_gave_the_same_set_count_once():
    (table,) = summary(nested("herding", [[0.6, 0.62, 0.61]] * 3, set_sha="d" * 64))
    found = table.rows[0].results["convnet3"].estimate
    assert (found.sets, found.students, found.given_one_set) == (1, 3, True)


def test_the_student_that_shares_the_teachers_architecture_is_marked():
    (table,) = summary([record(student="ddbench/convnet3-bn"), record(student="ddbench/convnet3")])
    assert [table.rows[0].results[name].same_architecture for name in table.students] == [True, False]


def test_records_without_the_metric_are_left_out():
    records = [record(metrics={"ece": (0.1, "fraction", False)}), record(eval_seed=1)]
    (table,) = summary(records, metric="ece")
    assert table.rows[0].results["convnet3"].estimate.students == 1


def test_a_metric_made_with_other_options_of_its_evaluator_has_a_table_of_its_own():
    def ece(value, evaluator):
        found = record(eval_seed=len(evaluator), metrics={"ece": (value, "fraction", False)})
        blocks = tuple(block.model_copy(update={"evaluator": evaluator}) for block in found.metrics)
        return found.model_copy(update={"metrics": blocks}).sealed()

    tables = summary([ece(0.1, "calibration 1"), ece(0.3, "calibration 1 bins=5")], metric="ece")
    assert sorted(table.rows[0].results["convnet3"].estimate.value for table in tables) == [0.1, 0.3]
    assert sum("bins=5" in table.title for table in tables) == 1


def test_where_lower_is_better_a_lower_score_is_better_than_random():
    def ece(synthesizer, values):
        return [
            r
            for d, s in enumerate(values)
            for e, v in enumerate(s)
            for r in [record(synthesizer=synthesizer, distill_seed=d, eval_seed=e, metrics={"ece": (v, "fraction", False)})]
        ]

    (table,) = summary([*ece("random", DRAWS), *ece("dwa", [[0.10, 0.11, 0.12], [0.12, 0.1, 0.11]])], metric="ece")
    assert table.better(table.rows[1].results["convnet3"].difference) == 1


def test_the_long_frame_has_a_row_per_record_with_everything_to_plot():
    found = frame([record(0.5, synthesizer="dwa", options={"rho": 0.1}), record(0.6)])
    assert list(found["top1"]) == [0.5, 0.6]
    assert found.loc[0, "option.rho"] == 0.1
    assert found.loc[0, ["seconds.recover", "peak_bytes.student", "bytes.images"]].tolist() == [2.0, 1000, 6400]
    assert {"dataset", "ipc", "teacher", "student", "protocol", "label_regime", "distill_seed", "eval_seed"} <= set(found.columns)


def test_the_table_frame_has_a_row_per_method_and_student_as_fractions():
    tables = summary([*nested("random", DRAWS), *nested("dwa", [[0.7, 0.72, 0.71]])])
    found = table_frame(tables)
    assert found.to_dict("records")[1]["difference_to_random"] == pytest.approx(0.71 - sum(map(sum, DRAWS)) / 9)
    assert found.to_dict("records")[1]["given_one_set"]
    assert flat_rows(tables[0])[0]["mean"] < 1


def test_bytes_charge_a_teachers_answers_at_the_cheaper_of_answers_and_teacher():
    sizes = {"images": 100, "labels": 10, "real_train": 10_000, "stored_labels": 500, "teacher": 300}
    (table,) = summary([record(bytes=sizes)])
    assert table.rows[0].bytes == 410
    (table,) = summary([record(bytes=sizes, metrics={"total_bytes": (77.0, "bytes", False)})])
    assert table.rows[0].bytes == 77


def test_seconds_are_means_over_what_was_made_not_over_students():
    slow, fast = ({"recover": {"seconds": s}, "student": {"seconds": 1.0}} for s in (9.0, 3.0))
    records = [record(distill_seed=0, eval_seed=e, cost=slow) for e in range(3)] + [record(distill_seed=1, cost=fast)]
    assert summary(records)[0].rows[0].seconds == {"recover": 6.0, "student": 1.0}


def test_no_records_make_no_table():
    assert summary([]) == []


def test_shortened_training_has_no_rank_in_an_average_either():
    students = ("ddbench/convnet3", "timm/test_resnet")
    (table,) = summary([record(smoke=True, student=student, distill_seed=d) for student in students for d in range(3)])
    assert table.rows[0].average is not None
    assert table.rows[0].average.rank is None

"""Every pair of a column's methods: the differences, the adjusted p values, and that ranks say the same."""

from __future__ import annotations

import itertools
import random

import pytest
from statsmodels.stats.multitest import multipletests

from ddbench.report.grouping import scores as scores_of
from ddbench.report.layout import Marks
from ddbench.report.pairs import pair_sheets, pairs
from ddbench.report.ranking import compared
from ddbench.report.statistics import paired_difference
from ddbench.report.tables import summary
from handmade import nested

DRAWS = random.Random(0)


def noisy(mean, sets=3, seeds=3):
    return [[mean + DRAWS.gauss(0, 0.01) for _ in range(seeds)] for _ in range(sets)]


FOUR = {"random": noisy(0.60), "dwa": noisy(0.75), "dm": noisy(0.61), "herding": noisy(0.70)}


def table(methods=FOUR, **cell):
    (one,) = summary([record for name, values in methods.items() for record in nested(name, values, **cell)])
    return one


def test_every_two_ranked_methods_are_a_pair_the_better_first():
    found = pairs(table())
    names = [(pair.first.label, pair.second.label) for pair in found]
    assert {frozenset(pair) for pair in names} == {frozenset(pair) for pair in itertools.combinations(FOUR, 2)}
    assert all(pair.difference.value > 0 for pair in found)
    assert [pair.p for pair in found] == sorted(pair.p for pair in found)


def test_differences_are_paired_over_eval_seeds():
    by_label = {row.label: row.results["convnet3"].scores for row in table().rows}
    for pair in pairs(table()):
        assert pair.difference == paired_difference(by_label[pair.first.label], by_label[pair.second.label])


def test_a_pair_is_shown_with_its_interval_and_without_a_verdict():
    one = table()
    (sheet,) = pair_sheets([one])
    shown = [row[3] for row in sheet.usual(Marks()).rows]
    assert len(shown) == 6
    for text, row in zip(shown, sheet.rows, strict=True):
        low, high = 100 * row["difference_low"], 100 * row["difference_high"]
        assert text == f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"


def test_p_values_are_adjusted_by_holm():
    one = table()
    scores = {row.label: row.results["convnet3"].scores for row in one.rows}
    _, p = compared(scores, [0, 1, 2], None)
    places = list(itertools.combinations(range(len(scores)), 2))
    adjusted = multipletests([p[place] for place in places], method="holm")[1]
    names = [frozenset(list(scores)[side] for side in place) for place in places]
    expected = dict(zip(names, adjusted, strict=True))
    assert {frozenset((pair.first.label, pair.second.label)): pair.p for pair in pairs(one)} == pytest.approx(expected)


def test_pairs_are_told_apart_as_in_the_ranks():
    one = table()
    above = dict.fromkeys(FOUR, 0)
    for pair in pairs(one):
        above[pair.second.label] += pair.apart
    for row in one.rows:
        assert row.results["convnet3"].place.rank[0] == 1 + above[row.label]


def test_rows_without_a_rank_the_ceiling_and_shortened_trainings_are_in_no_pair():
    gaps = {**FOUR, "sre2l": [[0.7, 0.7]], "full": noisy(0.9)}
    names = {row.label for pair in pairs(table(gaps)) for row in (pair.first, pair.second)}
    assert names == set(FOUR)
    assert pairs(table(smoke=True)) == []
    assert pair_sheets([table({"random": FOUR["random"]})]) == []


@pytest.mark.parametrize("seeds", [(2, 4), (4, 2)])
def test_of_two_versions_of_random_the_ranks_one_says_which_eval_seeds_count(seeds):
    first, last = seeds
    records = [
        *nested("random", noisy(0.60, seeds=first), version=1),
        *nested("random", noisy(0.58, seeds=last), version=2, options={"again": 1}, made="2026-02-01T00:00:00Z"),
        *nested("dwa", noisy(0.75, seeds=4)),
        *nested("dm", noisy(0.66, seeds=2)),
    ]
    (one,) = summary(records)
    ranked = {row.label for row in one.rows if row.results["convnet3"].place.rank}
    pairwise = pairs(one)
    assert {frozenset((pair.first.label, pair.second.label)) for pair in pairwise} == {
        frozenset(pair) for pair in itertools.combinations(ranked, 2)
    }
    for row in one.rows:
        if row.label in ranked:
            above = sum(pair.apart for pair in pairwise if pair.second.label == row.label)
            assert row.results["convnet3"].place.rank[0] == 1 + above


def test_where_lower_is_better_the_lower_comes_first():
    records = [
        record for name, values in FOUR.items() for record in nested(name, values, metrics={"top1": (0.5, "fraction", False)})
    ]
    found = pairs(summary(records)[0])
    assert all(pair.difference.value <= 0 for pair in found)


def test_the_average_over_students_has_pairs_too():
    records = [
        r for student in ("a", "b") for name, values in FOUR.items() for r in nested(name, values, student=f"ddbench/{student}")
    ]
    columns = {pair.column for pair in pairs(summary(records)[0])}
    assert columns == {"a", "b", "mean"}
    assert {row["column"] for row in pair_sheets(summary(records))[0].rows} == {"a", "b", "mean of 2"}


def test_scores_of_pairs_are_the_tables_own():
    one = table()
    records = [record for name, values in FOUR.items() for record in nested(name, values)]
    assert {row.label: row.results["convnet3"].scores for row in one.rows} == {
        name: scores_of([record for record in records if record.cell.synthesizer == name], "top1") for name in FOUR
    }


def test_a_method_with_one_set_is_marked_and_the_mark_explained():
    one = table(FOUR | {"herding": noisy(0.70, sets=1)})
    (sheet,) = pair_sheets([one])
    shown = [row[1:3] for row in sheet.usual(Marks()).rows]
    assert {name for names in shown for name in names} == {"random", "dwa", "dm", "herding¹"}
    assert [note for note in sheet.notes if note.startswith("¹ given one distilled set")]
    sets = {(row["first_sets"], row["second_sets"]) for row in sheet.rows if "herding" in {row["first"], row["second"]}}
    assert sets == {(1, 3), (3, 1)}
    assert not [note for note in pair_sheets([table()])[0].notes if "¹" in note]

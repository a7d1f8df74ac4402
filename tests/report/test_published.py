from __future__ import annotations

import csv
import io
import json

import pytest

from ddbench.report.formats import TEXT_FORMS, render
from ddbench.report.published import GRADES, comparisons, published, published_sheet
from ddbench.report.tables import summary
from handmade import nested

CIFAR = {"dataset": "cifar10", "ipc": 10, "shape": (3, 32, 32), "protocol": "dc-hard/1", "label_regime": "hard", "teacher": None}


def draws(*means: float, seeds: int = 1) -> list[list[float]]:
    return [[mean] * seeds for mean in means]


FIVE = draws(0.305, 0.315, 0.308, 0.312, 0.310)


def compared(values, **changes):
    """Return the comparisons of random's cell; DC-Bench has 31.00 for it."""
    return comparisons(summary(nested("random", values, **{**CIFAR, **changes})))


def test_every_number_has_a_source_a_grade_and_a_protocol_to_be_held_under():
    for one in published():
        assert one.source
        assert one.recipe
        assert one.grade in GRADES
        assert one.same or one.near
        assert 0 < one.value < 1
        assert not set(one.same) & set(one.near)


def test_the_cheapest_checks_are_among_the_numbers():
    known = {
        (one.dataset, one.ipc, one.method): one.value
        for one in published()
        if one.student == "ddbench/convnet3" and "dc-hard/1" in one.same
    }
    for dataset, values in (("cifar10", (15.4, 31.0, 50.55)), ("cifar100", (5.3, 18.64, 34.66))):
        assert [known[dataset, ipc, "random"] for ipc in (1, 10, 50)] == pytest.approx([value / 100 for value in values])
    (ceiling,) = (one for one in published() if one.method == "full" and one.dataset == "cifar100")
    assert (ceiling.value, ceiling.ipc, ceiling.same) == (0.562, None, ("full-steps/1",))


def test_numbers_that_are_no_bars_say_why():
    dwa = [one for one in published() if one.method == "dwa"]
    assert all("best of 41 looks" in one.caveat for one in dwa)
    assert all("no released recipe" in one.caveat and not one.same for one in dwa if "convnet" in one.student)


def test_a_number_is_met_when_the_interval_of_five_draws_overlaps_it_give_or_take_a_point():
    (one,) = compared(FIVE)
    assert (one.met, one.verdict) == (True, "yes")
    assert one.difference == pytest.approx(0)


@pytest.mark.parametrize(("shift", "met"), [(0.012, True), (0.016, False), (-0.012, True), (-0.016, False)])
def test_beyond_a_point_and_the_interval_a_number_is_not_met(shift, met):
    (one,) = compared([[value + shift for value in values] for values in FIVE])
    assert one.result.estimate.half_width == pytest.approx(0.0047, abs=1e-4)
    assert one.met is met


def test_with_fewer_than_five_draws_nothing_is_said():
    (one,) = compared(FIVE[:4])
    assert (one.met, one.verdict) == (None, "4 of 5 draws")


def test_under_another_recipe_nothing_is_said():
    (one,) = comparisons(summary(nested("mtt", FIVE, **CIFAR)))
    assert one.published.value == pytest.approx(0.6366)
    assert (one.met, one.verdict) == (None, "other recipe")


@pytest.mark.parametrize(
    "other",
    [{"dataset": "digits"}, {"ipc": 2}, {"protocol": "quick-hard/1"}, {"student": "ddbench/convnet1"}, {"smoke": True}],
    ids=str,
)
def test_only_the_same_method_dataset_ipc_student_and_family_of_protocols_is_compared(other):
    assert compared(FIVE, **other) == []


def test_without_a_match_there_is_no_sheet():
    assert published_sheet(summary(nested("random", FIVE))) is None


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_every_format_shows_both_numbers_and_both_protocols(form):
    text = render([published_sheet(summary(nested("random", FIVE, **CIFAR)))], form)
    for part in ("DC-Bench, best augmentation", "dc-hard/1", "DC-Bench leaderboard"):
        assert part in text


def test_numbers_are_fractions_in_json_and_percent_in_csv():
    sheet = published_sheet(summary(nested("random", FIVE, **CIFAR)))
    (view,) = json.loads(render([sheet], "json"))
    (row,) = csv.DictReader(io.StringIO(render([sheet], "csv")))
    assert (view["rows"][0]["published"], float(row["published_percent"])) == (0.31, 31.0)
    assert view["rows"][0]["met"] is True


@pytest.mark.parametrize("source", ["command line", "suite", "preset cpu: ours"])
def test_with_options_of_its_own_a_row_is_never_met(source):
    (one,) = compared(FIVE, options={"iterations": 1}, source=source)
    assert (one.met, one.verdict) == (None, "other iterations")
    (paper,) = compared(FIVE, options={"iterations": 1}, source="preset paper-ipc10: released code")
    assert paper.verdict == "yes"


def test_draws_that_all_score_the_same_are_not_said_to_be_too_few():
    (one,) = compared(draws(*[0.31] * 5))
    assert (one.met, one.verdict) == (None, "all score the same")

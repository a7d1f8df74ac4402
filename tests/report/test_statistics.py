from __future__ import annotations

from math import sqrt
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from ddbench.report.statistics import difference_to_control, estimate, half_width, paired_difference


def by_seed(sets: list[list[float]]) -> dict[str, dict[int, float]]:
    return {str(d): dict(enumerate(values)) for d, values in enumerate(sets)}


def test_the_interval_of_several_sets_is_t_on_their_means():
    sets = [[0.50, 0.54, 0.52], [0.60, 0.58, 0.59], [0.55, 0.57, 0.53]]
    means = [fmean(values) for values in sets]
    low, high = stats.t.interval(0.95, 2, loc=fmean(means), scale=stats.sem(means))
    found = estimate(by_seed(sets))
    assert found.interval == pytest.approx((low, high))
    assert (found.sets, found.students, found.given_one_set) == (3, 9, False)


def test_the_interval_of_one_set_is_t_on_its_eval_seeds_and_says_so():
    values = [0.50, 0.54, 0.52, 0.49]
    found = estimate(by_seed([values]))
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 3) * stdev(values) / 2)
    assert found.given_one_set


def test_one_student_has_a_value_and_no_interval():
    found = estimate({"a": {0: 0.5}})
    assert (found.value, found.half_width, found.interval) == (0.5, None, None)


def test_students_that_all_score_the_same_have_no_interval():
    assert half_width([0.1, 0.1, 0.1]) is None
    assert estimate(by_seed([[0.1, 0.1], [0.1, 0.1]])).half_width is None


def test_an_estimate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one student"):
        estimate({})


def test_sets_of_unequal_size_weigh_the_same():
    assert estimate({"a": {0: 0.2, 1: 0.4}, "b": {0: 0.6}}).value == pytest.approx(0.45)


def test_the_difference_of_two_methods_with_several_sets_is_welchs():
    one, two = [[0.70, 0.72], [0.66, 0.68], [0.71, 0.69]], [[0.60, 0.61], [0.64, 0.66], [0.57, 0.59]]
    reference = stats.ttest_ind([fmean(s) for s in one], [fmean(s) for s in two], equal_var=False).confidence_interval(0.95)
    found = paired_difference(by_seed(one), by_seed(two))
    assert found.interval == pytest.approx((reference.low, reference.high))
    assert not found.given_one_set


def test_the_difference_of_two_single_sets_is_the_paired_t():
    one, two = [0.70, 0.74, 0.71, 0.69], [0.60, 0.63, 0.62, 0.58]
    reference = stats.ttest_rel(one, two).confidence_interval(0.95)
    found = paired_difference(by_seed([one]), by_seed([two]))
    assert found.interval == pytest.approx((reference.low, reference.high))
    assert found.given_one_set


def test_the_difference_of_one_set_to_random_adds_the_variance_between_draws():
    method, draws = [0.70, 0.74, 0.71], [[0.60, 0.63, 0.62], [0.55, 0.57, 0.58], [0.64, 0.66, 0.63]]
    paired = [y - fmean(draw[e] for draw in draws) for e, y in enumerate(method)]
    parts = [stdev(paired) ** 2 / 3, stdev(fmean(draw) for draw in draws) ** 2 / 3]
    freedom = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    found = difference_to_control(by_seed([method]), by_seed(draws))
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, freedom) * sqrt(sum(parts)))
    assert found.given_one_set
    assert found.verdict == 1


def test_what_an_eval_seed_does_to_both_methods_cancels():
    shift = {0: 0.2, 1: -0.1, 2: 0.05}
    one, two = by_seed([[0.70, 0.74, 0.71]]), by_seed([[0.60, 0.63, 0.62], [0.55, 0.57, 0.58], [0.64, 0.66, 0.63]])
    moved = [{d: {e: y + shift[e] for e, y in seeds.items()} for d, seeds in side.items()} for side in (one, two)]
    plain, shifted = difference_to_control(one, two), difference_to_control(*moved)
    assert shifted.interval == pytest.approx(plain.interval)


def test_only_eval_seeds_that_every_set_has_are_compared():
    one, two = {"a": {0: 0.7, 1: 0.72, 9: 0.0}}, {"x": {0: 0.6, 1: 0.61}, "y": {0: 0.62, 1: 0.66, 5: 1.0}}
    assert paired_difference(one, two).value == pytest.approx(fmean([0.7, 0.72]) - fmean([0.605, 0.64]))


def test_without_a_shared_eval_seed_there_is_no_difference():
    found = paired_difference({"a": {0: 0.7}}, {"b": {1: 0.6}})
    assert (found.value, found.interval, found.verdict) == (None, None, 0)
    assert "eval seed" in found.why


@pytest.mark.parametrize("draws", [1, 2])
def test_fewer_than_three_draws_of_random_give_no_verdict(draws):
    found = difference_to_control(by_seed([[0.9, 0.91, 0.9]] * 3), by_seed([[0.1, 0.11, 0.12], [0.14, 0.1, 0.1]][:draws]))
    assert found.value is not None
    assert found.verdict == 0
    assert f"{draws} of at least 3 draws" in found.why
    assert (found.interval is None) == (draws == 1)


def test_a_method_is_better_only_if_the_whole_interval_is_above_zero():
    draws = by_seed([[0.50, 0.52], [0.55, 0.53], [0.45, 0.47]])
    for method, verdict in (([[0.9, 0.91], [0.92, 0.9]], 1), ([[0.52, 0.51], [0.53, 0.5]], 0), ([[0.1, 0.11], [0.12, 0.1]], -1)):
        found = difference_to_control(by_seed(method), draws)
        low, high = found.interval
        assert found.verdict == verdict == (low > 0) - (high < 0)


def simulated_coverage(rng: np.random.Generator, sets: int, draws: int, students: int, runs: int = 400) -> float:
    """Return how often the interval holds the true difference: sets, eval seeds and students vary; one set is taken as given."""
    hits = 0
    for _ in range(runs):
        shared = rng.normal(0, 0.01, students)
        of_method, of_random = rng.normal(0.1, 0.01, sets), rng.normal(0, 0.012, draws)
        method, control = (
            by_seed((of[:, None] + shared + rng.normal(0, 0.008, (len(of), students))).tolist()) for of in (of_method, of_random)
        )
        low, high = difference_to_control(method, control).interval
        hits += low <= (of_method[0] if sets == 1 else 0.1) <= high
    return hits / runs


@pytest.mark.parametrize(("sets", "draws", "students"), [(1, 3, 3), (1, 5, 5), (3, 3, 3), (5, 5, 5), (3, 3, 1)])
def test_the_interval_of_the_difference_covers_the_truth_at_least_nine_times_in_ten(sets, draws, students):
    assert simulated_coverage(np.random.default_rng(7), sets, draws, students) >= 0.91


@pytest.mark.parametrize(("sets", "students"), [(3, 3), (5, 5), (1, 5)])
def test_the_interval_of_the_mean_covers_the_truth_at_least_nine_times_in_ten(sets, students):
    rng, hits = np.random.default_rng(8), 0
    for _ in range(400):
        of_set = rng.normal(0.5, 0.01, sets)
        low, high = estimate(by_seed((of_set[:, None] + rng.normal(0, 0.008, (sets, students))).tolist())).interval
        hits += low <= (of_set[0] if sets == 1 else 0.5) <= high
    assert hits / 400 >= 0.91

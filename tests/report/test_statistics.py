from __future__ import annotations

from math import sqrt
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from ddbench.report.spread import Spread, crossed, of_difference, of_mean
from ddbench.report.statistics import difference_to_control, estimate, half_width, paired_difference


def by_seed(sets) -> dict[str, dict[int, float]]:
    return {str(d): dict(enumerate(map(float, values))) for d, values in enumerate(sets)}


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


def test_the_difference_of_two_methods_that_vary_over_sets_alone_has_welchs_standard_error():
    one, two = [[0.70, 0.72], [0.66, 0.68], [0.71, 0.69]], [[0.60, 0.61], [0.64, 0.66], [0.57, 0.59]]
    parts = [stdev(fmean(s) for s in side) ** 2 / 3 for side in (one, two)]
    freedom = sum(parts) ** 2 / sum(part**2 / 4 for part in parts) - 2
    found = paired_difference(by_seed(one), by_seed(two))
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, freedom) * sqrt(sum(parts)))
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
    y = np.array(draws)
    centred = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
    rest = (centred**2).sum() / 4 / 9  # what the draws' own students explain of how the difference varies over seeds
    of_draws, of_seeds = stdev(y.mean(1)) ** 2 / 3, stdev(paired) ** 2 / 3
    parts = [of_draws, of_seeds - rest]
    freedom = sum(parts) ** 2 / (of_draws**2 / 4 + of_seeds * (of_seeds - rest) / 4) - 2
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


@pytest.mark.parametrize(("method", "verdict"), [([[0.9]], 0), ([[0.9], [0.91]], 1), ([[0.9, 0.91]], 1)])
def test_one_student_of_a_method_gives_no_verdict_though_its_interval_is_far_from_zero(method, verdict):
    draws = by_seed([[0.50, 0.52], [0.51, 0.53], [0.50, 0.51]])
    found = difference_to_control(by_seed(method), draws)
    assert found.interval[0] > 0
    assert (found.verdict, found.why) == (verdict, "" if verdict else "one student tells no spread")


def test_a_method_is_better_only_if_the_whole_interval_is_above_zero():
    draws = by_seed([[0.50, 0.52], [0.55, 0.53], [0.45, 0.47]])
    for method, verdict in (([[0.9, 0.91], [0.92, 0.9]], 1), ([[0.52, 0.51], [0.53, 0.5]], 0), ([[0.1, 0.11], [0.12, 0.1]], -1)):
        found = difference_to_control(by_seed(method), draws)
        low, high = found.interval
        assert found.verdict == verdict == (low > 0) - (high < 0)


SIMULATIONS = 20_000

MIXES = {"sets": (1, 0, 0.8), "both": (1, 1, 0.8), "seeds": (0.5, 1, 0.8), "rest": (0.6, 0.3, 1)}
"""Standard deviations of sets, of what an eval seed does to all sets alike, and of the rest."""


def scores(rng, sets, seeds, sds) -> np.ndarray:
    of_set, of_seed, of_rest = sds
    y = rng.normal(0, of_rest, (SIMULATIONS, sets, seeds)) + rng.normal(0, of_seed, (SIMULATIONS, 1, seeds))
    return y + (rng.normal(0, of_set, (SIMULATIONS, sets, 1)) if sets > 1 else 0)


def covered(off: np.ndarray, spread: Spread) -> float:
    """Return the share of intervals that hold the truth, which the estimate is `off` by."""
    return float((np.abs(off) <= spread.half_width()).mean())


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize(("sets", "seeds"), [(3, 3), (5, 5), (10, 5)])
def test_a_95_percent_interval_of_the_mean_covers_the_truth_in_93_to_97_percent_of_simulations(sets, seeds, mix):
    y = scores(np.random.default_rng(1), sets, seeds, MIXES[mix])
    assert 0.93 <= covered(y.mean((-1, -2)), crossed(y)) <= 0.97


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize(("sets", "draws", "seeds"), [(3, 3, 3), (5, 5, 5), (10, 10, 5), (1, 3, 3), (1, 5, 5), (1, 1, 5)])
def test_a_95_percent_interval_of_a_difference_covers_the_truth_in_93_to_97_percent_of_simulations(sets, draws, seeds, mix):
    rng = np.random.default_rng(2)
    both = rng.normal(0, 2, (SIMULATIONS, 1, seeds))  # what an eval seed does to every method
    one, two = (both + scores(rng, n, seeds, MIXES[mix]) for n in (sets, draws))
    assert 0.93 <= covered(one.mean((-1, -2)) - two.mean((-1, -2)), of_difference(one, two)) <= 0.97


@pytest.mark.parametrize("mix", MIXES)
def test_with_unequal_numbers_of_sets_a_difference_is_covered_in_92_to_97_percent_of_simulations(mix):
    rng = np.random.default_rng(2)
    one, two = (scores(rng, sets, 5, MIXES[mix]) for sets in (10, 3))
    assert 0.92 <= covered(one.mean((-1, -2)) - two.mean((-1, -2)), of_difference(one, two)) <= 0.97


@pytest.mark.parametrize("sets", [3, 5, 10])
def test_with_two_eval_seeds_intervals_cover_84_percent_at_the_least(sets):
    """What tables say under such rows; with more sets, which know their own spread better, eval seeds are the more underrated."""
    rng, least = np.random.default_rng(2), []
    for mix in MIXES.values():
        one, two = (scores(rng, sets, 2, mix) for _ in range(2))
        least += [covered(one.mean((-1, -2)), crossed(one)), covered((one - two).mean((-1, -2)), of_difference(one, two))]
    assert min(least) == pytest.approx({3: 0.91, 5: 0.87, 10: 0.84}[sets], abs=0.02)
    assert max(least) < 0.975


def test_an_interval_over_sets_alone_is_too_narrow_where_eval_seeds_shift_all_sets():
    y = scores(np.random.default_rng(3), 5, 5, MIXES["seeds"])
    assert covered(y.mean((-1, -2)), of_mean(y.mean(-1))) < 0.85


def test_the_interval_of_one_problem_is_the_interval_of_many_at_once():
    y = scores(np.random.default_rng(4), 3, 4, MIXES["both"])
    widths, pairs = crossed(y).half_width(), of_difference(y, y[::-1]).half_width()
    for i in range(5):
        assert estimate(by_seed(y[i])).half_width == pytest.approx(widths[i])
        assert paired_difference(by_seed(y[i]), by_seed(y[-1 - i])).half_width == pytest.approx(pairs[i])


@pytest.mark.parametrize("sets", [1, 3])
def test_an_interval_over_test_images_covers_the_difference_on_all_images(sets):
    """Students name each image right with a chance of its own; the images are a sample of those there could be."""
    rng, images, runs, hits = np.random.default_rng(5), 300, 1000, 0
    for _ in range(runs):
        chances = rng.uniform(size=(2, images))
        shifts = rng.normal(0, 0.02 if sets > 1 else 0, (2, sets, 1, 1))  # one set is taken as given
        named = rng.uniform(size=(2, sets, 5, images)) < np.clip(chances[:, None, None] + shifts, 0, 1)
        by_name = tuple({str(d): dict(enumerate(one[d])) for d in range(sets)} for one in named)
        low, high = paired_difference(by_seed(named[0].mean(-1)), by_seed(named[1].mean(-1)), by_name).interval
        hits += low <= 0 <= high
    assert 0.93 <= hits / runs <= 0.98


def test_sets_with_eval_seeds_of_their_own_are_a_sample_of_sets():
    sets = [[0.50, 0.54], [0.60, 0.58], [0.55, 0.57]]
    apart = {str(d): {10 * d + e: value for e, value in enumerate(values)} for d, values in enumerate(sets)}
    assert estimate(apart).half_width == pytest.approx(half_width([fmean(values) for values in sets]))


@pytest.mark.parametrize("value", [269787.44, 1e-3 / 7, 1e15 / 7])
def test_equal_numbers_of_any_size_tell_no_spread(value):
    sets = {str(d): dict.fromkeys(range(7), value) for d in range(3)}
    assert estimate(sets).half_width is None
    assert estimate({"0": sets["0"]}).half_width is None
    assert paired_difference(sets, {name: dict.fromkeys(range(7), value * 2) for name in sets}).half_width is None


def test_two_values_have_one_degree_of_freedom():
    t = stats.t.ppf(0.975, 1)
    assert half_width([0.5, 0.6]) == pytest.approx(t * 0.05)
    assert estimate({"0": {0: 0.5, 1: 0.6}}).half_width == pytest.approx(t * 0.05)
    assert estimate({"0": {0: 0.5}, "1": {0: 0.6}}).half_width == pytest.approx(t * 0.05)
    pair = paired_difference({"0": {0: 0.5, 1: 0.6}}, {"0": {0: 0.4, 1: 0.4}})
    assert pair.half_width == pytest.approx(t * 0.05)

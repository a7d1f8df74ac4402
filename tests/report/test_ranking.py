from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ddbench.report.comparisons import adjusted, p_values, told_apart
from ddbench.report.hits import image_shares, of_image_pairs, of_images
from ddbench.report.ranking import Place, placed, places
from ddbench.report.spread import of_difference

SIMULATIONS = 2000


def by_seed(y: np.ndarray, method: str = "") -> dict[str, dict[int, float]]:
    return {f"{method}{d}": dict(enumerate(values)) for d, values in enumerate(y.tolist())}


def equal_methods(rng, count, sets, seeds, sds) -> list[np.ndarray]:
    """Return scores of methods of equal worth, (SIMULATIONS, sets, seeds) each.

    An eval seed shifts all methods alike; `sds`: of sets, of what an eval seed does to one method's sets alike, and the rest.
    Of a method with one set, the set is taken as given.
    """
    of_set, of_seed, of_rest = sds
    shared = rng.normal(0, 1, (SIMULATIONS, 1, seeds))
    return [
        shared
        + (rng.normal(0, of_set, (SIMULATIONS, sets, 1)) if sets > 1 else 0)
        + rng.normal(0, of_seed, (SIMULATIONS, 1, seeds))
        + rng.normal(0, of_rest, (SIMULATIONS, sets, seeds))
        for _ in range(count)
    ]


def error_rate(blocks: list[np.ndarray]) -> float:
    """Return how often any two methods are told apart."""
    return float(np.mean([told_apart(p).any() for p in p_values(blocks)]))


@pytest.mark.parametrize("count", [5, 10, 20])
@pytest.mark.parametrize(("sets", "seeds"), [(3, 3), (5, 5), (10, 5), (1, 3), (3, 1)])
@pytest.mark.parametrize("sds", [(1, 0, 0.8), (1, 0.3, 0.8), (0.5, 1, 0.8)], ids=["sets", "mixed", "seeds"])
def test_equal_methods_are_told_apart_less_than_one_time_in_twenty(count, sets, seeds, sds):
    if seeds == 1:
        sds = (sds[0], 0, sds[2])  # one eval seed: what it does to one method is given
    assert error_rate(equal_methods(np.random.default_rng(3), count, sets, seeds, sds)) < 0.05


@pytest.mark.parametrize("count", [5, 20])
def test_equal_methods_of_unequal_spread_are_told_apart_less_than_one_time_in_twenty(count):
    rng = np.random.default_rng(4)
    blocks = equal_methods(rng, count, 3, 3, (1, 0.3, 0.8))
    blocks[0] = blocks[0] + rng.normal(0, 4, (SIMULATIONS, 3, 1))
    assert error_rate(blocks) < 0.05


@pytest.mark.parametrize("count", [5, 20])
def test_a_row_of_one_set_among_rows_of_several_is_told_apart_less_than_one_time_in_twenty(count):
    rng = np.random.default_rng(5)
    blocks = equal_methods(rng, count, 3, 3, (1, 0.3, 0.8))
    shared = blocks[0].mean(-2, keepdims=True) - blocks[0].mean((-1, -2), keepdims=True)
    blocks[-1] = shared + rng.normal(0, 0.8, (SIMULATIONS, 1, 3))
    assert error_rate(blocks) < 0.05


@pytest.mark.parametrize(("sets", "seeds"), [(3, 3), (5, 5)])
def test_a_method_that_is_far_better_than_nineteen_equal_ones_is_found(sets, seeds):
    blocks = equal_methods(np.random.default_rng(6), 20, sets, seeds, (1, 0, 0.8))
    blocks[0] = blocks[0] + 40
    ranks = [placed(means, p)[0].rank for means, p in zip(_means(blocks), p_values(blocks), strict=True)]
    assert np.mean([rank == (1, 1) for rank in ranks]) > 0.6


def _means(blocks: list[np.ndarray]) -> np.ndarray:
    return np.stack([one.mean((-1, -2)) for one in blocks], -1)


def test_holm_is_statsmodels_holm():
    rng = np.random.default_rng(7)
    for _ in range(20):
        p = np.ones((6, 6))
        pairs = rng.uniform(0, 0.02, 15)
        p[np.triu_indices(6, 1)] = pairs
        apart, theirs, *_ = multipletests(pairs, 0.05, "holm")
        assert (told_apart(p)[np.triu_indices(6, 1)] == apart).all()
        np.testing.assert_allclose(adjusted(pairs), theirs, rtol=1e-12)


def test_with_two_methods_and_one_set_each_the_p_value_is_of_the_paired_t_test():
    one, two = np.array([[0.70, 0.74, 0.71, 0.69]]), np.array([[0.60, 0.63, 0.62, 0.58]])
    assert p_values([one, two])[0, 1] == pytest.approx(stats.ttest_rel(one[0], two[0]).pvalue)


def test_with_two_methods_that_vary_alike_and_one_seed_the_p_value_is_of_the_pooled_t_test():
    one, two = np.array([[0.70], [0.72], [0.71]]), np.array([[0.65], [0.63], [0.64]])
    assert p_values([one, two])[0, 1] == pytest.approx(stats.ttest_ind(one[:, 0], two[:, 0]).pvalue)


def test_a_method_that_varies_less_than_others_is_no_surer_for_it():
    rng = np.random.default_rng(8)
    steady, others = rng.normal(0, 1e-6, (3, 1)), [rng.normal(0, 1, (3, 1)) for _ in range(3)]
    common = sum(one.var(ddof=1) for one in [steady, *others]) / 4
    others = [(one - one.mean()) / one.std(ddof=1) * common**0.5 for one in others]
    common = (steady.var(ddof=1) + 3 * common) / 4
    variance = common / 3 + max(common, others[0].var(ddof=1)) / 3
    t = abs(steady.mean() - others[0].mean()) / variance**0.5
    assert p_values([steady, *others])[0, 1] >= 2 * stats.t.sf(t, 8)


def test_ranks_leave_open_what_the_comparisons_leave_open():
    p = np.ones((4, 4))
    for i, j in [(0, 2), (0, 3), (1, 3)]:
        p[i, j] = p[j, i] = 1e-6
    found = placed(np.array([0.9, 0.8, 0.7, 0.6]), p)
    assert [place.rank for place in found] == [(1, 2), (1, 3), (2, 4), (3, 4)]
    assert [place.group for place in found] == [1, 1, 2, 2]


def test_where_lower_is_better_the_lowest_comes_first():
    rng = np.random.default_rng(9)
    scores = {name: by_seed(mean + rng.normal(0, 0.001, (3, 3))) for name, mean in (("a", 0.5), ("b", 0.1), ("c", 0.9))}
    found = places(scores, None, higher_is_better=False)
    assert {name: place.rank for name, place in found.items()} == {"a": (2, 2), "b": (1, 1), "c": (3, 3)}


def test_methods_that_score_the_same_share_a_rank():
    same = np.array([[0.5, 0.6], [0.55, 0.65], [0.52, 0.6]])
    assert {place.rank for place in places({name: by_seed(same, name) for name in "abc"}, None).values()} == {(1, 3)}
    flat = np.full((3, 3), 0.1)
    assert {place.rank for place in places({name: by_seed(flat, name) for name in "ab"}, None).values()} == {(1, 2)}


def test_the_same_sets_under_several_names_are_one_competitor():
    rng = np.random.default_rng(11)
    scores = {name: by_seed(mean + rng.normal(0, 0.01, (3, 3)), name) for name, mean in (("random", 0.5), ("b", 0.53), ("c", 0.9))}
    alone = places(scores, "random")
    again = places({**scores, **{f"b{number}": scores["b"] for number in range(20)}}, "random")
    assert {name: again[name] for name in scores} == alone
    assert {place for name, place in again.items() if name.startswith("b")} == {alone["b"]}
    (why,) = {place.why for place in places({"a": scores["b"], "b": scores["b"]}, None).values()}
    assert why == "all complete rows are the same sets"


def test_a_row_that_lacks_students_is_not_ranked_and_does_not_move_others():
    rng = np.random.default_rng(10)
    full = {name: by_seed(mean + rng.normal(0, 0.001, (3, 3))) for name, mean in (("random", 0.5), ("b", 0.9))}
    holes = by_seed(np.full((3, 3), 0.99))
    del holes["1"][2]
    found = places({**full, "c": holes}, "random")
    assert found["c"] == Place(None, why="1 of 9 students are missing")
    assert (found["b"].rank, found["random"].rank) == ((1, 1), (2, 2))


def test_a_row_needs_every_eval_seed_that_random_has_and_may_have_more():
    rng = np.random.default_rng(11)
    scores = {name: by_seed(rng.normal(0, 1, (3, seeds))) for name, seeds in (("random", 3), ("few", 2), ("many", 5))}
    found = places(scores, "random")
    assert found["few"].why == "3 of 9 students are missing"
    assert found["many"].rank == (1, 2)


def test_seeds_that_random_alone_has_unrank_nobody():
    y = np.random.default_rng(5).normal(0.5, 0.05, (4, 3, 3))
    random, two, one, none = (by_seed(each) for each in y)
    two, one = (
        {name: {seed: seeds[seed] for seed in kept} for name, seeds in row.items()} for row, kept in ((two, (0, 1)), (one, (0,)))
    )
    none = {name: {7: seeds[0]} for name, seeds in none.items()}
    found = places({"random": random, "two": two, "one": one, "none": none}, "random")
    assert found["random"].rank is not None
    assert found["two"].rank is not None
    assert (found["one"].why, found["none"].why) == ("3 of 6 students are missing", "6 of 6 students are missing")
    both = places(
        {
            name: {s: {e: v for e, v in seeds.items() if e < 2} for s, seeds in row.items()}
            for name, row in (("random", random), ("two", two))
        },
        "random",
    )
    assert (found["random"].rank, found["two"].rank) == (both["random"].rank, both["two"].rank)


def test_random_of_too_few_draws_and_single_students_have_no_rank():
    rng = np.random.default_rng(12)
    found = places({"random": by_seed(rng.normal(0, 1, (2, 1))), "a": by_seed(rng.normal(0, 1, (1, 1)))}, "random")
    assert found["random"].why == "random has 2 of at least 3 draws"
    assert found["a"].why == "one student tells no spread"


def test_a_rank_is_written_as_an_interval():
    assert [Place(rank, 1).text for rank in ((1, 3), (2, 2))] == ["1–3", "2"]
    assert Place(None, why="lacks").text == ""


def students(rng, chances: np.ndarray, sets: int, seeds: int) -> np.ndarray:
    """Return hits (sets, seeds, images) of students that name each image right with its own chance."""
    return rng.uniform(size=(sets, seeds, len(chances))) < chances


def test_the_variance_over_test_images_is_that_of_the_chances_alone():
    rng = np.random.default_rng(13)
    images, found = 400, []
    for _ in range(300):
        one, two = rng.uniform(0.2, 1, images), rng.uniform(0, 0.8, images)
        found.append(of_images(image_shares(students(rng, one, 3, 3)), image_shares(students(rng, two, 3, 3))).variance)
    assert np.mean(found) == pytest.approx(2 * 0.64 / 12 / images, rel=0.03)


def test_all_pairs_over_test_images_are_the_pairs_one_by_one():
    rng = np.random.default_rng(14)
    shares = [image_shares(students(rng, rng.uniform(size=50), 3, 2)) for _ in range(4)]
    together = of_image_pairs(shares)
    for i in range(4):
        for j in range(4):
            alone = of_images(shares[i], shares[j])
            assert together.variance[i, j] == pytest.approx(alone.variance, abs=1e-15)
            assert together.cautious[i, j] == pytest.approx(alone.cautious, abs=1e-18)


def test_test_images_that_two_methods_get_right_by_luck_do_not_tell_them_apart():
    """Methods of equal worth, each good at other images: on these images one is ahead, on others it would not be."""
    rng, images, runs = np.random.default_rng(15), 300, 400
    with_images = without = 0
    for _ in range(runs):
        hits = [students(rng, rng.uniform(0, 1, images), 3, 3) for _ in range(2)]
        blocks = [one.mean(-1) for one in hits]
        without += told_apart(p_values(blocks))[0, 1]
        with_images += told_apart(p_values(blocks, of_image_pairs([image_shares(one) for one in hits])))[0, 1]
    assert with_images / runs < 0.05 < without / runs


def test_no_two_methods_are_told_apart_whose_own_interval_holds_0():
    blocks = equal_methods(np.random.default_rng(16), 20, 3, 3, (1, 0.3, 0.8))
    apart = p_values(blocks)[:, 0, 1] <= 0.05
    off = np.abs(blocks[0].mean((-1, -2)) - blocks[1].mean((-1, -2)))
    assert (off[apart] > of_difference(blocks[0], blocks[1]).half_width()[apart]).all()
    assert apart.any()

"""Image grids, maps of features, and walks, from arrays made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ddbench.report.figures.embedding import SHARES, contour_levels, flattened
from ddbench.report.figures.grids import tiled
from ddbench.report.figures.training import summarised
from ddbench.report.figures.walks import by_class, joined_ends, read_walk


def test_a_grid_has_a_row_for_each_class_and_its_first_images_in_order():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 1, 2, 2), dtype=np.uint8)
    picture = tiled(images, np.asarray([1, 0, 1, 0, 0, 2]), rows=2, columns=2)
    assert picture.shape == (5, 5, 3)
    assert [int(picture[top, left, 0]) for top in (0, 3) for left in (0, 3)] == [1, 3, 0, 2]
    assert int(picture[2, 0, 0]) == int(picture[0, 2, 0]) == 255


def test_colours_of_an_image_stay_its_own():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    assert tiled(image, np.asarray([0]), rows=1, columns=1)[1, 0].tolist() == [2, 6, 10]


def test_contours_hold_the_shares_of_the_density_that_they_say():
    x, y = np.meshgrid(np.linspace(-4, 4, 200), np.linspace(-4, 4, 200))
    heights = np.exp(-(x**2 + y**2) / 2)
    levels = contour_levels(heights)
    assert levels == sorted(levels)
    for level, share in zip(levels, SHARES, strict=True):
        assert heights[heights >= level].sum() / heights.sum() == pytest.approx(share, abs=0.01)
        assert level == pytest.approx(1 - share, abs=0.01)  # of a normal density in two dimensions, in closed form
    assert len(set(contour_levels(np.ones((3, 3))))) == len(SHARES)


def test_equal_features_give_an_equal_map_that_keeps_clusters_together():
    generator = np.random.default_rng(0)
    centres = 50 * generator.normal(size=(3, 20))
    parts = [centre + generator.normal(size=(20, 20)) for centre in centres]
    first, second = flattened(parts), flattened(parts)
    assert first.shape == (60, 2)
    np.testing.assert_array_equal(first, second)
    label = np.repeat(np.arange(3), 20)
    nearest = [int(np.argsort(((first - point) ** 2).sum(axis=1))[1]) for point in first]
    assert (label[nearest] == label).all()


@pytest.mark.parametrize("count", [4, 7])
def test_a_handful_of_images_has_a_map_too(count):
    assert flattened([np.random.default_rng(0).normal(size=(count, 3))]).shape == (count, 2)


def test_a_walk_with_a_selector_is_counted_over_all_its_spaces():
    arrays = {
        "walk.loss": np.arange(10, dtype=np.float32),
        "walk.score": np.asarray([3.0, 2.0, 1.0, 4.0, 5.0, 6.0], dtype=np.float32),
        "walk.scored_at": np.asarray([[0, 0], [0, 2], [0, 4], [1, 0], [1, 3], [1, 6]]),
        "walk.chosen": np.asarray([4, 0]),
    }
    one = read_walk(arrays, ("w+", "f1"), jobs=1)
    assert (one.spaces, one.ends, one.chosen) == (("w+", "f1"), (4, 10), (4, 4))
    assert one.scored_at.tolist() == [0, 2, 4, 4, 7, 10]
    assert one.chosen_score == (1.0, 4.0)  # both at step 4 of the whole walk: the end of one space, the start of the next


def test_the_first_of_several_jobs_is_shown_and_unknown_spaces_are_numbered():
    arrays = {
        "walk.loss": np.arange(8.0),
        "walk.score": np.arange(8.0),
        "walk.scored_at": np.tile(np.asarray([[0, 0], [0, 2], [1, 0], [1, 2]]), (2, 1)),
        "walk.chosen": np.asarray([0, 2, 2, 0]),
    }
    one = read_walk(arrays, (), jobs=2)
    assert (one.spaces, one.ends, one.chosen) == (("space 1", "space 2"), (2, 4), (0, 4))
    assert one.loss.tolist() == [0, 1, 2, 3]


def test_without_a_selector_spaces_have_the_steps_that_were_asked_for_or_equal_ones():
    arrays = {"walk.loss": np.arange(7.0)}
    assert read_walk(arrays, ("w+", "f1"), jobs=1).ends == (4, 7)
    assert read_walk(arrays, ("w+", "f1"), jobs=1, steps=(5, 2)).ends == (5, 7)


def test_ends_of_jobs_are_joined_by_space_and_the_first_image_of_each_class_is_taken():
    ends = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(6, 2, 1, 1, 1)  # two jobs of three spaces and two images
    joined = joined_ends(ends, 3)
    assert joined[:, :, 0, 0, 0].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert by_class(joined, np.asarray([1, 0, 0, 2]), 2)[:, :, 0, 0, 0].tolist() == [[1, 0], [3, 2], [5, 4]]


def test_a_curve_is_the_mean_of_students_with_their_range_and_missing_epochs_are_between_their_neighbours():
    from factory import a_record

    def student(curve):
        training = {"optimiser_steps": 1, "images_seen": 1, "parameters": 1, "curve": curve}
        return a_record(training=training)

    found = summarised([student(((0, 4.0), (2, 2.0))), student(((0, 6.0), (1, 5.0), (2, 0.0)))])
    assert found == {"epoch": [0, 1, 2], "mean": [5.0, 4.0, 1.0], "low": [4.0, 3.0, 0.0], "high": [6.0, 5.0, 2.0]}

"""kmeans keeps to what a synthesizer must, and picks what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ddbench_example import KMeans
from ddbench_example.prototypes import class_features, nearest

from ddbench.testing import Bench, SynthesizerConformance

if TYPE_CHECKING:
    from ddbench.context import StageContext


class TestKMeans(SynthesizerConformance):
    synthesizer = KMeans()
    options: ClassVar[Mapping[str, object]] = {"restarts": 1}

    def test_images_are_real_distinct_and_where_the_extras_say(self, bench: Bench) -> None:
        made, train = self.distil(bench, ipc=3), bench.session().train
        index = made.extras["real_index"]
        assert len(set(index.tolist())) == len(made.labels)
        assert made.images.equal(train.images(index))
        assert all(int(place) in train.indices(int(label)) for place, label in zip(index, made.labels, strict=True))

    def test_asked_for_all_images_of_a_class_it_gives_each_once(self, bench: Bench) -> None:
        made, train = self.distil(bench, ipc=12), bench.session().train
        mine = made.extras["real_index"][made.labels == 0]
        assert mine.sort().values.equal(train.indices(0))


def test_one_cluster_gives_the_row_nearest_to_the_mean() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 5))
    (row,) = nearest(vectors, 1, restarts=2, seed=0)
    assert row == np.square(vectors - vectors.mean(0)).sum(1).argmin()


def test_clusters_that_lie_apart_give_a_row_of_each_the_largest_first() -> None:
    draws = np.random.default_rng(0)
    sizes, centres = (5, 30, 10), ((0.0, 0.0), (50.0, 0.0), (0.0, 50.0))
    blobs = [np.array(centre) + draws.standard_normal((size, 2)) for size, centre in zip(sizes, centres, strict=True)]
    vectors = np.concatenate(blobs)
    rows = nearest(vectors, 3, restarts=3, seed=1)
    assert [int(np.searchsorted(np.cumsum(sizes), row, side="right")) for row in rows] == [1, 2, 0]


def test_equal_vectors_leave_clusters_empty_and_rows_stay_distinct() -> None:
    rows = nearest(np.ones((6, 3)), 4, restarts=1, seed=0)
    assert sorted(rows.tolist()) == [0, 1, 2, 3]


def test_features_are_the_teachers_one_row_an_image(ddbench_context: StageContext) -> None:
    index = ddbench_context.train.indices(0)
    plain, scaled = (class_features(ddbench_context, index, normalise=normalise) for normalise in (False, True))
    assert plain.shape == (len(index), 16)
    assert np.allclose(np.square(scaled).sum(1), 1)

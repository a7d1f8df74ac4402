"""Clusters of each class in a teacher's feature space, and the real images nearest to their centres."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch.nn.functional import normalize

from ddbench import JobResult
from ddbench.kit import Pixels, features
from ddbench.seeding import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench import Context, Job

CHUNK = 1024
"""Images on the device at once."""


def prototypes(ctx: Context, job: Job, *, restarts: int, normalise: bool) -> JobResult:
    """Return uint8 images, one for each of the job's labels, and their train positions as `real_index`."""
    chosen = {}
    wanted = Counter(job.labels)
    for done, (label, count) in enumerate(wanted.items(), start=1):
        index = ctx.train.indices(label).cpu()
        vectors = class_features(ctx, index, normalise=normalise)
        seed = derive_seed("kmeans", job.seed, label) % 2**32
        chosen[label] = iter(index[torch.from_numpy(nearest(vectors, count, restarts=restarts, seed=seed))])
        ctx.progress(done, len(wanted))
    picked = torch.stack([next(chosen[label]) for label in job.labels])
    return JobResult(ctx.train.images(picked).cpu(), torch.tensor(job.labels), extras={"real_index": picked})


def class_features(ctx: Context, index: torch.Tensor, *, normalise: bool) -> NDArray[np.float64]:
    """Return float64 (n, D): the teacher's last features of the train images at int64 (n,) positions."""
    teacher = ctx.needs["teacher"]
    pixels = Pixels.of(teacher, ctx.device)
    parts = [features(teacher.module, pixels.normalise(ctx.train.images(part))).cpu() for part in torch.split(index, CHUNK)]
    vectors = torch.cat(parts).double()
    found: NDArray[np.float64] = (normalize(vectors) if normalise else vectors).numpy()
    return found


def nearest(vectors: NDArray[np.float64], count: int, *, restarts: int, seed: int) -> NDArray[np.int64]:
    """Return int64 (count,): for each of `count` clusters its row nearest to the centre, largest cluster first.

    Rows are distinct: each is taken among those of its own cluster. Of equal ones the first is taken. Where there are fewer
    different vectors than clusters, some clusters stay empty, and the rows left over follow in their order.

    Args:
        vectors: float64 (n, D), n at least `count`.
        count: How many clusters.
        restarts: Runs of Lloyd's algorithm from k-means++ starts; the one with the least inertia is kept.
        seed: Of the starts, in [0, 2**32).
    """
    different = min(count, len(np.unique(vectors, axis=0)))
    clusters = KMeans(different, n_init=restarts, random_state=seed).fit(vectors)
    far = np.square(vectors - clusters.cluster_centers_[clusters.labels_]).sum(1)
    by_size = np.argsort(-np.bincount(clusters.labels_, minlength=different), kind="stable")
    rows = [int(np.where(clusters.labels_ == cluster, far, np.inf).argmin()) for cluster in by_size]
    left = [row for row in range(len(vectors)) if row not in set(rows)]
    return np.array([*rows, *left][:count], dtype=np.int64)

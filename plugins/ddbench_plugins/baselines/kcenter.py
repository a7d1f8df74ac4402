"""kcenter: the images that leave no image of their class far away, in a teacher's feature space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Context, DatasetFacts, Job, JobResult, Need, NoOptions, Options, Synthesizer, jobs_per_image_index
from ddbench_plugins.baselines.planning import NO_SEED, jobs_in_memory, refuse_small_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from torch import Tensor


class KCenter(Synthesizer):
    """Greedy k-centre within each class (Gonzalez 1985; Sener and Savarese 2018), as uint8.

    The first centre is the image nearest to the class mean; each further one is the image farthest from the centres
    so far. Nothing is drawn: every distill seed would give the same set, so that one is made; only another teacher gives
    another one.
    """

    name = "kcenter"
    version = 1
    options = NoOptions

    def start(self, o: Options) -> Literal["real"]:
        return "real"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"teacher": Need("teacher")}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job per image index: job `i` holds each class's centre number `i`.

        Raises:
            NotEnoughImages: A class holds fewer than `ipc` train images.
        """
        refuse_small_classes(facts, ipc, self.name)
        return jobs_per_image_index(facts, ipc, NO_SEED)

    def stack(self, o: Options, facts: DatasetFacts) -> int:
        """Return how many jobs share one pass over the features: all of them, unless their images are too large to hold."""
        return jobs_in_memory(facts)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Order each class once and hand out the group's centres."""
        from ddbench_plugins.baselines.selection import select  # torch enters here

        return select(ctx, group, kcenter_order, normalise=False)


def kcenter_order(features: Tensor, count: int) -> Tensor:
    """Return int64 (count,): rows of one class in the order in which greedy k-centre picks them, each at most once.

    Of equally far rows the first is taken.

    Args:
        features: float64 (n, D), n at least `count`.
        count: How many centres to pick.
    """
    import torch

    order = [int((features - features.mean(dim=0)).square().sum(dim=1).argmin())]
    nearest = torch.full((len(features),), torch.inf, dtype=features.dtype)
    while len(order) < count:
        nearest = torch.minimum(nearest, (features - features[order[-1]]).square().sum(dim=1))
        nearest[order[-1]] = -1.0  # below every distance: equal images must not be picked twice
        order.append(int(nearest.argmax()))
    return torch.tensor(order[:count], dtype=torch.int64)

"""herding: the images whose running mean stays nearest to the class mean, in a teacher's feature space."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import Field

from ddbench import Context, DatasetFacts, Job, JobResult, Need, Options, Synthesizer, jobs_per_image_index
from ddbench_plugins.baselines.planning import NO_SEED, jobs_in_memory, refuse_small_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from torch import Tensor


class HerdingOptions(Options):
    """Options of `herding`."""

    normalise: bool = Field(default=True, description="Scale every feature vector to length one first, as iCaRL does.")


class Herding(Synthesizer):
    """Greedy mean matching within each class (Welling 2009; Rebuffi et al. 2017, iCaRL, algorithm 4), as uint8.

    Nothing is drawn: every distill seed would give the same set, so that one is made; only another teacher gives another one.
    """

    name = "herding"
    version = 1
    options = HerdingOptions

    def start(self, o: Options) -> Literal["real"]:
        return "real"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"teacher": Need("teacher")}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job per image index: job `i` holds each class's pick number `i`.

        Raises:
            NotEnoughImages: A class holds fewer than `ipc` train images.
        """
        refuse_small_classes(facts, ipc, self.name)
        return jobs_per_image_index(facts, ipc, NO_SEED)

    def stack(self, o: Options, facts: DatasetFacts) -> int:
        """Return how many jobs share one pass over the features: all of them, unless their images are too large to hold."""
        return jobs_in_memory(facts)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Order each class once and hand out the group's picks."""
        from ddbench_plugins.baselines.selection import select  # torch enters here

        return select(ctx, group, herding_order, normalise=cast("HerdingOptions", o).normalise)


def herding_order(features: Tensor, count: int) -> Tensor:
    """Return int64 (count,): rows of one class in the order in which herding picks them, each at most once.

    Pick k minimises ||mu - (phi(x) + sum of the picked) / k||, which is least where
    ||phi(x)||^2 - 2 <phi(x), k mu - sum of the picked> is. Of equal rows the first is taken.

    Args:
        features: float64 (n, D), n at least `count`.
        count: How many to pick.
    """
    import torch

    mu, squares = features.mean(dim=0), features.square().sum(dim=1)
    total, taken, order = torch.zeros_like(mu), torch.zeros(len(features), dtype=torch.bool), []
    for k in range(1, count + 1):
        cost = squares - 2 * (features @ (k * mu - total))
        pick = int(cost.masked_fill(taken, torch.inf).argmin())
        order.append(pick)
        taken[pick] = True
        total += features[pick]
    return torch.tensor(order, dtype=torch.int64)

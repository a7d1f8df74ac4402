"""random: real images drawn without replacement, the control every method must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Context, DatasetFacts, Job, JobResult, Need, NoOptions, Options, Synthesizer, jobs_per_image_index
from ddbench_plugins.baselines.planning import refuse_small_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal


class Random(Synthesizer):
    """`ipc` distinct train images of each class, as uint8; one distill seed is one draw."""

    name = "random"
    version = 1  # bump when a change moves a number
    options = NoOptions

    def start(self, o: Options) -> Literal["real"]:
        return "real"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job per image index, each holding every class once.

        Raises:
            NotEnoughImages: A class holds fewer than `ipc` train images.
        """
        refuse_small_classes(facts, ipc, self.name)
        return jobs_per_image_index(facts, ipc, seed)

    def stack(self, o: Options, facts: DatasetFacts) -> int:
        return 1

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Draw the group's images."""
        from ddbench.kit import draw_real
        from ddbench_plugins.baselines.selection import picked  # torch enters here

        return [picked(ctx.train, draw_real(ctx.train, job), job.labels) for job in group]

"""full: the whole train split, the ceiling of every method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Context, DatasetFacts, Job, JobResult, Need, NoOptions, Options, Synthesizer
from ddbench_plugins.baselines.planning import NO_SEED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

CHUNK = 1000
"""Images of one job at most: 150 MB at 224 px."""


class Full(Synthesizer):
    """Every train image once, as uint8. `ipc` is ignored, and there is one set: nothing is drawn."""

    name = "full"
    version = 1
    options = NoOptions

    def start(self, o: Options) -> Literal["real"]:
        return "real"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job per chunk of a class, in the order of the classes."""
        return [Job(index, (label,) * (stop - begin), NO_SEED) for index, (label, begin, stop) in enumerate(_chunks(facts))]

    def stack(self, o: Options, facts: DatasetFacts) -> int:
        return 1

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Read the group's chunks."""
        from ddbench_plugins.baselines.selection import picked  # torch enters here

        chunks = _chunks(ctx.train.facts)
        results = []
        for job in group:
            label, begin, stop = chunks[job.index]
            results.append(picked(ctx.train, ctx.train.indices(label)[begin:stop], job.labels))
        return results


def _chunks(facts: DatasetFacts) -> list[tuple[int, int, int]]:
    """Return (class, first, end) of every chunk: positions within the class, planned from the counts alone."""
    return [
        (label, begin, min(begin + CHUNK, count))
        for label, count in enumerate(facts.counts)
        for begin in range(0, count, CHUNK)
    ]  # fmt: skip

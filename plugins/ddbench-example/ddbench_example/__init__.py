"""kmeans: in a teacher's feature space, the real images nearest to the centres of each class's clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

from pydantic import Field

from ddbench import Context, DatasetFacts, Job, JobResult, Need, Options, Synthesizer, hookimpl, one_job

ddbench_api = 1


class KMeansOptions(Options):
    """Options of `kmeans`."""

    restarts: int = Field(default=3, ge=1, le=100, description="Runs of Lloyd's algorithm; the tightest clusters are taken.")
    normalise: bool = Field(default=False, description="Scale every feature vector to length one first.")


class KMeans(Synthesizer):
    """As many clusters in each class as images are asked for, and the real image nearest to each centre, as uint8."""

    name = "kmeans"
    version = 1  # bump when a change moves a number
    options = KMeansOptions

    def start(self, o: Options) -> Literal["real"]:
        return "real"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"teacher": Need("teacher")}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job: the clusters of a class depend on how many there are.

        Raises:
            NotEnoughImages: A class holds fewer than `ipc` train images.
        """
        from ddbench.kit import refuse_small_classes

        refuse_small_classes(facts, ipc)
        return one_job(facts, ipc, seed)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Return the images of the one job."""
        from ddbench_example.prototypes import prototypes  # torch and scikit-learn enter here

        options = cast("KMeansOptions", o)
        return [prototypes(ctx, job, restarts=options.restarts, normalise=options.normalise) for job in group]


@hookimpl
def ddbench_synthesizers() -> Iterable[Synthesizer]:
    return [KMeans()]

"""noise: pixels without any image in them, so that what remains of a score comes from the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Context, DatasetFacts, Job, JobResult, Need, NoOptions, Options, Synthesizer, jobs_per_image_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal


class Noise(Synthesizer):
    """Pixels drawn from N(mean, std) of the dataset's channels, clamped to [0, 1], as uint8; the label-only control."""

    name = "noise"
    version = 1
    options = NoOptions

    def start(self, o: Options) -> Literal["noise"]:
        return "noise"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job per image index, each holding every class once."""
        return jobs_per_image_index(facts, ipc, seed)

    def stack(self, o: Options, facts: DatasetFacts) -> int:
        return 1

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Draw the group's pixels, each job's from its own generator."""
        return [_noise(ctx.train.facts, job) for job in group]


def _noise(facts: DatasetFacts, job: Job) -> JobResult:
    """Return N(0, 1) in the normalised space, that is N(mean, std) in [0, 1], rounded to uint8."""
    import torch

    from ddbench.seeding import generator_for

    normalised = torch.randn(len(job.labels), *facts.shape, generator=generator_for("noise", job.seed, job.index))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (facts.mean, facts.std))
    pixels = (normalised * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    return JobResult(pixels, torch.tensor(job.labels), space="uint8")

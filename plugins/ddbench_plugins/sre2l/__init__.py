"""sre2l: images optimised from noise until a trained teacher knows their classes and its batch norm layers their statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from ddbench import (
    Context,
    DatasetFacts,
    Job,
    JobResult,
    Need,
    Options,
    RecoverOptions,
    Synthesizer,
    hookimpl,
    jobs_per_image_index,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ddbench.kit import RecoverRecipe


class Sre2lOptions(RecoverOptions):
    """Options of `sre2l`: those of recover; the defaults are those for CIFAR-100."""


class Sre2l(Synthesizer):
    """Squeeze, recover and relabel (Yin, Xing and Shen, 2023): this is recover; the teacher is squeezed by the harness."""

    name = "sre2l"
    version = 1  # bump when a change moves a number
    options = Sre2lOptions

    def start(self, o: Options) -> Literal["real", "noise"]:
        return cast("Sre2lOptions", o).init

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"teacher": Need("teacher")}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job per image index, each holding every class once.

        Raises:
            NotEnoughImages: A class cannot give `ipc` real images to start from.
        """
        if self.start(o) == "real":
            from ddbench.kit import refuse_small_classes

            refuse_small_classes(facts, ipc)
        return jobs_per_image_index(facts, ipc, seed)

    def stack(self, o: Options, facts: DatasetFacts) -> int:
        """Return how many jobs are optimised side by side: they share the teacher's weights."""
        from ddbench.kit import stacked_jobs

        return stacked_jobs(_recipe(o), facts)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Recover the group's images.

        Raises:
            BadRequest: The teacher has no batch norm.
            SpecialValue: Images became NaN or infinite.
        """
        from ddbench.kit import recover_jobs  # torch enters here

        return recover_jobs(ctx, _recipe(o), group)


def _recipe(o: Options) -> RecoverRecipe:
    from ddbench.kit import RecoverRecipe

    return RecoverRecipe.of(o)


@hookimpl
def ddbench_synthesizers() -> Iterable[Synthesizer]:
    return [Sre2l()]

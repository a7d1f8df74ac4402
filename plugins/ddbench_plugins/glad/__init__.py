"""glad and hglad: latents of a generator optimised instead of pixels, in one of its spaces or walking through all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ddbench import Context, DatasetFacts, Job, JobResult, Need, Options, Synthesizer, Use, hookimpl, one_job
from ddbench_plugins.glad.options import GladOptions, HgladOptions, LatentOptions, begins_as, refuse_uneven

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from ddbench.api.context import PartKind

__all__ = ["Glad", "GladOptions", "Hglad", "HgladOptions"]


class Glad(Synthesizer):
    """GLaD (Cazenavette et al., 2023): latents of one space, decoded to the images that the objective sees."""

    name = "glad"
    version = 1  # bump when a change moves a number
    options = GladOptions

    def start(self, o: Options) -> Literal["prior"]:
        return "prior"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"prior": Need("prior", cast("GladOptions", o).prior)}

    def uses(self, o: Options) -> Mapping[PartKind, Use]:
        return {"objective": _objective(cast("GladOptions", o))}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job: an objective sees all images of a class together.

        Raises:
            NotEnoughImages: A class cannot give `ipc` real images to begin at.
            BadOption: All images of a class would begin the same.
        """
        return _jobs(cast("GladOptions", o), facts, ipc, seed)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Optimise the latents of one space.

        Raises:
            BadRequest: The prior has no such space; the message names those it has.
            SpecialValue: The loss became NaN or infinite.
        """
        from ddbench_plugins.glad.latents import distil  # torch enters here
        from ddbench_plugins.glad.legs import glad_recipe

        given = cast("GladOptions", o)
        return [distil(ctx, given, job, glad_recipe(given, ctx.needs["prior"])) for job in group]


class Hglad(Synthesizer):
    """H-GLaD (Zhong et al., 2025): latents of one space after another, the best of each handed on to the next."""

    name = "hglad"
    version = 1  # bump when a change moves a number
    options = HgladOptions

    def start(self, o: Options) -> Literal["prior"]:
        return "prior"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {"prior": Need("prior", cast("HgladOptions", o).prior)}

    def uses(self, o: Options) -> Mapping[PartKind, Use]:
        given = cast("HgladOptions", o)
        return {"objective": _objective(given), "selector": Use(given.selector)}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job: an objective sees all images of a class together.

        Raises:
            NotEnoughImages: A class cannot give `ipc` real images to begin at.
            BadOption: All images of a class would begin the same, or values for each space contradict one another.
        """
        refuse_uneven(cast("HgladOptions", o))
        return _jobs(cast("HgladOptions", o), facts, ipc, seed)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Walk through the spaces.

        Raises:
            BadRequest: The prior lacks a space; the message names those it has.
            SpecialValue: A loss or a score became NaN or infinite.
        """
        from ddbench_plugins.glad.latents import distil  # torch enters here
        from ddbench_plugins.glad.legs import hglad_recipe

        given = cast("HgladOptions", o)
        return [distil(ctx, given, job, hglad_recipe(given, ctx.needs["prior"])) for job in group]


@hookimpl
def ddbench_synthesizers() -> Iterable[Synthesizer]:
    return [Glad(), Hglad()]


def _objective(o: LatentOptions) -> Use:
    """Return the objective; trajectories are matched on plain images, as released for GLaD: a prior gives no whitened ones."""
    return Use(o.objective, {"zca": False} if o.objective == "trajectory" else {})


def _jobs(o: LatentOptions, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
    if begins_as(o, ipc) == "encode":
        from ddbench.kit import refuse_small_classes

        refuse_small_classes(facts, ipc)
    return one_job(facts, ipc, seed)

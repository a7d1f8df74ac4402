"""dwa: recover from real images with a teacher whose weights are moved, for each image index, to where those images are hard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field, model_validator

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


_RECOVER = RecoverOptions.model_fields


class DwaOptions(RecoverOptions):
    """Options of `dwa`: those of recover and of the adjustment; the defaults are those for CIFAR-10 and CIFAR-100."""

    rho: float = Field(
        default=0.015, ge=0, description="How far the teacher's weights move (the length of their path); 0: not at all."
    )
    steps: int = Field(default=12, ge=1, description="Steps in which they move.")
    direction: Literal["ascent", "random", "none"] = Field(
        default="ascent",
        description="Where they move: up the cross entropy of the images to start from, at random (a control), or nowhere.",
    )
    normalize: Literal["global_l2", "none"] = Field(
        default="global_l2", description="What a step's gradient is divided by: its norm over all weights, or nothing."
    )
    scope: Literal["per_batch_reset", "reference_cumulative", "per_ipc"] = Field(
        default="per_batch_reset",
        description="From where they move: from the teacher's for every class batch, on from the last class batch's (as released), "
        "or once for all classes of an image index.",
    )
    carry_xgrad: bool = Field(
        default=False,
        description="Add the images' gradients of those steps to the first step of recover, as the released code happens to do.",
    )
    r_var: float = Field(default=11.0, ge=0, description=_RECOVER["r_var"].description)
    init: Literal["noise", "real"] = Field(default="real", description=_RECOVER["init"].description)

    @model_validator(mode="after")
    def _carries_what_is_taken(self) -> DwaOptions:
        if self.carry_xgrad and (self.scope == "per_ipc" or self.direction != "ascent"):
            raise ValueError("carry_xgrad needs direction = ascent and a scope of single class batches")
        return self

    @property
    def adjusts(self) -> bool:
        """Whether the teacher's weights move at all."""
        return self.rho > 0 and self.direction != "none"


class Dwa(Synthesizer):
    """Diversity-driven synthesis by directed weight adjustment (Du et al., 2024), on the recover of SRe2L."""

    name = "dwa"
    version = 1  # bump when a change moves a number
    options = DwaOptions

    def start(self, o: Options) -> Literal["real", "noise"]:
        return cast("DwaOptions", o).init

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
        """Return how many jobs are optimised side by side: one where each has its own weights, else as many as sre2l takes."""
        from ddbench.kit import stacked_jobs

        recipe = _recipe(o)
        return 1 if cast("DwaOptions", o).adjusts else stacked_jobs(recipe, facts)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Adjust the weights and recover the group's images.

        Raises:
            BadRequest: The teacher has no batch norm.
            SpecialValue: Images became NaN or infinite.
        """
        from ddbench.kit import recover_jobs  # torch enters here
        from ddbench_plugins.dwa.adjust import Adjustment

        options = cast("DwaOptions", o)
        if not options.adjusts:
            return recover_jobs(ctx, _recipe(o), group)
        return [result for job in group for result in recover_jobs(ctx, _recipe(o), [job], adjust=Adjustment(ctx, options))]


def _recipe(o: Options) -> RecoverRecipe:
    from ddbench.kit import RecoverRecipe

    return RecoverRecipe.of(o)


@hookimpl
def ddbench_synthesizers() -> Iterable[Synthesizer]:
    return [Dwa()]

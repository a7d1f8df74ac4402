"""sre2l: images optimised from noise until a trained teacher knows their classes and its batch norm layers their statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import Context, DatasetFacts, Job, JobResult, Need, Options, Synthesizer, hookimpl, jobs_per_image_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ddbench.kit import RecoverRecipe


class Sre2lOptions(Options):
    """Options of `sre2l`; the defaults are those for CIFAR-100."""

    iterations: int = Field(default=1000, ge=0, description="Steps of recover; 0 leaves the images as they start.")
    batch: int = Field(
        default=100, ge=1, description="Classes optimised together, one image of each; batch norm sees them as one batch."
    )
    lr: float = Field(default=0.25, gt=0, description="Adam's learning rate at the start; it falls to 0 by a cosine.")
    r_bn: float = Field(
        default=0.01, ge=0, description="What the distance to the batch norm statistics counts beside the cross entropy."
    )
    r_var: float = Field(default=1.0, ge=0, description="What variances count beside means in that distance.")
    first_bn: float = Field(default=10.0, ge=0, description="What the first batch norm layer counts beside the others.")
    view: Literal["roll", "rrc_flip_roll"] = Field(
        default="roll", description="What the teacher is shown: the image rolled, or first cropped, resized and flipped."
    )
    roll_low: int = Field(default=0, ge=-512, le=512, description="Lowest offset of the roll along each axis, in pixels.")
    roll_high: int = Field(default=4, ge=-512, le=512, description="Highest offset of the roll along each axis, in pixels.")
    crop_annealing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fraction of the steps over which crops may become smaller (CDA); 0: small ones from the start.",
    )
    init: Literal["noise", "real"] = Field(
        default="noise", description="What images start from: standard normal noise, or real images."
    )
    jpeg: bool = Field(
        default=False, description="Save as the released code does: truncated and through JPEG, instead of rounded and lossless."
    )
    tv_l2: float = Field(default=0.0, ge=0, description="What the total variation of the views counts; 0 in every released script.")
    l2_scale: float = Field(default=0.0, ge=0, description="What the mean norm of the views counts; 0 in every released script.")


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

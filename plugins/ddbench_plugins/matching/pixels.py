"""dc, dsa, dm: matching objectives in pixels, all images of a set optimised together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ddbench import Context, DatasetFacts, Job, JobResult, Need, Options, Synthesizer, Use, one_job

from .fields import Init, Iterations, Momentum, Rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench.api.context import PartKind


class DcOptions(Options):
    """Options of `dc`; the defaults are those of the released code. The objective has its own: `-o objective.batch_real=64`."""

    iterations: Iterations = 1000
    lr: Rate = 0.1
    momentum: Momentum = 0.5
    init: Init = "noise"


class DsaOptions(Options):
    """Options of `dsa`; the defaults are those of the released code."""

    iterations: Iterations = 1000
    lr: Rate = 0.1
    momentum: Momentum = 0.5
    init: Init = "real"


class DmOptions(Options):
    """Options of `dm`; the defaults are those of the released code up to ipc 50."""

    iterations: Iterations = 20_000
    lr: Rate = 1.0
    momentum: Momentum = 0.5
    init: Init = "real"


@dataclass(frozen=True)
class PixelMatching(Synthesizer):
    """Pixels optimised by SGD for a matching objective; they may leave [0, 1], and are kept as they are."""

    name: str
    options: type[Options]
    objective: str
    title: str
    """What it is, in a sentence for a list."""
    version: int = 1
    matched_with: Mapping[str, object] = field(default_factory=dict)
    """The objective's options that make the method what it is."""
    advice: str = "a smaller learning rate of the images, -o lr=…"
    """What to try where the loss became NaN."""

    def start(self, o: Any) -> Literal["real", "noise"]:
        init: Literal["real", "noise"] = o.init
        return init

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def uses(self, o: Options) -> Mapping[PartKind, Use]:
        return {"objective": Use(self.objective, self.matched_with)}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """One job: the images of a class are matched together.

        Raises:
            NotEnoughImages: A class cannot give `ipc` real images to start from.
        """
        if self.start(o) == "real":
            from ddbench.kit import refuse_small_classes

            refuse_small_classes(facts, ipc)
        return one_job(facts, ipc, seed)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Optimise the images.

        Raises:
            SpecialValue: The loss became NaN or infinite.
        """
        from .pixel_images import optimised  # torch enters here

        return [optimised(ctx, self, o, job) for job in group]


DC = PixelMatching("dc", DcOptions, "gradient", "Pixels whose gradients of the loss match those of real images, class by class.")
"""Dataset Condensation with Gradient Matching (Zhao et al., ICLR 2021)."""

DSA = PixelMatching(
    "dsa",
    DsaOptions,
    "gradient",
    "`dc` with real and synthetic images of a class augmented alike.",
    matched_with={"augment": "dsa"},
)
"""Dataset Condensation with Differentiable Siamese Augmentation (Zhao and Bilen, ICML 2021)."""

DM = PixelMatching(
    "dm", DmOptions, "distribution", "Pixels whose mean embeddings match those of real images, over fresh random networks."
)
"""Dataset Condensation with Distribution Matching (Zhao and Bilen, WACV 2023)."""

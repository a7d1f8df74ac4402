"""gradient: images whose gradients, class by class and in a network in training, are those of real images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import Augment, Context, DatasetFacts, Job, Matching, Need, Objective, Options, Work
from ddbench.errors import BadOption

from .fields import Augmentation, BatchReal, Network, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

RELEASED = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""By ipc: steps that a network serves, and epochs that it trains between two of them (released code, get_loops)."""

SECOND_ORDER = 9.0
"""Forward passes' worth of a synthetic image: its gradient takes 3, differentiating that as much again twice."""


class GradientOptions(Options):
    """Options of `gradient`; the defaults are those of the released code of DC, with GLaD's single step for each network."""

    network: Network = "convnet3"
    distance: Literal["layerwise", "mse", "cos"] = Field(
        default="layerwise",
        description="Between gradients: cosines of each output unit's, summed over layers; or one of all parameters end to end.",
    )
    batch_real: BatchReal = 256
    augment: Augmentation = "none"
    strategy: Strategy = Augment(name="dsa").strategy
    schedule: Literal["single", "dc"] = Field(
        default="single",
        description="Steps a network serves and epochs it trains between them: 1 and 1 (GLaD), or DC's table by ipc.",
    )
    outer: int | None = Field(default=None, ge=1, le=10_000, description="Steps a network serves; else as `schedule` has it.")
    inner: int | None = Field(default=None, ge=1, le=10_000, description="Epochs between them; else as `schedule` has it.")
    lr_net: float = Field(default=0.01, gt=0, description="Learning rate of the network between steps, by plain SGD.")
    batch_net: int = Field(default=256, ge=1, description="Synthetic images in a batch of that training.")
    class_group: int = Field(
        default=1, ge=0, description="Classes whose gradients' graphs are held at once: bounds memory; 0 means all."
    )


@dataclass(frozen=True)
class Loops:
    """How long a network serves."""

    outer: int
    """Steps on the images for each network."""
    inner: int
    """Epochs on the images between two steps."""


def loops(o: GradientOptions, ipc: int) -> Loops:
    """Return the loops that the options mean for sets of that many images per class.

    Raises:
        BadOption: DC's table has no entry, and the options do not say.
    """
    outer, inner = (1, 1) if o.schedule == "single" else RELEASED.get(ipc, (None, None))
    outer, inner = o.outer or outer, o.inner or inner
    if outer is None or inner is None:
        raise BadOption(
            f"DC's table of loops has no entry for ipc {ipc}, only for {', '.join(map(str, RELEASED))}; "
            "give both: -o objective.outer=10 -o objective.inner=50"
        )
    return Loops(outer, inner)


class Gradient(Objective):
    """Dataset Condensation with Gradient Matching (Zhao et al., ICLR 2021) and, augmented, DSA (Zhao and Bilen, ICML 2021)."""

    name = "gradient"
    version = 1  # bump when a change moves a number
    options = GradientOptions

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def work(self, o: Options, facts: DatasetFacts, images: int) -> Work:
        """Return the passes of one step, the network's own training counted in.

        Raises:
            BadOption: DC's table of loops has no entry for so many images.
        """
        chosen = cast("GradientOptions", o)
        plan = loops(chosen, -(-images // facts.num_classes))
        real = 3.0 * sum(min(chosen.batch_real, count) for count in facts.counts)
        training = 3.0 * images * plan.inner * (plan.outer - 1) / plan.outer
        return Work(chosen.network, real + SECOND_ORDER * images + training)

    def start(self, ctx: Context, o: Options, job: Job) -> Matching:
        """Return the objective at work.

        Raises:
            UnknownName: There is no such network.
            UnfitNetwork: It cannot be fitted.
            BadOption: DC's table of loops has no entry for so many images.
        """
        from .dc import GradientMatching  # torch enters here

        chosen = cast("GradientOptions", o)
        return GradientMatching(ctx, chosen, job, loops(chosen, max(Counter(job.labels).values())))

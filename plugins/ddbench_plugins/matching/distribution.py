"""distribution: images whose mean features, in networks with random weights, are those of real images."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import Field

from ddbench import Augment, Context, DatasetFacts, Job, Matching, Need, Objective, Options, Work

from .fields import Augmentation, BatchReal, Network, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping


class DistributionOptions(Options):
    """Options of `distribution`; the defaults are those of the released code of DM."""

    network: Network = "convnet3"
    batch_real: BatchReal = 256
    augment: Augmentation = "dsa"
    strategy: Strategy = Augment(name="dsa").strategy
    class_group: int = Field(
        default=10,
        ge=0,
        description="Classes whose images are embedded at once: bounds memory; 0 means all, as with batch norm always.",
    )


class Distribution(Objective):
    """Dataset Condensation with Distribution Matching (Zhao and Bilen, WACV 2023)."""

    name = "distribution"
    version = 1  # bump when a change moves a number
    options = DistributionOptions

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def work(self, o: Options, facts: DatasetFacts, images: int) -> Work:
        """Return the passes of one step: real images forward, synthetic ones forward and back."""
        chosen = cast("DistributionOptions", o)
        real = sum(min(chosen.batch_real, count) for count in facts.counts)
        return Work(chosen.network, real + 3.0 * images)

    def start(self, ctx: Context, o: Options, job: Job) -> Matching:
        """Return the objective at work.

        Raises:
            UnknownName: There is no such network.
            UnfitNetwork: It cannot be fitted, or has no linear classifier.
        """
        from .dm import DistributionMatching  # torch enters here

        return DistributionMatching(ctx, cast("DistributionOptions", o), job)

"""trained: a class-conditional generator of hierarchical features, learned on the dataset's own train split."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import Field

from ddbench import Context, DatasetFacts, LoadedPrior, Options, Prior
from ddbench_plugins.priors.levels import TrunkOptions, space_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


class TrainedOptions(TrunkOptions):
    """How the generator is learned."""

    steps: int = Field(default=1500, ge=1, le=10_000_000, description="Steps of Adam.")
    batch: int = Field(
        default=128, ge=1, le=100_000, description="Real images of a step, drawn with replacement, classes equally often."
    )
    lr: float = Field(default=2e-3, gt=0, le=1, description="Of Adam; it falls to a tenth along a cosine.")
    kl: float = Field(
        default=0.25,
        ge=0,
        le=1e4,
        description="Weight of the divergence from the prior; smaller is sharper, larger samples better.",
    )
    guide: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Weight of a classifier's cross entropy on generated images, above a part of that on real ones; 0: none.",
    )
    guide_steps: int = Field(
        default=1200, ge=0, le=10_000_000, description="Steps in which that classifier learns before the generator does."
    )
    ema: float = Field(default=0.995, ge=0, lt=1, description="Decay of the moving average of weights that is kept.")


class Trained(Prior):
    """The decoder of a class-conditional variational autoencoder; its encoder lets latents begin at real images."""

    name = "trained"
    version = 2  # bump when a change moves a number
    options = TrainedOptions
    licence = "as the dataset's"
    external_data = False
    gated = True

    def spaces(self, o: Options, facts: DatasetFacts) -> Sequence[str]:
        """Return `w+`, `f1` …, `pixel`.

        Raises:
            PriorMismatch: The images cannot be halved down to a size to begin at.
        """
        return space_names(facts)

    def work(self, o: Options, facts: DatasetFacts) -> tuple[float, int]:
        """Return the operations of learning and its steps."""
        from ddbench_plugins.priors.autoencoder import total_steps, work_flops

        options = cast("TrainedOptions", o)
        return work_flops(facts, options), total_steps(options)

    def fit(self, ctx: Context, o: Options) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """Return the weights after the last step, averaged, and the curve of losses.

        Raises:
            SpecialValue: The loss became NaN or infinite.
        """
        from ddbench_plugins.priors.autoencoder import train  # torch enters here

        return train(ctx, cast("TrainedOptions", o))

    def load(self, weights: Mapping[str, Tensor], o: Options, facts: DatasetFacts) -> LoadedPrior:
        """Return the generator with its encoder.

        Raises:
            PriorMismatch: The weights belong to another shape or class list.
        """
        from ddbench_plugins.priors.hierarchy import loaded

        return loaded(weights, cast("TrainedOptions", o), facts, encodes=True)

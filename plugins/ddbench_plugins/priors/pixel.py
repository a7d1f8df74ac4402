"""pixel: no generator at all; pixels are their own latents, so that methods on latents have their twin on pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Context, DatasetFacts, LoadedPrior, NoOptions, Options, Prior

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


class Pixel(Prior):
    """The identity: one space, `pixel`, whose latents are the images, normalised by the dataset's mean and std."""

    name = "pixel"
    version = 1  # bump when a change moves a number
    options = NoOptions
    licence = "nothing to license: it has no weights"
    external_data = False
    gated = False

    def spaces(self, o: Options, facts: DatasetFacts) -> Sequence[str]:
        return ("pixel",)

    def fit(self, ctx: Context, o: Options) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """Return no weights: nothing is fitted."""
        return {}, {}

    def load(self, weights: Mapping[str, Tensor], o: Options, facts: DatasetFacts) -> LoadedPrior:
        """Return the identity for a dataset's images."""
        from ddbench.kit import IdentityPrior  # torch enters here

        return IdentityPrior(facts.shape)

"""random: the trained prior's generator with the weights it would start training from; a condition of GLaD's own ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ddbench import Context, DatasetFacts, LoadedPrior, Options, Prior
from ddbench_plugins.priors.levels import TrunkOptions, space_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


class Random(Prior):
    """An untrained generator: hierarchical features without any knowledge of images."""

    name = "random"
    version = 1  # bump when a change moves a number
    options = TrunkOptions
    licence = "none needed: no weights were trained"
    external_data = False
    gated = False

    def spaces(self, o: Options, facts: DatasetFacts) -> Sequence[str]:
        """Return `w+`, `f1` …, `pixel`.

        Raises:
            PriorMismatch: The images cannot be halved down to a size to begin at.
        """
        return space_names(facts)

    def fit(self, ctx: Context, o: Options) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """Return freshly drawn weights; nothing is learned."""
        import torch

        from ddbench.seeding import seeded_globally
        from ddbench_plugins.priors.hierarchy import CLASSES, class_list, shape_for
        from ddbench_plugins.priors.trunk import Trunk

        facts = ctx.train.facts
        with seeded_globally(int(torch.randint(2**62, (), generator=ctx.generator))):
            trunk = Trunk(shape_for(facts, cast("TrunkOptions", o)))
        weights = {f"trunk.{name}": weight for name, weight in trunk.state_dict().items()}
        return {**weights, CLASSES: class_list(facts)}, {
            "steps": 0,
            "parameters": sum(weight.numel() for weight in trunk.parameters()),
        }

    def load(self, weights: Mapping[str, Tensor], o: Options, facts: DatasetFacts) -> LoadedPrior:
        """Return the generator; it cannot encode.

        Raises:
            PriorMismatch: The weights belong to another shape or class list.
        """
        from ddbench_plugins.priors.hierarchy import loaded

        return loaded(weights, cast("TrunkOptions", o), facts, encodes=False)

"""Distribution matching (Zhao and Bilen, WACV 2023; released code, main_DM.py).

With theta drawn anew in every step and never trained, psi what the classifier reads, and A one augmentation for each class:

    L = sum_c | mean over x in T_c of psi(A(x)) - mean over x in S_c of psi(A(x)) |^2                        (eq. 6)

Networks with batch norm normalise by the batch: there all classes go through in one pass, real ones in one and synthetic ones in
another, as in the released code; all others treat images one by one, and are shown as many at once as is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddbench.kit import Embedder, Pixels
from ddbench.training.precision import Compiled, at_least_float32, autocast, forget_compiled, memory_format

from .comparing import ByClasses, Comparisons
from .draws import ByClass, Draws, Redrawn, batch_norms, chunk_rows, precision_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ddbench import Context, Job

    from .comparing import Distance, Sizes
    from .distribution import DistributionOptions


class DistributionMatching(ByClasses):
    """Distribution matching at work on one job (`ddbench.Matching`). It remembers nothing: every step draws its own network."""

    o: DistributionOptions
    space = "normalised"

    def __init__(self, ctx: Context, o: DistributionOptions, job: Job) -> None:
        self.ctx, self.o, self.draws = ctx, o, Draws(ctx, job, "distribution")
        self.precision, self.pixels = precision_of(ctx), Pixels.of_facts(ctx.train.facts, ctx.device)
        forget_compiled(self.precision)
        self.network = Redrawn(self.draws, o.network, self.precision)
        self.network.module.requires_grad_(requires_grad=False)
        norms = batch_norms(self.network.module)
        self.whole_batches = bool(norms)
        self.classes = ByClass(0 if self.whole_batches else o.class_group)
        self.embedder = Embedder(self.network.module, ctx.train.facts.shape)
        for norm in norms:
            norm.train()
        self.comparisons = Comparisons(ctx.device, ctx.note)
        self._embed = Compiled(_embedded, self.precision)

    def loss_and_grad(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss, a scalar, and its gradient with respect to the images."""
        self.network.renew(step)
        loss, gradient = self._compared(self.classes.groups(labels), images, labels, step)
        if self._embed.note:
            self.ctx.note(self._embed.note)
        return loss, gradient

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        pass

    def extras(self) -> Mapping[str, Tensor]:
        return {}

    def _distance(self, of_real: Sizes, of_synthetic: Sizes) -> Distance:
        """Return what gives some classes' terms of equation 6, of images as they are seen."""

        def distance(real: Tensor, synthetic: Tensor, _labels: Tensor) -> Tensor:
            rows = len(real) if self.whole_batches else chunk_rows(len(real), self.ctx.train.facts.shape, real.device)
            with torch.no_grad():
                wanted = _means(torch.cat([self._passed(part) for part in torch.split(real, rows)]), of_real)
            return (wanted - _means(self._passed(synthetic), of_synthetic)).square().sum()

        return distance

    def _passed(self, images: Tensor) -> Tensor:
        """Return float (N, D): the images' features, at least float32."""
        with autocast(self.precision, images.device):
            features: Tensor = self._embed(self.embedder, images.contiguous(memory_format=memory_format(self.precision)))
        return at_least_float32(features)


def _embedded(embedder: Embedder, images: Tensor) -> Tensor:
    features: Tensor = embedder(images)
    return features


def _means(features: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return float (classes, D): the mean of each class's rows."""
    return torch.stack([part.mean(dim=0) for part in torch.split(features, list(sizes))])

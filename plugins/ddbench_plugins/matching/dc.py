"""Gradient matching (Zhao, Mopuri and Bilen, ICLR 2021; with DSA: Zhao and Bilen, ICML 2021; released code, main.py).

With A one augmentation for each class (DSA) or none:

    g_T = d/dtheta CE(f_theta(A(x)), c), x a batch of T_c          g_S = d/dtheta CE(f_theta(A(x)), c), x all of S_c
    L   = sum_c D(g_T, g_S)

    D   = sum over layers, and over the rows i of a layer (its output units), of 1 - cos(g_T[i], g_S[i])      (eq. 10)

Parameters of one dimension (biases, scales and shifts of norms) are left out of D. A network serves `outer` steps: between two of
them it trains on the images as they are, `inner` epochs, so that gradients are matched along its way (algorithm 1).

Batch norm: before each step one pass over 16 real images of each class moves the running statistics, which then hold for the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ddbench.data.moving import moved
from ddbench.kit import Pixels
from ddbench.training.precision import Compiled, at_least_float32, autocast, forget_compiled, memory_format

from .comparing import ByClasses, Comparisons
from .draws import ByClass, Draws, Redrawn, batch_norms, chunk_rows, one_by_one, precision_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

    from ddbench import Context, Job

    from .comparing import Distance, Sizes
    from .draws import Group
    from .gradient import GradientOptions, Loops

EPS = 1e-6
"""Added to the product of norms in cosines (released code)."""

STATISTICS = 16
"""Real images of each class that move batch norm's running statistics (released code)."""


def layerwise(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Return the sum over layers and their rows of one minus the cosine between gradients (eq. 10)."""
    rows = [(a.flatten(1), b.flatten(1)) for a, b in zip(real, synthetic, strict=True) if a.ndim > 1]
    return torch.stack([(1 - _cosine(a, b)).sum() for a, b in rows]).sum()


def mse(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Return the squared distance between gradients, all parameters together."""
    return torch.stack([(a - b).square().sum() for a, b in zip(real, synthetic, strict=True)]).sum()


def cos(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Return one minus the cosine between gradients, all parameters end to end."""
    return 1 - _cosine(*(torch.cat([part.flatten() for part in parts]) for parts in (real, synthetic)))


DISTANCES: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]] = {"layerwise": layerwise, "mse": mse, "cos": cos}


class GradientMatching(ByClasses):
    """Gradient matching at work on one job (`ddbench.Matching`). Where a network serves several steps, it is what is remembered."""

    o: GradientOptions
    space = "normalised"

    def __init__(self, ctx: Context, o: GradientOptions, job: Job, plan: Loops) -> None:
        self.ctx, self.o, self.loops = ctx, o, plan
        self.draws, self.classes = Draws(ctx, job, "gradient"), ByClass(o.class_group)
        self.precision, self.pixels = precision_of(ctx), Pixels.of_facts(ctx.train.facts, ctx.device)
        forget_compiled(self.precision)
        self.network = Redrawn(self.draws, o.network, self.precision)
        self.module = self.network.module
        self.norms = batch_norms(self.module)
        self.parameters: list[Tensor] = _used(self.module, ctx.train.facts.shape)
        largest = max(min(o.batch_real, ctx.train.facts.counts[label]) for label in job.labels)
        self.rows = chunk_rows(largest, ctx.train.facts.shape, ctx.device)
        self._quick = Compiled(class_loss, self.precision)
        self.comparisons = Comparisons(ctx.device, ctx.note)

    def loss_and_grad(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss, a scalar, and its gradient with respect to the images."""
        if step % self.loops.outer == 0:
            self.network.renew(step // self.loops.outer)
        else:
            self._train(images.detach(), labels, step)
        groups = self.classes.groups(labels)
        self._move_statistics(groups, step, images.dtype)
        loss, gradient = self._compared(groups, images, labels, step)
        if self._quick.note:
            self.ctx.note(self._quick.note)
        return loss, gradient

    def state(self) -> Mapping[str, Tensor]:
        """Return the network's weights and buffers, where it serves more than one step."""
        return self.network.state() if self.loops.outer > 1 else {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the network's weights and buffers."""
        if state:
            self.network.load(state)

    def extras(self) -> Mapping[str, Tensor]:
        return {}

    def _distance(self, of_real: Sizes, of_synthetic: Sizes) -> Distance:
        """Return what gives the sum over some classes of D(g_T, g_S), of images as they are seen (eq. 9)."""

        def distance(real: Tensor, synthetic: Tensor, labels: Tensor) -> Tensor:
            given = ((real, of_real), (synthetic, of_synthetic), (labels, of_synthetic))
            by_class = zip(*(torch.split(tensor, list(sizes)) for tensor, sizes in given), strict=True)
            return torch.stack([self._of_class(*of_class) for of_class in by_class]).sum()

        return distance

    def _of_class(self, real: Tensor, synthetic: Tensor, labels: Tensor) -> Tensor:
        """Return D(g_T, g_S) of one class; g_S is uncompiled, since torch compiles no second derivative."""
        weights = synthetic.new_full((len(synthetic),), 1 / len(synthetic))
        found = self._gradient(class_loss, synthetic, labels, weights, differentiable=True)
        return DISTANCES[self.o.distance](self._real_gradient(real, labels[:1]), found)

    def _real_gradient(self, images: Tensor, label: Tensor) -> Sequence[Tensor]:
        """Return g_T of real images of a class, in passes of one size, so that one compiled graph serves all."""
        labels, weights = label.expand(len(images)), images.new_full((len(images),), 1 / len(images))
        missing = -len(images) % self.rows if self.precision.compile else 0
        if missing:
            images, labels, weights = (F.pad(part, [0, 0] * (part.ndim - 1) + [0, missing]) for part in (images, labels, weights))
        total: list[Tensor] = []
        for part in zip(*(torch.split(tensor, self.rows) for tensor in (images, labels, weights)), strict=True):
            found = self._gradient(self._quick, *part)
            total = [a + b for a, b in zip(total, found, strict=True)] if total else list(found)
        return total

    def _gradient(
        self, loss_of: Callable[..., Tensor], images: Tensor, labels: Tensor, weights: Tensor, *, differentiable: bool = False
    ) -> Sequence[Tensor]:
        with autocast(self.precision, images.device):
            loss = loss_of(self.module, images.contiguous(memory_format=memory_format(self.precision)), labels, weights)
        return torch.autograd.grad(loss, self.parameters, create_graph=differentiable)

    def _move_statistics(self, groups: Sequence[Group], step: int, dtype: torch.dtype) -> None:
        """Let batch norm's running statistics see some real images of every class."""
        if not self.norms:
            return
        labels = [label for group in groups for label in group.labels]
        drawn = [self.draws.real(label, step, STATISTICS, what="statistics") for label in labels]
        images = self._real(torch.cat(drawn), dtype)
        self._batch_statistics(on=True)
        with torch.no_grad(), autocast(self.precision, images.device):
            self.module(images)
        self._batch_statistics(on=False)

    def _train(self, images: Tensor, labels: Tensor, step: int) -> None:
        """Train the network on the images as they are, by SGD without momentum."""
        generator = self.draws.generator("training", step)
        self._batch_statistics(on=True)
        for _ in range(self.loops.inner):
            for rows in torch.split(torch.randperm(len(images), generator=generator), self.o.batch_net):
                batch = moved(rows, images.device)
                seen = images[batch] if self.o.augment == "none" else one_by_one(images[batch], self.o.strategy, generator)
                found = self._gradient(self._quick, seen, labels[batch], seen.new_full((len(batch),), 1 / len(batch)))
                with torch.no_grad():
                    torch._foreach_add_(self.parameters, list(found), alpha=-self.o.lr_net)
        self._batch_statistics(on=False)

    def _batch_statistics(self, *, on: bool) -> None:
        for norm in self.norms:
            norm.train(mode=on)


def class_loss(module: nn.Module, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the cross entropy of images with their labels, each counted by its weight."""
    logits = at_least_float32(module(images))
    losses: Tensor = F.cross_entropy(logits, labels, reduction="none")
    return (losses * weights).sum()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine along the last dimension."""
    norms = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    cosine: Tensor = (a * b).sum(dim=-1) / (norms + EPS)
    return cosine


def _used(module: nn.Module, shape: tuple[int, int, int]) -> list[Tensor]:
    """Return the parameters that an image's loss depends on."""
    every: list[Tensor] = list(module.parameters())
    zeros = every[0].new_zeros(2, *shape)
    found = torch.autograd.grad(module(zeros).sum(), every, allow_unused=True)
    return [parameter for parameter, gradient in zip(every, found, strict=True) if gradient is not None]

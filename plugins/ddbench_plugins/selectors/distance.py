"""How far synthetic images are from real ones in a classifier's features, class by class.

    D(S, T) = Σ_c Σ_l (1 / dim_l) ‖ mean over T_c of F_l^c(x) − mean over S_c of F_l^c(x) ‖²

F_l^c(x) = M_l^c(x) ⊙ A_l(x) with the map A_l of stage l and the class activation map M_l^c = ReLU(Σ_k α_{l,k}^c A_{l,k}), scaled to
[0, 1] for every image. With `channel` F = ReLU(α_l^c) ⊙ mean of A_l over places; without weights F = A_l. H-GLaD's paper says that
its distance is class-relevant and rests on CAM; its released code computes none, so that this is a reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ddbench import Candidate, Job, Judge
from ddbench.seeding import generator_for
from ddbench.training.dsa import dsa
from ddbench_plugins.selectors.maps import Maps

if TYPE_CHECKING:
    from ddbench import Context, DatasetFacts, TrainedNetwork, TrainSplit
    from ddbench_plugins.selectors import FeatureOptions

BATCH = 256
"""Images of one pass."""

FLAT = 1e-8
"""Below this a class activation map says nothing: every place then counts alike."""

Weighting = Literal["map", "channel", "none"]
View = Callable[[Tensor], Tensor]


class Features:
    """Class-relevant features of images, flattened and each stage divided by the root of its size."""

    def __init__(self, network: TrainedNetwork, facts: DatasetFacts, stages: Literal["last", "all"], weighting: Weighting) -> None:
        """Find the classifier's feature maps.

        Raises:
            UnfitNetwork: It has none.
        """
        self.maps = Maps(network.module, facts.shape, network.mean.device)
        self.wanted = self.maps.places[-1:] if stages == "last" else self.maps.places
        self.weighting = weighting
        mean, std = (torch.tensor(values, device=network.mean.device) for values in (facts.mean, facts.std))
        self._scale = (std / network.std).view(-1, 1, 1)
        self._shift = ((mean - network.mean) / network.std).view(-1, 1, 1)

    def of(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return float32 (N, D) of images normalised by the dataset's mean and std, for each one's own class, without a graph.

        Squared distances between means of these are the sum over stages, each divided by its size.
        """
        shown = images * self._scale + self._shift  # as the classifier normalises
        if self.weighting == "none":
            return _joined(self.maps.of(shown, self.wanted))
        relevant = by_place if self.weighting == "map" else by_channel
        return _joined([relevant(one, weights) for one, weights in self.maps.with_weights(shown, labels, self.wanted)])


def by_place(maps: Tensor, weights: Tensor) -> Tensor:
    """Return float32 (N, K, h, w): maps weighted by the class activation map, scaled to [0, 1] for every image."""
    activation = torch.relu(torch.einsum("nk,nkhw->nhw", weights, maps)).flatten(1)
    low, high = activation.amin(1, keepdim=True), activation.amax(1, keepdim=True)
    scaled = torch.where(high - low > FLAT, (activation - low) / (high - low + FLAT), torch.ones_like(activation))
    return maps * scaled.view(len(maps), 1, *maps.shape[2:])


def by_channel(maps: Tensor, weights: Tensor) -> Tensor:
    """Return float32 (N, K): each channel's mean, weighted by what it says for the class."""
    return torch.relu(weights) * maps.mean((2, 3))


def _joined(stages: Sequence[Tensor]) -> Tensor:
    return torch.cat([stage.flatten(1) / stage[0].numel() ** 0.5 for stage in stages], dim=1)


@dataclass(frozen=True)
class DistanceJudge(Judge):
    """Scores a candidate by D(S, T), against means of real features taken once."""

    features: Features
    views: tuple[View, ...]
    """What real and synthetic images go through alike."""
    real: tuple[Tensor, ...]
    """For each view float32 (classes, D); rows of classes that the job does not make are zero."""

    @classmethod
    def of_real(cls, ctx: Context, o: FeatureOptions, job: Job, features: Features) -> DistanceJudge:
        """Return the judge of one job, means taken over at most `o.real` images of each class, drawn by the job's seed."""
        views = tuple(_view(o, job, draw) for draw in range(o.draws)) or (_as_they_are,)
        positions = [_drawn(ctx.train, o, job, label) for label in range(ctx.train.facts.num_classes)]
        real = tuple(class_means(features, _real(ctx, positions), view, len(positions)) for view in views)
        return cls(features, views, real)

    def score(self, candidate: Candidate) -> float:
        """Return D, the mean over the views."""
        images, labels = candidate.images.detach(), candidate.labels.to(candidate.images.device)
        chunks, own = list(_batches(images, labels)), torch.unique(labels)
        means = [class_means(self.features, chunks, view, len(self.real[0])) for view in self.views]
        distances = [(real[own] - mean[own]).square().sum() for real, mean in zip(self.real, means, strict=True)]
        return float(torch.stack(distances).mean())


def class_means(features: Features, chunks: Iterable[tuple[Tensor, Tensor]], view: View, classes: int) -> Tensor:
    """Return float32 (classes, D): the mean feature of every class; rows of absent classes are zero.

    Args:
        features: From images to features.
        chunks: Images, normalised by the dataset's mean and std, with int64 labels, on one device.
        view: What the images go through before.
        classes: How many there are.
    """

    def sums(images: Tensor, labels: Tensor) -> Tensor:
        found = features.of(view(images), labels)
        member = one_hot(labels, classes).to(found)  # a product, because adding by index is not deterministic on a GPU
        return member.T @ torch.cat([found, torch.ones_like(found[:, :1])], dim=1)

    total = reduce(torch.add, (sums(images, labels) for images, labels in chunks))
    return total[:, :-1] / total[:, -1:].clamp_min(1)


def _real(ctx: Context, positions: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the real images at positions by class, a batch at a time, normalised, with their labels."""
    facts = ctx.train.facts
    mean, std = (torch.tensor(values, device=ctx.device).view(-1, 1, 1) for values in (facts.mean, facts.std))
    labels = torch.cat([torch.full((len(own),), label) for label, own in enumerate(positions)])
    for index, own in _batches(torch.cat(list(positions)), labels):
        yield (ctx.train.images(index).float() / 255 - mean) / std, own.to(ctx.device)


def _batches(first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(first, BATCH), torch.split(second, BATCH), strict=True)


def _drawn(train: TrainSplit, o: FeatureOptions, job: Job, label: int) -> Tensor:
    """Return int64 (n,): positions of real images of a class that the job makes, all of them where they are few."""
    if label not in job.labels:
        return torch.zeros(0, dtype=torch.int64)
    own = train.indices(label).cpu()
    order = torch.randperm(len(own), generator=generator_for("selector real images", job.seed, job.index, label))
    return own[order[: o.real]]


def _view(o: FeatureOptions, job: Job, draw: int) -> View:
    """Return one augmentation, the same for whatever images it is given."""

    def augmented(images: Tensor) -> Tensor:
        return dsa(images, o.strategy, generator_for("selector views", job.seed, job.index, draw), siamese=True)

    return augmented


def _as_they_are(images: Tensor) -> Tensor:
    return images

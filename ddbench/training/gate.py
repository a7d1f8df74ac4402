"""The quality gate of generative priors: are generated images of the class asked for, and do they differ within it?

A small classifier, fixed here so that figures can be compared across priors and versions, learns the train part of a
validation cut of train. On the held-out part it has its *real accuracy*; on generated images, as many of each class, its accuracy
is the *class fidelity*. *Spread* is the standard deviation of a pixel within a class, averaged over pixels and classes, of
generated images and of as many real ones. The test split is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddbench.api.protocol import Augment, Optimiser, Schedule
from ddbench.data.splits import train_labels, validation_cut
from ddbench.seeding import derive_seed, generator_for, seeded_globally
from ddbench.training.loop import Lesson, RunSettings, fit
from ddbench.training.losses import cross_entropy
from ddbench.training.recipe import Recipe
from ddbench.training.views import Source, normalised

if TYPE_CHECKING:
    from ddbench.api.context import Precision
    from ddbench.api.dataset import DatasetFacts, TrainSplit
    from ddbench.api.prior import LoadedPrior
    from ddbench.training.views import BatchDraw

HELD_OUT = 0.1
"""Of train, for the real accuracy."""

FIDELITY = 0.6
"""Generated images must be recognised at least this often, of how often real ones are."""

SPREAD = 0.3
"""Generated images of a class must differ at least this much, of how much real ones do."""

IMAGES = 1000
"""Generated images in all, about."""

LEAST_OF_A_CLASS = 4
"""So that a standard deviation means something where there are many classes."""

SIDE = 32
"""The classifier sees images of at most this side: larger ones are averaged down by a whole factor."""

CHUNK = 50
"""Images decoded together."""

BATCH = 128

PASSES = 20
"""Over the train part, within the bounds of `STEPS`."""

STEPS = (300, 800)
"""The least and the most that the classifier is trained for."""

WIDTHS = (32, 64, 128)
"""Channels of the classifier's convolutions."""


@dataclass(frozen=True)
class GateReport:
    """What the gate found; every figure on images in [0, 1]."""

    fidelity: float
    """Accuracy of the classifier on generated images, in [0, 1]."""
    real_accuracy: float
    """Accuracy of the classifier on held-out real images, in [0, 1]."""
    spread: float
    real_spread: float
    passed: bool
    reasons: tuple[str, ...]
    """A sentence for each figure that fell short, and what to try; empty where the prior passed."""

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {**asdict(self), "reasons": list(self.reasons)}


def judge(  # noqa: PLR0913 - one gate, asked in one place
    prior: LoadedPrior,
    train: TrainSplit,
    *,
    seed: int,
    device: torch.device,
    precision: Precision,
    progress: Callable[..., None] | None = None,
) -> GateReport:
    """Return what the gate finds of a prior: `sample` latents of its first space, decoded, against the train split.

    Args:
        prior: With its weights on `device`.
        train: The split it was made from.
        seed: Of the cut, the classifier and the latents.
        device: Where all is computed.
        precision: Its dtype serves the classifier; nothing is compiled.
        progress: Called as `progress(step, total, loss=tensor)` while the classifier learns.
    """
    run = RunSettings(device, replace(precision, compile=False), progress)
    part, held_out = validation_cut(train, HELD_OUT, seed=seed)
    see = _View.of(train.facts, device)
    classifier = trained_classifier(part, run, seed=seed)
    real_accuracy = _accuracy(classifier, see, train.images(held_out.to(device)), train_labels(train)[held_out])

    labels = torch.arange(train.facts.num_classes).repeat_interleave(images_of_a_class(train.facts.num_classes))
    generated = generated_pixels(prior, labels, train.facts, generator_for("gate latents", seed))
    real, real_labels = _real(train, seed)
    return reported(
        fidelity=_accuracy(classifier, see, generated, labels),
        real_accuracy=real_accuracy,
        spread=spread(generated, labels),
        real_spread=spread(real.float() / 255, real_labels),
        chance=chance_bound(train.facts.num_classes, len(labels)),
    )


def reported(*, fidelity: float, real_accuracy: float, spread: float, real_spread: float, chance: float = 0.0) -> GateReport:
    """Return the verdict on four figures.

    Passed is a prior whose images are recognised at least 0.6 times as often as real ones, and more often than guessing
    would be, and whose images of a class differ at least 0.3 times as much as real ones do.
    """
    reasons = []
    needed = max(FIDELITY * real_accuracy, chance)
    if not fidelity >= needed:
        reasons.append(
            f"class fidelity is {fidelity:.3f}, and {needed:.3f} is needed ({FIDELITY:g} of the {real_accuracy:.3f} that the "
            f"classifier reaches on real images, and above guessing): its images are not of the classes asked for; try more "
            f"steps (-o prior.steps=…), more channels, a larger weight of the divergence (-o prior.kl=…), or, where the prior has "
            f"one, a classifier that guides it (-o prior.guide=…)"
        )
    if not spread >= SPREAD * real_spread:
        reasons.append(
            f"spread within classes is {spread:.4f}, and {SPREAD * real_spread:.4f} is needed ({SPREAD:g} of the "
            f"{real_spread:.4f} of real images): its images of a class are too much alike; try a smaller weight of the divergence "
            f"(-o prior.kl=…) or more steps (-o prior.steps=…)"
        )
    return GateReport(fidelity, real_accuracy, spread, real_spread, not reasons, tuple(reasons))


def chance_bound(num_classes: int, images: int) -> float:
    """Return an accuracy that guessing passes about once in a thousand times: its mean and three standard deviations."""
    guess = 1 / num_classes
    return guess + 3 * math.sqrt(guess * (1 - guess) / images)


def images_of_a_class(num_classes: int) -> int:
    """Return how many images of a class are generated: a thousand in all, but at least four of each."""
    return max(LEAST_OF_A_CLASS, -(-IMAGES // num_classes))


def generated_pixels(prior: LoadedPrior, labels: Tensor, facts: DatasetFacts, generator: torch.Generator) -> Tensor:
    """Return float32 (N, C, H, W) in [0, 1], clamped: an image for each label, sampled in the prior's first space."""
    z = prior.init_latents(labels, prior.spaces[0], how="sample", real=None, generator=generator)
    with torch.no_grad():
        images = torch.cat([prior.decode(rows).float() for _, rows in z.chunks(CHUNK)])
    if prior.value_range is None:
        mean, std = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (facts.mean, facts.std))
        return (images * std + mean).clamp(0, 1)
    low, high = prior.value_range
    return ((images - low) / (high - low)).clamp(0, 1)


def spread(images: Tensor, labels: Tensor) -> float:
    """Return the standard deviation of a pixel within a class, averaged over pixels, then classes."""
    by_class = [images[(labels == label).to(images.device)].double() for label in torch.unique(labels)]
    return float(torch.stack([members.std(dim=0).mean() for members in by_class]).mean())


class GateClassifier(nn.Module):
    """Three convolutions with batch norm, two poolings between them, the mean over places, one linear layer."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        widths = (channels, *WIDTHS)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of normalised images (N, C, H, W)."""
        x = images
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if place and min(x.shape[2:]) >= 2:
                x = F.max_pool2d(x, 2)
            x = F.relu(norm(conv(x)))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def trained_classifier(train: TrainSplit, run: RunSettings, *, seed: int) -> nn.Module:
    """Return the gate's classifier, trained: AdamW, one cycle, shifts of a sixteenth of the side."""
    facts = train.facts
    with seeded_globally(derive_seed("gate classifier", seed)):
        network = GateClassifier(facts.shape[0], facts.num_classes)
    see, labels = _View.of(facts, run.device), train_labels(train).to(run.device)
    source = Source(
        len(labels), see.size, lambda index: see(train.images(index)), see.black, host=not getattr(train, "held", False)
    )

    def target(_epoch: int, drawn: BatchDraw, _view: Tensor) -> Tensor:
        return labels[drawn.index]

    lesson = Lesson(source, target, cross_entropy, ("gate views", seed), ("gate layers", seed))
    return fit(network, gate_recipe(len(labels), see.size), lesson=lesson, run=run).network


def gate_recipe(images: int, size: tuple[int, int]) -> Recipe:
    """Return how the gate's classifier is trained on so many images."""
    least, most = STEPS
    return Recipe(
        optimiser=Optimiser(name="adamw", lr=3e-3, weight_decay=0.01),
        schedule=Schedule(name="onecycle", per="step", warmup=0.2, warmup_from=0.04),
        batch=BATCH,
        steps=min(max(PASSES * images // BATCH, least), most),
        augment=(Augment(name="shift", pixels=max(1, max(size) // 16)),),
    )


@dataclass(frozen=True)
class _View:
    """How the classifier sees images: averaged down, normalised by the dataset's mean and std."""

    factor: int
    size: tuple[int, int]
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, facts: DatasetFacts, device: torch.device) -> _View:
        height, width = facts.shape[1:]
        factor = max(1, -(-min(height, width) // SIDE))
        mean, std = (torch.tensor(values, device=device) for values in (facts.mean, facts.std))
        return cls(factor, (height // factor, width // factor), mean, std)

    @property
    def black(self) -> Tensor:
        return -self.mean / self.std

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return float32 (N, C, h, w), normalised, from uint8 or float32 in [0, 1]."""
        images = normalised(pixels, self.mean, self.std)
        return images if self.factor == 1 else F.avg_pool2d(images, self.factor)


def _accuracy(classifier: nn.Module, see: _View, pixels: Tensor, labels: Tensor) -> float:
    """Return how often the classifier is right, in float32."""
    with torch.no_grad():
        answers = torch.cat([classifier(see(part)).argmax(dim=1) for part in torch.split(pixels, 500)])
    return float((answers.cpu() == labels).double().mean())


def _real(train: TrainSplit, seed: int) -> tuple[Tensor, Tensor]:
    """Return real images, uint8, and labels: of each class as many as are generated, or all there are."""
    wanted, index, labels = images_of_a_class(train.facts.num_classes), [], []
    for label in range(train.facts.num_classes):
        positions = train.indices(label).cpu()
        order = torch.randperm(len(positions), generator=generator_for("gate real images", seed, label))
        index.append(positions[order[:wanted]])
        labels.append(torch.full((len(index[-1]),), label))
    return train.images(torch.cat(index)), torch.cat(labels)

"""Selectors: which latents of a walk are handed on to the next space, by `cam`, `feature` or `loss`, or simply the `last`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import Candidate, Context, DatasetFacts, DsaStrategy, Job, Judge, Need, NoOptions, Options, Selector, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ddbench_plugins.selectors.distance import Features, Weighting

CLASSIFIER = "classifier"
"""The need's name, and so the prefix of its options: `-o classifier.epochs=50`."""

CLASSIFIER_EPOCHS = 30
"""Ours: the classifier has to know the classes' features, not to be the best there is."""

DSA_WITHOUT_FLIP = "color_crop_cutout_scale_rotate"
"""Digits must not be mirrored, so that the default does for every dataset."""


class FeatureOptions(Options):
    """Options of `feature`."""

    network: str = Field(
        default="convnetgap-w32",
        description="Classifier that gives the features, trained once on real images: a network, or way:network. "
        "How it is trained: -o classifier.epochs=50.",
    )
    stages: Literal["last", "all"] = Field(
        default="last", description="Feature maps that count: the classifier's last, or the last of each map size."
    )
    real: int = Field(default=256, ge=1, le=100_000, description="Real images of each class behind their mean, at most.")
    draws: int = Field(
        default=0, ge=0, le=64, description="Augmentations (DSA) that real and synthetic images go through alike; 0: as they are."
    )
    strategy: DsaStrategy = Field(default=DSA_WITHOUT_FLIP, description="Groups of which each augmentation is one, joined by _.")


class CamOptions(FeatureOptions):
    """Options of `cam`."""

    weighting: Literal["map", "channel"] = Field(
        default="map",
        description="How features are made class-relevant: places by the class activation map, "
        "or channels by their weight for the class.",
    )


class Cam(Selector):
    """The candidate whose class-relevant features are nearest to the real ones (H-GLaD's criterion, reconstructed)."""

    name = "cam"
    version = 1  # bump when a change moves a number
    options = CamOptions

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return classifier(o)

    def start(self, ctx: Context, o: Options, job: Job) -> Judge:
        """Return the judge, the classes' mean class-relevant features taken from real images.

        Raises:
            UnfitNetwork: The classifier has no feature maps.
        """
        from ddbench_plugins.selectors.distance import DistanceJudge  # torch enters here

        options = cast("CamOptions", o)
        return DistanceJudge.of_real(ctx, options, job, _features(ctx, options, options.weighting))


class Feature(Selector):
    """The candidate whose features are nearest to the real ones, class by class: `cam` without the class's weights."""

    name = "feature"
    version = 1
    options = FeatureOptions

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return classifier(o)

    def start(self, ctx: Context, o: Options, job: Job) -> Judge:
        """Return the judge, the classes' mean features taken from real images.

        Raises:
            UnfitNetwork: The classifier has no feature maps.
        """
        from ddbench_plugins.selectors.distance import DistanceJudge

        options = cast("FeatureOptions", o)
        return DistanceJudge.of_real(ctx, options, job, _features(ctx, options, "none"))


class Loss(Selector):
    """The candidate with the lowest loss of the objective, by the draws of its own step."""

    name = "loss"
    version = 1
    options = NoOptions

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def start(self, ctx: Context, o: Options, job: Job) -> Judge:
        return LossJudge()


class Last(Selector):
    """The last candidate of each space: no selection."""

    name = "last"
    version = 1
    options = NoOptions

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        return {}

    def start(self, ctx: Context, o: Options, job: Job) -> Judge:
        return LastJudge()


class LossJudge(Judge):
    """Scores by the loss."""

    def score(self, candidate: Candidate) -> float:
        return float(candidate.loss)


class LastJudge(Judge):
    """Scores by the step, the later the better."""

    def score(self, candidate: Candidate) -> float:
        return -float(candidate.step)


def _features(ctx: Context, o: FeatureOptions, weighting: Weighting) -> Features:
    from ddbench_plugins.selectors.distance import Features

    return Features(ctx.needs[CLASSIFIER], ctx.train.facts, o.stages, weighting)


def classifier(o: Options) -> dict[str, Need]:
    """Return the need for a classifier trained once on real images."""
    return {CLASSIFIER: Need("teacher", cast("FeatureOptions", o).network, {"epochs": CLASSIFIER_EPOCHS})}


@hookimpl
def ddbench_selectors() -> Iterable[Selector]:
    return [Cam(), Feature(), Last(), Loss()]

"""scratch: squeeze, a network trained on the real train split by SRe2L's and DWA's recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ddbench import Augment, Context, NetworkSpec, Optimiser, Options, Schedule, Teacher, TrainedNetwork
from ddbench_plugins.teachers.checks import per_channel

if TYPE_CHECKING:
    from ddbench.training.recipe import Recipe


AugmentName = Literal["crop", "flip", "shift", "rrc"]


class ScratchOptions(Options):
    """Options of `scratch`; the defaults are SRe2L's CIFAR recipe."""

    epochs: int = Field(default=200, gt=0, le=10_000, description="Passes over the train split.")
    batch: int = Field(default=128, gt=0, le=100_000, description="Images per step; a last partial batch is kept.")
    optimiser: Literal["sgd", "adamw"] = Field(default="sgd", description="Over all parameters.")
    lr: float = Field(default=0.1, gt=0, le=100, description="The highest learning rate.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="`sgd` only.")
    weight_decay: float = Field(default=5e-4, ge=0, le=10, description="On all parameters, biases and normalisation included.")
    schedule: Literal["cosine", "onecycle", "staircase", "constant"] = Field(
        default="cosine", description="`cosine` falls to 0 by epoch, `onecycle` by step; `staircase` drops every `drop_epochs`."
    )
    warmup_epochs: float = Field(default=0.0, ge=0, description="`cosine`, `onecycle`: epochs of rising to `lr`.")
    warmup_from: float = Field(default=0.01, ge=0, le=1, description="Fraction of `lr` at which the rise starts.")
    drop_epochs: int = Field(default=30, gt=0, description="`staircase`: epochs between two drops.")
    drop_factor: float = Field(default=0.1, gt=0, le=1, description="`staircase`: what the rate is multiplied with at a drop.")
    augment: tuple[AugmentName, ...] = Field(
        default=("crop", "flip"), description="In the order listed: padded crop, horizontal flip, shift, random resized crop."
    )
    crop_pad: int = Field(default=4, ge=0, le=64, description="`crop`: black border, in pixels.")
    shift_pixels: int = Field(default=1, ge=0, le=64, description="`shift`: the largest shift along each axis.")
    rrc_area: float = Field(default=0.08, gt=0, le=1, description="`rrc`: the smallest area of a crop, of the image's.")
    mean: tuple[float, ...] | None = Field(
        default=None, description="Per channel, of pixels in [0, 1]; the train split's unless given."
    )
    std: tuple[float, ...] | None = Field(default=None, description="The same for the standard deviation.")


class Scratch(Teacher):
    """A network trained from its initialisation to the last epoch; no epoch is chosen by any accuracy."""

    name = "scratch"
    version = 1  # bump when a change moves a number
    options = ScratchOptions

    def train(self, ctx: Context, o: Options, network: NetworkSpec) -> TrainedNetwork:
        """Return the network after its last epoch; the card holds recipe, loss curve and top1 on the plain train images.

        A killed training goes on from its last checkpoint and ends with the same bytes.

        Raises:
            BadOption: `mean` or `std` has more or fewer values than the images have channels.
            SpecialValue: The loss became NaN or infinite.
        """
        from ddbench.training.squeeze import train_classifier
        from ddbench_plugins.teachers.answers import train_top1  # torch enters here
        from ddbench_plugins.teachers.fitting import tensors

        options, facts = cast("ScratchOptions", o), ctx.train.facts
        normalisation = (per_channel(options.mean, facts.mean, "mean"), per_channel(options.std, facts.std, "std"))
        trained = train_classifier(ctx.network(network.name, ctx.generator), recipe(options), ctx, normalisation=normalisation)
        mean, std = tensors(normalisation, ctx.device)
        teacher = TrainedNetwork(trained.network, facts.classes, mean, std)
        card = {
            "train_top1": train_top1(ctx, teacher),
            "train_images": sum(facts.counts),
            "loss_curve": [list(point) for point in trained.curve],
            "steps": trained.steps,
            "images_seen": trained.images_seen,
            "notes": list(trained.notes),
        }
        return TrainedNetwork(trained.network, facts.classes, mean, std, card)


def recipe(o: ScratchOptions) -> Recipe:
    """Return the recipe that the options spell out."""
    from ddbench.training.recipe import Recipe

    momentum = o.momentum if o.optimiser == "sgd" else 0.0
    return Recipe(
        optimiser=Optimiser(name=o.optimiser, lr=o.lr, momentum=momentum, weight_decay=o.weight_decay),
        schedule=schedule(o),
        batch=o.batch,
        epochs=o.epochs,
        augment=tuple(_augment(o, name) for name in o.augment),
    )


def schedule(o: ScratchOptions) -> Schedule:
    """Return the learning rate's course."""
    if o.schedule == "cosine":
        return Schedule(name="cosine", warmup=o.warmup_epochs, warmup_from=o.warmup_from)
    if o.schedule == "onecycle":
        return Schedule(name="onecycle", per="step", warmup=o.warmup_epochs / o.epochs, warmup_from=o.warmup_from)
    if o.schedule == "staircase":
        return Schedule(name="staircase", every=o.drop_epochs, factor=o.drop_factor)
    return Schedule(name="constant")


def _augment(o: ScratchOptions, name: AugmentName) -> Augment:
    return Augment(name=name, pad=o.crop_pad, pixels=o.shift_pixels, scale=(o.rrc_area, 1.0))

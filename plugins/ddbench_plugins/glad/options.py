"""Options of `glad` and `hglad`, and what of them is refused before any work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ddbench import Options
from ddbench.errors import BadOption

MIDDLE = "middle"
"""For an option: the middle one of a prior's feature spaces."""

LAST = "last"
"""The selector that needs no judge: the last latents of each space are handed on."""


class LatentOptions(Options):
    """What both methods share; learning rates are those of the released code of GLaD with distribution matching."""

    prior: str = Field(default="trained", description="The generator whose latents are optimised: a prior's name.")
    objective: str = Field(default="distribution", description="What latents are optimised for: an objective's name.")
    iterations: int = Field(default=1000, ge=0, description="Steps, over all spaces together; 0 leaves the decoded start.")
    lr_w: float = Field(default=0.01, gt=0, description="Learning rate of styles.")
    lr_f: float = Field(default=10.0, gt=0, description="Learning rate of features.")
    lr_pixel: float = Field(default=1.0, gt=0, description="Learning rate of pixels.")
    lr_other: float = Field(default=0.01, gt=0, description="Learning rate of whatever else a prior has.")
    momentum: float = Field(default=0.5, ge=0, lt=1, description="Of SGD, begun anew in each space.")
    chunk: int = Field(default=10, ge=1, description="Images decoded at once; bounds the generator's memory, moves no number.")
    init: Literal["sample", "class_mean", "encode", "noise"] = Field(
        default="sample",
        description="Where latents begin: drawn from the prior, at the class's mean (ipc 1 only), at real images, at noise.",
    )
    keep_latents: bool = Field(default=False, description="Keep the latents with the set; their bytes count.")
    keep_walk: bool = Field(default=False, description="Keep the images that each space ends with, as uint8; their bytes count.")


class GladOptions(LatentOptions):
    """Options of `glad`."""

    space: str = Field(default=MIDDLE, description="The space that is optimised; `middle`: the middle one of the feature spaces.")
    avg_w: bool = Field(default=False, description="At ipc 1, begin at the class's mean instead of a sample.")


class HgladOptions(LatentOptions):
    """Options of `hglad`."""

    avg_w: bool = Field(default=True, description="At ipc 1, begin at the class's mean instead of a sample, as the paper does.")
    spaces: tuple[str, ...] = Field(default=(), description="The spaces walked, from coarse to fine; none: all of the prior's.")
    include_pixels: bool = Field(default=False, description="Whether all of the prior's spaces means pixels too.")
    space_steps: tuple[int, ...] = Field(
        default=(), description="Steps of each space, which add up to `iterations`; none: equally many in each."
    )
    space_lr: tuple[float, ...] = Field(default=(), description="What learning rates are multiplied by in each space; none: 1.")
    selector: str = Field(
        default="cam",
        description="What chooses the latents handed on to the next space: a selector's name; `last` chooses nothing.",
    )
    select_every: int = Field(default=0, ge=0, description="Steps between candidates; 0: a tenth of a space's steps.")


def begins_as(o: LatentOptions, ipc: int) -> Literal["sample", "class_mean", "encode", "noise"]:
    """Return where latents begin.

    Raises:
        BadOption: Every image of a class would begin, and stay, the same.
    """
    if o.init == "class_mean" and ipc > 1:
        raise BadOption(
            f"init=class_mean at ipc {ipc} makes all images of a class equal, and equal gradients keep them so; set -o init=sample"
        )
    averaged = isinstance(o, (GladOptions, HgladOptions)) and o.avg_w and o.init == "sample" and ipc == 1
    return "class_mean" if averaged else o.init


def refuse_uneven(o: HgladOptions) -> None:
    """Do nothing where the values given for each space agree with one another.

    Raises:
        BadOption: They have different lengths, steps that do not add up, or a factor that is not positive.
    """
    if o.iterations and o.space_steps and (min(o.space_steps) < 0 or sum(o.space_steps) != o.iterations):
        raise BadOption(
            f"space_steps {list(o.space_steps)} add up to {sum(o.space_steps)}, and iterations is {o.iterations}; make them equal"
        )
    if o.space_lr and min(o.space_lr) <= 0:
        raise BadOption(f"space_lr {list(o.space_lr)} holds a factor that is not positive")
    counts = {len(values) for values in (o.spaces, o.space_steps, o.space_lr) if values}
    if len(counts) > 1:
        raise BadOption(
            f"spaces, space_steps and space_lr go together: {len(o.spaces)}, {len(o.space_steps)} and {len(o.space_lr)} were given"
        )

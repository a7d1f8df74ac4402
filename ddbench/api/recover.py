"""The options of recover: what every method built on SRe2L's optimisation of images lets a user set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ddbench.options import Options


class RecoverOptions(Options):
    """Options of recover (`ddbench.kit.recover_jobs`), with SRe2L's defaults for CIFAR-100; a method adds its own."""

    iterations: int = Field(default=1000, ge=0, description="Steps of recover; 0 leaves the images as they start.")
    batch: int = Field(
        default=100, ge=1, description="Classes optimised together, one image of each; batch norm sees them as one batch."
    )
    lr: float = Field(default=0.25, gt=0, description="Adam's learning rate at the start; it falls to 0 by a cosine.")
    r_bn: float = Field(
        default=0.01, ge=0, description="What the distance to the batch norm statistics counts beside the cross entropy."
    )
    r_var: float = Field(default=1.0, ge=0, description="What variances count beside means in that distance.")
    first_bn: float = Field(default=10.0, ge=0, description="What the first batch norm layer counts beside the others.")
    view: Literal["roll", "rrc_flip_roll"] = Field(
        default="roll", description="What the teacher is shown: the image rolled, or first cropped, resized and flipped."
    )
    roll_low: int = Field(default=0, ge=-512, le=512, description="Lowest offset of the roll along each axis, in pixels.")
    roll_high: int = Field(default=4, ge=-512, le=512, description="Highest offset of the roll along each axis, in pixels.")
    crop_annealing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fraction of the steps over which crops may become smaller (CDA); 0: small ones from the start.",
    )
    init: Literal["noise", "real"] = Field(
        default="noise", description="What images start from: standard normal noise, or real images."
    )
    jpeg: bool = Field(
        default=False, description="Save as the released code does: truncated and through JPEG, instead of rounded and lossless."
    )
    tv_l2: float = Field(default=0.0, ge=0, description="What the total variation of the views counts; 0 in every released script.")
    l2_scale: float = Field(default=0.0, ge=0, description="What the mean norm of the views counts; 0 in every released script.")

"""Option fields that several objectives or several methods on pixels have, each described once; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ddbench import DsaStrategy

Network = Annotated[str, Field(description="The network that is drawn anew again and again to match in.")]
BatchReal = Annotated[int, Field(ge=1, le=1_000_000, description="Real images of each class in a step; a smaller class gives all.")]
Augmentation = Annotated[
    Literal["none", "dsa"],
    Field(description="What real and synthetic images of a class go through alike in a step; DSA makes `dc` to `dsa`."),
]
Strategy = Annotated[
    DsaStrategy, Field(description="Groups of DSA; leave out `flip` where mirrored images mean something else, as digits do.")
]

Iterations = Annotated[int, Field(ge=0, description="Steps of the images; 0 leaves them as they start.")]
Rate = Annotated[float, Field(gt=0, description="Learning rate of the images, by SGD.")]
Momentum = Annotated[float, Field(ge=0, lt=1, description="Of that SGD.")]
Init = Annotated[
    Literal["real", "noise"], Field(description="What images start from: real ones, those of `random`, or standard normal noise.")
]

"""A dataset that is not here, as far as its source's outline tells: cells can be planned and priced on it, not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ddbench.api.dataset import DatasetFacts, Outline
from ddbench.data.prepared import Prepared
from ddbench.errors import DataMissing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.api.dataset import DatasetSource

NOT_HERE = "outline of "
"""How the identity of a dataset begins that is not here; no prepared dataset's does."""


@dataclass(frozen=True)
class AbsentSplit:
    """As many images as an outline promises, none of which can be read."""

    name: str
    shape: tuple[int, int, int]
    images: int

    @property
    def labels(self) -> NDArray[np.int64]:
        self._refuse()

    @property
    def nbytes(self) -> int:
        return self.images * int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.images

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:  # noqa: ARG002 - a split's signature
        """Raise DataMissing."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataMissing(
            f"dataset {self.name!r} was planned from its outline and is not here; run ddbench data prepare {self.name}"
        )


def is_outline(facts: DatasetFacts) -> bool:
    """Return whether a dataset is only its source's outline."""
    return facts.sha256.startswith(NOT_HERE)


def outlined(source: DatasetSource) -> Prepared | None:
    """Return a dataset to plan with, classes and moments made up; None where the source has no outline."""
    outline: Outline | None = getattr(source, "outline", None)
    if outline is None:
        return None
    each, left = divmod(outline.train_images, outline.num_classes)
    channels = outline.shape[0]
    facts = DatasetFacts(
        name=source.name,
        classes=tuple(f"class {label}" for label in range(outline.num_classes)),
        shape=outline.shape,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        counts=tuple(each + (label < left) for label in range(outline.num_classes)),
        test_images=outline.test_images,
        sha256=f"{NOT_HERE}{source.name}",
        source=source.origin,
    )
    train, test = (AbsentSplit(source.name, outline.shape, images) for images in (outline.train_images, outline.test_images))
    return Prepared(facts, train, test, dict.fromkeys(("train", "test"), facts.sha256))

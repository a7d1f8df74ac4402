"""The datasets that come with ddbench: digits in the wheel, the rest prepared once from its originals."""

from __future__ import annotations

from collections.abc import Iterable

from ddbench import DatasetSource, Outline, hookimpl

from .cifar import CifarSource
from .fashion import FashionMnistSource
from .imagenet import imagenet_sources
from .shipped import DigitsSource
from .tiny_imagenet import TinyImageNetSource


@hookimpl
def ddbench_datasets() -> Iterable[DatasetSource]:
    """Return the sources; none of them imports torch before it prepares something."""
    return [
        DigitsSource(),
        CifarSource("cifar10", "CIFAR10", download_bytes=170_498_071, outline=Outline(10, (3, 32, 32), 50_000, 10_000)),
        CifarSource("cifar100", "CIFAR100", download_bytes=169_001_437, outline=Outline(100, (3, 32, 32), 50_000, 10_000)),
        FashionMnistSource(),
        TinyImageNetSource(),
        *imagenet_sources(),
    ]

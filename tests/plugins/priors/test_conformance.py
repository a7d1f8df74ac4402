"""The first-party priors keep every contract of a prior."""

from __future__ import annotations

from typing import ClassVar

from ddbench.testing import PriorConformance
from ddbench_plugins.priors import Pixel, Random, Trained


class TestPixel(PriorConformance):
    prior = Pixel()
    clips = False


class TestRandom(PriorConformance):
    prior = Random()
    options: ClassVar = {"channels": 8, "max_channels": 16}


class TestTrained(PriorConformance):
    prior = Trained()
    options: ClassVar = {"channels": 8, "max_channels": 16, "steps": 51, "batch": 4, "layers": 2}

"""The contracts every selector keeps, for ours with each of their options."""

from __future__ import annotations

from typing import ClassVar

from ddbench.testing import SelectorConformance
from ddbench_plugins.selectors import Cam, Feature, Last, Loss


class TestCam(SelectorConformance):
    selector = Cam()


class TestCamByGradientsOnEveryStage(SelectorConformance):
    selector = Cam()
    options: ClassVar = {"stages": "all", "draws": 2, "real": 5}


class TestCamByChannel(SelectorConformance):
    selector = Cam()
    options: ClassVar = {"weighting": "channel"}


class TestFeature(SelectorConformance):
    selector = Feature()


class TestFeatureOnEveryStage(SelectorConformance):
    selector = Feature()
    options: ClassVar = {"stages": "all", "draws": 1}


class TestLoss(SelectorConformance):
    selector = Loss()


class TestLast(SelectorConformance):
    selector = Last()

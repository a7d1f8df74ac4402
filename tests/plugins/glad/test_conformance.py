"""The contracts every synthesizer keeps, for both methods on toy latents, and for glad on pixels."""

from __future__ import annotations

from typing import ClassVar

from ddbench.testing import SynthesizerConformance
from ddbench_plugins.glad import Glad, Hglad
from ddbench_plugins.priors import Pixel
from toy_walks import ToyObjective, ToyPriorKind, ToySelector

CHEAP = {"prior": "toy", "objective": "toy", "iterations": 25, "lr_w": 0.5, "lr_f": 2.0, "chunk": 3}


class TestGlad(SynthesizerConformance):
    synthesizer = Glad()
    options: ClassVar = CHEAP
    parts: ClassVar = {"objective": [ToyObjective()]}
    priors: ClassVar = [ToyPriorKind()]


class TestHglad(SynthesizerConformance):
    synthesizer = Hglad()
    options: ClassVar = {**CHEAP, "selector": "toy", "keep_walk": True, "keep_latents": True}
    parts: ClassVar = {"objective": [ToyObjective()], "selector": [ToySelector()]}
    priors: ClassVar = [ToyPriorKind()]


class TestHgladEndingInPixelsFromRealImages(SynthesizerConformance):
    synthesizer = Hglad()
    options: ClassVar = {**CHEAP, "selector": "toy", "include_pixels": True, "init": "encode"}
    parts: ClassVar = {"objective": [ToyObjective()], "selector": [ToySelector()]}
    priors: ClassVar = [ToyPriorKind()]


class TestGladOnPixels(SynthesizerConformance):
    synthesizer = Glad()
    options: ClassVar = {**CHEAP, "prior": "pixel", "init": "encode", "lr_pixel": 3.0}
    parts: ClassVar = {"objective": [ToyObjective()]}
    priors: ClassVar = [Pixel()]

"""The contracts every synthesizer keeps, for sre2l from noise, from real images, and one job at a time."""

from __future__ import annotations

from ddbench.testing import SynthesizerConformance
from ddbench_plugins.sre2l import Sre2l

CHEAP = {"iterations": 3, "lr": 0.05, "roll_low": -1, "roll_high": 1}
REAL = {**CHEAP, "init": "real", "batch": 3, "view": "rrc_flip_roll"}


class TestSre2l(SynthesizerConformance):
    synthesizer = Sre2l()
    options = CHEAP


class TestSre2lFromRealImages(SynthesizerConformance):
    synthesizer = Sre2l()
    options = REAL


class OneByOne(Sre2l):
    def stack(self, o, facts) -> int:
        return 1


class TestSre2lOneByOne(SynthesizerConformance):
    synthesizer = OneByOne()
    options = CHEAP
    nested = True

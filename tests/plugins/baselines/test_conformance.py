"""The contracts every synthesizer keeps, for the five baselines."""

from __future__ import annotations

from ddbench.testing import SynthesizerConformance
from ddbench_plugins.baselines import Full, Herding, KCenter, Noise, Random


class TestRandom(SynthesizerConformance):
    synthesizer = Random()
    nested = True


class TestNoise(SynthesizerConformance):
    synthesizer = Noise()
    nested = True


class TestHerding(SynthesizerConformance):
    synthesizer = Herding()
    seeded = False
    nested = True


class TestKCenter(SynthesizerConformance):
    synthesizer = KCenter()
    seeded = False
    nested = True


class TestFull(SynthesizerConformance):
    synthesizer = Full()
    seeded = False
    balanced = False

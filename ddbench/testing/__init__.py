"""The conformance kit: a plugin's author inherits its tests.

from ddbench.testing import SynthesizerConformance

class TestMine(SynthesizerConformance):
    synthesizer = Mine()
"""

from __future__ import annotations

from ddbench.testing.synthesizers import SynthesizerConformance
from ddbench.testing.toys import Bench, toy_dataset

__all__ = ["Bench", "SynthesizerConformance", "toy_dataset"]

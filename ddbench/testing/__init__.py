"""The conformance kit: a plugin's author inherits its tests.

from ddbench.testing import SynthesizerConformance

class TestMine(SynthesizerConformance):
    synthesizer = Mine()
"""

from __future__ import annotations

from ddbench.testing.bench import Bench
from ddbench.testing.objectives import ObjectiveConformance
from ddbench.testing.priors import PriorConformance
from ddbench.testing.selectors import SelectorConformance
from ddbench.testing.synthesizers import SynthesizerConformance
from ddbench.testing.toys import toy_dataset

__all__ = [
    "Bench",
    "ObjectiveConformance",
    "PriorConformance",
    "SelectorConformance",
    "SynthesizerConformance",
    "toy_dataset",
]

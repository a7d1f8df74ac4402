"""The conformance kit: a plugin's author inherits its tests.

from ddbench.testing import SynthesizerConformance

class TestMine(SynthesizerConformance):
    synthesizer = Mine()
"""

from __future__ import annotations

from ddbench.testing.bench import Bench
from ddbench.testing.datasets import DatasetConformance
from ddbench.testing.evaluators import EvaluatorConformance
from ddbench.testing.networks import NetworkConformance
from ddbench.testing.objectives import ObjectiveConformance
from ddbench.testing.priors import PriorConformance
from ddbench.testing.protocols import ProtocolConformance
from ddbench.testing.selectors import SelectorConformance
from ddbench.testing.synthesizers import SynthesizerConformance
from ddbench.testing.teachers import TeacherConformance
from ddbench.testing.toys import toy_dataset

__all__ = [
    "Bench",
    "DatasetConformance",
    "EvaluatorConformance",
    "NetworkConformance",
    "ObjectiveConformance",
    "PriorConformance",
    "ProtocolConformance",
    "SelectorConformance",
    "SynthesizerConformance",
    "TeacherConformance",
    "toy_dataset",
]

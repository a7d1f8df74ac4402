"""ddbench compares dataset-distillation methods on equal terms.

The names below are the public ones: what plugin authors import, and `run`, `table` for notebooks.
Importing this module imports no torch.
"""

from __future__ import annotations

from ddbench.api.context import Context, Need, Precision
from ddbench.api.dataset import DatasetDefaults, DatasetFacts, DatasetSource, TrainSplit
from ddbench.api.evaluator import EvaluationContext, Evaluator, Metric
from ddbench.api.network import NetworkFamily, NetworkSpec, TrainedNetwork
from ddbench.api.protocol import Augment, Optimiser, ProtocolSpec, Schedule, read_protocols
from ddbench.api.synthesizer import Job, JobResult, Synthesizer, jobs_per_image_index
from ddbench.api.teacher import Teacher
from ddbench.errors import DdbenchError
from ddbench.hookspecs import hookimpl
from ddbench.notebook import load_records, plan, run, table
from ddbench.options import NoOptions, Options

__version__ = "0.1.0"

__all__ = [
    "Augment",
    "Context",
    "DatasetDefaults",
    "DatasetFacts",
    "DatasetSource",
    "DdbenchError",
    "EvaluationContext",
    "Evaluator",
    "Job",
    "JobResult",
    "Metric",
    "Need",
    "NetworkFamily",
    "NetworkSpec",
    "NoOptions",
    "Optimiser",
    "Options",
    "Precision",
    "ProtocolSpec",
    "Schedule",
    "Synthesizer",
    "Teacher",
    "TrainSplit",
    "TrainedNetwork",
    "__version__",
    "hookimpl",
    "jobs_per_image_index",
    "load_records",
    "plan",
    "read_protocols",
    "run",
    "table",
]

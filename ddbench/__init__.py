"""ddbench compares dataset-distillation methods on equal terms.

The names below are the public ones: what plugin authors import, and `run`, `table` for notebooks.
Importing this module imports no torch.
"""

from __future__ import annotations

from ddbench.api.context import Context, Need, Part, Precision, Use
from ddbench.api.dataset import DatasetDefaults, DatasetFacts, DatasetSource, Outline, TrainSplit
from ddbench.api.evaluator import EvaluationContext, Evaluator, Metric
from ddbench.api.experts import ExpertOptions, Experts
from ddbench.api.network import NetworkFamily, NetworkSpec, TrainedNetwork
from ddbench.api.objective import Matching, Objective, Work
from ddbench.api.prior import Latents, LoadedPrior, Prior
from ddbench.api.protocol import Augment, DsaStrategy, Optimiser, ProtocolSpec, Schedule, read_protocols
from ddbench.api.recover import RecoverOptions
from ddbench.api.selector import Candidate, Judge, Selector
from ddbench.api.synthesizer import Job, JobResult, Synthesizer, jobs_per_image_index, one_job
from ddbench.api.teacher import Teacher
from ddbench.errors import DdbenchError
from ddbench.hookspecs import api_version, hookimpl
from ddbench.notebook import load_records, plan, run, table
from ddbench.options import NoOptions, Options

__version__ = "0.1.0"

__all__ = [
    "Augment",
    "Candidate",
    "Context",
    "DatasetDefaults",
    "DatasetFacts",
    "DatasetSource",
    "DdbenchError",
    "DsaStrategy",
    "EvaluationContext",
    "Evaluator",
    "ExpertOptions",
    "Experts",
    "Job",
    "JobResult",
    "Judge",
    "Latents",
    "LoadedPrior",
    "Matching",
    "Metric",
    "Need",
    "NetworkFamily",
    "NetworkSpec",
    "NoOptions",
    "Objective",
    "Optimiser",
    "Options",
    "Outline",
    "Part",
    "Precision",
    "Prior",
    "ProtocolSpec",
    "RecoverOptions",
    "Schedule",
    "Selector",
    "Synthesizer",
    "Teacher",
    "TrainSplit",
    "TrainedNetwork",
    "Use",
    "Work",
    "__version__",
    "api_version",
    "hookimpl",
    "jobs_per_image_index",
    "load_records",
    "one_job",
    "plan",
    "read_protocols",
    "run",
    "table",
]

"""Evaluation contexts without a run: a toy dataset, a student made by hand."""

from __future__ import annotations

import torch

from ddbench import Precision, TrainedNetwork
from ddbench.api.protocol import TestView
from ddbench.data import HeldSplit, TestSplit
from ddbench.evaluation import StudentEvaluation
from ddbench.seeding import generator_for
from ddbench.testing.toys import toy_dataset


def evaluation(network=None, *, data=None, distilled=None, needs=None, name="any") -> StudentEvaluation:
    """Return what an evaluator is given: with a student where `network` is given, else of a set, its test split locked."""
    data = data or toy_dataset()
    facts = data.facts
    mean, std = torch.tensor(facts.mean), torch.tensor(facts.std)
    return StudentEvaluation(
        facts=facts,
        train=HeldSplit(data),
        distilled=distilled,
        trained=None if network is None else TrainedNetwork(network, facts.classes, mean, std),
        teacher=None,
        soft_label_bytes=0,
        device=torch.device("cpu"),
        generator=generator_for("evaluation", name),
        test=TestSplit(data, locked=network is None),
        view=TestView(),
        precision=Precision(),
        needs=needs or {},
    )

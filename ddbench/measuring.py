"""Measures: asks evaluators about distilled sets, once for each set, and about trained students."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ddbench import distilling, making
from ddbench.api.context import Precision
from ddbench.api.network import TrainedNetwork
from ddbench.api.protocol import TestView
from ddbench.costs import measured
from ddbench.errors import SpecialValue
from ddbench.evaluation import StudentEvaluation
from ddbench.making import common_card, plugin_block, stored
from ddbench.needs import made
from ddbench.records import EvaluatorBlock, MetricBlock, OptionsBlock, finite
from ddbench.seeding import generator_for
from ddbench.store import EVALUATED
from ddbench.training.zca import whitening_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.distilled import DistilledSet
    from ddbench.making import Session
    from ddbench.stages import EvaluationStage, Measure, StudentStage
    from ddbench.store import Artefact


@dataclass(frozen=True)
class Measured:
    """What evaluators found."""

    metrics: tuple[MetricBlock, ...]
    evaluators: Mapping[str, EvaluatorBlock]
    tensors: Mapping[str, Tensor]
    """What is kept beside the record: predictions, and what evaluators of scope `student` keep."""
    notes: Sequence[str] = ()
    """What did not go as the precision says."""


Given = tuple["DistilledSet", "TrainedNetwork | None"]
"""A distilled set, and the teacher that answers during students' training; None under hard labels."""


def of_student(session: Session, stage: StudentStage, given: Given, network: nn.Module) -> Measured:
    """Return what evaluators of scope `student` say of a trained student, and its predictions; the test split must be open.

    Raises:
        SpecialValue: An evaluator gave NaN or infinity.
    """
    facts = session.facts
    mean, std = (torch.tensor(values, device=session.device) for values in (facts.mean, facts.std))
    context = replace(
        _context(session, given, stage.soft_label_bytes),
        view=stage.cell.recipe.test,
        precision=stage.precision,
        trained=TrainedNetwork(network, facts.classes, mean, std),
        whitening=whitening_of(session.train) if given[0].space == "zca" else None,
    )
    predicted = context.predictions()
    tensors: dict[str, Tensor] = {
        "predictions": smallest(predicted, facts.num_classes),
        "correct": packed(predicted == context.test_labels()),
    }
    metrics: list[MetricBlock] = []
    blocks: dict[str, EvaluatorBlock] = {}
    for measure in (one for one in stage.evaluators if not one.of_set):
        found, kept = _asked(session, measure, context)
        metrics.extend(found)
        tensors |= {f"{measure.name}.{name}": tensor for name, tensor in kept.items()}
        blocks[measure.name] = _block(measure)
    return Measured(tuple(metrics), blocks, tensors, context.notes)


def of_set(session: Session, stage: StudentStage) -> Measured:
    """Return what evaluators of scope `set` say of a student's distilled set; the test split stays locked."""
    metrics: list[MetricBlock] = []
    blocks: dict[str, EvaluatorBlock] = {}
    for evaluation in stage.evaluations:
        artefact = evaluated(session, evaluation)
        metrics.extend(MetricBlock.model_validate(metric) for metric in artefact.card["metrics"])
        sidecar = artefact.file_sha256(EVALUATED) if EVALUATED in artefact.card["files"] else None
        block = _block(evaluation.measure)
        blocks[evaluation.measure.name] = block.model_copy(update={"key": evaluation.key, "sidecar": sidecar})
    return Measured(tuple(metrics), blocks, {})


def evaluated(session: Session, stage: EvaluationStage) -> Artefact:
    """Return what one evaluator says of a distilled set: read where the store has it, else found and stored.

    Raises:
        SpecialValue: The evaluator gave NaN or infinity.
    """
    with session.store.lock(stage.key):
        return session.find(stage.folder, stage.key) or _evaluate(session, stage)


def joined(stage: StudentStage, student: Measured, distilled: Measured) -> Measured:
    """Return both together, metrics in the order in which their evaluators were asked for."""
    order = [measure.name for measure in stage.evaluators]
    metrics = sorted((*student.metrics, *distilled.metrics), key=lambda block: order.index(block.evaluator.partition(" ")[0]))
    blocks = {**student.evaluators, **distilled.evaluators}
    return replace(student, metrics=tuple(metrics), evaluators={name: blocks[name] for name in order})


def make_needs(session: Session, stage: StudentStage) -> None:
    """Make what evaluators of scope `student` need, before the test split is opened."""
    for measure in stage.evaluators:
        if not measure.of_set:
            _needs(session, measure)


def npz(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as a compressed npz; equal tensors give equal bytes."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def packed(correct: Tensor) -> Tensor:
    """Return bools as bits, uint8 (ceil(N / 8),), the first in the highest bit: what pairs two students image by image."""
    return torch.from_numpy(np.packbits(correct.cpu().numpy()))


def smallest(predictions: Tensor, num_classes: int) -> Tensor:
    """Return predictions as uint8 where every class fits, else int16."""
    return predictions.to(torch.uint8 if num_classes <= 256 else torch.int16)


def _evaluate(session: Session, stage: EvaluationStage) -> Artefact:
    measure = stage.measure
    answering = making.teacher(session, stage.teacher)[0] if stage.teacher else None
    context = _context(session, (distilling.distilled(session, stage.distilled), answering), stage.soft_label_bytes)
    _needs(session, measure)  # made, so that only measuring is timed
    with measured(session.device) as cost:
        metrics, kept = _asked(session, measure, context)
    card = {
        **common_card(session, "evaluation", stage.key),
        "evaluator": measure.name,
        "options": measure.part.options.dump(),
        "sources": dict(measure.part.options.sources),
        "needs": {name: need.key for name, (_, need) in measure.needs.items()},
        "distilled": stage.distilled.key,
        "metrics": [metric.model_dump() for metric in metrics],
        "plugin": plugin_block(measure.part.entry),
        "cost": vars(cost),
    }
    with session.store.writing(stage.folder, stage.key, card) as folder:
        if kept:
            (folder / EVALUATED).write_bytes(npz(kept))
    return stored(session, stage.folder, stage.key)


def _context(session: Session, given: Given, soft_label_bytes: int) -> StudentEvaluation:
    """Return what every evaluator of a set is given."""
    return StudentEvaluation(
        facts=session.facts,
        train=session.train,
        distilled=given[0],
        trained=None,
        teacher=given[1],
        soft_label_bytes=soft_label_bytes,
        device=session.device,
        generator=generator_for("evaluation"),
        test=session.test,
        view=TestView(),
        precision=Precision(),
    )


def _asked(session: Session, measure: Measure, context: StudentEvaluation) -> tuple[list[MetricBlock], Mapping[str, Tensor]]:
    """Return an evaluator's metrics and what it keeps; each draws from a generator of its own."""
    context.needs, context.generator = _needs(session, measure), generator_for("evaluation", measure.name)
    evaluator, options = measure.part.entry.value, measure.part.options.values
    answer = evaluator.evaluate(context, options)
    metrics, kept = answer if isinstance(answer, tuple) else (answer, {})
    for metric in metrics:
        if not finite(metric.value):
            raise SpecialValue(f"evaluator {measure.name!r} gave {metric.name} = {metric.value}, which no record may hold")
    return [MetricBlock(**vars(metric), evaluator=measure.label) for metric in metrics], kept


def _needs(session: Session, measure: Measure) -> dict[str, Any]:
    return {name: made(session, need) for name, (_, need) in measure.needs.items()}


def _block(measure: Measure) -> EvaluatorBlock:
    options = measure.part.options
    return EvaluatorBlock(
        options=OptionsBlock(values=options.dump(), sources=dict(options.sources)),
        needs={name: need.key for name, (_, need) in measure.needs.items()},
    )

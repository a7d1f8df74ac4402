"""Trains one student on a distilled set, tests it once after its last step, and writes its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

import ddbench
from ddbench import distilling, making, measuring
from ddbench.context import Throttled, network_settings
from ddbench.costs import Cost, host, measured
from ddbench.errors import ArtefactDamaged, TestImagesInSet
from ddbench.needs import made
from ddbench.networks import build, count_parameters
from ddbench.overlap import refuse_test_images
from ddbench.records import Record
from ddbench.stages import ExpertsStage, PriorStage, network_identity
from ddbench.store import NUMERICS_VERSION
from ddbench.training.loop import RunSettings, Trained
from ddbench.training.students import Student, StudentData, StudentSeeds, train_student

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.network import TrainedNetwork
    from ddbench.distilled import DistilledSet
    from ddbench.making import Session
    from ddbench.measuring import Measured
    from ddbench.stages import DistilledStage, LabelsStage, NeedStage, StudentStage, TeacherStage

LEARNED_LR = "lr"
"""The extra of a distilled set that holds a learned step size."""


@dataclass(frozen=True)
class Inputs:
    """What a student is trained with."""

    distilled: DistilledSet
    data: StudentData
    label_cost: Mapping[str, Any] | None = None
    """What storing the teacher's answers cost, under `soft_epoch`."""

    @property
    def teacher(self) -> TrainedNetwork | None:
        return self.data.teacher


def student_record(session: Session, stage: StudentStage, title: str, *, wait: bool = True) -> Record | None:
    """Return the record of a cell: read from the store, or made by training and testing one student.

    Without `wait`, None where another process is making it.
    """
    if wait:
        with session.store.lock(stage.key):
            return session.store.record(stage.key) or _made(session, stage, title)
    with session.store.lock_if_free(stage.key) as free:
        return (session.store.record(stage.key) or _made(session, stage, title)) if free else None


def _made(session: Session, stage: StudentStage, title: str) -> Record:
    """Return the new record of a student that was trained, then tested."""
    stage = replace(stage, precision=making.attainable(session, stage.precision))
    inputs = _inputs(session, stage)
    started = datetime.now(UTC)
    with session.workspace.reporter.stage(title) as shown:
        with measured(session.device) as training:
            trained = _train(session, stage, inputs, Throttled(shown))
        measuring.make_needs(session, stage)
        with measured(session.device) as testing:
            of_student = _evaluate(session, stage, inputs, trained)
        found = measuring.joined(stage, of_student, measuring.of_set(session, stage))
    trained = replace(trained, notes=tuple(dict.fromkeys((*trained.notes, *found.notes))))
    times = {"started": started.isoformat(timespec="seconds"), "finished": datetime.now(UTC).isoformat(timespec="seconds")}
    costs = {"student": training, "test": testing}
    record = _record(session, stage, inputs, trained, (found, times, costs))
    return session.store.add_record(record, measuring.npz(found.tensors))


def student_labels(session: Session, stage: LabelsStage) -> None:
    """Make the stored answers that students of a distilled set learn from, unless the store has them."""
    _, data = _data(session, stage.distilled, stage.teacher)
    making.labels(session, stage, data)


def _inputs(session: Session, stage: StudentStage) -> Inputs:
    """Return the distilled set as the student learns from it, with its teacher's answers where they are stored."""
    distilled, data = _data(session, stage.distilled, stage.teacher)
    if stage.labels is None:
        return Inputs(distilled, data)
    stored, cost = making.labels(session, stage.labels, data)
    return Inputs(distilled, replace(data, stored=stored), cost)


def _data(session: Session, made_by: DistilledStage, answers: TeacherStage | None) -> tuple[DistilledSet, StudentData]:
    distilled = distilling.distilled(session, made_by)
    return distilled, student_data(session, distilled, making.teacher(session, answers)[0] if answers else None)


def student_data(session: Session, distilled: DistilledSet, teacher: TrainedNetwork | None) -> StudentData:
    """Return a distilled set as students learn from it, with the teacher that answers."""
    lr = distilled.extras.get(LEARNED_LR)
    return StudentData(
        images=distilled.images,
        labels=distilled.labels,
        mean=torch.tensor(session.facts.mean),
        std=torch.tensor(session.facts.std),
        space=distilled.space,
        soft_labels=distilled.soft_labels,
        teacher=teacher,
        learned_lr=None if lr is None else float(lr.double().mean()),
    )


def predictions(session: Session, stage: StudentStage, given: tuple[DistilledSet, StudentData], title: str) -> Tensor:
    """Return uint8 or int16 (N,): what a newly trained student takes the test images for. No record is written."""
    distilled, data = given
    if stage.labels is not None:
        data = replace(data, stored=making.labels(session, stage.labels, data)[0])
    inputs = Inputs(distilled, data)
    with session.workspace.reporter.stage(title) as shown:
        trained = _train(session, stage, inputs, Throttled(shown))
        return _evaluate(session, stage, inputs, trained).tensors["predictions"]


def _train(session: Session, stage: StudentStage, inputs: Inputs, shown: Throttled) -> Trained:
    cell = stage.cell
    seeds = StudentSeeds(cell.eval_seed, stage.view_seed if stage.labels else None)
    network = build(cell.network, session.families(), seed=seeds.initialisation)
    run = RunSettings(session.device, stage.precision, progress=shown.progress)
    return train_student(Student(network, cell.student), inputs.data, cell.recipe, seeds=seeds, run=run)


def _evaluate(session: Session, stage: StudentStage, inputs: Inputs, trained: Trained) -> Measured:
    """Return what evaluators say of a trained student, the test split open meanwhile.

    Raises:
        TestImagesInSet: The student learned from images of the test split.
    """
    with making.unlocked(session.test):
        if inputs.distilled.sha256 not in session.without_test_images:
            try:
                refuse_test_images(inputs.distilled, session.train, session.test)
            except TestImagesInSet as error:
                session.failed[stage.distilled.key] = error
                raise
            session.without_test_images.add(inputs.distilled.sha256)
        return measuring.of_student(session, stage, (inputs.distilled, inputs.teacher), trained.network)


def _record(
    session: Session,
    stage: StudentStage,
    inputs: Inputs,
    trained: Trained,
    result: tuple[Measured, Mapping[str, str], Mapping[str, Cost]],
) -> Record:
    cell, (found, times, costs), facts = stage.cell, result, session.facts
    return Record(
        key=stage.key,
        ddbench_version=ddbench.__version__,
        numerics_version=NUMERICS_VERSION,
        cell=cell.coordinate(),
        options=_options(stage),
        protocol=cell.recipe.model_dump(mode="json"),
        protocol_sha256=cell.recipe.sha256,
        student=network_identity(cell.network),
        plugins=tuple(_plugin_blocks(session, stage)),
        dataset={
            "name": facts.name,
            "sha256": facts.sha256,
            "classes_sha256": facts.classes_sha256,
            "num_classes": facts.num_classes,
            "shape": facts.shape,
            "test_images": facts.test_images,
            "test_order_sha256": session.data.order_sha256["test"],
        },
        teacher_key=cell.choice and _teacher_key(stage),
        needs={name: need.key for name, (_, need) in stage.distilled.needs.items()},
        external_data=_external_data(stage),
        distilled_key=stage.distilled.key,
        distilled_sha256=inputs.distilled.sha256,
        labels_key=stage.labels.key if stage.labels else None,
        view_seed=stage.view_seed if stage.labels else None,
        images=len(inputs.distilled.labels),
        start=inputs.distilled.manifest["start"],
        training={
            "optimiser_steps": trained.steps,
            "images_seen": trained.images_seen,
            "parameters": count_parameters(trained.network),
            "curve": tuple(trained.curve),
        },
        precision={
            "student": network_settings(stage.precision),
            "recover": inputs.distilled.manifest["precision"],
            "device": session.device.type,
            "notes": tuple(trained.notes),
        },
        metrics=found.metrics,
        evaluators=found.evaluators,
        bytes=_bytes(session, stage, inputs),
        smoke=cell.recipe.smoke,
        time=times,
        cost={**_stage_costs(session, stage, inputs), **{name: vars(cost) for name, cost in costs.items()}},
        host=host(session.device, session.threads),
    )


def _external_data(stage: StudentStage) -> bool:
    """Return whether other images went into the set: by way of a prior, or as whoever brought it says."""
    priors = [need.choice.prior for _, need in stage.distilled.needs.values() if isinstance(need, PriorStage)]
    return any(prior.external_data for prior in priors) or getattr(stage.cell.method.options.values, "external_data", False)


def _options(stage: StudentStage) -> dict[str, Any]:
    resolved = {"synthesizer": stage.cell.method.options}
    if stage.cell.choice:
        resolved["teacher"] = stage.cell.choice.options
    resolved |= {kind: part.options for kind, part in stage.cell.method.parts.items()}
    resolved |= {name: need.choice.options for name, (_, need) in stage.distilled.needs.items()}
    return {name: {"values": options.dump(), "sources": dict(options.sources)} for name, options in resolved.items()}


def _plugin_blocks(session: Session, stage: StudentStage) -> list[dict[str, Any]]:
    cell = stage.cell
    entries = [cell.method.entry, stage.family, session.workspace.plugins.get("protocol", cell.protocol)]
    entries += [measure.part.entry for measure in stage.evaluators]
    entries += [part.entry for part in cell.method.parts.values()]
    entries += [need.choice.entry for _, need in stage.distilled.needs.values() if not isinstance(need, ExpertsStage)]
    if cell.choice and cell.choice.entry not in entries:
        entries.append(cell.choice.entry)
    return [making.plugin_block(entry) for entry in entries]


def _teacher_key(stage: StudentStage) -> str | None:
    if stage.teacher:
        return stage.teacher.key
    chosen = stage.cell.choice
    return next((need.key for need in stage.distilled.teachers.values() if need.choice == chosen), None)


def _bytes(session: Session, stage: StudentStage, inputs: Inputs) -> dict[str, int]:
    """Return the bytes of the set's parts, of the teacher where its answers are needed, and of the real train split."""
    recipe, facts = stage.cell.recipe, session.facts
    channels, height, width = facts.shape
    sizes = dict(inputs.distilled.bytes)
    sizes["real_train"] = sum(facts.counts) * (channels * height * width + 8)
    if inputs.teacher is not None:
        sizes["teacher"] = sum(tensor.numel() * tensor.element_size() for tensor in inputs.teacher.module.state_dict().values())
        sizes["stored_labels"] = recipe.label_bytes(len(inputs.distilled.labels), facts.num_classes)
    return sizes


def _stage_costs(session: Session, stage: StudentStage, inputs: Inputs) -> dict[str, Any]:
    made = inputs.distilled.manifest["cost"]
    costs = {"recover": made} if made else {}
    key = _teacher_key(stage)
    needs = {name: need for name, (_, need) in stage.distilled.needs.items()}
    asked: list[tuple[NeedStage, str]] = [(stage.teacher, "squeeze")] if stage.teacher else []
    asked += [(need, "squeeze" if need.key == key else name) for name, need in needs.items()]
    costs |= {name: _cost(session, need) for need, name in asked}
    if inputs.label_cost is not None:
        costs["relabel"] = inputs.label_cost
    return costs


def _cost(session: Session, stage: NeedStage) -> Mapping[str, Any]:
    """Return what making a need cost, from its card; one whose card is damaged or gone is made again."""
    try:
        card = session.store.card(stage.folder, stage.key)
    except ArtefactDamaged:
        made(session, stage)
        card = session.store.card(stage.folder, stage.key)
    cost: Mapping[str, Any] = card["cost"]
    return cost

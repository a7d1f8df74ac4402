"""Trains a record's student again from its distilled set, and judges whether it agrees."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import stats

import ddbench
from ddbench.api.context import Precision
from ddbench.api.protocol import ProtocolSpec
from ddbench.cells import DEFAULT_WAY, Request
from ddbench.context import network_settings
from ddbench.costs import host
from ddbench.distilled import DistilledSet
from ddbench.errors import BadRequest, DataMissing
from ddbench.exchange.checking import KEY, predictions_of
from ddbench.exchange.manifests import read_manifest
from ddbench.exchange.opening import Telling, open_elsewhere
from ddbench.making import attainable, open_session, teacher, threads_kept
from ddbench.planning import plan
from ddbench.provenance import Check, Measured
from ddbench.stages import network_identity
from ddbench.store import NUMERICS_VERSION, Store
from ddbench.students import predictions, student_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.making import Session
    from ddbench.records import Record
    from ddbench.stages import StudentStage
    from ddbench.workspace import Workspace

LEVEL = 0.95
"""Of the interval in which one more student is expected."""

FEWEST = 3
"""Students that an interval needs."""

SAME_PLACE = ("system", "cpu", "device", "threads", "python", "packages")
"""Of a host: where these agree, a CPU gives the same predictions again."""


@dataclass(frozen=True)
class Verdict:
    """Whether a student trained again agrees with a record, and how that was found."""

    agrees: bool
    check: Check
    """What is kept beside the record if it agrees."""
    why: str


@dataclass(frozen=True)
class Asked:
    """How a record is checked."""

    eval_seeds: int = 5
    """Students to train where the predictions cannot be the same ones: on another machine, or an accelerator."""
    device: str = "auto"
    by: str = "unnamed"
    redistil: bool = False
    """Whether the set is made again as well."""


@threads_kept()
def retrain(record: Record, path: Path, source: Path, workspace: Workspace, asked: Asked) -> Verdict:
    """Return whether students trained again from a record's set agree with it; the record and its set stay as they are.

    Args:
        record: Whole, with sound checksums.
        path: Its file; the predictions lie beside it.
        source: A folder laid out as a store, which holds the set.
        workspace: Knows datasets, networks and protocols; its store has the teacher, or keeps the one that is made.
        asked: How.

    Raises:
        DataMissing: The set's images are not there, or the dataset here is another one.
        BadRequest: The protocol, the network or the teacher is not known here as the record has it.
        BadSet: What is called a set is none.
    """
    check_enough(asked)
    planned = plan(request_of(record, asked, workspace), workspace)
    stage = as_recorded(record, planned.cells[0].stage, workspace)
    for one in planned.stages:
        if stage.teacher and one.key == stage.teacher.key and not one.stored:
            workspace.reporter.note(f"{one.title} is not in this store and is made first: about {one.expected_s:.0f} s")
    session = open_session(planned, workspace)
    refuse_other_data(record, session)
    distilled = _set(record, source, session)
    with tempfile.TemporaryDirectory(prefix="ddbench-") as scratch:
        return judge(record, path, Trainer(session, stage, distilled, Path(scratch)), asked)


def check_enough(asked: Asked) -> None:
    """Raise BadRequest where so few students are asked for that they give no interval."""
    if asked.eval_seeds < FEWEST:
        raise BadRequest(f"--eval-seeds {asked.eval_seeds} gives no interval; give {FEWEST} at least")


class Trainer:
    """Trains students of a record's cell; answers that are stored for it go into a scratch store."""

    def __init__(
        self, session: Session, stage: StudentStage, distilled: DistilledSet, scratch: Path, *, alike: bool = True
    ) -> None:
        self.stage, self.distilled = replace(stage, precision=attainable(session, stage.precision)), distilled
        self.alike = alike
        """Whether the set was made as the record's was, or is the record's own."""
        self.answers = teacher(session, stage.teacher)[0] if stage.teacher else None
        self.session = replace(session, workspace=replace(session.workspace, store=Store(scratch)))
        self.labels = np.asarray(session.data.test.labels)

    def train(self, eval_seed: int) -> tuple[float, NDArray[Any]]:
        """Return top1 as a fraction, and the predictions, of a student of one eval seed."""
        stage = replace(self.stage, cell=replace(self.stage.cell, eval_seed=eval_seed), evaluators=())
        data = student_data(self.session, self.distilled, self.answers)
        title = f"student {stage.cell.student}, eval seed {eval_seed}, again"
        found = predictions(self.session, stage, (self.distilled, data), title).numpy()
        return float((found == self.labels).mean()), found


def judge(
    record: Record, path: Path, trainer: Trainer, asked: Asked, *, how: Literal["retrained", "redistilled"] = "retrained"
) -> Verdict:
    """Return the verdict of the record's own eval seed, and where it cannot decide, that of others with it.

    Args:
        record: What is judged.
        path: Its file; the predictions lie beside it.
        trainer: Trains students on the record's set, or on the set that was distilled again.
        asked: How many students, and who asks.
        how: Whether the set is the record's own.
    """
    own, kept = record.cell.eval_seed, predictions_of(record, path)
    value, found = trainer.train(own)
    here = host(trainer.session.device, trainer.session.threads)
    check = Check(
        level="verified" if how == "retrained" else "reproduced",
        how=how,
        by=asked.by,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        recorded=_stated(record, kept, trainer),
        measured=(Measured(eval_seed=own, value=value),),
        same_predictions=None if kept is None else bool(np.array_equal(kept, found)),
        host=here,
        ddbench_version=ddbench.__version__,
    )
    if kept is not None and check.same_predictions and abs(value - (check.recorded or 0.0)) < 0.5 / len(found):
        return Verdict(agrees=True, check=check, why=f"every one of {len(found)} predictions is the same")
    if kept is not None and _same_place(record, here, trainer):
        changed = int((kept != found).sum()) if kept.shape == found.shape else len(found)
        why = f"{changed} of {len(found)} predictions differ, on the same machine and with the same settings"
        return Verdict(agrees=False, check=check, why=why)
    return _by_interval(check, trainer, [seed for seed in range(asked.eval_seeds) if seed != own][: asked.eval_seeds - 1])


def _by_interval(check: Check, trainer: Trainer, others: list[int]) -> Verdict:
    """Return whether the record's top1 lies where one more student's is expected."""
    students = [*check.measured, *(Measured(eval_seed=seed, value=trainer.train(seed)[0]) for seed in others)]
    low, high = expected([student.value for student in students], len(trainer.labels))
    stated = check.recorded or 0.0
    whole = check.model_copy(update={"measured": tuple(students), "interval": (low, high)})
    agrees = low <= stated <= high
    where = f"{len(students)} students trained here give {low:.4f} to {high:.4f} for one more"
    return Verdict(agrees, whole, f"top1 {stated:.4f} lies {'where' if agrees else 'outside of where'} it is expected: {where}")


def expected(values: list[float], images: int) -> tuple[float, float]:
    """Return where the top1 of one more student is expected: Student's t, never narrower than one test image either way."""
    count, mean = len(values), float(np.mean(values))
    spread = float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / count)
    half = max(float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * spread, 1 / images)
    return max(0.0, mean - half), min(1.0, mean + half)


def _stated(record: Record, kept: NDArray[Any] | None, trainer: Trainer) -> float:
    """Return the record's top1: as stated, or by its predictions where it states none."""
    stated = {metric.name: metric.value for metric in record.metrics}.get("top1")
    if stated is None and kept is not None and kept.shape == trainer.labels.shape:
        return float((kept == trainer.labels).mean())
    if stated is None:
        raise BadRequest(f"record {record.key} has neither top1 nor predictions, so that nothing can be compared")
    return stated


def _same_place(record: Record, here: Mapping[str, Any], trainer: Trainer) -> bool:
    """Return whether a student trained here must give the same predictions: same machine, same code, same settings, a CPU."""
    stage = trainer.stage
    same_code = (record.ddbench_version, record.numerics_version) == (ddbench.__version__, NUMERICS_VERSION)
    same_teacher = stage.teacher is None or stage.teacher.key == record.teacher_key
    same_precision = dict(record.precision.student) == network_settings(stage.precision)
    same_host = all(record.host.get(name) == here.get(name) for name in SAME_PLACE)
    same_settings = same_precision and trainer.alike
    return same_code and same_teacher and same_settings and same_host and trainer.session.device.type == "cpu"


def request_of(record: Record, asked: Asked, workspace: Workspace) -> Request:
    """Return the request whose control is a cell like the record's, with another set."""
    cell, threads = record.cell, record.host.get("threads")
    recipe = _recipe(record, workspace)
    return Request(
        ("random",),
        dataset=cell.dataset,
        ipc=cell.ipc,
        teacher=cell.teacher if recipe.needs_teacher else None,
        students=(cell.student,),
        protocol=cell.protocol,
        distill_seeds=1,
        eval_seeds=1,
        options=_teacher_options(record, workspace) if recipe.needs_teacher else {},
        source="record",
        device=asked.device,
        threads=threads if isinstance(threads, int) and 0 < threads <= (os.cpu_count() or 1) else None,
        view_seed=record.view_seed or 0,
    )


def _recipe(record: Record, workspace: Workspace) -> ProtocolSpec:
    """Return the record's protocol, which must be the one registered here, or a shortened form of it.

    Raises:
        UnknownName: Nobody registered it.
        BadRequest: The one registered is another.
    """
    found = ProtocolSpec.model_validate(record.protocol)
    known: ProtocolSpec = workspace.plugins.get("protocol", found.name).value
    lengths = {"epochs": known.epochs, "steps": known.steps, "smoke": known.smoke}
    whole = found.model_copy(update=lengths) if found.smoke else found
    longer = any((getattr(found, name) or 0) > (getattr(known, name) or 0) for name in ("epochs", "steps"))
    if whole.sha256 != known.sha256 or longer:
        raise BadRequest(
            f"protocol {found.name} here is not the recipe that record {record.key} was made with; install its version"
        )
    return found


def _teacher_options(record: Record, workspace: Workspace) -> dict[str, object]:
    """Return the options of the record's teacher; ways that read files need the teacher to be in the store.

    Raises:
        BadRequest: The teacher came from files, and is not here.
    """
    way = (record.cell.teacher or "").partition(":")[0]
    key = record.teacher_key or ""
    if way != DEFAULT_WAY and not (KEY.fullmatch(key) and workspace.store.find("teachers", key)):
        raise BadRequest(
            f"the teacher of record {record.key} came by way of {way!r} and is not in this store, so it cannot be had again"
        )
    block = record.options.get("teacher")
    return {f"teacher.{name}": value for name, value in (block.values.items() if block else ())}


def recorded_precision(record: Record, settings: Mapping[str, Any]) -> Precision | None:
    """Return how a record says that something was computed on a CPU, or None where that cannot be had here; older ones say less."""
    known = record.precision.device == "cpu" and settings and set(settings) <= set(network_settings(Precision()))
    return Precision(**settings) if known else None


def as_recorded(record: Record, stage: StudentStage, workspace: Workspace) -> StudentStage:
    """Return a stage with the record's recipe, seeds and settings.

    Raises:
        BadRequest: The network here is another one.
    """
    if network_identity(stage.cell.network) != dict(record.student):
        raise BadRequest(
            f"{record.cell.student} here is not the network of record {record.key}: another version, or fitted otherwise"
        )
    precision = recorded_precision(record, record.precision.student) or stage.precision
    recipe = _recipe(record, workspace)
    cell = replace(stage.cell, recipe=recipe, distill_seed=record.cell.distill_seed)
    labels = replace(stage.labels, recipe=recipe) if stage.labels else None
    return replace(stage, cell=cell, labels=labels, precision=precision)


def refuse_other_data(record: Record, session: Session) -> None:
    facts = session.facts
    here = (facts.sha256, facts.classes_sha256, session.data.order_sha256["test"])
    if here != (record.dataset.sha256, record.dataset.classes_sha256, record.dataset.test_order_sha256):
        raise DataMissing(
            f"{facts.name} here is not the dataset of record {record.key}: other images, classes or order; prepare it again"
        )


def _set(record: Record, source: Path, session: Session) -> DistilledSet:
    """Return the record's distilled set, checked like one from elsewhere.

    Raises:
        DataMissing: It is not there, or came without its images.
    """
    folder = source / "distilled" / record.distilled_key
    if not KEY.fullmatch(record.distilled_key) or not (folder / "data.safetensors").is_file():
        raise DataMissing(f"the images of record {record.key} are not here, so that no student can be trained on them again")
    open_elsewhere(folder, session.facts, Telling())
    return DistilledSet(folder, read_manifest(folder / "manifest.json"))

"""Makes a record's distilled set again from nothing, teacher and all, and judges whether students of it agree with the record."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.context import NOTES
from ddbench.distilling import distilled
from ddbench.errors import BadRequest
from ddbench.exchange.retraining import (
    Trainer,
    as_recorded,
    check_enough,
    judge,
    recorded_precision,
    refuse_other_data,
    request_of,
)
from ddbench.external import is_external
from ddbench.making import open_session, threads_kept
from ddbench.planning import plan
from ddbench.store import Store

if TYPE_CHECKING:
    from ddbench.cells import Request
    from ddbench.exchange.retraining import Asked, Verdict
    from ddbench.planning import Plan
    from ddbench.records import Record
    from ddbench.stages import DistilledStage, StudentStage
    from ddbench.workspace import Workspace


@threads_kept()
def redistil(record: Record, path: Path, workspace: Workspace, asked: Asked) -> Verdict:
    """Return whether students of a set that is distilled again agree with a record; nothing that is stored takes part.

    Args:
        record: Whole, with sound checksums.
        path: Its file; the predictions lie beside it.
        workspace: Knows the dataset, the method and all that it needs. Its store stays as it is: teachers, priors and experts are
            made again too, in a scratch store that goes with the call.
        asked: How.

    Raises:
        DataMissing: The dataset here is another one.
        BadRequest: The set came from elsewhere, or the method, the protocol, the network or the teacher is not known here as the
            record has it.
    """
    check_enough(asked)
    if is_external(record.cell.synthesizer):
        raise BadRequest(f"the set of record {record.key} was made elsewhere, so that it cannot be distilled here; see --retrain")
    with tempfile.TemporaryDirectory(prefix="ddbench-") as scratch:
        own = replace(workspace, store=Store(Path(scratch) / "store"))
        planned = plan(_request(record, asked, own), own)
        stage = as_recorded(record, _same_cell(record, planned), own)
        planned_as = stage.distilled.precision
        stage = replace(stage, distilled=_as_made(record, stage.distilled))
        session = open_session(planned, own)
        refuse_other_data(record, session)
        seconds = sum(one.expected_s for one in planned.stages if one.key is not None and not one.stored)
        own.reporter.note(f"the set is distilled again with all that it needs: about {seconds:.0f} s, before any student")
        made = distilled(session, stage.distilled)
        # a record does not say how what its set needed was computed: as the set was, so far as the plan for this machine tells
        needs_alike = not stage.distilled.needs or planned_as == stage.distilled.precision
        alike = needs_alike and _settings(made.manifest["precision"]) == _settings(record.precision.recover)
        return judge(record, path, Trainer(session, stage, made, Path(scratch), alike=alike), asked, how="redistilled")


def _request(record: Record, asked: Asked, workspace: Workspace) -> Request:
    """Return the request of the record's own cell: every option as the record has it.

    Raises:
        BadRequest: The method here is another version.
    """
    cell = record.cell
    method = workspace.plugins.get("synthesizer", cell.synthesizer).value
    made_by = next((str(block.version) for block in record.plugins if block.kind == "synthesizer"), "unknown")
    if str(method.version) != made_by:
        raise BadRequest(
            f"{cell.synthesizer} here is version {method.version}; record {record.key} was made by version {made_by}: "
            "install that one"
        )
    options = {
        f"{cell.synthesizer if owner == 'synthesizer' else owner}.{name}": value
        for owner, block in record.options.items()
        for name, value in block.values.items()
    }
    dtype = record.precision.student.get("dtype")
    return replace(
        request_of(record, asked, workspace),
        synthesizers=(cell.synthesizer,),
        teacher=cell.teacher,
        distill_seeds=cell.distill_seed + 1,
        options=options,
        precision=dtype if dtype in {"fp32", "bf16"} else "auto",
    )


def _as_made(record: Record, stage: DistilledStage) -> DistilledStage:
    """Return a set's stage with the settings that the record's set was made with, where they can be had."""
    return replace(stage, precision=recorded_precision(record, _settings(record.precision.recover)) or stage.precision)


def _settings(precision: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a set was computed, without what did not go so."""
    return {name: value for name, value in precision.items() if name != NOTES}


def _same_cell(record: Record, planned: Plan) -> StudentStage:
    """Return the planned student of the record's distill seed."""
    cells = [one for one in planned.cells if one.cell.synthesizer == record.cell.synthesizer]
    return next(one.stage for one in cells if one.cell.distill_seed == record.cell.distill_seed)

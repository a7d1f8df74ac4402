"""Brings a distilled set made elsewhere into a run: as a synthesizer of its own, with what decides its numbers as options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench import distilling
from ddbench.data import defaults_for, open_dataset
from ddbench.errors import BadRequest
from ddbench.exchange.classorder import Agreement, check_order
from ddbench.exchange.opening import Opened, Telling, notes_on, open_elsewhere
from ddbench.external import CHECKER, PREFIX, External, ExternalOptions, is_external, order_of
from ddbench.making import open_session, threads_kept
from ddbench.planning import plan

if TYPE_CHECKING:
    from ddbench.api.context import Context
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.synthesizer import Job, JobResult
    from ddbench.cells import Request
    from ddbench.planning import Plan
    from ddbench.workspace import Workspace

SOURCE = "evaluate"
"""Where options come from, as records of sets made elsewhere tell it."""


@dataclass(frozen=True)
class Elsewhere:
    """What is to be scored, and what its maker says of it."""

    path: Path
    name: str | None = None
    """Of the method; that of the manifest or of the file unless given."""
    telling: Telling = field(default_factory=Telling)
    class_check: bool = True
    """Whether a teacher is asked about the order of classes."""
    external_data: bool = False
    """Whether other images than the train split went into it."""


@dataclass
class ReadContents:
    """The sets that were read, by distill seed (`ddbench.external.Contents`)."""

    name: str
    opened: Opened
    agreements: dict[int, Agreement] = field(default_factory=dict)
    """How the labels of each set agreed with the teacher, where it was asked."""

    def result(self, ctx: Context, o: ExternalOptions, job: Job) -> JobResult:
        """Return the set of the job's distill seed, its order of classes checked if the options say so.

        Raises:
            ClassOrderMismatch: Another order of classes agrees clearly better with the teacher.
        """
        found = self.opened.results[job.seed]
        if o.class_check:
            self.agreements[job.seed] = check_order(ctx, ctx.needs[CHECKER], found, self.name)
        return found


@dataclass(frozen=True)
class Brought:
    """A plan that scores what was brought, the random control beside it."""

    planned: Plan
    contents: ReadContents


def bring(elsewhere: Elsewhere, request: Request, workspace: Workspace) -> Brought:
    """Return the plan that scores a set made elsewhere; the file is read, nothing is written.

    Args:
        elsewhere: What is to be scored.
        request: Everything else, as for a run, without synthesizers. An `ipc` that the set does not have is an error.
        workspace: Knows the set afterwards.

    Raises:
        DdbenchError: The file is no distilled set of the dataset, or the request is wrong.
    """
    sources, settings = workspace.plugins.all("dataset"), workspace.settings
    data = open_dataset(request.dataset, roots=settings.data_roots, sources=sources, offline=settings.offline, report=_silent)
    opened = open_elsewhere(elsewhere.path, data.facts, elsewhere.telling)
    if request.ipc not in {None, opened.ipc}:
        raise BadRequest(f"{elsewhere.path} has {opened.ipc} images per class, not ipc {request.ipc}; leave out --ipc")
    name = PREFIX + _name(elsewhere, opened)
    contents = ReadContents(name, opened)
    workspace.plugins.bring(External(name, contents))
    for note in notes_on(opened, data.facts):
        workspace.reporter.note(note)
    checker = (request.teacher or defaults_for(data.facts, sources).teacher) if elsewhere.class_check else ""
    options = {**_options(opened, data.facts), "class_check": checker, "external_data": elsewhere.external_data}
    asked = replace(
        request,
        synthesizers=(name,),
        ipc=opened.ipc,
        distill_seeds=len(opened.results),
        options={**options, **_for_checker(request.options, checker)},
        source=SOURCE,
    )
    return Brought(plan(asked, workspace), contents)


@threads_kept()
def make_sets(brought: Brought, workspace: Workspace) -> None:
    """Put the sets that were brought into the store, their order of classes checked, before any student is trained.

    Raises:
        ClassOrderMismatch: Another order of classes agrees clearly better with the teacher.
    """
    workspace.store.check_writable()
    session = open_session(brought.planned, workspace)
    for one in brought.planned.cells:
        if is_external(one.cell.synthesizer):
            distilling.distilled(session, one.stage.distilled)
    for seed, found in sorted(brought.contents.agreements.items()):
        which = f" of set {seed}" if len(brought.contents.opened.results) > 1 else ""
        workspace.reporter.note(f"order of classes{which}: the teacher agrees on {found.agreeing} of {found.images} images")


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing: planning opens the dataset too, and tells."""


def _name(elsewhere: Elsewhere, opened: Opened) -> str:
    """Return the method's name: as given, as the manifest has it, or from the file's name."""
    if elsewhere.name is not None:
        return elsewhere.name
    if opened.raw.stated:
        return opened.raw.stated.made_by.removeprefix(PREFIX)
    text = re.sub(r"[^A-Za-z0-9._+@-]+", "-", elsewhere.path.resolve().stem).strip("-._+@")
    return text[:64] or "unnamed"


def _options(opened: Opened, facts: DatasetFacts) -> dict[str, Any]:
    raw, read = opened.raw, opened.read
    return {
        "file_sha256": raw.sha256,
        "format": raw.format,
        "labels": tuple(order_of(result.labels.tolist(), facts.num_classes) for result in opened.results),
        "space": read.space,
        "told_by": read.told_by,
        "mean": read.figures[0] if read.figures else None,
        "std": read.figures[1] if read.figures else None,
        "soft_labels": opened.soft_labels,
        "learned_lr": opened.learned_lr,
        "made_by": raw.stated.made_by if raw.stated else "",
        "lossy": raw.stated.lossy if raw.stated else False,
    }


def _for_checker(given: Mapping[str, object], checker: str) -> dict[str, object]:
    """Return options with the teacher's under the checker's name too: it is the same teacher."""
    own = {f"{CHECKER}.{key.removeprefix('teacher.')}": value for key, value in given.items() if key.startswith("teacher.")}
    return {**(own if checker else {}), **given}

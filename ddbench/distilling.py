"""Distils: runs a synthesizer's plan job by job, checks what it gives, and joins it to a distilled set in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ddbench.api.context import Part, Precision
from ddbench.checked import packed
from ddbench.context import NOTES, GroupProgress, network_settings
from ddbench.costs import Cost, measured
from ddbench.distilled import DATA, PREVIEW, DistilledSet, job_tensors, join_jobs, shown_in_preview, to_pixels, write_preview
from ddbench.errors import PluginFailed, SpecialValue
from ddbench.external import is_external
from ddbench.making import Session, all_notes, common_card, file_metadata, forget_damaged, plugin_block, running, stored
from ddbench.needs import made
from ddbench.seeding import generator_for, global_generators

DTYPES = (
    'uint8 is for space="uint8", float32 for "unit" (from 0 to 1), "normalised" (by the dataset\'s mean and std) and "zca": round, '
    "convert, or name the space in JobResult"
)
"""What a job's images may be."""

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.synthesizer import Job, JobResult
    from ddbench.cells import BoundPart
    from ddbench.context import StageContext
    from ddbench.stages import DistilledStage
    from ddbench.store import Artefact


def distilled(session: Session, stage: DistilledStage) -> DistilledSet:
    """Return the stage's distilled set, made job by job if the store has none; one that failed in this session fails again."""
    if stage.key in session.failed:
        raise session.failed[stage.key]
    if stage.key not in session.sets:
        try:
            with session.store.lock(stage.key):
                artefact = session.find("distilled", stage.key) or _distil(session, stage)
        except Exception as error:
            session.failed[stage.key] = error
            raise
        session.sets[stage.key] = DistilledSet.open(artefact)
    return session.sets[stage.key]


def group_made(session: Session, stage: DistilledStage, number: int) -> None:
    """Make one group of a set's jobs unless it or the whole set is there; its files wait in the set's work folder."""
    if not session.store.holds(stage.folder, stage.key) and _missing(session, stage, number):
        needs = _needs(session, stage)
        with _recovering(session, stage, needs) as context:
            _recover(session, stage, context, number)


def job_file(index: int) -> str:
    """Return the name of a finished job's file in the set's work folder."""
    return f"job-{index:06d}.safetensors"


def _distil(session: Session, stage: DistilledStage) -> Artefact:
    folder, numbers = session.store.work(stage.key), range(len(stage.groups))
    forget_damaged(session, [folder / job_file(job.index) for job in stage.jobs])
    needs = _needs(session, stage) if any(_missing(session, stage, number) for number in numbers) else {}
    with _recovering(session, stage, needs) as context:
        for number in numbers:
            _recover(session, stage, context, number)
        return _join(session, stage, [context.folder / job_file(job.index) for job in stage.jobs], context.precision)


def _needs(session: Session, stage: DistilledStage) -> dict[str, Any]:
    """Return what the synthesizer works with, made where the store has none."""
    return {name: made(session, need_stage) for name, (_, need_stage) in stage.needs.items()}


def _missing(session: Session, stage: DistilledStage, number: int) -> bool:
    """Return whether a job of a group has no file yet."""
    folder = session.store.root / "work" / stage.key
    return not all((folder / job_file(job.index)).is_file() for job in stage.groups[number])


@contextmanager
def _recovering(session: Session, stage: DistilledStage, needs: Mapping[str, Any]) -> Iterator[StageContext]:
    """Give the context in which the groups of a set are made."""
    with running(session, stage.key, stage.title, stage.precision) as context:
        context.needs = needs
        context.parts = {kind: Part(part.entry.value, part.options.values) for kind, part in stage.method.parts.items()}
        yield context


def _recover(session: Session, stage: DistilledStage, context: StageContext, number: int) -> None:
    """Make the jobs of a group and write their files; another process that is at the same group is waited for."""
    with session.store.lock(f"{stage.key}-{number}"):
        if session.store.holds(stage.folder, stage.key) or not _missing(session, stage, number):
            return
        group, options, shown = stage.groups[number], stage.method.options.values, context.shown
        part = GroupProgress(shown, number, len(stage.groups))
        generator = generator_for("recover", stage.seed, group[0].index)
        context.begin(generator, part, checkpoint=f"checkpoint-{number:06d}.safetensors")
        before = global_generators()
        with measured(session.device) as cost:
            results = stage.method.synthesizer.run(context, options, group)
        _tell_of_global_draws(session, stage, context, before)
        cost.seconds += context.spent_before_s
        _keep_jobs(session, stage, group, results, (context.folder, cost, context.notes))
        context.forget_checkpoint()
        context.shown = shown


def _tell_of_global_draws(session: Session, stage: DistilledStage, context: StageContext, before: Mapping[str, object]) -> None:
    """Note, on the set and once to whoever runs it, that it was drawn from what nothing seeds."""
    after = global_generators()
    drawn = [name for name, state in before.items() if after[name] != state]
    if drawn:
        line = f"{stage.method.name} draws from {' and '.join(drawn)}, which nothing seeds: made again, its sets differ"
        context.note(line)
        if line not in session.told:
            session.told.add(line)
            session.workspace.reporter.note(f"{line}; ddbench plugin check {stage.method.name} tells more")


def _keep_jobs(
    session: Session,
    stage: DistilledStage,
    group: Sequence[Job],
    results: Sequence[JobResult],
    where: tuple[Path, Cost, Sequence[str]],
) -> None:
    """Check a group's results and write each job's file, whole or not at all."""
    folder, cost, notes = where
    if len(results) != len(group):
        raise PluginFailed(f"synthesizer {stage.method.name!r} returned {len(results)} results for a group of {len(group)} jobs")
    for job, result in zip(group, results, strict=True):
        check_result(stage, job, result)
        seconds = str(cost.seconds / len(group))
        about = {"space": result.space, "seconds": seconds, "peak_bytes": str(cost.peak_bytes or 0), NOTES: json.dumps(notes)}
        session.store.write_file(folder / job_file(job.index), packed(job_tensors(result), about))


def check_result(stage: DistilledStage, job: Job, result: JobResult) -> None:
    """Raise unless a job's result is what its plan promised.

    Raises:
        PluginFailed: Labels, shape, dtype or range are wrong; the message says which.
        SpecialValue: Images hold NaN or infinity.
    """
    who = f"synthesizer {stage.method.name!r}, job {job.index}"
    images, labels = result.images, result.labels
    if labels.dtype != torch.int64 or tuple(labels.tolist()) != job.labels:
        raise PluginFailed(f"{who}: labels are not the int64 labels of the plan")
    if tuple(images.shape) != (len(job.labels), *stage.facts.shape):
        raise PluginFailed(f"{who}: images are {tuple(images.shape)}, not {(len(job.labels), *stage.facts.shape)}")
    if images.dtype != (torch.uint8 if result.space == "uint8" else torch.float32):
        raise PluginFailed(f"{who}: images are {_short(images.dtype)} and said to be in space {result.space!r}; {DTYPES}")
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise SpecialValue(f"{who}: images hold NaN or infinity; try a smaller learning rate (-o lr=…) or --precision fp32")
    if result.space == "unit" and (images.amin() < 0 or images.amax() > 1):
        raise PluginFailed(f"{who}: images in space 'unit' leave [0, 1]")
    _check_soft(who, result, stage.facts)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check_soft(who: str, result: JobResult, facts: DatasetFacts) -> None:
    soft = result.soft_labels
    if soft is None:
        return
    if tuple(soft.shape) != (len(result.labels), facts.num_classes) or soft.dtype != torch.float32:
        raise PluginFailed(
            f"{who}: soft labels are {soft.dtype} {tuple(soft.shape)}, not float32 ({len(result.labels)}, {facts.num_classes})"
        )
    if bool((soft < 0).any()) or bool((soft.sum(dim=1) - 1).abs().max() > 1e-3):
        raise PluginFailed(f"{who}: soft labels are no probabilities")


def _join(session: Session, stage: DistilledStage, parts: list[Path], precision: Precision) -> Artefact:
    about = [file_metadata(part) for part in parts]
    if len({entry["space"] for entry in about}) != 1:
        raise PluginFailed(
            f"synthesizer {stage.method.name!r} gave jobs in different spaces: {sorted({entry['space'] for entry in about})}"
        )
    options = stage.method.options
    card = {
        **common_card(session, "distilled", stage.key),
        "synthesizer": stage.method.name,
        "options": options.dump(),
        "sources": dict(options.sources),
        "parts": {kind: _part_card(part) for kind, part in stage.method.parts.items()},
        "ipc": stage.ipc,
        "distill_seed": stage.seed,
        "start": stage.method.synthesizer.start(options.values),
        "space": about[0]["space"],
        "images": sum(len(job.labels) for job in stage.jobs),
        "shape": list(stage.facts.shape),
        "needs": {name: need.key for name, (_, need) in stage.needs.items()},
        "jobs": len(stage.jobs),
        "groups": [len(group) for group in stage.groups],
        "plugin": plugin_block(stage.method.entry),
        "precision": {**network_settings(precision), NOTES: all_notes(about)},
        "cost": {} if is_external(stage.method.name) else _cost(about),  # nobody knows what a set made elsewhere took
    }
    with session.store.writing("distilled", stage.key, card) as folder:
        join_jobs(parts, folder / DATA)
        _preview(folder, card, stage.facts)
    return stored(session, "distilled", stage.key)


def _cost(about: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return what all jobs took together."""
    seconds, peaks = ([float(entry[name]) for entry in about] for name in ("seconds", "peak_bytes"))
    return {"seconds": sum(seconds), "peak_bytes": int(max(peaks))}


def _part_card(part: BoundPart) -> dict[str, Any]:
    """Return what a manifest tells of an objective or a selector."""
    options = part.options
    return {"options": options.dump(), "sources": dict(options.sources), "plugin": plugin_block(part.entry)}


def _preview(folder: Path, card: Mapping[str, Any], facts: DatasetFacts) -> None:
    from safetensors import safe_open

    with safe_open(folder / DATA, framework="pt") as file:
        labels = file.get_tensor("labels")
        images = file.get_slice("images")
        shown = shown_in_preview(labels)
        picked = torch.cat([images[index : index + 1] for index in shown])
    write_preview(to_pixels(picked, card["space"], facts.mean, facts.std), labels[shown], folder / PREVIEW)

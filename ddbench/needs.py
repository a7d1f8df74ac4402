"""Makes what synthesizers need besides teachers: priors that pass the quality gate, and experts. Asked again, they are read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from ddbench import making
from ddbench.checked import packed
from ddbench.context import NOTES, GroupProgress, network_settings
from ddbench.costs import measured
from ddbench.errors import PriorRefused, SpecialValue
from ddbench.making import Session, all_notes, common_card, file_metadata, forget_damaged, plugin_block, running, stored
from ddbench.networks import build
from ddbench.seeding import derive_seed, generator_for
from ddbench.stages import ExpertsStage, NeedStage, PriorStage, TeacherStage, network_identity
from ddbench.training.experts import StoredExperts, expert_file_name, train_expert
from ddbench.training.gate import judge

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.experts import Experts
    from ddbench.api.network import TrainedNetwork
    from ddbench.api.prior import LoadedPrior
    from ddbench.context import StageContext
    from ddbench.store import Artefact

WEIGHTS = "weights.safetensors"


def made(session: Session, stage: NeedStage) -> TrainedNetwork | LoadedPrior | Experts:
    """Return a need, ready for use: made if the store has none.

    Raises:
        PriorRefused: A prior did not pass the quality gate.
    """
    if isinstance(stage, TeacherStage):
        return making.teacher(session, stage)[0]
    return prior(session, stage) if isinstance(stage, PriorStage) else experts(session, stage)


def prior(session: Session, stage: PriorStage) -> LoadedPrior:
    """Return a loaded prior, its weights on the session's device.

    Raises:
        PriorRefused: It did not pass the quality gate; the message says which figure fell short.
        PriorMismatch: It is for other images or classes.
    """
    if stage.key not in session.loaded:
        with session.store.lock(stage.key):
            artefact = session.find(stage.folder, stage.key) or _fit_prior(session, stage)
        _refuse_failed(stage, artefact.card["gate"])
        weights = load_file(artefact.path(WEIGHTS), device=str(session.device))
        session.loaded[stage.key] = stage.choice.prior.load(weights, stage.choice.options.values, session.facts)
    loaded: LoadedPrior = session.loaded[stage.key]
    return loaded


def experts(session: Session, stage: ExpertsStage) -> Experts:
    """Return stored training trajectories; a killed stage goes on with the first expert that is not finished."""
    if stage.key not in session.loaded:
        with session.store.lock(stage.key):
            artefact = session.find(stage.folder, stage.key) or _train_experts(session, stage)
        session.loaded[stage.key] = StoredExperts.open(artefact.folder, artefact.card, device=session.device)
    found: Experts = session.loaded[stage.key]
    return found


def _fit_prior(session: Session, stage: PriorStage) -> Artefact:
    """Return the stored artefact of a prior, fitted and judged; one that failed is kept too, so that nobody fits it twice."""
    choice = stage.choice
    with running(session, stage.key, stage.title, stage.precision) as context:
        context.generator = generator_for("prior", choice.seed)
        with measured(session.device) as cost:
            weights, told = choice.prior.fit(context, choice.options.values)
        _refuse_special(choice.name, weights)
        gate = _gate(session, stage, weights, context) if choice.prior.gated else None
    card = {
        **common_card(session, "prior", stage.key),
        "prior": choice.name,
        "options": choice.options.dump(),
        "sources": dict(choice.options.sources),
        "seed": choice.seed,
        "licence": choice.prior.licence,
        "external_data": choice.prior.external_data,
        "spaces": list(choice.prior.spaces(choice.options.values, session.facts)),
        "made": dict(told),
        "gate": gate,
        "plugin": plugin_block(choice.entry),
        "precision": {**network_settings(context.precision), NOTES: context.notes},
        "cost": {"seconds": context.spent_before_s + cost.seconds, "peak_bytes": cost.peak_bytes},
    }
    with session.store.writing(stage.folder, stage.key, card) as folder:
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}, folder / WEIGHTS)
    return stored(session, stage.folder, stage.key)


def _gate(session: Session, stage: PriorStage, weights: Mapping[str, Tensor], context: StageContext) -> dict[str, Any]:
    """Return the quality gate's report on a prior, by the train split alone."""
    choice = stage.choice
    on_device = {name: tensor.detach().to(session.device) for name, tensor in weights.items()}
    loaded = choice.prior.load(on_device, choice.options.values, session.facts)
    seed = derive_seed("prior gate", choice.seed)
    report = judge(loaded, session.train, seed=seed, device=session.device, precision=stage.precision, progress=context.progress)
    return report.to_json()


def _refuse_failed(stage: PriorStage, gate: Mapping[str, Any] | None) -> None:
    if gate is not None and not gate["passed"]:
        raise PriorRefused(
            f"prior {stage.choice.name!r} did not pass the quality gate on {stage.facts.name}: {'; '.join(gate['reasons'])}"
        )


def _refuse_special(name: str, weights: Mapping[str, Tensor]) -> None:
    for weight, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise SpecialValue(
                f"prior {name!r}: weight {weight} holds NaN or infinity; try a smaller learning rate (-o prior.lr=…)"
            )


def _train_experts(session: Session, stage: ExpertsStage) -> Artefact:
    choice = stage.choice
    options: Any = choice.options.values
    with running(session, stage.key, stage.title, stage.precision) as context:
        shown = context.shown
        files = [context.folder / expert_file_name(number) for number in range(options.count)]
        forget_damaged(session, files)
        for number, file in enumerate(files):
            if not file.is_file():
                generator = generator_for("expert", choice.seed, number)
                context.begin(generator, GroupProgress(shown, number, options.count))
                _train_expert(session, stage, context, number)
        about = [file_metadata(file) for file in files]
        card = {
            **common_card(session, "experts", stage.key),
            "network": network_identity(choice.network),
            "options": choice.options.dump(),
            "sources": dict(choice.options.sources),
            "seed": choice.seed,
            "train_top1": [float(one["train_top1"]) for one in about],
            "plugin": plugin_block(choice.family),
            "precision": {**network_settings(context.precision), NOTES: all_notes(about)},
            "cost": {
                "seconds": sum(float(one["seconds"]) for one in about),
                "peak_bytes": max(int(one["peak_bytes"]) for one in about),
            },
        }
        with session.store.writing(stage.folder, stage.key, card) as folder:
            for file in files:
                _link(file, folder / file.name)
    return stored(session, stage.folder, stage.key)


def _train_expert(session: Session, stage: ExpertsStage, context: StageContext, number: int) -> None:
    """Train one expert and write its file, whole or not at all."""
    choice = stage.choice
    network = build(choice.network, session.families(), seed=derive_seed("expert initialisation", choice.seed, number))
    options: Any = choice.options.values
    with measured(session.device) as cost:
        trajectory, top1 = train_expert(context, options, network)
    about = {
        "train_top1": str(top1),
        "seconds": str(context.spent_before_s + cost.seconds),
        "peak_bytes": str(cost.peak_bytes or 0),
        NOTES: json.dumps(context.notes),
    }
    session.store.write_file(context.folder / expert_file_name(number), packed(trajectory, about))
    context.forget_checkpoint()


def _link(file: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system knows no links."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)

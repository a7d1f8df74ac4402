"""Makes what cells share: teachers and distilled sets. Asked again, they are read from the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

import ddbench
from ddbench.api.context import Precision
from ddbench.api.network import TrainedNetwork
from ddbench.api.protocol import training_epochs
from ddbench.checked import unpacked
from ddbench.context import NOTES, StageContext, network_settings
from ddbench.costs import host, measured
from ddbench.data import HeldSplit, TestSplit
from ddbench.errors import BadRequest, PluginFailed, TeacherMismatch
from ddbench.heap import collect_as_usual, keep_freed
from ddbench.networks import build
from ddbench.seeding import generator_for
from ddbench.stages import LabelsStage, TeacherStage, dataset_identity, network_identity
from ddbench.training import cpu_layers
from ddbench.training.labels import StoredLabels, label_epochs, write_labels
from ddbench.training.loop import RunSettings
from ddbench.training.predict import predict_top1

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetFacts, TrainSplit
    from ddbench.data import Prepared
    from ddbench.distilled import DistilledSet
    from ddbench.planning import Plan
    from ddbench.plugins import Entry
    from ddbench.store import Artefact, Store
    from ddbench.training.students import StudentData
    from ddbench.workspace import Workspace

LABELS = "labels.safetensors"

SETTINGS = "settings.json"
"""In a stage's work folder: how it runs, written before it starts and kept on resume."""


@dataclass
class Session:
    """One run's dataset and device, with what was already loaded."""

    workspace: Workspace
    data: Prepared
    train: TrainSplit
    test: TestSplit
    device: torch.device
    threads: int
    fresh: bool = False
    teachers: dict[str, tuple[TrainedNetwork, Mapping[str, Any]]] = field(default_factory=dict)
    sets: dict[str, DistilledSet] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    """Why sets could not be made, by key: a set is tried once, not for each of its students."""
    loaded: dict[str, Any] = field(default_factory=dict)
    """Priors and experts, ready for use, by the key of their stage."""
    told: set[str] = field(default_factory=set)
    """Lines that are said once, however often they hold."""
    without_test_images: set[str] = field(default_factory=set)
    """Checksums of sets that were looked through."""
    _replaced: set[str] = field(default_factory=set)

    @property
    def store(self) -> Store:
        return self.workspace.store

    @property
    def facts(self) -> DatasetFacts:
        return self.data.facts

    def families(self) -> dict[str, Any]:
        """Return the network families by name."""
        return self.workspace.plugins.all("network")

    def find(self, kind: str, key: str) -> Artefact | None:
        """Return a stored artefact; under `fresh` one from before this run is moved aside first, once."""
        self.renew(kind, key)
        return self.store.find(kind, key)

    def renew(self, kind: str, key: str) -> None:
        """Under `fresh`, move aside what the store has from before this run, once."""
        if self.fresh and key not in self._replaced:
            self._replaced.add(key)
            self.store.replace(kind, key)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Give torch back, after the block, the number of threads that it had: sessions take those of their plans."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def open_session(planned: Plan, workspace: Workspace, *, fresh: bool = False) -> Session:
    """Return a session with the train split at hand and the test split locked; torch has the plan's threads from here on."""
    torch.set_num_threads(planned.threads)
    collect_as_usual()
    if planned.device.type == "cpu":
        keep_freed()
    train = HeldSplit(planned.data, device=planned.device)
    test = TestSplit(planned.data, device=planned.device, locked=True)
    return Session(workspace, planned.data, train, test, planned.device, planned.threads, fresh)


def teacher(session: Session, stage: TeacherStage) -> tuple[TrainedNetwork, Mapping[str, Any]]:
    """Return the stage's teacher and its card, trained if the store has none.

    Raises:
        TeacherMismatch: Its class list is not the dataset's.
    """
    if stage.key not in session.teachers:
        with session.store.lock(stage.key):
            artefact = session.find("teachers", stage.key) or _train_teacher(session, stage)
        network = _load_teacher(session, stage, artefact)
        if "test" not in session.store.annotations("teachers", stage.key):
            top1 = _test_top1(session, stage, network)
            session.store.annotate("teachers", stage.key, "test", {"top1": top1, "images": len(session.test)})
        card = {**artefact.card, **session.store.annotations("teachers", stage.key)}
        session.teachers[stage.key] = (network, card)
    return session.teachers[stage.key]


def labels(session: Session, stage: LabelsStage, data: StudentData) -> tuple[StoredLabels, Mapping[str, Any]]:
    """Return the teacher's stored answers to every view of every epoch, and what making them cost."""
    with session.store.lock(stage.key):
        artefact = session.find("labels", stage.key) or _label(session, stage, data)
    return StoredLabels.read(artefact.path(LABELS)), artefact.card["cost"]


@contextmanager
def unlocked(test: TestSplit) -> Iterator[None]:
    """Allow the test split to be read inside the block: training is over."""
    test.unlock()
    try:
        yield
    finally:
        test.lock()


def plugin_block(entry: Entry) -> dict[str, Any]:
    """Return who made a part of a result, as cards and records hold it."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "version": getattr(entry.value, "version", None) or entry.value.sha256,
        "distribution": entry.owner.distribution,
        "distribution_version": entry.owner.version,
        "files_sha256": entry.owner.files_sha256,
        "api": entry.owner.api,
    }


def common_card(session: Session, kind: str, key: str) -> dict[str, Any]:
    """Return what every card begins with."""
    return {
        "card": kind,
        "key": key,
        "ddbench_version": ddbench.__version__,
        "dataset": {"name": session.facts.name, **dataset_identity(session.facts), "class_names": list(session.facts.classes)},
        "host": host(session.device, session.threads),
    }


@contextmanager
def running(session: Session, key: str, title: str, precision: Precision) -> Iterator[StageContext]:
    """Give the context of a stage; its work folder is kept until the stage is stored."""
    work = session.store.work(key)
    settled, threads = _settled(session, work, attainable(session, precision))
    torch.set_num_threads(threads)
    try:
        with session.workspace.reporter.stage(title) as shown:
            yield StageContext(
                train=session.train,
                device=session.device,
                generator=generator_for("stage", key),
                precision=settled,
                families=session.families(),
                offline=session.workspace.settings.offline,
                work=work,
                write=session.store.write_file,
                shown=shown,
            )
    finally:
        torch.set_num_threads(session.threads)


def attainable(session: Session, precision: Precision) -> Precision:
    """Return how a stage can run on this machine: planning takes a C compiler for granted where it finds one."""
    if not precision.native:
        return precision
    try:
        cpu_layers.ready(half=precision.dtype == "bf16")
    except BadRequest as error:
        session.workspace.reporter.note(f"layers are torch's own: {error}")
        return Precision(precision.dtype)
    return precision


def _settled(session: Session, work: Path, precision: Precision) -> tuple[Precision, int]:
    """Return how the stage runs: as written down when it first started, so that a resume gives the same bytes."""
    path = work / SETTINGS
    if not path.is_file():
        with session.store.lock(f"{work.name}-settings"):  # several processes may start groups of one set
            if not path.is_file():
                content = {"precision": asdict(precision), "threads": session.threads}
                session.store.write_file(path, json.dumps(content).encode())
    kept = json.loads(path.read_bytes())
    return Precision(**kept["precision"]), int(kept["threads"])


def _train_teacher(session: Session, stage: TeacherStage) -> Artefact:
    choice = stage.choice
    with running(session, stage.key, stage.title, stage.precision) as context:
        context.generator = generator_for("teacher", choice.seed)
        with measured(session.device) as cost:
            trained = choice.way.train(context, choice.options.values, choice.network)
    if trained.classes != session.facts.classes:
        raise TeacherMismatch(
            f"teacher {choice.name} answers for {trained.classes[:3]}…, not {session.facts.classes[:3]}… of {session.facts.name}"
        )
    card = {
        **common_card(session, "teacher", stage.key),
        "teacher": choice.name,
        "network": network_identity(choice.network),
        "options": choice.options.dump(),
        "sources": dict(choice.options.sources),
        "seed": choice.seed,
        "classes": list(trained.classes),
        "mean": trained.mean.tolist(),
        "std": trained.std.tolist(),
        "made": dict(trained.card),
        "plugin": plugin_block(choice.entry),
        "precision": {**network_settings(context.precision), NOTES: context.notes},
        "cost": {"seconds": context.spent_before_s + cost.seconds, "peak_bytes": cost.peak_bytes},
    }
    with session.store.writing("teachers", stage.key, card) as folder:
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in trained.module.state_dict().items()},
            folder / "weights.safetensors",
        )
    return stored(session, "teachers", stage.key)


def _load_teacher(session: Session, stage: TeacherStage, artefact: Artefact) -> TrainedNetwork:
    if tuple(artefact.card["classes"]) != session.facts.classes:
        raise TeacherMismatch(f"teacher {stage.key} in {artefact.folder} was made for other classes than {session.facts.name} has")
    module = build(stage.choice.network, session.families(), seed=0)
    module.load_state_dict(load_file(artefact.path("weights.safetensors")))
    module = module.to(session.device).eval().requires_grad_(requires_grad=False)
    mean, std = (torch.tensor(artefact.card[name], device=session.device) for name in ("mean", "std"))
    return TrainedNetwork(module, session.facts.classes, mean, std, artefact.card)


def _test_top1(session: Session, stage: TeacherStage, network: TrainedNetwork) -> float:
    """Return the teacher's test top1 as a fraction, for its card: measured once, after it was stored."""
    with unlocked(session.test):
        return predict_top1(network, session.test, precision=stage.precision, device=session.device)


def _label(session: Session, stage: LabelsStage, data: StudentData) -> Artefact:
    shape = (training_epochs(stage.recipe, len(data.labels)), len(data.labels), session.facts.num_classes)
    card = {
        **common_card(session, "labels", stage.key),
        "distilled": stage.distilled.key,
        "teacher": stage.teacher.key,
        "protocol": stage.recipe.name,
        "view_seed": stage.view_seed,
    }
    with running(session, stage.key, stage.title, stage.distilled.precision) as context:
        run = RunSettings(session.device, context.precision, progress=context.progress, note=context.note)
        with session.store.writing("labels", stage.key, card) as folder:
            with measured(session.device) as cost:
                epochs = label_epochs(data, stage.recipe, view_seed=stage.view_seed, run=run)
                write_labels(folder / LABELS, epochs, shape=shape, view_seed=stage.view_seed)
            card["precision"] = {**network_settings(context.precision), NOTES: context.notes}
            card["cost"] = vars(cost)
    return stored(session, "labels", stage.key)


def stored(session: Session, kind: str, key: str) -> Artefact:
    """Return the artefact just written, and forget the work folder it was made in."""
    session.store.discard_work(key)
    artefact = session.store.find(kind, key)
    if artefact is None:
        raise PluginFailed(f"{kind} {key} was written but cannot be read back; is the disk sound?")
    return artefact


def all_notes(about: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what did not go as the precision says in any group, each line once."""
    return list(dict.fromkeys(line for entry in about for line in json.loads(entry.get(NOTES, "[]"))))


def forget_damaged(session: Session, parts: Sequence[Path]) -> None:
    """Remove files of a stage's finished parts that do not match their checksum, so that they are made again."""
    for part in parts:
        if part.is_file() and unpacked(part) is None:
            session.store.damaged.append(f"{part} does not match its checksum; removed and made again")
            part.unlink()


def file_metadata(part: Path) -> dict[str, str]:
    """Return what a safetensors file tells of itself."""
    from safetensors import safe_open

    with safe_open(part, framework="numpy") as file:
        return dict(file.metadata())

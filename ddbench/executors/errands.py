"""Errands: units made far from the store that they are kept in. What a unit reads goes along as parcels; what it leaves comes back.

Nothing here knows who carries the parcels. A worker makes units in a temporary store of its own, by its own plan of the same
request; a plan with other keys tells of other plugins, other data or another ddbench, and then says which.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ddbench
from ddbench.data import open_dataset
from ddbench.data.prepared import is_prepared
from ddbench.errors import DataMissing, NameClash, UnknownName, WorkerDiffers
from ddbench.executors.problems import problem_of
from ddbench.executors.workbench import Workbench
from ddbench.packing import WORK, Parcel, pack_paths, unpack, unpack_folder
from ddbench.plugins import files_sha256
from ddbench.settings import load_settings
from ddbench.store import KINDS
from ddbench.workspace import open_workspace

if TYPE_CHECKING:
    from ddbench.executors.schedule import Problem
    from ddbench.executors.units import Task, Unit
    from ddbench.plugins import Owner, Plugins
    from ddbench.progress import Reporter
    from ddbench.settings import Settings
    from ddbench.store import Store
    from ddbench.workspace import Workspace

KEPT_BYTES = 8 * 1024**3
"""A worker's temporary store above this is emptied of what the next unit does not read."""


@dataclass(frozen=True)
class Home:
    """What the process that keeps the store is; a worker that is something else says so."""

    version: str
    files_sha256: str
    """Of ddbench's own files."""
    owners: tuple[Owner, ...]
    """The plugins that are loaded there."""
    settings: Settings
    """What is allowed there, and its data roots: the worker may have the same."""
    plugin_files: tuple[Mapping[str, bytes], ...] = ()
    """By name, of each folder whose files are plugins: they go along, so that no worker needs the folder."""


@dataclass(frozen=True)
class Errand:
    """One unit, as it is sent."""

    task: Task
    dataset: str
    """Hash of the dataset's images and labels."""
    reads: tuple[str, ...]
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What comes back."""

    seconds: float
    """From the unpacking to the packing."""
    parcels: tuple[Parcel, ...] = ()
    problem: Problem | None = None
    damaged: tuple[str, ...] = ()
    """What the worker found damaged and made again."""


def home_of(workspace: Workspace) -> Home:
    """Return what the workers of this process's run are held against."""
    folders = workspace.settings.plugin_dirs
    files = tuple({path.name: path.read_bytes() for path in sorted(folder.glob("*.py"))} for folder in folders)
    return Home(ddbench.__version__, files_sha256(ddbench), tuple(workspace.plugins.owners()), workspace.settings, files)


class Outpost:
    """A workspace far from home: a temporary store, and a workbench that keeps what it loaded from one unit to the next."""

    def __init__(self, home: Home, folder: Path, reporter: Reporter) -> None:
        """Open the workspace in a folder, which is made; others beside it are of the same machine.

        Raises:
            WorkerDiffers: Here is another ddbench.
        """
        here = (ddbench.__version__, files_sha256(ddbench))
        if here != (home.version, home.files_sha256):
            raise WorkerDiffers(_sentence([f"it has ddbench {here[0]} in other files than ddbench {home.version} there"]))
        self.home = home
        _share_work(folder)
        own = load_settings()
        roots = (*home.settings.data_roots, *own.data_roots, folder.parent / "data")
        dirs = tuple(_plugin_folders(home.plugin_files, folder / "plugins"))
        settings = replace(home.settings, store=folder / "store", data_roots=tuple(dict.fromkeys(roots)), plugin_dirs=dirs)
        self.workspace = open_workspace(settings, reporter)
        self.workbench = Workbench(self.workspace)
        self._arrived: dict[tuple[str, str], frozenset[str]] = {}
        """Names of the files that came with parcels, by kind and key."""
        self._bytes = 0

    def run(
        self,
        errand: Errand,
        parcels: Sequence[Parcel],
        data: Callable[[], Parcel] | None,
        *,
        begun: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Return what making a unit leaves, or why it failed; nothing is raised but what ends a process.

        Args:
            errand: The unit.
            parcels: What there is of what it reads.
            data: Fetches the dataset in prepared form, where this worker has none; None where it does not travel.
            begun: Called when all is at hand and the unit itself begins.
        """
        started = time.monotonic()
        try:
            self._receive(parcels)
            self._have_data(errand.task.request.dataset, data)
            self._make(errand, begun)
            made = self._made(errand)
        except Exception as error:  # noqa: BLE001 - a unit's failure is told, and the worker goes on
            return Answer(time.monotonic() - started, problem=problem_of(error))
        damaged, self.workspace.store.damaged = tuple(self.workspace.store.damaged), []
        return Answer(time.monotonic() - started, tuple(made), damaged=damaged)

    def _receive(self, parcels: Sequence[Parcel]) -> None:
        """Unpack what has not come before; how far a unit is may have changed since."""
        self._make_room({(parcel.kind, parcel.key) for parcel in parcels})
        for parcel in parcels:
            had = self._arrived.get((parcel.kind, parcel.key), frozenset())
            if parcel.kind == WORK or not had.issuperset(parcel.files):
                unpack(self.workspace.store, parcel)
                self._arrived[parcel.kind, parcel.key] = had | frozenset(parcel.files)
                self._bytes += parcel.nbytes

    def _make_room(self, needed: Collection[tuple[str, str]]) -> None:
        """Remove what the next unit does not read, once that has become much."""
        if self._bytes < KEPT_BYTES:
            return
        store = self.workspace.store
        for kind in KINDS:
            for key in store.keys(kind):
                if (kind, key) not in needed:
                    store.remove(kind, key)
                    self._arrived.pop((kind, key), None)
        self._bytes = 0

    def _have_data(self, name: str, data: Callable[[], Parcel] | None) -> None:
        """Unpack the dataset for all workers of this machine where it neither lies under a root nor comes with a plugin."""
        settings, source = self.workspace.settings, self.workspace.plugins.all("dataset").get(name)
        if any(is_prepared(root / name) for root in settings.data_roots) or (source is not None and source.folder is not None):
            return
        if data is None:
            raise DataMissing(
                f"worker {platform.node()} has no dataset {name!r} under its data roots, and it is too large to travel; "
                f"run ddbench data prepare {name} there, or set DDBENCH_DATA before that machine joins"
            )
        unpack_folder(data(), settings.data_roots[-1] / name)

    def _make(self, errand: Errand, begun: Callable[[], None]) -> None:
        try:
            self.workbench.make(errand.task, begun=begun)
        except (UnknownName, NameClash, WorkerDiffers) as error:
            found = [*_other_plugins(self.home, self.workspace.plugins), *self._other_data(errand)]
            if found:
                raise WorkerDiffers(_sentence(found)) from error
            raise

    def _other_data(self, errand: Errand) -> Iterator[str]:
        settings, name = self.workspace.settings, errand.task.request.dataset
        found = open_dataset(name, roots=settings.data_roots, sources=self.workspace.plugins.all("dataset"), offline=True)
        if found.facts.sha256 != errand.dataset:
            yield f"dataset {name!r} in {found.folder} has other images or labels"

    def _made(self, errand: Errand) -> list[Parcel]:
        """Return what the unit leaves, and whole artefacts that should have come with it but had to be made."""
        whole = [path for path in errand.reads if path.split("/")[0] in KINDS and path.count("/") == 1]
        again = [path for path in whole if tuple(path.split("/")) not in self._arrived]
        found = pack_paths(self.workspace.store, (*errand.leaves, *again))
        self._bytes += sum(parcel.nbytes for parcel in found)
        return found


def _plugin_folders(every: Sequence[Mapping[str, bytes]], target: Path) -> Iterator[Path]:
    """Write the files of folders of plugins, and give where each folder is now."""
    for number, files in enumerate(every):
        folder = target / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        yield folder


def _share_work(folder: Path) -> None:
    """Let the workers of a machine, whose folders lie side by side, find how far a unit was whose worker was lost."""
    work, link = folder.parent / "work", folder / "store" / WORK
    for made in (work, link.parent):
        made.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(work)


def _other_plugins(home: Home, plugins: Plugins) -> Iterator[str]:
    """Give what is different here about the plugins that are loaded at home."""
    here = {(owner.distribution, owner.entry_point): owner for owner in plugins.owners()}
    failed = {(error.distribution, error.entry_point): error.message for error in plugins.errors}
    for owner in home.owners:
        name = (owner.distribution, owner.entry_point)
        if name in failed:
            yield f"plugin {owner} cannot be loaded: {failed[name]}"
        elif name not in here:
            yield f"plugin {owner} is not installed"
        elif here[name].files_sha256 != owner.files_sha256:
            yield f"plugin {owner} has other files ({here[name].version})"


def _sentence(found: Sequence[str]) -> str:
    return (
        f"worker {platform.node()} differs from the process that asks: {'; '.join(found)}. Install the same there, "
        "or keep that machine out of the cluster; `ddbench doctor` and `ddbench list plugins` tell what is where"
    )


def store_answer(store: Store, unit: Unit, answer: Answer) -> None:
    """Keep what a unit left, whole, and forget what it needed to go on.

    Raises:
        ArtefactDamaged: Something did not arrive as it was sent.
        StoreProblem: The store cannot be written.
    """
    for parcel in answer.parcels:
        unpack(store, parcel)
    store.damaged += answer.damaged
    if unit.work and answer.problem is None:
        store.discard_work(unit.key)

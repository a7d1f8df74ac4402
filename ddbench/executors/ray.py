"""The Ray executor: units as Ray tasks. Ray schedules, places and retries them; the driver alone writes the store.

What a task reads is put into Ray's object store once and shared by all tasks that read it; what it leaves comes back the same way.
A worker keeps a temporary store of its own, so that no disk need be shared.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from ddbench.data.prepared import DESCRIPTION, SPLITS, ArraySplit
from ddbench.errors import ArtefactDamaged, EnvironmentProblem
from ddbench.executors.errands import Errand, home_of, store_answer
from ddbench.executors.local import Budget
from ddbench.executors.problems import problem_of
from ddbench.executors.ray_cluster import Ask, joined
from ddbench.executors.ray_worker import Desk, Shared, run_errand
from ddbench.executors.schedule import Ended, Problem
from ddbench.executors.telling import Shown
from ddbench.packing import pack_folder, pack_paths
from ddbench.store import KINDS

if TYPE_CHECKING:
    from ddbench.data import Prepared
    from ddbench.executors.errands import Answer
    from ddbench.executors.local import Limits
    from ddbench.executors.opening import Choice
    from ddbench.executors.ray_cluster import Cluster
    from ddbench.executors.units import Task, Unit
    from ddbench.place import Place
    from ddbench.planning import Known

RETRIES = 3
"""How often Ray tries a unit again whose worker or node was lost."""

QUEUED = 2
"""Units given to Ray for every one that can run, so that no worker waits for the driver."""

TRAVELS_BYTES = 1024**3
"""A dataset up to this size is sent to workers that have none; a larger one must lie where they are."""

SHARED_BYTES = 2 * 1024**3
"""What is kept of artefacts in Ray's object store for units to come; beyond it the longest unused is given up."""


@dataclass(frozen=True)
class OnRay:
    """The machines of a Ray cluster."""

    choice: Choice
    known: Known
    cluster: Cluster

    def budget(self, place: Place) -> Budget:
        """Return what all nodes together bear."""
        threads, devices = self.cluster.total("CPU"), self.cluster.total("GPU")
        fit = threads if place.device.type == "cpu" else devices * self.choice.per_device
        return Budget(self.choice.workers or max(1, fit), threads, ("",) * devices, self.choice.per_device)

    def executor(self, place: Place, task: Callable[[str], Task]) -> RayExecutor:  # noqa: ARG002 - as of any machines
        """Return an executor that gives units to Ray."""
        return RayExecutor(self.cluster, self.known, task, limits=self.choice.limits, most=self.choice.workers)


@contextmanager
def on_ray(choice: Choice, known: Known, device: str) -> Iterator[OnRay]:
    """Give the machines of a cluster, joined or started here; a device is then planned for as they have it.

    Raises:
        BadRequest: The device is named by its number.
        EnvironmentProblem: Ray cannot start, there is no cluster at the address, or it has no fitting node.
    """
    with joined(choice.address, ask=Ask(gpus=1 / choice.per_device), reporter=known.workspace.reporter) as cluster:
        known.places[device] = cluster.place(device)
        yield OnRay(choice, known, cluster)


class RayExecutor:
    """Gives units to Ray, and stores what comes back; leave its block to end what runs."""

    def __init__(
        self,
        cluster: Cluster,
        known: Known,
        task: Callable[[str], Task],
        *,
        limits: Limits | None = None,
        most: int | None = None,
    ) -> None:
        """Keep what is needed to start units.

        Args:
            cluster: Where they run.
            known: The workspace, its datasets, and who is told of progress.
            task: Tells the task of a unit's key.
            limits: What one unit may take.
            most: Units that Ray has at a time, at most.
        """
        self.cluster, self.known, self.task, self.most = cluster, known, task, most
        self.workspace = known.workspace
        self._desk: Any = ray.remote(Desk).options(**cluster.beside_driver()).remote()
        self._shared = ray.put(Shared(cluster.run, home_of(self.workspace), limits, self._desk))
        self._remote = ray.remote(max_retries=RETRIES)(run_errand)
        self._parcels = Parcels(self.known)
        self._running: dict[Any, Unit] = {}
        """By the reference to the answer."""
        self._shown: dict[str, Shown] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        ray.kill(self._desk)

    def room(self, unit: Unit) -> bool:
        """Return whether Ray has fewer units than keep it busy; which of them run is its own decision."""
        enough = QUEUED * self.cluster.slots(unit)
        return len(self._running) < (enough if self.most is None else min(self.most, enough))

    def start(self, unit: Unit) -> None:
        """Give a unit to Ray, with what there is of what it reads."""
        task = self.task(unit.key)
        dataset = task.request.dataset
        errand = Errand(task, self.known.dataset(dataset).facts.sha256, unit.reads, unit.leaves)
        parcels = self._parcels.of(unit.reads)
        data = None if self.cluster.own else self._parcels.of_dataset(dataset)
        remote = self._remote.options(name=unit.title, **self.cluster.ask.of(unit))
        self._running[remote.remote(self._shared, errand, data, *parcels)] = unit

    def ended(self, timeout_s: float) -> Sequence[Ended]:
        """Return the units that ended, stored; wait for one, but not longer than this."""
        if not self._running:
            return []
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        over = list(self._hear())
        return [*over, *(self._taken(reference) for reference in ready if reference in self._running)]

    def stop(self) -> None:
        """End what runs and forget what waits, at once."""
        for reference in self._running:
            ray.cancel(reference, force=True)
        self._running.clear()
        for key in list(self._shown):
            self._close(key)

    def _taken(self, reference: Any) -> Ended:
        """Return how a unit ended, after storing what it left."""
        unit = self._running.pop(reference)
        self._close(unit.key)
        try:
            answer: Answer = ray.get(reference)
        except RayError as error:
            return Ended(unit.key, 0.0, lost_problem(error))
        try:
            store_answer(self.workspace.store, unit, answer)
        except (ArtefactDamaged, EnvironmentProblem) as error:
            return Ended(unit.key, answer.seconds, problem_of(error), lost=isinstance(error, ArtefactDamaged))
        self._parcels.forget(unit.leaves)
        return Ended(unit.key, answer.seconds, answer.problem)

    def _hear(self) -> Iterator[Ended]:
        """Show what workers tell, and give the units that were ended for exceeding a limit."""
        references = {unit.key: reference for reference, unit in self._running.items()}
        for key, message in ray.get(self._desk.take.remote()):
            if key not in references or references[key] not in self._running:
                continue  # told before its end was known
            if message["type"] == "exceeded":
                ray.cancel(references[key], force=True)  # or Ray would try it again
                self._running.pop(references[key])
                self._close(key)
                yield Ended(key, message["seconds"], Problem(**message["problem"]))
            elif message["type"] == "started":
                self._close(key)  # what was shown of it, if anything, was of a worker that is lost
                self._shown[key] = Shown(self.workspace.reporter)
            elif key in self._shown:
                self._shown[key].show(message)

    def _close(self, key: str) -> None:
        if key in self._shown:
            self._shown.pop(key).close()


class Parcels:
    """What tasks read, in Ray's object store: put once, shared by all tasks that read it."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        """References and bytes of artefacts by path, the longest unused first."""
        self._datasets: dict[str, list[Any] | None] = {}

    def of(self, paths: Sequence[str]) -> list[Any]:
        """Return references to what there is at paths of the store; how far a unit is changes, and is put each time."""
        artefacts = [path for path in paths if path.split("/")[0] in KINDS]
        changing = pack_paths(self.known.workspace.store, [path for path in paths if path not in artefacts])
        found = [self._kept.get(path) or self._put(path) for path in artefacts]
        for path in artefacts:
            if path in self._kept:
                self._kept.move_to_end(path)
        return [*(one[0] for one in found if one), *([ray.put(changing)] if changing else [])]

    def of_dataset(self, name: str) -> list[Any] | None:
        """Return a list with the reference to a dataset, fetched only by a worker that has none; None where it cannot travel."""
        if name not in self._datasets:
            data = self.known.dataset(name)
            names = [DESCRIPTION, *(f"{split}.safetensors" for split in SPLITS)]
            put = [ray.put(pack_folder(data.folder, name, names))] if data.folder and _travels(data) else None
            self._datasets[name] = put
        return self._datasets[name]

    def forget(self, paths: Sequence[str]) -> None:
        """Give up what was put of paths that were written since."""
        for path in paths:
            self._kept.pop(path, None)

    def _put(self, path: str) -> tuple[Any, int] | None:
        parcels = pack_paths(self.known.workspace.store, [path])
        if not parcels:
            return None
        self._kept[path] = (ray.put(parcels), sum(parcel.nbytes for parcel in parcels))
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > SHARED_BYTES:
            self._kept.popitem(last=False)  # tasks that were given it keep it alive
        return self._kept[path]


def lost_problem(error: RayError) -> Problem:
    """Return why Ray could not have a unit made."""
    said = " ".join(str(error).split())
    if isinstance(error, RayTaskError):
        what = f"a worker could not begin ({said}); is the same ddbench installed there?"
        return Problem("WorkerDiffers", what, str(error), stops_all=True)
    return Problem("WorkerDied", f"its worker or node was lost {RETRIES + 1} times; the last time Ray said: {said}", str(error))


def _travels(data: Prepared) -> bool:
    splits = (data.train, data.test)
    return all(isinstance(split, ArraySplit) for split in splits) and sum(split.nbytes for split in splits) <= TRAVELS_BYTES

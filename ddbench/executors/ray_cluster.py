"""A Ray cluster: started on this machine or joined by its address, quietly; what its nodes have, and what units ask of them."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.executors.ray_worker import tidy
from ddbench.place import Place, here

if TYPE_CHECKING:
    from ddbench.executors.units import Unit
    from ddbench.progress import Reporter

LOOK_S = 2.0
"""How often the nodes are asked for."""

START_TRIES = 3
"""Ray gives up its own start after half a minute, which a busy machine may exceed."""

TIDY_S = 10.0
"""How long nodes may take to remove their temporary stores."""


@dataclass(frozen=True)
class Ask:
    """What a unit asks of a node."""

    cpus: float | None = None
    """CPUs; as many as the unit has threads, unless given. A fraction lets several units share one."""
    gpus: float = 1.0
    """Accelerators of a unit that runs on one; a fraction lets several units share one."""

    def of(self, unit: Unit) -> dict[str, float]:
        """Return a unit's requests as Ray takes them."""
        cpus = float(unit.threads) if self.cpus is None else self.cpus
        return {"num_cpus": cpus, "num_gpus": 0.0 if unit.device == "cpu" else self.gpus}


@dataclass
class Cluster:
    """A cluster that this process has joined."""

    own: bool
    """Whether it was started by this process, on this machine alone."""
    ask: Ask
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Names the temporary stores of this process's units."""
    _nodes: list[Mapping[str, float]] = field(default_factory=list)
    _looked: float | None = None

    def place(self, device: str) -> Place:
        """Return where units run, as planning asks: what a node's device can do, and the threads of the smallest node.

        Raises:
            BadRequest: The device is named by its number, or no node has an accelerator.
            EnvironmentProblem: No node is there.
        """
        if ":" in device:
            raise BadRequest(f"Ray chooses among a node's devices; give --device {device.partition(':')[0]}, not {device}")
        on_gpu = device not in {"auto", "cpu"} or (device == "auto" and any(node.get("GPU") for node in self.nodes()))
        if self.own and not on_gpu:
            return here("cpu")
        threads = self._threads(on_gpu=on_gpu)
        probe = ray.remote(here).options(num_cpus=1, num_gpus=self.ask.gpus if on_gpu else 0)
        found: Place = ray.get(probe.remote(device))
        able = found.abilities if on_gpu else replace(found.abilities, threads=threads)
        return replace(found, abilities=able, threads=threads)

    def slots(self, unit: Unit) -> int:
        """Return how many units like this one can run at once; one at least, which may have to wait for a node."""
        asks = self.ask.of(unit)
        return max(1, sum(_fits(node, asks) for node in self.nodes()))

    def total(self, resource: str) -> int:
        """Return how much of a resource the nodes have together: `CPU`, `GPU`."""
        return int(sum(node.get(resource, 0) for node in self.nodes()))

    def nodes(self) -> Sequence[Mapping[str, float]]:
        """Return the resources of the nodes that live, asked for now and then."""
        now = time.monotonic()
        if self._looked is None or now - self._looked > LOOK_S:
            self._nodes = [node["Resources"] for node in _alive()]
            self._looked = now
        return self._nodes

    def beside_driver(self) -> dict[str, Any]:
        """Return the options of an actor that lives and dies with the driver's node."""
        node = ray.get_runtime_context().get_node_id()
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        return {"num_cpus": 0, "scheduling_strategy": place, "max_restarts": -1, "max_task_retries": -1}

    def tidy(self) -> None:
        """Remove the temporary stores of this run from every node."""
        there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in _alive()]
        sent = [ray.remote(tidy).options(num_cpus=0, scheduling_strategy=one).remote(self.run) for one in there]
        ray.wait(sent, num_returns=len(sent), timeout=TIDY_S)

    def _threads(self, *, on_gpu: bool) -> int:
        nodes = [node for node in self.nodes() if node.get("CPU", 0) >= 1 and (node.get("GPU") or not on_gpu)]
        if not nodes:
            raise EnvironmentProblem(
                f"the Ray cluster has no node with {'an accelerator' if on_gpu else 'CPUs'}; `ray status` tells"
            )
        shares = [node["CPU"] / node["GPU"] * self.ask.gpus if on_gpu else node["CPU"] for node in nodes]
        return max(1, int(min(shares)))


@contextlib.contextmanager
def joined(address: str | None, *, cpus: int | None = None, ask: Ask | None = None, reporter: Reporter) -> Iterator[Cluster]:
    """Give a cluster: the one at an address (`auto`: this machine's), or Ray started on this machine while the block runs.

    What Ray prints becomes notes. No dashboard is started and no usage statistics are sent.

    Raises:
        EnvironmentProblem: There is no cluster at the address, or Ray cannot start here.
    """
    already = ray.is_initialized()
    with contextlib.redirect_stdout(Aside(reporter, sys.stdout)):
        if not already:
            _start(address, cpus)
        cluster = Cluster(address is None, ask or Ask())
        try:
            yield cluster
        finally:
            _leave(cluster, stays=already)


def _alive() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call] # ray annotates most, not all
    return [node for node in nodes if node["Alive"]]


def _leave(cluster: Cluster, *, stays: bool) -> None:
    if stays or not cluster.own:
        with contextlib.suppress(ray.exceptions.RayError):
            cluster.tidy()
    if not stays:
        ray.shutdown()
    tidy(cluster.run)


def _start(address: str | None, cpus: int | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of what it will do one day
    own: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if address is None else {}
    for tries_left in reversed(range(START_TRIES if address is None else 1)):
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:
            ray.shutdown()
            if not tries_left:
                raise EnvironmentProblem(_no_start(address, error)) from error
        else:
            return


def _no_start(address: str | None, error: Exception) -> str:
    said = _first_sentence(str(error)) or type(error).__name__
    if address is None:
        return f"Ray cannot start on this machine ({said}); start it by hand (ray start --head) and give --address auto"
    return f"the Ray cluster at {address!r} cannot be joined ({said}); see: ray status"


class Aside(StringIO):
    """A standard output on which what Ray prints about lost workers and nodes becomes notes; all else passes through."""

    def __init__(self, reporter: Reporter, passes: TextIO) -> None:
        super().__init__()
        self.reporter, self.passes = reporter, passes
        self._after_ray = False

    def write(self, text: str) -> int:
        """Tell the first sentence of a message of Ray's, `(raylet) …`; what follows it is details and advice."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        source, closed, message = plain.partition(")")
        if closed and source.startswith("("):
            self.reporter.note(f"Ray: {_first_sentence(message)}")
            self._after_ray = True
        elif not (self._after_ray and not plain.strip()):
            self.passes.write(text)
            self._after_ray = False
        return len(text)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", " ".join(text.split()), maxsplit=1)[0]


def _fits(node: Mapping[str, float], asks: Mapping[str, float]) -> int:
    """Return how many units fit on a node."""
    counts = [node.get(resource, 0) / asks[name] for resource, name in (("CPU", "num_cpus"), ("GPU", "num_gpus")) if asks[name]]
    return int(min(counts, default=1) + 1e-9)

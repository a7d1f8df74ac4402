"""A toy dataset and a bench that runs a synthesizer through the real harness, in a store of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ddbench import making
from ddbench.api.context import Precision
from ddbench.api.network import NetworkFamily, NetworkSpec, TrainedNetwork
from ddbench.api.teacher import Teacher
from ddbench.cells import Method, TeacherChoice
from ddbench.context import StageContext
from ddbench.data import HeldSplit, Prepared, TestSplit, in_memory
from ddbench.errors import UnknownName
from ddbench.options import Layer, NoOptions, Options, Resolved, resolve
from ddbench.plugins import Entry, Owner, Plugins
from ddbench.seeding import generator_for, seeded_globally
from ddbench.settings import Settings
from ddbench.stages import DistilledStage, TeacherStage
from ddbench.store import Store
from ddbench.workspace import Workspace

if TYPE_CHECKING:
    from ddbench.api.context import Context
    from ddbench.api.synthesizer import Synthesizer
    from ddbench.distilled import DistilledSet

OWNER = Owner("toy", "0", "toy", "ddbench.testing", "0")
CLASSES, PER_CLASS, SHAPE = 4, 12, (3, 8, 8)


def toy_dataset(shape: tuple[int, int, int] = SHAPE, *, classes: int = CLASSES, per_class: int = PER_CLASS) -> Prepared:
    """Return a learnable dataset in memory: a smooth pattern for each class under noise, every image distinct."""
    generator = generator_for("toy dataset", *shape, classes, per_class)
    patterns = torch.rand(classes, *shape, generator=generator) * 160 + 40

    def split(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(classes).repeat(count)
        noise = torch.randn(len(labels), *shape, generator=generator) * 20
        return (patterns[labels] + noise).clamp(0, 255).round().to(torch.uint8), labels

    return in_memory(split(per_class), split(per_class), name="toy")


class ToyFamily(NetworkFamily):
    """One small network with batch norm, so that methods that match its statistics have some."""

    name = "toy"
    version = 1

    def names(self) -> list[str]:
        return ["cnn"]

    def fit(self, name: str, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
        if name not in self.names():
            raise UnknownName("network", f"toy/{name}", [f"toy/{known}" for known in self.names()])
        return NetworkSpec(f"toy/{name}", self.version, shape, num_classes)

    def build(self, spec: NetworkSpec) -> nn.Module:
        channels = spec.shape[0]
        stem = [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)]
        body = [nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*stem, *body, nn.Linear(16, spec.num_classes))


class ToyTeacher(Teacher):
    """A network with random weights and batch-norm statistics of the train split: enough for every contract."""

    name = "toy"
    version = 1
    options = NoOptions

    def train(self, ctx: Context, o: Options, network: NetworkSpec) -> TrainedNetwork:  # noqa: ARG002 - a teacher's signature
        facts = ctx.train.facts
        mean, std = torch.tensor(facts.mean), torch.tensor(facts.std)
        with seeded_globally(0):
            module = ToyFamily().build(network)
        every = torch.cat([ctx.train.images(ctx.train.indices(label)) for label in range(facts.num_classes)])
        with torch.no_grad():
            module.train()((every.float() / 255 - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1))
        return TrainedNetwork(module.eval().requires_grad_(requires_grad=False), facts.classes, mean, std)


@dataclass
class Bench:
    """Runs synthesizers on a toy dataset through the harness, into a store under `root`."""

    root: Path
    data: Prepared = field(default_factory=toy_dataset)
    precision: Precision = field(default_factory=Precision)

    def session(self) -> making.Session:
        """Return a session as a fresh process would have it; its test split raises when it is touched."""
        workspace = Workspace(Settings(self.root, (), ()), Store(self.root), _ToyPlugins())
        train, test = HeldSplit(self.data), TestSplit(self.data, locked=True)
        return making.Session(
            workspace, self.data, train, test, torch.device("cpu"), torch.get_num_threads(), teachers=_preloaded(self)
        )

    def stage(
        self, synthesizer: Synthesizer, *, ipc: int, seed: int = 0, options: Mapping[str, Any] | None = None
    ) -> DistilledStage:
        """Return the stage that distils with a synthesizer."""
        resolved = resolve(synthesizer.options, [Layer("test", options or {})], owner=f"synthesizer {synthesizer.name!r}")
        method = Method(Entry("synthesizer", synthesizer.name, synthesizer, OWNER), resolved)
        needs = {name: (need, self.teacher()) for name, need in synthesizer.needs(resolved.values, self.data.facts).items()}
        return DistilledStage(method, self.data.facts, ipc, seed, needs, self.precision)

    def teacher(self) -> TeacherStage:
        """Return the stage of the toy teacher."""
        facts = self.data.facts
        network = ToyFamily().fit("cnn", shape=facts.shape, num_classes=facts.num_classes)
        way, family = Entry("teacher", "toy", ToyTeacher(), OWNER), Entry("network", "toy", ToyFamily(), OWNER)
        choice = TeacherChoice(way, Resolved(NoOptions(), {}), network, family)
        return TeacherStage(choice, facts, Precision())

    def distil(
        self,
        synthesizer: Synthesizer,
        *,
        ipc: int,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        session: making.Session | None = None,
    ) -> DistilledSet:
        """Return a distilled set; asked again with the same arguments, it comes from the store."""
        return making.distilled(session or self.session(), self.stage(synthesizer, ipc=ipc, seed=seed, options=options))


class _ToyPlugins(Plugins):
    """Plugins of which only the toy network family is known."""

    def __init__(self) -> None:
        super().__init__((), found=[])

    def all(self, kind: str) -> dict[str, Any]:
        """Return the toy family, and nothing of any other kind."""
        return {"toy": ToyFamily()} if kind == "network" else {}


def _preloaded(bench: Bench) -> dict[str, Any]:
    """Return the toy teacher as if it had been trained: no store, no test split."""
    context = StageContext(
        HeldSplit(bench.data), torch.device("cpu"), generator_for("toy teacher"), Precision(), {"toy": ToyFamily()}
    )
    stage = bench.teacher()
    return {stage.key: (stage.choice.way.train(context, NoOptions(), stage.choice.network), {})}

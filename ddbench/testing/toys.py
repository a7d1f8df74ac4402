"""Toys: a dataset, networks, a teacher and experts, small enough to be made anew in every test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from ddbench.api.network import NetworkFamily, NetworkSpec, TrainedNetwork
from ddbench.api.synthesizer import Job, JobResult, Synthesizer, jobs_per_image_index
from ddbench.api.teacher import Teacher
from ddbench.data import Prepared, in_memory
from ddbench.errors import BadRequest, UnknownName
from ddbench.kit.draw import draw_real
from ddbench.networks import build
from ddbench.options import NoOptions, Options
from ddbench.seeding import derive_seed, generator_for, seeded_globally
from ddbench.training.experts import train_expert

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.context import Context, Need
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.experts import ExpertOptions
    from ddbench.context import StageContext

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
    """Two small networks: `toy/cnn` with batch norm, whose statistics methods match, and `toy/smooth` without norm or kinks."""

    name = "toy"
    version = 1

    def names(self) -> list[str]:
        return ["cnn", "smooth"]

    def fit(self, name: str, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
        if name not in self.names():
            raise UnknownName("network", f"toy/{name}", [f"toy/{known}" for known in self.names()])
        return NetworkSpec(f"toy/{name}", self.version, shape, num_classes)

    def build(self, spec: NetworkSpec) -> nn.Module:
        channels = spec.shape[0]
        if spec.name == "toy/smooth":
            stem = [nn.Conv2d(channels, 8, 3, padding=1), nn.SiLU(), nn.AvgPool2d(2)]
            body = [nn.Conv2d(8, 16, 3, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
            return nn.Sequential(*stem, *body, nn.Linear(64, spec.num_classes))
        stem = [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)]
        body = [nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*stem, *body, nn.Linear(16, spec.num_classes))


class ToyTeacher(Teacher):
    """A network with random weights and batch-norm statistics of the train split: enough for every contract."""

    name = "toy"
    version = 1
    options = NoOptions

    def train(self, ctx: Context, o: Options, network: NetworkSpec, *, seed: int = 0) -> TrainedNetwork:  # noqa: ARG002 - its signature
        facts = ctx.train.facts
        mean, std = torch.tensor(facts.mean), torch.tensor(facts.std)
        with seeded_globally(seed):
            module = ToyFamily().build(network)
        every = torch.cat([ctx.train.images(ctx.train.indices(label)) for label in range(facts.num_classes)])
        with torch.no_grad():
            module.train()((every.float() / 255 - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1))
        return TrainedNetwork(module.eval().requires_grad_(requires_grad=False), facts.classes, mean, std)


class ToyReal(Synthesizer):
    """Real images, the same for every method: what an evaluator's toy set is made by."""

    name = "toy-real"
    version = 1
    options = NoOptions

    def start(self, o: Options) -> Literal["real"]:  # noqa: ARG002 - a synthesizer's signature
        return "real"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:  # noqa: ARG002
        return {}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:  # noqa: ARG002
        return jobs_per_image_index(facts, ipc, seed)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:  # noqa: ARG002
        return [JobResult(ctx.train.images(draw_real(ctx.train, job)).cpu(), torch.tensor(job.labels)) for job in group]


@dataclass(frozen=True)
class ToyExperts:
    """Trajectories of a toy network, trained when they are asked for and held in memory (`ddbench.Experts`)."""

    spec: NetworkSpec
    options: ExpertOptions
    context: StageContext
    """Where they are trained; its families build the network."""
    seed: int = 0
    _kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def network(self) -> str:
        return self.spec.name

    @property
    def count(self) -> int:
        return self.options.count

    @property
    def epochs(self) -> int:
        return self.options.epochs

    @property
    def card(self) -> Mapping[str, object]:
        return {"network": self.network, "seed": self.seed, "options": self.options.model_dump(mode="json")}

    def weights(self, expert: int, epoch: int) -> dict[str, Tensor]:
        """Return an expert's parameters and buffers by name after `epoch` passes; 0 is the start."""
        if not (0 <= expert < self.count and 0 <= epoch <= self.epochs):
            raise BadRequest(f"there are experts 0 to {self.count - 1} with epochs 0 to {self.epochs}, not {expert} with {epoch}")
        if expert not in self._kept:
            module = build(self.spec, self.context.families, seed=derive_seed("toy expert", self.seed, expert))
            self.context.generator = generator_for("expert", self.seed, expert)
            self._kept[expert] = train_expert(self.context, self.options, module)[0]
        return {name: tensor[epoch].clone() for name, tensor in self._kept[expert].items()}

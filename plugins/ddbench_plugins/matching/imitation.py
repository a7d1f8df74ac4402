"""Trajectory matching at work: which expert and epoch a step imitates, the network as a function of its weights, the step size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.func import functional_call

from ddbench.data.moving import moved
from ddbench.errors import BadRequest, SpecialValue
from ddbench.seeding import generator_for
from ddbench.training.dsa import PARAMETERS, draw_group, dsa_group
from ddbench.training.losses import cross_entropy
from ddbench.training.precision import at_least_float32, autocast, placed

from .trajectory import LR_HIGH, LR_LOW
from .unrolled import Descent, Ends, matched

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ddbench import Context, Experts, Job, Precision

    from .trajectory import TrajectoryOptions

MOMENTUM = 0.5
"""Of the SGD that learns the step size (released code)."""

LOOK_STEPS = 50
"""The step size is looked at that often: looking makes a GPU wait."""

PATIENCE = 20
"""Steps in a row that want the step size beyond its bounds before the job is given up; single ones come back by themselves."""


@dataclass(frozen=True)
class Inner:
    """What one SGD step on synthetic images draws."""

    index: Tensor | None
    """int64 (n,), on the device: the images of the step; None for all of them."""
    group: str | None
    """Of DSA; None where images are left as they are."""
    uniform: Tensor
    """float32 (n, 3), on the device: DSA's parameters, each image its own."""


class Student:
    """A network as a function of one vector of parameters; its running statistics never matter, since it is in train mode."""

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        self.network = network.train().requires_grad_(requires_grad=False)
        if precision.native:
            placed(self.network, precision, next(network.parameters()).device)
        for layer in network.modules():
            if isinstance(layer, nn.modules.dropout._DropoutNd):  # noqa: SLF001 - torch's one name for all of them
                layer.eval()  # it draws from torch's global generator, and each step is computed twice
        self.precision = precision
        self.shapes = {name: value.shape for name, value in network.named_parameters()}

    def flat(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return float (P,): the parameters among the weights, in the network's order."""
        return torch.cat([weights[name].reshape(-1) for name in self.shapes])

    def loss(self, theta: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy, a scalar, never in less than float32."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = torch.split(theta, sizes)
        parameters = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        with autocast(self.precision, theta.device):
            logits: Tensor = functional_call(self.network, parameters, (self._laid_out(images),))
        return cross_entropy(at_least_float32(logits), labels)

    def _laid_out(self, images: Tensor) -> Tensor:
        """Return images in channels-last for native layers; torch's own take second derivatives faster in the usual layout."""
        return images.contiguous(memory_format=torch.channels_last) if self.precision.native else images

    def refuse_other_weights(self, weights: Mapping[str, Tensor], name: str) -> None:
        """Do nothing where weights are this network's.

        Raises:
            BadRequest: They belong to another.
        """
        own = {key: value.shape for key, value in self.network.state_dict().items()}
        if own != {key: value.shape for key, value in weights.items()}:
            raise BadRequest(f"the experts are {name}, whose weights do not fit the network that the objective trains")


@dataclass
class StepSize:
    """The learned step size alpha: SGD with momentum, held between `LR_LOW` and `LR_HIGH`.

    It is clamped, not learned as a logarithm, so that published learning rates mean what they meant. All of it lives on the
    device; a count of steps in a row that wanted to leave the bounds is kept there too, and looked at now and then.
    """

    value: Tensor
    """float32 ()."""
    velocity: Tensor
    """float32 ()."""
    outside: Tensor
    """int64 (): steps in a row that wanted to leave the bounds; NaN wants to."""

    @classmethod
    def at(cls, value: float, device: torch.device) -> StepSize:
        """Return one that has learned nothing yet."""
        start = torch.tensor(value, device=device)
        return cls(start, torch.zeros_like(start), torch.zeros((), dtype=torch.int64, device=device))

    def learn(self, derivative: Tensor, lr: float) -> None:
        """Make one step."""
        self.velocity = MOMENTUM * self.velocity + derivative
        wanted = self.value - lr * self.velocity
        inside = (wanted >= LR_LOW) & (wanted <= LR_HIGH)
        self.outside = torch.where(inside, 0, self.outside + 1)
        self.value = wanted.clamp(LR_LOW, LR_HIGH)

    def refuse_runaway(self, step: int, lr: float) -> None:
        """Do nothing where the step size is sound; the one place where the host waits for it.

        Raises:
            SpecialValue: It is NaN, or has been held at a bound for long.
        """
        value, outside = float(self.value), int(self.outside)
        if value == value and outside < PATIENCE:  # noqa: PLR0124 - NaN differs from itself
            return
        raise SpecialValue(
            f"objective 'trajectory', after {step} steps: the learned step size is {value:g}, and for {outside} steps in a row it "
            f"wanted to leave [{LR_LOW:g}, {LR_HIGH:g}]; try -o objective.lr_lr={lr / 10:g} (now {lr:g}), a smaller learning rate "
            "of the images (-o lr=…), or earlier, larger steps of the experts (-o objective.max_start=…)"
        )


@dataclass
class Imitation:
    """`trajectory` on one job (`ddbench.Matching`)."""

    o: TrajectoryOptions
    job: Job
    experts: Experts
    student: Student
    rate: StepSize
    space: str
    """What images are given in: `normalised` or `zca`."""
    steps: int = 0
    """Made so far, for messages."""

    @classmethod
    def of(cls, ctx: Context, o: TrajectoryOptions, job: Job) -> Imitation:
        """Return the objective at work.

        Raises:
            BadRequest: The experts stop too early, saw other images, or are another network.
        """
        experts = cast("Experts", ctx.needs["experts"])
        refuse_unfit(experts, o)
        if ctx.precision.compile:
            ctx.note("trajectory matching differentiates gradients, which torch does not compile: its networks run uncompiled")
        student = Student(ctx.network(o.network, generator_for("trajectory network", job.seed, job.index)), ctx.precision)
        student.refuse_other_weights(experts.weights(0, 0), experts.network)
        return cls(o, job, experts, student, StepSize.at(o.lr_start, ctx.device), "zca" if o.zca else "normalised")

    def loss_and_grad(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the matching loss and its gradient; the step size makes one step too."""
        generator = generator_for("trajectory", self.job.seed, self.job.index, step)
        ends = self._ends(step, generator)
        inner = self._draws(len(images), generator, images.device)

        def step_loss(theta: Tensor, shown: Tensor, i: int) -> Tensor:
            drawn = inner[i]
            batch, target = (shown, labels) if drawn.index is None else (shown[drawn.index], labels[drawn.index])
            return self.student.loss(theta, batch if drawn.group is None else dsa_group(batch, drawn.group, drawn.uniform), target)

        with torch.enable_grad():
            found = matched(Descent(step_loss, images, self.rate.value, len(inner)), ends, exact=self.o.gradient == "exact")
        self.rate.learn(found.rate, self.o.lr_lr)
        self.steps = step + 1
        if self.steps % LOOK_STEPS == 0:
            self.rate.refuse_runaway(self.steps, self.o.lr_lr)
        return found.loss, found.images

    def state(self) -> dict[str, Tensor]:
        """Return the step size and how it moves; everything else is drawn again from the step's number."""
        return {"value": self.rate.value, "velocity": self.rate.velocity, "outside": self.rate.outside}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.rate = StepSize(**state)

    def extras(self) -> dict[str, Tensor]:
        """Return the learned step size under the name that the protocol `mtt/1` reads.

        Raises:
            SpecialValue: It is NaN, or has been held at a bound for long.
        """
        self.rate.refuse_runaway(self.steps, self.o.lr_lr)
        return {"lr": self.rate.value.reshape(1).clone()}

    def _ends(self, step: int, generator: Generator) -> Ends:
        """Return where this step's expert stood: experts take turns in a random order, the epoch is drawn."""
        turn, place = divmod(step, self.experts.count)
        order = torch.randperm(self.experts.count, generator=generator_for("experts", self.job.seed, self.job.index, turn))
        expert, epoch = int(order[place]), int(torch.randint(self.o.max_start, (), generator=generator))
        start, target = (self.experts.weights(expert, at) for at in (epoch, epoch + self.o.expert_epochs))
        return Ends(self.student.flat(start), self.student.flat(target))

    def _draws(self, count: int, generator: Generator, device: torch.device) -> list[Inner]:
        """Return what each of the N steps draws, on the device."""
        batches = self._batches(count, generator)
        groups = [draw_group(self.o.strategy, generator) if self.o.augment == "dsa" else None for _ in batches]
        sizes = [count if batch is None else len(batch) for batch in batches]
        uniform = torch.split(moved(torch.rand(sum(sizes), PARAMETERS, generator=generator), device), sizes)
        index = [None if batch is None else moved(batch, device) for batch in batches]
        return [Inner(*drawn) for drawn in zip(index, groups, uniform, strict=True)]

    def _batches(self, count: int, generator: Generator) -> list[Tensor | None]:
        """Return the images of each step, permutation after permutation; None where each step takes all."""
        if not 0 < self.o.batch_syn < count:
            return [None] * self.o.syn_steps
        batches: list[Tensor | None] = []
        while len(batches) < self.o.syn_steps:
            batches += torch.split(torch.randperm(count, generator=generator), self.o.batch_syn)
        return batches[: self.o.syn_steps]


def refuse_unfit(experts: Experts, o: TrajectoryOptions) -> None:
    """Do nothing where experts can be imitated as the options say.

    Raises:
        BadRequest: They stop too early, or saw images in another space.
    """
    if experts.epochs < o.epochs:
        raise BadRequest(
            f"the experts have {experts.epochs} epochs, and max_start {o.max_start} with expert_epochs {o.expert_epochs} looks at "
            f"{o.epochs}; give -o experts.epochs={o.epochs}, or leave it out"
        )
    if experts.options.zca != o.zca:
        saw = "whitened" if experts.options.zca else "normalised"
        raise BadRequest(f"the experts saw {saw} images; give -o objective.zca={str(experts.options.zca).lower()}")

"""Experts: networks trained on the real train split, their weights kept before training and after every epoch.

Trajectory matching (Cazenavette et al., 2022) imitates them: plain SGD at a constant rate, deliberately far from the best that
the network could reach. They are trained by the one training loop, so that augmentation, precision and the look for NaN are the
same as everywhere; the released code keeps aliases of live weights on a CPU, here every snapshot is a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from ddbench.api.experts import ExpertOptions
from ddbench.api.protocol import Augment, Optimiser, Schedule
from ddbench.data.moving import moved
from ddbench.data.splits import train_labels
from ddbench.errors import BadRequest
from ddbench.training.loop import Lesson, RunSettings, fit
from ddbench.training.losses import cross_entropy
from ddbench.training.precision import autocast, forget_compiled, memory_format, suited
from ddbench.training.recipe import Recipe
from ddbench.training.views import Source, normalised
from ddbench.training.zca import whitening_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from ddbench.api.context import Context
    from ddbench.training.views import BatchDraw

LOOK = 2000
"""Real images that an expert's accuracy, a figure for its card, is measured on."""


def expert_file_name(number: int) -> str:
    """Return the file of an expert, counted from 0."""
    return f"expert-{number:05d}.safetensors"


def expert_recipe(o: ExpertOptions) -> Recipe:
    """Return how an expert is trained."""
    return Recipe(
        optimiser=Optimiser(name="sgd", lr=o.lr, momentum=o.momentum, weight_decay=o.weight_decay),
        schedule=Schedule(name="constant"),
        batch=o.batch,
        epochs=o.epochs,
        augment=(Augment(name="dsa", strategy=o.strategy),) if o.augment == "dsa" else (),
    )


def train_expert(ctx: Context, o: ExpertOptions, network: nn.Module) -> tuple[dict[str, Tensor], float]:
    """Train a network in place on the real train split; return its trajectory, and its top1 on real images at the end.

    The trajectory holds parameters and buffers by name, on the CPU, floats as float32, (epochs + 1, ...): at the start and
    after each epoch. Every draw comes from one number taken from `ctx.generator`. top1 is a fraction, a figure for the card,
    measured on the first train images as they are.

    Raises:
        SpecialValue: The loss became NaN or infinite.
        BadRequest: Images are to be whitened and are too large for it.
    """
    forget_compiled(ctx.precision)
    seed = int(torch.randint(2**62, (), generator=ctx.generator))
    labels = train_labels(ctx.train).to(ctx.device)

    def target(_epoch: int, drawn: BatchDraw, _view: Tensor) -> Tensor:
        return labels[drawn.index]

    source = _source(ctx, o)
    lesson = Lesson(source, target, cross_entropy, ("expert views", seed), ("expert layers", seed))
    run = RunSettings(ctx.device, ctx.precision, ctx.progress)
    snapshots = _Snapshots()
    snapshots.keep(network.state_dict())
    trained = fit(network, expert_recipe(o), lesson=lesson, run=run, keeper=snapshots)
    snapshots.keep(trained.network.state_dict())
    for line in trained.notes:
        ctx.note(line)
    weights = {name: torch.stack(values) for name, values in snapshots.kept.items()}
    return weights, _top1(ctx, trained.network, source, labels)


@dataclass(frozen=True)
class StoredExperts:
    """Experts in files (`ddbench.Experts`): only the weights asked for are read."""

    folder: Path
    network: str
    options: ExpertOptions
    device: torch.device
    card: Mapping[str, object]

    @classmethod
    def open(cls, folder: Path, card: Mapping[str, Any], *, device: torch.device) -> StoredExperts:
        """Return the experts of a folder, described by its card: `options`, and the network's identity under `network`.

        Raises:
            BadRequest: A file is missing.
        """
        options = ExpertOptions.model_validate(card["options"])
        missing = [name for number in range(options.count) if not (folder / (name := expert_file_name(number))).is_file()]
        if missing:
            raise BadRequest(f"{len(missing)} of {options.count} experts are missing in {folder}, first {missing[0]}")
        return cls(folder, str(card["network"]["name"]), options, device, card)

    @property
    def count(self) -> int:
        return self.options.count

    @property
    def epochs(self) -> int:
        return self.options.epochs

    def weights(self, expert: int, epoch: int) -> dict[str, Tensor]:
        """Return an expert's parameters and buffers on the device after `epoch` passes, read from disk.

        Raises:
            BadRequest: There is no such expert or epoch.
        """
        if not (0 <= expert < self.count and 0 <= epoch <= self.epochs):
            raise BadRequest(
                f"expert {expert}, epoch {epoch}: there are experts 0 to {self.count - 1}, kept after 0 to {self.epochs} epochs"
            )
        with safe_open(self.folder / expert_file_name(expert), framework="pt") as file:
            read = {name: file.get_slice(name)[epoch : epoch + 1] for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return {name: moved(values[0], self.device) for name, values in read.items()}


class _Snapshots:
    """Takes a copy of the weights whenever the training loop offers its state (`Keeper`); nothing is resumed."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Tensor]] = {}

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        start = "network/"
        self.keep({name.removeprefix(start): value for name, value in state.items() if name.startswith(start)})

    def resumed(self) -> None:
        return None

    def keep(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in weights.items():
            self.kept.setdefault(name, []).append(_copy(value))


def _copy(value: Tensor) -> Tensor:
    """Return a copy on the CPU, floats as float32: moving alone would alias what is there already."""
    dtype = torch.float32 if value.is_floating_point() else value.dtype
    return torch.empty(value.shape, dtype=dtype).copy_(value.detach())


def _source(ctx: Context, o: ExpertOptions) -> Source:
    """Return the real images as experts see them, normalised or whitened; DSA fills with zero in both."""
    facts = ctx.train.facts
    mean, std = (torch.tensor(values, device=ctx.device) for values in (facts.mean, facts.std))
    whitening = whitening_of(ctx.train).to(ctx.device) if o.zca else None

    def fetch(index: Tensor) -> Tensor:
        pixels = ctx.train.images(index)
        return whitening.apply(pixels) if whitening else normalised(pixels, mean, std)

    return Source(sum(facts.counts), facts.shape[1:], fetch, torch.zeros_like(mean), host=not getattr(ctx.train, "held", False))


def _top1(ctx: Context, network: nn.Module, source: Source, labels: Tensor) -> float:
    """Return the accuracy on the first train images, as they are."""
    index = torch.arange(min(LOOK, source.count))
    right = torch.zeros((), device=ctx.device)
    with torch.inference_mode(), suited(network, ctx.precision, ctx.device), autocast(ctx.precision, ctx.device):
        for place in torch.split(index, 500):
            images = source.fetch(place if source.host else place.to(ctx.device))
            answers = network(images.contiguous(memory_format=memory_format(ctx.precision)))
            right += (answers.argmax(dim=1) == labels[place.to(ctx.device)]).sum()
    return float(right) / len(index)

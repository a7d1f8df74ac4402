"""The one training loop, of students and of teachers: nothing in it makes the host wait for the device.

Losses are summed on the device and read at the end; whether they are finite is looked at about `LOOKS` times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch

from ddbench.api.context import Precision
from ddbench.api.protocol import batch_sizes, training_epochs, training_steps
from ddbench.errors import OutOfMemory, SpecialValue
from ddbench.seeding import derive_seed
from ddbench.training.averages import Average
from ddbench.training.cpu_layers import as_built
from ddbench.training.graphs import Replayed, recorder_of
from ddbench.training.memory import ran_out
from ddbench.training.optimisers import forget_moments, make_optimiser, set_rate
from ddbench.training.precision import Compiled, at_least_float32, autocast, memory_format, placed
from ddbench.training.schedules import drops_at, step_factors
from ddbench.training.steps import TrainingStep
from ddbench.training.views import draw_epoch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.training.losses import Criterion
    from ddbench.training.optimisers import Optimizer
    from ddbench.training.recipe import Recipe
    from ddbench.training.views import BatchDraw, Source

LOOKS = 20
"""How often in a training the host asks whether the loss is still finite."""

CURVE_POINTS = 100

COMPILE_FROM = 500
"""A batch size other than the usual one is compiled from this many steps on; a rare one is not worth the compiling."""

RECORD_FROM = 50
"""Steps on batches of one size are recorded from this many on, where the device records; recording takes as long as a few."""


@dataclass(frozen=True)
class RunSettings:
    """Where and how a training runs."""

    device: torch.device
    precision: Precision = field(default_factory=Precision)
    progress: Callable[..., None] | None = None
    """Called as `progress(step, total, loss=tensor)` after every step; it decides how often to read the tensor."""
    note: Callable[[str], None] | None = None
    """Told in one line of what did not go as the precision says, outside training; training's own lines are in `Trained`."""


@dataclass(frozen=True)
class Lesson:
    """What a network learns from."""

    source: Source
    target: Callable[[int, BatchDraw, Tensor], Tensor]
    """Return a batch's target from the epoch, its draws and its view."""
    criterion: Criterion
    views: tuple[str, int]
    """What the draws of batch order and views are for, and their seed."""
    noise: tuple[str, int]
    """The same for what layers draw themselves: dropout, stochastic depth."""
    by_view: bool = False
    """Whether a batch's target depends on its view alone; then it is recorded with the step, where steps are."""


class Keeper(Protocol):
    """Keeps the state of a training, so that a killed one can go on; a stage's context is one."""

    def checkpoint(self, state: Mapping[str, Tensor]) -> None: ...

    def resumed(self) -> Mapping[str, Tensor] | None: ...


@dataclass(frozen=True)
class Trained:
    """A trained network and what its training took."""

    network: nn.Module
    """In eval mode, on the device, no parameter requiring a gradient; the moving average where the recipe asks for one."""
    steps: int
    images_seen: int
    curve: tuple[tuple[int, float], ...]
    """Epoch, counted from 0, and mean training loss, about a hundred points; the last epoch is always there."""
    notes: tuple[str, ...] = ()
    """One line for each thing that did not go as the precision says."""


@dataclass
class _State:
    network: nn.Module
    optimiser: Optimizer
    losses: Tensor
    """float32 (epochs,): mean loss of each epoch, on the device."""
    average: Average | None
    objective: Compiled
    compiled_sizes: frozenset[int]
    taken: dict[int, TrainingStep]
    """By size of batch, what makes a step."""
    step: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, line: str) -> None:
        """Keep a line on what did not go as the precision says, once."""
        if line not in self.notes:
            self.notes.append(line)


def fit(network: nn.Module, recipe: Recipe, *, lesson: Lesson, run: RunSettings, keeper: Keeper | None = None) -> Trained:
    """Train a network in place and return it with what its training took.

    torch's global generators are set for layers that draw from them, epoch by epoch, and restored afterwards.

    Raises:
        SpecialValue: The loss became NaN or infinite; the message names the epoch.
        OutOfMemory: A step does not fit; its batch is never cut, because that would be another training.
    """
    state, plan = _start(network, recipe, lesson, run)
    epochs = len(state.losses)
    first = _restore(state, keeper.resumed()) if keeper else 0
    every = max(1, epochs // LOOKS)
    with _layer_noise(run.device) as seed_layers:
        for epoch in range(first, epochs):
            seed_layers(derive_seed(*lesson.noise, epoch))
            _train_epoch(state, plan, epoch)
            if (epoch + 1) % every == 0:
                _check_finite(state.losses[epoch : epoch + 1], epoch, recipe)
            if keeper and epoch + 1 < epochs:
                keeper.checkpoint(_kept(state, epoch + 1))
    return _finished(state, plan)


def epoch_by_epoch(network: nn.Module, recipe: Recipe, *, lesson: Lesson, run: RunSettings) -> Callable[[int], None]:
    """Return a function that trains a network in place for one epoch, by number, for callers that do things between epochs."""
    state, plan = _start(network, recipe, lesson, run)

    def train(epoch: int) -> None:
        with _layer_noise(run.device) as seed_layers:
            seed_layers(derive_seed(*lesson.noise, epoch))
            _train_epoch(state, plan, epoch)

    return train


@dataclass(frozen=True)
class _Plan:
    recipe: Recipe
    lesson: Lesson
    run: RunSettings
    factors: list[float]
    fresh_at: int | None


def _start(network: nn.Module, recipe: Recipe, lesson: Lesson, run: RunSettings) -> tuple[_State, _Plan]:
    network = placed(network, run.precision, run.device).train()

    def objective(images: Tensor, target: Tensor) -> Tensor:
        with autocast(run.precision, run.device):
            logits: Tensor = network(images)
        return lesson.criterion(at_least_float32(logits), target)

    count = lesson.source.count
    plan = _Plan(recipe, lesson, run, step_factors(recipe, count), drops_at(recipe, count))
    state = _State(
        network,
        make_optimiser(network, recipe, recorded=recorder_of(run.device) is not None),
        torch.zeros(training_epochs(recipe, count), device=run.device),
        Average(network, recipe.ema) if recipe.ema else None,
        Compiled(objective, run.precision),
        sizes_to_compile(recipe, count),
        {},
    )
    return state, plan


def sizes_to_compile(recipe: Recipe, images: int) -> frozenset[int]:
    """Return the batch sizes worth compiling for: the usual one, and a last partial one that is met often enough."""
    sizes = batch_sizes(images, recipe.batch)
    return frozenset(size for size in set(sizes) if size == sizes[0] or training_epochs(recipe, images) >= COMPILE_FROM)


def _steps_of(size: int, recipe: Recipe, images: int) -> int:
    """Return about how many steps a training makes on batches of one size."""
    sizes = batch_sizes(images, recipe.batch)
    return training_steps(recipe, images) * sizes.count(size) // len(sizes)


def _train_epoch(state: _State, plan: _Plan, epoch: int) -> None:
    batches = draw_epoch(plan.recipe, plan.lesson.source, seed=plan.lesson.views, epoch=epoch)
    batches = batches[: len(plan.factors) - state.step]
    images = sum(len(drawn.index) for drawn in batches)
    for drawn in batches:
        if state.step == plan.fresh_at:
            forget_moments(state.optimiser)
        set_rate(state.optimiser, plan.recipe.lr * plan.factors[state.step])
        loss = _train_batch(state, plan, epoch, drawn)
        state.losses[epoch].add_(loss, alpha=len(drawn.index) / images)
        state.step += 1
        if plan.run.progress:
            plan.run.progress(state.step, len(plan.factors), loss=loss)
    if state.average:
        state.average.update(state.network)


def _train_batch(state: _State, plan: _Plan, epoch: int, drawn: BatchDraw) -> Tensor:
    """Make one step and return its loss, detached."""
    try:
        return _step(state, plan, epoch, drawn)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(
            f"memory ran out in a training step on {len(drawn.index)} images, and a smaller batch would be another training; "
            "use a device with more memory, --precision bf16, fewer cells side by side, or a smaller network"
        ) from error


def _step(state: _State, plan: _Plan, epoch: int, drawn: BatchDraw) -> Tensor:
    size = len(drawn.index)
    if size not in state.taken:
        state.taken[size] = _step_on(size, state, plan)
    return state.taken[size](epoch, drawn)


def _step_on(size: int, state: _State, plan: _Plan) -> TrainingStep:
    """Return what makes steps on batches of one size: compiled and recorded where there are enough of them."""
    objective = state.objective if size in state.compiled_sizes else state.objective.plain
    enough = _steps_of(size, plan.recipe, plan.lesson.source.count) >= RECORD_FROM
    recorder = recorder_of(plan.run.device) if enough else None
    replayed = partial(Replayed, recorder=recorder, note=state.note)
    return TrainingStep(plan.lesson, plan.recipe, memory_format(plan.run.precision), (objective, state.optimiser), replayed)


def _finished(state: _State, plan: _Plan) -> Trained:
    losses = state.losses.cpu()
    _check_finite(losses, 0, plan.recipe)
    if state.average:
        state.average.apply(state.network)
    state.optimiser.zero_grad()  # gradients lie in a recording's memory, and would hold all of it
    network = as_built(state.network).to(memory_format=torch.contiguous_format).eval().requires_grad_(requires_grad=False)
    every = max(1, math.ceil(len(losses) / CURVE_POINTS))
    curve = tuple((epoch, float(loss)) for epoch, loss in enumerate(losses) if epoch % every == 0 or epoch == len(losses) - 1)
    return Trained(
        network,
        steps=state.step,
        images_seen=images_seen(plan.recipe, plan.lesson.source.count),
        curve=curve,
        notes=(*state.notes, *(() if state.objective.note is None else (state.objective.note,))),
    )


def images_seen(recipe: Recipe, images: int) -> int:
    """Return how many images a training on a set of `images` shows the network, repeats counted."""
    sizes = batch_sizes(images, recipe.batch)
    whole, rest = divmod(training_steps(recipe, images), len(sizes))
    return whole * images + sum(sizes[:rest])


def _check_finite(losses: Tensor, first: int, recipe: Recipe) -> None:
    """Raise if an epoch's loss is not finite; the one place where the host waits for the device during training."""
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        epoch = first + int(bad[0])
        raise SpecialValue(
            f"training diverged: the loss is not finite at epoch {epoch} (learning rate {recipe.lr:g}, "
            f"optimiser {recipe.optimiser.name}); look at the images, or try --precision fp32"
        )


def _kept(state: _State, epoch: int) -> dict[str, Tensor]:
    """Return everything that decides how training goes on after `epoch` epochs; draws need only the epoch's number."""
    kept = {f"network/{name}": value for name, value in state.network.state_dict().items()}
    kept |= {"epoch": torch.tensor(epoch), "step": torch.tensor(state.step), "losses": state.losses}
    for place, parameter in enumerate(_parameters(state.optimiser)):
        values = state.optimiser.state.get(parameter, {})
        kept |= {f"optimiser/{place}/{key}": value for key, value in values.items()}
    if state.average:
        kept |= {f"average/{name}": value for name, value in state.average.values.items()}
        kept["average_updates"] = torch.tensor(state.average.updates)
    return kept


def _restore(state: _State, kept: Mapping[str, Tensor] | None) -> int:
    """Set a fresh state to a kept one and return the epoch to go on with."""
    if kept is None:
        return 0
    state.network.load_state_dict(_under("network/", kept))
    for place, parameter in enumerate(_parameters(state.optimiser)):
        for key, value in _under(f"optimiser/{place}/", kept).items():
            like = parameter if value.shape == parameter.shape else value.to(parameter.device)
            state.optimiser.state[parameter][key] = torch.empty_like(like, dtype=value.dtype, requires_grad=False).copy_(value)
    if state.average:
        for name, value in _under("average/", kept).items():
            state.average.values[name].copy_(value)
        state.average.updates = int(kept["average_updates"])
    state.losses.copy_(kept["losses"])
    state.step = int(kept["step"])
    return int(kept["epoch"])


def _under(prefix: str, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


@contextmanager
def _layer_noise(device: torch.device) -> Iterator[Callable[[int], None]]:
    """Give a function that seeds the generators that layers draw from, and restore them afterwards."""
    module = torch.get_device_module(device)
    kept, kept_device = torch.get_rng_state(), None if device.type == "cpu" else module.get_rng_state()

    def seed(value: int) -> None:
        torch.default_generator.manual_seed(value)
        if device.type != "cpu":
            module.manual_seed(value)

    try:
        yield seed
    finally:
        torch.set_rng_state(kept)
        if kept_device is not None:
            module.set_rng_state(kept_device)

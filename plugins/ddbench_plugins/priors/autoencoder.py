"""Learning the generator as decoder of a conditional variational autoencoder (Kingma and Welling, 2014; Sohn et al., 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ddbench.errors import SpecialValue
from ddbench.seeding import generator_for, seeded_globally
from ddbench.training.averages import Average
from ddbench.training.precision import Compiled, autocast, forget_compiled, memory_format, placed
from ddbench_plugins.priors.encoder import Encoder
from ddbench_plugins.priors.guide import VIEW, Guide, confusion, draw_views, lesson, seen
from ddbench_plugins.priors.hierarchy import CLASSES, class_list, shape_for
from ddbench_plugins.priors.trunk import Z_DIM, Shape, Trunk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Generator

    from ddbench import Context, DatasetFacts, TrainSplit
    from ddbench_plugins.priors.trained import TrainedOptions

BETAS = (0.9, 0.99)
"""Of Adam."""

LOOKS = 20
"""How often in a training the host asks whether the loss is still finite."""

LAST_RATE = 0.1
"""What the learning rate ends at, of the highest."""

CURVE_POINTS = 100

LOSSES = ("squared error of an image", "divergence", "cross entropy of generated images", "cross entropy of real images")

CLEARER = 0.6
"""The guide's cross entropy on generated images is lowered to this part of that on real ones, and no further."""

KEEP_EVERY = 25
"""Steps between two offers of a checkpoint; how often one is written the context decides."""


@dataclass(frozen=True)
class Draw:
    """What one step draws beside its images, standard normal where nothing else is said."""

    noise: Tensor
    """float32 (N, 64): where a code lies in its distribution."""
    code: Tensor
    """float32 (N, 64): codes of samples."""
    pixel_noise: Tensor | None = None
    """float32 (N, C, H, W): what the guide sees images under; None without a guide."""
    view: Tensor | None = None
    """float32 (N, 9), uniform: how it sees them."""


class Autoencoder(nn.Module):
    """Encoder and generator, learned together, and the guide, where there is one."""

    def __init__(self, shape: Shape, *, guided: bool) -> None:
        super().__init__()
        self.encoder = Encoder(shape)
        self.trunk = Trunk(shape)
        self.guide = Guide(shape) if guided else None

    def forward(self, images: Tensor, labels: Tensor, drawn: Draw) -> Tensor:
        """Return four losses, float32 (4,), means over the batch.

        Squared error summed over an image; divergence of its code's distribution from the standard normal; cross entropy that
        the guide finds on generated images (samples and decoded ones, half the batch of each), and on the real ones (0 without a
        guide).

        Args:
            images: float32 (N, C, H, W) in [-1, 1].
            labels: int64 (N,).
            drawn: On the images' device.
        """
        mean, log_variance = self.encoder(images, labels)
        decoded = self.trunk(mean + (0.5 * log_variance).exp() * drawn.noise, labels)
        error = (decoded - images).square().sum(dim=(1, 2, 3)).mean()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        if self.guide is None or drawn.pixel_noise is None or drawn.view is None:
            return torch.stack([error, divergence, torch.zeros_like(error), torch.zeros_like(error)])
        half = len(images) - len(images) // 2
        made = torch.cat([self.trunk(drawn.code[:half], labels[:half]), decoded[half:]])
        found = confusion(self.guide, seen(made, drawn.pixel_noise, drawn.view), labels)
        return torch.stack([error, divergence, found, self.ahead(images, labels, drawn.pixel_noise, drawn.view)])

    def ahead(self, images: Tensor, labels: Tensor, pixel_noise: Tensor, view: Tensor) -> Tensor:
        """Return the guide's loss on the real images, a scalar: all there is to learn before the generator begins."""
        if self.guide is None:
            raise TypeError("an autoencoder without a guide has nothing to learn ahead")
        return lesson(self.guide, seen(images, pixel_noise, view), labels)


@dataclass
class _State:
    network: Autoencoder
    optimiser: torch.optim.Adam
    average: Average
    losses: Tensor
    """float32 (steps, 4), on the device: of each step, those ahead included."""


def train(ctx: Context, o: TrainedOptions) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the averaged weights and what the card tells; everything drawn comes from one number of `ctx.generator`, by step.

    Raises:
        SpecialValue: The loss became NaN or infinite.
    """
    forget_compiled(ctx.precision)
    seed = int(torch.randint(2**62, (), generator=ctx.generator))
    state = _start(ctx, o)
    first = _restore(state, ctx.resumed(), o)
    balanced = BalancedDraw(ctx.train)

    def losses(images: Tensor, labels: Tensor, *drawn: Tensor) -> Tensor:
        with autocast(ctx.precision, ctx.device):
            found: Tensor = state.network(images, labels, Draw(*drawn))
        return found

    def ahead(images: Tensor, labels: Tensor, *drawn: Tensor) -> Tensor:
        with autocast(ctx.precision, ctx.device):
            found = state.network.ahead(images, labels, *drawn[-2:])
        return F.pad(found.reshape(1), (len(LOSSES) - 1, 0))  # the last of the losses; the others are 0

    objective, first_lessons = Compiled(losses, ctx.precision), Compiled(ahead, ctx.precision)
    for step in range(first, total_steps(o)):
        generator = generator_for("prior step", seed, step)
        index, labels = balanced(o.batch, generator)
        images = _signed(ctx.train.images(index)).contiguous(memory_format=memory_format(ctx.precision))
        drawn = draw(images.shape, generator, ctx.device, guided=o.guide > 0)
        compute = objective if step >= steps_ahead(o) else first_lessons
        found = compute(images, labels.to(ctx.device), *drawn)
        _step(state, total(found, o), o, step)
        state.losses[step] = found.detach()
        ctx.progress(step + 1, total_steps(o), error=state.losses[step, 0], kl=state.losses[step, 1])
        if (step + 1) % max(1, total_steps(o) // LOOKS) == 0 or step + 1 == total_steps(o):
            _refuse_special(state.losses[: step + 1], o)
        if (step + 1) % KEEP_EVERY == 0 and step + 1 < total_steps(o):
            ctx.checkpoint(_kept(state, step + 1))
    if objective.note:
        ctx.note(objective.note)
    return _weights(state, ctx), _told(state, o)


def steps_ahead(o: TrainedOptions) -> int:
    """Return the steps in which the guide alone learns."""
    return o.guide_steps if o.guide else 0


def total_steps(o: TrainedOptions) -> int:
    """Return all steps of Adam."""
    return steps_ahead(o) + o.steps


def total(losses: Tensor, o: TrainedOptions) -> Tensor:
    """Return what is minimised, a scalar, from the four losses of `Autoencoder`.

    Generated images are to be recognised more clearly than real ones, by a part and no further: beyond that the guide has no say,
    for a generator that pleases a classifier more and more draws the same emblem for every image of a class. More clearly, because
    it pleases this classifier more than any other.
    """
    error, divergence, of_made, of_real = losses
    loss: Tensor = error + o.kl * divergence + o.guide * (of_made - CLEARER * of_real.detach()).clamp_min(0.0) + of_real
    return loss


def forward_flops(facts: DatasetFacts, o: TrainedOptions) -> int:
    """Return the floating-point operations of one image in one step, forward, counted without computing anything."""
    return _flops_of_two(facts, o) // 2


def work_flops(facts: DatasetFacts, o: TrainedOptions) -> float:
    """Return the operations of the whole training: three passes of every image shown, and the guide's lessons ahead."""
    ahead = _flops_of_two(facts, o, ahead=True) // 2 if steps_ahead(o) else 0
    return 3.0 * o.batch * (forward_flops(facts, o) * o.steps + ahead * steps_ahead(o))


def _flops_of_two(facts: DatasetFacts, o: TrainedOptions, *, ahead: bool = False) -> int:
    with torch.device("meta"):
        network = Autoencoder(shape_for(facts, o), guided=o.guide > 0)
        code, images, labels = torch.empty(2, Z_DIM), torch.empty(2, *facts.shape), torch.zeros(2, dtype=torch.int64)
        view = torch.empty(2, VIEW)
        counter = FlopCounterMode(display=False)
        with counter:
            if ahead:
                network.ahead(images, labels, images, view)
            else:
                network(images, labels, Draw(code, code, *((images, view) if o.guide else ())))
    return int(counter.get_total_flops())


def draw(shape: Sequence[int], generator: Generator, device: torch.device, *, guided: bool) -> list[Tensor]:
    """Return the fields of a `Draw` for images of `shape`, drawn on the CPU and moved; without a guide all but the last two."""
    codes = [torch.randn(shape[0], Z_DIM, generator=generator) for _ in range(2)]
    return [drawn.to(device) for drawn in (*codes, *(draw_views(shape, generator) if guided else ()))]


class BalancedDraw:
    """Draws train images with replacement, classes equally often."""

    def __init__(self, train: TrainSplit) -> None:
        by_class = [train.indices(label).cpu() for label in range(train.facts.num_classes)]
        self.order = torch.cat(by_class)
        self.counts = torch.tensor([len(positions) for positions in by_class])
        self.first = self.counts.cumsum(0) - self.counts

    def __call__(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return positions and labels, int64 (count,)."""
        labels = torch.randint(len(self.counts), (count,), generator=generator)
        place = (torch.rand(count, generator=generator, dtype=torch.float64) * self.counts[labels]).long()
        return self.order[self.first[labels] + place], labels


def _start(ctx: Context, o: TrainedOptions) -> _State:
    with seeded_globally(int(torch.randint(2**62, (), generator=ctx.generator))):
        network = Autoencoder(shape_for(ctx.train.facts, o), guided=o.guide > 0)
    placed(network, ctx.precision, ctx.device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=o.lr, betas=BETAS, foreach=True)
    return _State(network, optimiser, Average(network, o.ema), torch.zeros(total_steps(o), len(LOSSES), device=ctx.device))


def _step(state: _State, loss: Tensor, o: TrainedOptions, step: int) -> None:
    done = max(0, step - steps_ahead(o))
    falling = 0.5 * (1 + math.cos(math.pi * done / o.steps))
    state.optimiser.param_groups[0]["lr"] = o.lr * (LAST_RATE + (1 - LAST_RATE) * falling)
    state.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    state.optimiser.step()
    if step >= steps_ahead(o):
        state.average.update(state.network)


def _signed(pixels: Tensor) -> Tensor:
    """Return float32 in [-1, 1] from uint8."""
    return pixels.float() / 127.5 - 1


def _refuse_special(losses: Tensor, o: TrainedOptions) -> None:
    bad = (~losses.isfinite()).any(dim=1).nonzero()
    if len(bad):
        raise SpecialValue(
            f"the prior's training diverged: the loss is not finite at step {int(bad[0])} (learning rate {o.lr:g}); try "
            f"-o prior.lr={o.lr / 4:g}, or --precision fp32"
        )


def _weights(state: _State, ctx: Context) -> dict[str, Tensor]:
    """Return the averaged weights, by the names that `loaded` knows, and the class list."""
    kept = ("trunk.", "encoder.")
    weights = {name: value.contiguous() for name, value in state.average.values.items() if name.startswith(kept)}
    return {**weights, CLASSES: class_list(ctx.train.facts)}


def _told(state: _State, o: TrainedOptions) -> dict[str, object]:
    losses = state.losses.double().cpu()
    every = max(1, math.ceil(total_steps(o) / CURVE_POINTS))
    means = [part.mean(dim=0).tolist() for part in torch.split(losses, every)]
    points = [[place * every, *(round(value, 4) for value in values)] for place, values in enumerate(means)]
    return {
        "steps": o.steps,
        "steps_ahead": steps_ahead(o),
        "images_seen": total_steps(o) * o.batch,
        "parameters": sum(weight.numel() for weight in state.network.parameters()),
        "loss_curve": points,
        "loss_curve_columns": ["step", *LOSSES],
    }


def _kept(state: _State, step: int) -> dict[str, Tensor]:
    """Return everything that decides how training goes on; draws need only the step's number."""
    kept = {f"network/{name}": value for name, value in state.network.state_dict().items()}
    kept |= {f"average/{name}": value for name, value in state.average.values.items()}
    for place, weight in enumerate(state.network.parameters()):
        kept |= {f"optimiser/{place}/{key}": value for key, value in state.optimiser.state[weight].items()}
    return kept | {"losses": state.losses, "step": torch.tensor(step)}


def _restore(state: _State, kept: Mapping[str, Tensor] | None, o: TrainedOptions) -> int:
    """Set a fresh state to a kept one and return the step to go on with."""
    if kept is None:
        return 0
    state.network.load_state_dict({name: kept[f"network/{name}"] for name in state.network.state_dict()})
    for name, value in state.average.values.items():
        value.copy_(kept[f"average/{name}"])
    step = int(kept["step"])
    state.average.updates = max(0, step - steps_ahead(o))
    for place, weight in enumerate(state.network.parameters()):
        if f"optimiser/{place}/step" not in kept:
            continue  # ahead, the generator has not moved yet
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = kept[f"optimiser/{place}/{key}"]
            like = weight if value.shape == weight.shape else value
            state.optimiser.state[weight][key] = torch.empty_like(like, requires_grad=False).copy_(value)
    state.losses.copy_(kept["losses"])
    return step

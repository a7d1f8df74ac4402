"""Recover: images optimised until a frozen teacher knows their classes and its batch norm layers their statistics.

SRe2L (Yin et al., 2023) and what follows it. Several independent jobs may be stacked along the batch: in eval mode a teacher
treats images one by one, and losses and statistics are taken group by group, so each group moves as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from ddbench.errors import BadOption
from ddbench.kit.views import ViewKind, ViewRule, apply_views
from ddbench.training.precision import Compiled

if TYPE_CHECKING:
    from ddbench.kit.pixels import Pixels
    from ddbench.kit.tapped import TappedTeacher
    from ddbench.options import Options

BETAS = (0.5, 0.9)
EPS = 1e-8

COMPILED_SHAPES = 8
"""Torch compiles one function for at most this many kinds of input before it refuses."""


@dataclass(frozen=True)
class RecoverRecipe:
    """What decides a recovered set; the fields have the names of the options that set them."""

    iterations: int
    batch: int
    lr: float
    r_bn: float
    r_var: float
    first_bn: float
    view: ViewKind
    roll_low: int
    roll_high: int
    crop_annealing: float
    init: Literal["noise", "real"]
    jpeg: bool
    tv_l2: float
    l2_scale: float

    @classmethod
    def of(cls, options: Options) -> RecoverRecipe:
        """Return the recipe that a method's options of the same names give."""
        return cls(**options.model_dump(include={field.name for field in fields(cls)}))

    def __post_init__(self) -> None:
        """Refuse what no single option can see.

        Raises:
            BadOption: The offsets are the wrong way round, or crops are to anneal where nothing is cropped.
        """
        if self.roll_low > self.roll_high:
            raise BadOption(f"roll_low ({self.roll_low}) is above roll_high ({self.roll_high}); give the lower offset first")
        if self.crop_annealing > 0 and self.view == "roll":
            raise BadOption(f"crop_annealing ({self.crop_annealing}) needs crops; add -o view=rrc_flip_roll or set it to 0")

    @property
    def view_rule(self) -> ViewRule:
        """From what views are drawn."""
        return ViewRule(self.view, (self.roll_low, self.roll_high), annealing=self.crop_annealing)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: a cosine from `lr` to 0 over all steps, without warm-up."""
        return 0.5 * (1 + math.cos(math.pi * step / self.iterations)) * self.lr


@dataclass(frozen=True)
class RecoverState:
    """Where the optimisation stands after `step` steps: all it needs to go on."""

    step: int
    images: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


@dataclass(frozen=True)
class Start:
    """What a batch of images starts from; G groups of B images, group after group."""

    images: Tensor
    """float (G * B, C, H, W), normalised."""
    labels: Tensor
    """int64 (G * B,)."""
    views: Tensor
    """int64 (iterations, G, P): the view of every step and group (`views_of`)."""
    first_gradient: Tensor | None = None
    """Added to the gradient of the first step; shaped as the images."""
    resumed: RecoverState | None = None
    """The state to go on from; None starts anew."""


Watch = Callable[[RecoverState, Tensor, Tensor], None]
"""Told after each step: the state, and the group means of cross entropy and of the batch norm term, on the device."""


def recover(tapped: TappedTeacher, start: Start, recipe: RecoverRecipe, *, pixels: Pixels, watch: Watch | None = None) -> Tensor:
    """Return float (G * B, C, H, W), normalised and inside of [black, white]: the images after the last step.

    Args:
        tapped: The teacher, with whatever weights it holds now; they are not moved.
        start: Where the images start.
        recipe: The optimisation.
        pixels: The teacher's normalisation.
        watch: Told how it goes.
    """
    resumed = start.resumed
    images = (resumed.images if resumed else start.images).detach().clone().requires_grad_()
    adam = _adam(images, recipe.lr, resumed)
    loss_of = _loss_function(tapped, start)
    weights = layer_weights(tapped, recipe)
    low, high = pixels.bounds()
    for step in range(resumed.step if resumed else 0, recipe.iterations):
        loss, ce, bn = loss_of(tapped, images, start.labels, start.views[step], (weights, recipe.tv_l2, recipe.l2_scale))
        (images.grad,) = torch.autograd.grad(loss, images)
        if step == 0 and start.first_gradient is not None:
            images.grad += start.first_gradient
        adam.param_groups[0]["lr"] = recipe.rate(step)
        adam.step()
        with torch.no_grad():
            images.clamp_(low, high)
        if watch is not None:
            state = adam.state[images]
            watch(RecoverState(step + 1, images.detach(), state["exp_avg"], state["exp_avg_sq"]), ce, bn)
    return images.detach()


def recover_loss(
    tapped: TappedTeacher, images: Tensor, labels: Tensor, views: Tensor, scales: tuple[Tensor, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss summed over groups, and the group means of cross entropy and of the batch norm term.

    L = CE_mean(f(v), y) + r_bn sum_l m_l (r_var ||rvar_l - var_l(v)|| + ||rmean_l - mean_l(v)||) [+ tv_l2 TV + l2_scale L2]
    for every group, v being its view; norms are plain Euclidean ones over channels, variances biased, m_0 = first_bn.

    Args:
        tapped: The teacher.
        images: float (G * B, C, H, W), normalised.
        labels: int64 (G * B,).
        views: int64 (G, P): each group's view.
        scales: `layer_weights`, and what total variation and the norm of the images count.
    """
    weights, tv_l2, l2_scale = scales
    groups = len(views)
    seen = apply_views(images, views)
    logits, norms = tapped(seen, groups)
    ce = cross_entropy(logits, labels, reduction="sum") / (len(labels) // groups)
    bn = (norms * weights).sum()
    loss = ce + bn
    if tv_l2 > 0:
        loss = loss + tv_l2 * total_variation(seen, groups)
    if l2_scale > 0:
        loss = loss + l2_scale * torch.linalg.vector_norm(seen.flatten(1), dim=1).sum() / (len(labels) // groups)
    return loss, ce.detach() / groups, bn.detach() / groups


def total_variation(images: Tensor, groups: int) -> Tensor:
    """Return the Frobenius norms of each group's four finite differences (across, down and both diagonals), summed."""
    grouped = images.view(groups, -1, *images.shape[1:])
    differences = [
        grouped[..., :, :-1] - grouped[..., :, 1:],
        grouped[..., :-1, :] - grouped[..., 1:, :],
        grouped[..., 1:, :-1] - grouped[..., :-1, 1:],
        grouped[..., :-1, :-1] - grouped[..., 1:, 1:],
    ]
    return torch.stack([torch.linalg.vector_norm(each.flatten(1), dim=1).sum() for each in differences]).sum()


def layer_weights(tapped: TappedTeacher, recipe: RecoverRecipe) -> Tensor:
    """Return (2, L): what each layer's distance of means, and of variances, counts in the loss."""
    of_layer = pad(tapped.targets.new_full((1,), recipe.first_bn), (0, len(tapped.layer_names) - 1), value=1.0)
    return recipe.r_bn * torch.stack([of_layer, recipe.r_var * of_layer])


def _adam(images: Tensor, lr: float, resumed: RecoverState | None) -> torch.optim.Adam:
    """Return Adam over the images alone, in one kernel where the device has it."""
    fused = images.device.type in {"cpu", "cuda"}
    adam = torch.optim.Adam([images], lr=lr, betas=BETAS, eps=EPS, fused=fused)
    if resumed is not None:
        step = torch.tensor(float(resumed.step), device=images.device if fused else "cpu")
        adam.state[images] = {"step": step, "exp_avg": resumed.exp_avg.clone(), "exp_avg_sq": resumed.exp_avg_sq.clone()}
    return adam


_compiled_for: set[tuple[int, torch.Size, torch.Size]] = set()


def _loss_function(tapped: TappedTeacher, start: Start) -> Compiled:
    """Return `recover_loss`, compiled where asked; what was compiled is forgotten before torch would refuse to compile more."""
    kind = (id(tapped), start.images.shape, start.views.shape[1:])
    if tapped.precision.compile and kind not in _compiled_for:
        if len(_compiled_for) == COMPILED_SHAPES:
            torch.compiler.reset()
            _compiled_for.clear()
        _compiled_for.add(kind)
    return Compiled(recover_loss, tapped.precision)

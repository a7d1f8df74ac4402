"""Projected gradient descent in the L∞ ball, in pixels of [0, 1], through everything that the student does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ddbench_plugins.robustness.corrupting import drawn_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ddbench import EvaluationContext
    from ddbench_plugins.robustness.attack import AttackOptions

BATCH = 250
"""Images attacked at once: fixed, so that random starts do not depend on memory."""


def top1_attacked(ctx: EvaluationContext, o: AttackOptions) -> tuple[float, float]:
    """Return top1 as fractions on the chosen test images: as they are, and under attack."""
    chosen, every = drawn_images(ctx, o.images), ctx.test_labels().cpu()
    clean, robust = 0, 0
    for index in torch.split(chosen, BATCH):
        images, labels = ctx.test_images(index).float() / 255.0, every[index].to(ctx.device)
        right = is_right(ctx.answers, images, labels)
        clean += int(right.sum())
        for _ in range(o.restarts):
            start = torch.rand(images.shape, generator=ctx.generator).to(ctx.device) * 2 - 1
            right &= is_right(ctx.answers, attacked(ctx.answers, images, labels, (start, o)), labels)
        robust += int(right.sum())
    return clean / len(chosen), robust / len(chosen)


def attacked(answers: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, how: tuple[Tensor, AttackOptions]) -> Tensor:
    """Return float32 (N, C, H, W) in [0, 1], no value further than epsilon from `images`: the last iterate.

    Args:
        answers: From float32 images in [0, 1] to logits, differentiable.
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,).
        how: Where to start, in [-1, 1] of the ball, like `images`; and the options.
    """
    start, o = how
    step = 2.5 * o.epsilon / o.steps if o.step_size is None else o.step_size
    low, high = (images - o.epsilon).clamp_min(0.0), (images + o.epsilon).clamp_max(1.0)
    moved = torch.clamp(images + o.epsilon * start, low, high)
    for _ in range(o.steps):
        moved.requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(answers(moved), labels, reduction="sum")  # a sum, so that no image weighs on another
            (gradient,) = torch.autograd.grad(loss, moved)
        moved = torch.clamp(moved.detach() + step * gradient.sign(), low, high)
    return moved


def is_right(answers: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return bool (N,): whether the largest answer is the label."""
    with torch.no_grad():
        return answers(images).argmax(dim=1) == labels

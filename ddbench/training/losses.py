"""The losses of every label regime, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.protocol import Loss

Criterion = Callable[["Tensor", "Tensor"], "Tensor"]
"""From float32 (N, classes) logits and a target to a scalar."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of float32 (N, classes) logits against int64 (N,) labels."""
    return F.cross_entropy(logits, labels)


def soft_cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Return the mean over N of -sum_c p_c log softmax(logits)_c; probabilities float32 (N, classes), rows summing to one."""
    return -(probabilities * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def distillation_kl(logits: Tensor, teacher: Tensor, *, temperature: float, times_t2: bool) -> Tensor:
    """Return KL(softmax(teacher / T) || softmax(logits / T)), summed over classes, mean over the batch (torch's `batchmean`).

    Args:
        logits: The student's, float32 (N, classes).
        teacher: The teacher's logits for the same view, float32 (N, classes).
        temperature: T, of both.
        times_t2: Multiply by T squared, which keeps the gradient's size independent of T (Hinton et al., section 2).
    """
    student = F.log_softmax(logits / temperature, dim=1)
    target = F.log_softmax(teacher / temperature, dim=1)
    loss = F.kl_div(student, target, reduction="batchmean", log_target=True)
    return loss * temperature**2 if times_t2 else loss


def criterion(loss: Loss) -> Criterion:
    """Return the loss of a protocol as a function of logits and target.

    The target is int64 (N,) for `ce`, float32 (N, classes) probabilities for `soft_ce`, the teacher's logits for `kl`.
    """
    if loss.name == "ce":
        return cross_entropy
    if loss.name == "soft_ce":
        return soft_cross_entropy

    def kl(logits: Tensor, teacher: Tensor) -> Tensor:
        return distillation_kl(logits, teacher, temperature=loss.temperature, times_t2=loss.times_t2)

    return kl

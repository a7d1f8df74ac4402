"""A classifier trained on real images the way the released squeeze scripts do it: PIL decoding, float32, eager, SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from plain.students import step

if TYPE_CHECKING:
    from plain.students import Batches
    from torch import nn
    from torch.optim import Optimizer


def squeeze_epoch(network: nn.Module, optimiser: Optimizer, batches: Batches) -> float:
    """Train a network for an epoch on labelled batches, and return its mean loss; loss and hits are read after every step."""
    losses, right = [], 0
    for images, labels in batches:
        logits = network(images)
        losses.append(step(optimiser, F.cross_entropy(logits, labels)))
        right += int((logits.argmax(dim=1) == labels).sum().item())
    return sum(losses) / len(losses)


def squeeze_optimiser(network: nn.Module) -> Optimizer:
    """Return the recipe of SRe2L's CIFAR squeeze: SGD, 0.1, momentum 0.9, weight decay 5e-4 on every parameter."""
    return torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

"""The moving average of a network's weights that some protocols test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


class Average:
    """A moving average of a network's parameters and floating-point buffers; other buffers are the latest.

    Update k, counted from 0, keeps min(decay, k / (k + 1)) of what it has: the plain mean of all states until it has seen
    1 / (1 - decay) of them. GLaD's released code does this once per epoch, through a library whose second update repeats the first.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the network's present state into the average."""
        keep = min(self.decay, self.updates / (self.updates + 1))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1.0 - keep)
            else:
                self.values[name].copy_(value)
        self.updates += 1

    def apply(self, network: nn.Module) -> None:
        """Set the network to the average."""
        network.load_state_dict(self.values)

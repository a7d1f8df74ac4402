"""What conformance tests share: looks at global state, at options, at networks, at gradients."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ddbench.api.network import TrainedNetwork
from ddbench.context import StageContext
from ddbench.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.testing.bench import Bench

STEPS = (1e-2, 3e-3, 1e-3)
"""Of finite differences, in units of the tensor's own scale: one may meet a kink or drown in rounding, hardly all."""


class Interrupted(Exception):
    """Stands for a kill."""


def global_state() -> tuple[Any, ...]:
    """Return everything global that no plugin may change."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state()[1].tobytes(),  # type: ignore[index]  # noqa: NPY002 - the legacy state is what is guarded
        random.getstate(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )


def every_option_has_help(model: Any) -> None:
    """Assert that a plugin's options are documented, and that unknown ones are refused."""
    assert issubclass(model, Options)
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    with pytest.raises(ValueError, match="Extra inputs"):
        model(surely_no_option=1)


@contextmanager
def nothing_is_touched(bench: Bench, context: StageContext) -> Iterator[None]:
    """Assert that the block leaves global state, the train images and the networks it was given as they were."""
    networks = [need.module for need in context.needs.values() if isinstance(need, TrainedNetwork)]
    weights = [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in networks]
    pixels, before = bench.data.train.gather(np.arange(len(bench.data.train))), global_state()
    yield
    assert global_state() == before
    assert np.array_equal(bench.data.train.gather(np.arange(len(bench.data.train))), pixels)
    for network, state in zip(networks, weights, strict=True):
        assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())
        assert not network.training
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())
        assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in network.modules())


def slope_error(value: Callable[[Tensor], float], at: Tensor, gradient: Tensor) -> float:
    """Return by which part the slope of `value` along its gradient misses the gradient's norm, at the best of a few steps.

    Args:
        value: A function of one tensor.
        at: float32, any shape.
        gradient: Its gradient there, as claimed.
    """
    norm = float(gradient.double().norm())
    if norm == 0:
        return float("inf")
    direction, scale = gradient / norm, max(float(at.double().norm()), 1e-3)
    slopes = [
        (value(at + h * scale * direction) - value(at - h * scale * direction)) / (2 * h * scale) for h in STEPS if h * scale > 0
    ]
    return min(abs(slope / norm - 1) for slope in slopes)


@dataclass
class StoppingContext(StageContext):
    """A context that keeps every checkpoint in memory, and may stand for a kill right after one of them."""

    kept: Mapping[str, Tensor] | None = None
    stop_after: int | None = None
    """Checkpoints after which the stage is killed; None never kills it."""
    checkpoints: int = 0

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Keep `state`."""
        self.kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        self.checkpoints += 1
        if self.checkpoints == self.stop_after:
            raise Interrupted

    def resumed(self) -> Mapping[str, Tensor] | None:
        """Return what was kept."""
        return self.kept

"""What conformance tests share: looks at global state, at options, at networks, at gradients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import numpy as np
import pytest
import torch

from ddbench.api.network import TrainedNetwork
from ddbench.context import StageContext
from ddbench.errors import TestSplitTouched
from ddbench.options import Options
from ddbench.seeding import global_generators

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.testing.bench import Bench

STEPS = (1e-2, 3e-3, 1e-3)
"""Of finite differences, in units of the tensor's own scale: one may meet a kink or drown in rounding, hardly all."""


CUDNN = ("enabled", "benchmark", "deterministic")
"""Flags that a plugin leaves alone."""


class Interrupted(Exception):
    """Stands for a kill."""


def global_state() -> dict[str, Any]:
    """Return everything global that no plugin may change, by what it is called."""
    return {
        **global_generators(),
        "grad mode": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "precision of float32 products": torch.get_float32_matmul_precision(),
        "cudnn flags": tuple(getattr(torch.backends.cudnn, name) for name in CUDNN),
        "environment variables": dict(os.environ),
        "working directory": str(Path.cwd()),
    }


def changes(before: Mapping[str, Any]) -> list[str]:
    """Return what of the global state is no longer as it was."""
    after = global_state()
    return [name for name, value in before.items() if after[name] != value]


@contextmanager
def nothing_global_changes() -> Iterator[None]:
    """Assert that the block leaves all global state as it was; what it changed is put back where torch allows it."""
    before = global_state()
    try:
        yield
    finally:
        changed = changes(before)
        _put_back(before, changed)
    assert changed == [], f"it changed what is global: {', '.join(changed)}"


def _put_back(before: Mapping[str, Any], changed: Sequence[str]) -> None:
    """Set what changed, where it can be set, so that later checks begin as the first did."""
    setters: dict[str, Callable[[Any], object]] = {
        "grad mode": torch.set_grad_enabled,
        "default dtype": torch.set_default_dtype,
        "default device": torch.set_default_device,
        "number of threads": torch.set_num_threads,
        "deterministic algorithms": torch.use_deterministic_algorithms,
        "precision of float32 products": torch.set_float32_matmul_precision,
        "cudnn flags": _set_cudnn,
        "working directory": os.chdir,
    }
    for name in changed:
        if name in setters:
            setters[name](before[name])


def _set_cudnn(flags: Sequence[bool]) -> None:
    for name, flag in zip(CUDNN, flags, strict=True):
        setattr(torch.backends.cudnn, name, flag)


def every_option_has_help(model: Any) -> None:
    """Assert that a plugin's options are documented and bounded, and that unknown ones are refused."""
    assert issubclass(model, Options), f"options are {model!r}, which is no subclass of ddbench.Options"
    silent = [name for name, field in model.model_fields.items() if not field.description]
    assert silent == [], f"options without help: {', '.join(silent)}"
    unbounded = [name for name, field in model.model_fields.items() if _is_number(field.annotation) and not field.metadata]
    assert unbounded == [], f"numbers without bounds: {', '.join(unbounded)}"
    with pytest.raises(ValueError, match="Extra inputs"):
        model(surely_no_option=1)


def _is_number(annotation: object) -> bool:
    """Return whether an option is a plain number, or one that may be left out."""
    parts = set(get_args(annotation)) - {NoneType} or {annotation}
    return parts <= {int, float}


@contextmanager
def nothing_is_touched(bench: Bench, context: StageContext) -> Iterator[None]:
    """Assert that the block leaves global state, the train images and the networks it was given as they were."""
    networks = [need.module for need in context.needs.values() if isinstance(need, TrainedNetwork)]
    pixels = bench.data.train.gather(np.arange(len(bench.data.train)))
    with nothing_global_changes(), left_as_they_are(networks):
        yield
    assert np.array_equal(bench.data.train.gather(np.arange(len(bench.data.train))), pixels), "it changed the train images"


@contextmanager
def left_as_they_are(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Assert that the block leaves networks bit for bit as they were: frozen, in eval mode, without hooks or gradients."""
    weights = [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in networks]
    yield
    for network, state in zip(networks, weights, strict=True):
        moved = [name for name, tensor in network.state_dict().items() if not tensor.equal(state[name])]
        assert moved == [], f"it moved a network that it was given: {', '.join(moved[:3])}"
        assert not network.training, "it put a network that it was given into training mode"
        left = [name for name, weight in network.named_parameters() if weight.requires_grad or weight.grad is not None]
        assert left == [], f"it left gradients at a network that it was given: {', '.join(left[:3])}"
        hooked = [name for name, inner in network.named_modules() if inner._forward_hooks or inner._forward_pre_hooks]
        assert hooked == [], f"it left hooks at a network that it was given: {', '.join(hooked[:3])}"


@contextmanager
def no_test_split() -> Iterator[None]:
    """Make every way to a test split raise TestSplitTouched inside the block, also for what opens a dataset by itself."""
    from ddbench.data import opening, prepared, splits

    def refuse(*_: object, **__: object) -> NoReturn:
        raise TestSplitTouched("it read the test split, or opened a dataset by itself; a stage sees ctx.train and nothing else")

    doors: list[tuple[object, str]] = [(splits.TestSplit, name) for name in ("__init__", "labels", "images", "unlock")]
    doors += [(module, "open_prepared") for module in (opening, prepared)]
    kept = [(owner, name, getattr(owner, name)) for owner, name in doors]
    try:
        for owner, name in doors:
            setattr(owner, name, refuse)
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


def limited(seconds: float, limit_s: float) -> None:
    """Assert that something on toy data took no longer than it may."""
    assert seconds <= limit_s, f"it took {seconds:.0f} s on toy images of 8×8; {limit_s:.0f} s are allowed"


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

"""How a stage computes: a deterministic table of device, what it can do, and how much work there is. Nothing is timed.

The table estimates seconds from nominal speeds: what a device needs to start one call of a network, and how fast it multiplies.
It errs towards plain float32: bf16 is chosen where it saves at least `BF16_WORTH_S`, compiling where it saves twice the time
that compiling takes. Speeds of a CPU are per thread. Channels-last goes with compiling, and on a GPU with bf16: uncompiled on a
CPU, group normalisation is slower in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch

from ddbench.api.context import Precision

if TYPE_CHECKING:
    from torch import nn

    from ddbench.training.work import Work

Dtype = Literal["fp32", "bf16"]

COMPILE_S = 40.0
"""Seconds that compiling one network's forward and backward pass takes on a laptop; the order of magnitude is what counts."""

BF16_WORTH_S = 30.0
"""Seconds that bf16 must save before its rounding is accepted."""


@dataclass(frozen=True)
class Speed:
    """Nominal speed of one way to compute."""

    call_s: float
    """Of one call forward and backward, beyond the arithmetic."""
    flops_per_s: float


SPEEDS: dict[tuple[str, Dtype, bool], Speed] = {
    ("cpu", "fp32", False): Speed(2e-3, 50e9),
    ("cpu", "fp32", True): Speed(1e-3, 80e9),
    ("cpu", "bf16", False): Speed(3e-3, 80e9),
    ("cpu", "bf16", True): Speed(1e-3, 170e9),
    ("gpu", "fp32", False): Speed(8e-3, 15e12),
    ("gpu", "fp32", True): Speed(3e-3, 20e12),
    ("gpu", "bf16", False): Speed(9e-3, 60e12),
    ("gpu", "bf16", True): Speed(3e-3, 120e12),
}
"""By kind of device, dtype, compiled."""


@dataclass(frozen=True)
class Abilities:
    """What a device can do."""

    kind: str
    """`cpu` or `gpu`."""
    bf16: bool
    compiler: bool
    threads: int = 1


@dataclass(frozen=True)
class Resolved:
    """How a stage will run, and one line for each thing that was asked for and cannot be had."""

    precision: Precision
    notes: tuple[str, ...] = ()


def resolve_precision(
    *,
    device: torch.device,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    compile: Literal["auto", "on", "off"] = "auto",  # noqa: A002 - the option's name
    work: Work,
    abilities: Abilities | None = None,
) -> Resolved:
    """Return how a stage of that much work runs on a device; equal input, equal answer.

    Args:
        device: Where it runs.
        precision: What the user asked for.
        compile: What the user asked for.
        work: Of the whole stage.
        abilities: Of the device; asked of it unless given.
    """
    able = abilities or device_abilities(device)
    notes = []
    if precision == "bf16" and not able.bf16:
        notes.append(f"bf16 was asked for, but this {able.kind} has no bf16 arithmetic: computing in fp32")
    if compile == "on" and not able.compiler:
        notes.append("compiling was asked for, but there is no compiler for this device: running uncompiled")
    dtypes: list[Dtype] = (
        ["fp32"] if precision == "fp32" or not able.bf16 else ["bf16"] if precision == "bf16" else ["fp32", "bf16"]
    )
    modes = [False] if compile == "off" or not able.compiler else [True] if compile == "on" else [False, True]
    return Resolved(_cheapest(dtypes, modes, able, work), tuple(notes))


def estimated_s(work: Work, able: Abilities, dtype: Dtype, *, compiled: bool) -> float:
    """Return the nominal seconds of work, compiling not counted."""
    speed = SPEEDS[able.kind, dtype, compiled]
    threads = able.threads if able.kind == "cpu" else 1
    return work.steps * speed.call_s + work.flops / (speed.flops_per_s * threads)


def device_abilities(device: torch.device) -> Abilities:
    """Return what a device can do, asked of torch and of the search path."""
    if device.type == "cpu":
        return Abilities("cpu", _cpu_has_bf16(), _has_any("c++", "g++", "clang++", variable="CXX"), torch.get_num_threads())
    has_bf16 = getattr(torch.get_device_module(device), "is_bf16_supported", lambda: False)
    compiler = find_spec("triton") is not None and _has_any("cc", "gcc", "clang", variable="CC")
    return Abilities("gpu", bool(has_bf16()), compiler)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which convolutions and matrix products run in the stage's dtype; weights stay float32."""
    if precision.dtype == "fp32":
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16)


def memory_format(precision: Precision) -> torch.memory_format:
    """Return the layout of images and convolution weights."""
    return torch.channels_last if precision.channels_last else torch.contiguous_format


def placed(network: nn.Module, precision: Precision, device: torch.device) -> nn.Module:
    """Move a network to its device and layout, in place, and return it."""
    return network.to(device).to(memory_format=memory_format(precision))


class Compiled:
    """A function that runs compiled where the stage's precision says so, or plainly from the moment that compiling it fails."""

    def __init__(self, function: Callable[..., Any], precision: Precision) -> None:
        self.plain = function
        self.note: str | None = None
        """One line that says why it runs uncompiled, where it should not."""
        self._fast: Callable[..., Any] | None = torch.compile(function, dynamic=False) if precision.compile else None

    def __call__(self, *inputs: Any) -> Any:
        """Return the function's value."""
        if self._fast is None:
            return self.plain(*inputs)
        try:
            return self._fast(*inputs)
        except torch._dynamo.exc.TorchDynamoException as error:  # noqa: SLF001 - torch gives it no public name
            self._fast = None
            self.note = f"compiling failed ({type(error).__name__}): running uncompiled"
            return self.plain(*inputs)


def forget_compiled(precision: Precision) -> None:
    """Forget what torch compiled for earlier stages: it keeps a limited number of variants of one line of code, of any network."""
    if precision.compile:
        torch.compiler.reset()


def _cheapest(dtypes: list[Dtype], modes: list[bool], able: Abilities, work: Work) -> Precision:
    """Return the first way, from the plainest on, that no other beats by more than changing is worth."""

    def cost(way: tuple[Dtype, bool]) -> float:
        dtype, compile_ = way
        extra = BF16_WORTH_S * (dtype == "bf16") + 2 * COMPILE_S * compile_
        return estimated_s(work, able, dtype, compiled=compile_) + extra

    dtype, compile_ = min(((dtype, mode) for dtype in dtypes for mode in modes), key=cost)
    return Precision(dtype=dtype, compile=compile_, channels_last=compile_ or (able.kind == "gpu" and dtype == "bf16"))


def _cpu_has_bf16() -> bool:
    """Return whether the CPU multiplies bf16 itself; emulated bf16 is slower than float32."""
    asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(bool(ask()) for ask in asked if ask is not None)


def _has_any(*names: str, variable: str) -> bool:
    return any(shutil.which(name) for name in (os.environ.get(variable, ""), *names) if name)

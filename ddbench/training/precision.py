"""How a stage computes: a deterministic table of device, what it can do, and how much work there is. Nothing is timed.

The table estimates seconds from nominal speeds: what a device needs to start one call of a network, how fast it multiplies,
which depends on the layers as well, and on a CPU how long it takes for what passes through memory: values that layers give, and
weights that are moved. It errs towards plain float32: bf16 is chosen where it saves at least `BF16_WORTH_S`, another layout
where it saves `LAYOUT_WORTH_S`, native layers where they save `NATIVE_WORTH_S`, compiling where it saves twice the time that
compiling takes. Speeds of a CPU are per thread. Those of training on one were measured on two cores with AVX-512 and its bf16,
with 100 images of 32x32, on ResNet-18, ConvNet-3 and MobileNet-V2: whole convolutions with batch norm gain nothing from
compiling there, group norm gains much, and uncompiled it is slow in channels-last. Those of native layers hold on that
processor and on two cores with AVX2 alone; in bf16 they are the fastest way but where most arithmetic is in 1x1 convolutions
(ResNet-50). Nothing was measured on processors with units for matrices (AMX): torch's bf16 is taken to be `MATRIX_UNITS` times
as fast there. Those of a GPU were measured on an H100 with recorded steps, on the same networks: the same holds there, and
recover, in the row `any`, gains much from compiling.
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
from ddbench.training import native
from ddbench.training.cpu_layers import cpu_layers_in, with_cpu_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.training.work import Layers, Work

COMPILE_S = 40.0
"""Seconds that compiling one network's forward and backward pass takes on a laptop; the order of magnitude is what counts."""

COMPILE_OF: dict[tuple[str, Layers], float] = {
    ("cpu", "group"): 20.0,
    ("cpu", "depthwise"): 65.0,
    ("gpu", "any"): 20.0,
    ("gpu", "batch"): 25.0,
    ("gpu", "group"): 12.0,
    ("gpu", "depthwise"): 60.0,
}
"""The same by kind of device and layers: ConvNets are small, and networks of depthwise convolutions have many layers."""

BF16_WORTH_S = {"cpu": 30.0, "gpu": 3.0}
"""Seconds that bf16 must save before its rounding is accepted, by kind of device: a GPU's seconds do as much as a CPU's minutes."""

LAYOUT_WORTH_S = {"cpu": 10.0, "gpu": 1.0}
"""Seconds that another layout must save, which changes rounding in float32 alone."""

NATIVE_WORTH_S = 0.25
"""The same for native layers, which are loaded, and once on a machine compiled."""


TINY_TAKES = 3.5
"""How many times as long a CPU takes for the operations of tiny maps: 2.3 to 3.6 on ResNets on images of 8x8."""


MATRIX_UNITS = 2.0
"""How many times as fast torch multiplies bf16 on a CPU with units for matrices; a guess on the low side, none was at hand."""


@dataclass(frozen=True)
class Speed:
    """Nominal speed of one way to compute."""

    call_s: float
    """Of one call forward and backward, beyond the arithmetic."""
    flops_per_s: float
    value_s: float = 0.0
    """For each number that a layer gives."""
    weight_s: float = 0.0
    """For each weight that is moved; threads do not share this."""


PLAIN = Precision()
PLAIN_LAST = Precision(channels_last=True)
NATIVE = Precision(channels_last=True, native=True)
COMPILED = Precision(compile=True, channels_last=True)
NATIVE_HALF = Precision("bf16", channels_last=True, native=True)
HALF = Precision("bf16")
HALF_LAST = Precision("bf16", channels_last=True)
HALF_COMPILED = Precision("bf16", compile=True, channels_last=True)

SPEEDS: dict[tuple[str, Layers], dict[Precision, Speed]] = {
    ("cpu", "any"): {
        PLAIN: Speed(4e-3, 54e9, 0.8e-9, 6e-9),
        NATIVE: Speed(4e-3, 195e9, 0.3e-9, 7e-9),
        NATIVE_HALF: Speed(4e-3, 320e9, 0.3e-9, 7e-9),
        HALF: Speed(5e-3, 88e9, 0.6e-9, 6e-9),
        COMPILED: Speed(2e-3, 82e9, 0.2e-9, 6e-9),
        HALF_COMPILED: Speed(2e-3, 182e9, 0.2e-9, 6e-9),
    },
    ("cpu", "batch"): {
        PLAIN: Speed(1e-3, 104e9, 0.8e-9, 6e-9),
        PLAIN_LAST: Speed(1e-3, 114e9, 0.8e-9, 6e-9),
        NATIVE: Speed(1e-3, 200e9, 0.37e-9, 7e-9),
        NATIVE_HALF: Speed(1e-3, 270e9, 0.37e-9, 7e-9),
        HALF_LAST: Speed(3e-3, 240e9, 0.6e-9, 6e-9),
        COMPILED: Speed(1e-3, 102e9, 0.2e-9, 6e-9),
        HALF_COMPILED: Speed(1e-3, 204e9, 0.2e-9, 6e-9),
    },
    ("cpu", "group"): {
        PLAIN: Speed(1e-3, 67e9, 0.6e-9, 6e-9),
        NATIVE: Speed(1e-3, 250e9, 0.31e-9, 7e-9),
        NATIVE_HALF: Speed(1e-3, 350e9, 0.31e-9, 7e-9),
        HALF: Speed(3e-3, 161e9, 0.6e-9, 6e-9),
        COMPILED: Speed(1e-3, 88e9, 0.2e-9, 6e-9),
        HALF_COMPILED: Speed(1e-3, 194e9, 0.2e-9, 6e-9),
    },
    ("cpu", "depthwise"): {
        PLAIN: Speed(2e-3, 15e9, 0.0, 6e-9),
        PLAIN_LAST: Speed(2e-3, 24e9, 0.0, 6e-9),
        HALF_LAST: Speed(3e-3, 24e9, 0.0, 6e-9),
        COMPILED: Speed(1e-3, 24e9, 0.0, 6e-9),
        HALF_COMPILED: Speed(1e-3, 24e9, 0.0, 6e-9),
    },
    ("gpu", "any"): {
        PLAIN: Speed(1e-3, 15e12),
        HALF_LAST: Speed(1e-3, 60e12),
        COMPILED: Speed(0.5e-3, 20e12),
        HALF_COMPILED: Speed(0.5e-3, 190e12),
    },
    ("gpu", "batch"): {
        PLAIN: Speed(1e-3, 26e12),
        HALF_LAST: Speed(1e-3, 170e12),
        COMPILED: Speed(1e-3, 19e12),
        HALF_COMPILED: Speed(1e-3, 170e12),
    },
    ("gpu", "group"): {
        PLAIN: Speed(0.5e-3, 16e12),
        HALF: Speed(0.5e-3, 25e12),
        COMPILED: Speed(0.3e-3, 22e12),
        HALF_COMPILED: Speed(0.3e-3, 65e12),
    },
    ("gpu", "depthwise"): {
        PLAIN: Speed(2e-3, 10e12),
        HALF_LAST: Speed(2e-3, 38e12),
        COMPILED: Speed(1e-3, 14e12),
        HALF_COMPILED: Speed(1e-3, 48e12),
    },
}
"""By kind of device and layers, the plainest way first: of equals the first is taken. Layers without a row are as `any`."""


@dataclass(frozen=True)
class Abilities:
    """What a device can do."""

    kind: str
    """`cpu` or `gpu`."""
    bf16: bool
    compiler: bool
    threads: int = 1
    native: bool = False
    """Whether native layers can be compiled for it."""
    matrix_units: bool = False
    """Whether a CPU multiplies bf16 by units for matrices, which torch's kernels use and native layers do not."""


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
    dtype = "fp32" if not able.bf16 else precision
    modes = _modes(compile, able)
    ways = [way for way in _speeds(work.layers, able) if dtype in {"auto", way.dtype} and _mode(way) in modes]
    return Resolved(min(ways, key=lambda way: _cost(way, work, able)), tuple(notes))


def estimated_s(work: Work, able: Abilities, precision: Precision) -> float:
    """Return the nominal seconds of work in a way, in its quickest layout, compiling not counted."""
    same = [way for way in _speeds(work.layers, able) if (way.dtype, _mode(way)) == (precision.dtype, _mode(precision))]
    ways = same or [way for way in _speeds(work.layers, able) if (way.dtype, _mode(way)) == (precision.dtype, "off")]
    return min(_seconds(way, work, able) for way in ways)


def device_abilities(device: torch.device) -> Abilities:
    """Return what a device can do, asked of torch and of the search path."""
    if device.type == "cpu":
        compiles = _has_any("c++", "g++", "clang++", variable="CXX")
        units = _cpu_has("amx_tile")
        ours = native.compiler() is not None
        return Abilities(
            "cpu", units or _cpu_has("avx512_bf16"), compiles, torch.get_num_threads(), native=ours, matrix_units=units
        )
    has_bf16 = getattr(torch.get_device_module(device), "is_bf16_supported", lambda: False)
    compiler = find_spec("triton") is not None and _has_any("cc", "gcc", "clang", variable="CC")
    return Abilities("gpu", bool(has_bf16()), compiler)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which convolutions and matrix products run in the stage's dtype; weights stay float32.

    Native layers know their dtype themselves.
    """
    if precision.dtype == "fp32" or precision.native:
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return what a network gave in float32, or untouched where the network is in float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def memory_format(precision: Precision) -> torch.memory_format:
    """Return the layout of images, and of the weights of convolutions where `placed` says nothing else."""
    return torch.channels_last if precision.channels_last else torch.contiguous_format


def placed(network: nn.Module, precision: Precision, device: torch.device) -> nn.Module:
    """Move a network to its device and layout, in place, and return it; plainly on a CPU, it gets layers that suit one.

    Beside native layers, weights that are trained have the usual layout: torch gives their gradients in it, and would lay them out
    anew in every step.
    """
    if suits_cpu_layers(precision, device):
        with_cpu_layers(network, native=precision.native, half=precision.dtype == "bf16")
    usual = precision.native and any(values.requires_grad for values in network.parameters())
    return network.to(device).to(memory_format=torch.contiguous_format if usual else memory_format(precision))


def suits_cpu_layers(precision: Precision, device: torch.device) -> bool:
    """Return whether layers of ours are the faster ones: on a CPU and uncompiled, in float32, or in bf16 with native layers."""
    return device.type == "cpu" and (precision == PLAIN or precision.native)


def suited(network: nn.Module, precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which a network that stays where it is has layers that suit a CPU, where it computes plainly on one."""
    if not suits_cpu_layers(precision, device):
        return nullcontext()
    return cpu_layers_in(network, native=precision.native, half=precision.dtype == "bf16")


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


def _speeds(layers: Layers, able: Abilities) -> dict[Precision, Speed]:
    return SPEEDS.get((able.kind, layers)) or SPEEDS[able.kind, "any"]


def _seconds(way: Precision, work: Work, able: Abilities) -> float:
    speed = _speeds(work.layers, able)[way]
    threads = able.threads if able.kind == "cpu" else 1
    slow = (TINY_TAKES - 1) * work.tiny if able.kind == "cpu" else 0.0
    units = MATRIX_UNITS if able.matrix_units and way.dtype == "bf16" and not way.native else 1.0
    shared = (work.flops + slow) / (units * speed.flops_per_s) + work.values * speed.value_s
    return work.steps * speed.call_s + shared / threads + work.moved * speed.weight_s


def _cost(way: Precision, work: Work, able: Abilities) -> float:
    """Return the nominal seconds of work done in a way, and what leaving the plainest way must be worth."""
    layout = NATIVE_WORTH_S if way.native else LAYOUT_WORTH_S[able.kind] * (way.channels_last and not way.compile)
    rounding = BF16_WORTH_S[able.kind] if way.dtype == "bf16" else layout
    compiling = COMPILE_OF.get((able.kind, work.layers), COMPILE_S) * way.compile
    return _seconds(way, work, able) + rounding + 2 * compiling


def _mode(way: Precision) -> str:
    """Return what runs: torch's own kernels (`off`), compiled ones (`on`), or ours."""
    return "native" if way.native else "on" if way.compile else "off"


def _modes(asked: Literal["auto", "on", "off"], able: Abilities) -> set[str]:
    """Return what may run; torch's own kernels where what was asked for cannot be had."""
    if asked == "off":
        return {"off"}
    if asked == "on":
        return {"on" if able.compiler else "off"}
    return {"off", *(["on"] if able.compiler else []), *(["native"] if able.native else [])}


def _cpu_has(ability: str) -> bool:
    """Return whether the CPU multiplies bf16 itself in that way; emulated bf16 is slower than float32."""
    ask = getattr(torch.cpu, f"_is_{ability}_supported", None)
    return ask is not None and bool(ask())


def _has_any(*names: str, variable: str) -> bool:
    return any(shutil.which(name) for name in (os.environ.get(variable, ""), *names) if name)

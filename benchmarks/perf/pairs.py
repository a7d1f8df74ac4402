"""Compares a fast path with its plain twin: in one process, alternating, after warm-up, by the median of several rounds."""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import torch

from ddbench.costs import measured
from ddbench.heap import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, keep_freed
from ddbench.training.graphs import WARM_UPS

CPU = torch.device("cpu")

MMAP_BYTES = 32 * 2**20
"""Where glibc's threshold ends up by itself once a block of that size was freed; its other one follows at twice as much."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Side:
    """One way to do a piece of work."""

    call: Call
    count: int = 1
    """Calls that make up the piece: ten where the other side does ten at once."""
    quick: bool = False
    """Whether a call takes so little that one more, not timed, may precede each that is."""


@dataclass(frozen=True)
class Pair:
    """The same work done plainly and fast."""

    name: str
    plain: Side
    fast: Side
    at_least: float
    stretch: float
    flops: float | None = None
    """Arithmetic that the piece cannot do without, a multiply-add counting two; None where a fraction of the peak means nothing."""
    rounds: int = 5
    warm_ups: int = 2
    device: torch.device = CPU


@dataclass(frozen=True)
class Ratio:
    """What a pair measured: median seconds of the whole piece, and the peak memory of the process or device during it."""

    name: str
    plain_s: float
    fast_s: float
    at_least: float
    stretch: float
    plain_peak_bytes: int
    fast_peak_bytes: int
    flops_per_s: float | None
    """Achieved by the fast side."""
    rounds: int
    composed: str = ""
    """From which measured parts, where the whole was not run."""

    @property
    def ratio(self) -> float:
        """How many times faster the fast side is."""
        return self.plain_s / self.fast_s


def compare(pair: Pair) -> Ratio:
    """Return what a pair measures; sides take turns, so that a slow minute of the machine slows both."""
    sides = (pair.plain, pair.fast)
    warm_ups, rounds = _repeats(pair)
    for side in sides:
        for _ in range(warm_ups):
            _timed(side, pair.device, released=side is pair.plain)
    times: tuple[list[float], list[float]] = ([], [])
    peaks = [0, 0]
    for _ in range(rounds):
        for number, side in enumerate(sides):
            seconds, peak = _timed(side, pair.device, released=side is pair.plain)
            times[number].append(seconds)
            peaks[number] = max(peaks[number], peak)
    plain_s, fast_s = (statistics.median(one) for one in times)
    return Ratio(
        pair.name,
        plain_s,
        fast_s,
        pair.at_least,
        pair.stretch,
        plain_peak_bytes=peaks[0],
        fast_peak_bytes=peaks[1],
        flops_per_s=None if pair.flops is None else pair.flops / fast_s,
        rounds=rounds,
    )


def _repeats(pair: Pair) -> tuple[int, int]:
    """Return warm-ups and rounds: more of both where a step takes milliseconds and is recorded first."""
    if pair.device.type == "cpu":
        return pair.warm_ups, pair.rounds
    return pair.warm_ups + WARM_UPS + 1, 2 * pair.rounds + 1


def composed(name: str, parts: list[tuple[Ratio, float, float]], *, at_least: float, stretch: float) -> Ratio:
    """Return a whole put together from measured parts, each with how often the plain side and the fast side do it."""
    first = parts[0][0]
    return replace(
        first,
        name=name,
        plain_s=sum(ratio.plain_s * plain for ratio, plain, _ in parts),
        fast_s=sum(ratio.fast_s * fast for ratio, _, fast in parts),
        at_least=at_least,
        stretch=stretch,
        plain_peak_bytes=max(ratio.plain_peak_bytes for ratio, _, _ in parts),
        fast_peak_bytes=max(ratio.fast_peak_bytes for ratio, _, _ in parts),
        flops_per_s=None,
        composed=" + ".join(f"{plain:g}|{fast:g} × {ratio.name}" for ratio, plain, fast in parts),
    )


MATRIX = {"cpu": 2048}
"""Rows and columns of the matrices whose product is a machine's peak, by kind of device."""

OTHER_MATRIX = 8192


def matrix_peak(device: torch.device, dtype: torch.dtype, *, rounds: int = 7) -> float:
    """Return the floating-point operations per second of the machine's own matrix product: the best of several."""
    size = MATRIX.get(device.type, OTHER_MATRIX)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(rounds):
        with _clock(device) as read:
            left @ right
        best = min(best, read())
    return 2 * size**3 / best


@contextmanager
def _clock(device: torch.device) -> Iterator[Callable[[], float]]:
    finish(device)
    begun = time.perf_counter()
    ended = begun

    def read() -> float:
        return ended - begun

    yield read
    finish(device)
    ended = time.perf_counter()


def _timed(side: Side, device: torch.device, *, released: bool) -> tuple[float, int]:
    (give_back_freed if released else keep_freed)()
    if device.type == "cpu" and side.quick:
        side.call()  # memory is as in the middle of many such steps, not as right after the other side's
    with measured(device, afresh=False) as cost, _tf32(allowed=released):
        for _ in range(side.count):
            side.call()
    return cost.seconds, cost.peak_bytes or 0


def give_back_freed() -> None:
    """Let the C library treat freed memory as it does by itself; what a run of ours asks of it is in `ddbench.heap`."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * MMAP_BYTES)
        libc.malloc_trim(0)


def _tf32(*, allowed: bool) -> AbstractContextManager[None]:
    """Return where convolutions may round to TF32: torch's default, so in released code; never in a run of ours."""
    cudnn = torch.backends.cudnn
    kept: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=allowed
    )
    return kept


def finish(device: torch.device) -> None:
    """Wait until a device has done all it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize()

"""Steps of fixed shapes as graphs: where a device can record what it is told to do, one step is recorded and then replayed.

A step of a small batch is some hundreds of kernels that take microseconds each; telling a device to run them takes longer than
running them. A graph is told once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import torch

GRAPHS = ("CUDAGraph", "XPUGraph")
"""What torch calls a device's graphs, each beside the context `graph` in the device's module."""

WARM_UPS = 3
"""Steps taken before one is recorded, so that kernels are compiled and libraries have their workspaces; they count as steps."""

T = TypeVar("T")
Step = Callable[[], T]


class Recorder(Protocol):
    """What a device with graphs can do."""

    def aside(self, step: Step[T]) -> T:
        """Take a step where recording will be, and return its value."""
        ...

    def record(self, step: Step[T]) -> tuple[T, Callable[[], None]]:
        """Return a step's value, to be filled in by every replay, and what replays it; the step itself is not taken."""
        ...


class DeviceRecorder:
    """Records by the graphs of a device's own module in torch, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.torch = torch.get_device_module(device)
        self.stream = self.torch.Stream()

    def aside(self, step: Step[T]) -> T:
        """Take a step on the recorder's stream, in order with all that was asked of the device before and will be after."""
        self.stream.wait_stream(self.torch.current_stream())
        with self.torch.stream(self.stream):
            value = step()
        self.torch.current_stream().wait_stream(self.stream)
        return value

    def record(self, step: Step[T]) -> tuple[T, Callable[[], None]]:
        """Return a step's value and what replays it."""
        graph = next(getattr(self.torch, name) for name in GRAPHS if hasattr(self.torch, name))()
        with self.torch.graph(graph, stream=self.stream):
            value = step()
        replay: Callable[[], None] = graph.replay
        return value, replay


def recorder_of(device: torch.device) -> Recorder | None:
    """Return what records on a device, or None where nothing does."""
    module = torch.get_device_module(device)
    able = hasattr(module, "graph") and any(hasattr(module, name) for name in GRAPHS)
    return DeviceRecorder(device) if able else None


class Replayed(Generic[T]):
    """A step that is taken a few times, then recorded and replayed; without a recorder, or once recording fails, always taken.

    The step must read what changes from step to step from tensors that stay where they are, and write to such; its value's tensors
    are overwritten by the next step.
    """

    def __init__(self, step: Step[T], recorder: Recorder | None, note: Callable[[str], None]) -> None:
        self.step = step
        self.recorder = recorder
        self.note = note
        self.taken = 0
        self._recorded: tuple[T, Callable[[], None]] | None = None

    def __call__(self) -> T:
        """Take the next step and return its value."""
        if self.recorder is None:
            return self.step()
        self.taken += 1
        if self.taken <= WARM_UPS:
            return self.recorder.aside(self.step)
        if self._recorded is None:
            self._recorded = self._tried(self.recorder)
        if self._recorded is None:
            return self.step()
        value, replay = self._recorded
        replay()
        return value

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed from now on: what a step reads must stay where it was."""
        return self._recorded is not None

    def _tried(self, recorder: Recorder) -> tuple[T, Callable[[], Any]] | None:
        """Return the recorded step, or None after noting why there is none: a step may do what cannot be recorded."""
        try:
            return recorder.record(self.step)
        except RuntimeError as error:
            self.recorder = None
            reason = str(error).strip().partition("\n")[0]
            self.note(f"a step could not be recorded as a graph ({reason}): every step is told to the device anew")
            return None

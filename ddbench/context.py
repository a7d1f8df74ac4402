"""The context a stage is given: the one door through which data enters it. It does not lead to the test split."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.errors import BadRequest
from ddbench.progress import Silent, StageProgress

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ddbench.api.context import Precision
    from ddbench.api.dataset import TrainSplit
    from ddbench.api.network import NetworkFamily, TrainedNetwork

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_INTERVAL_S = 10.0
SPENT = "ddbench.spent_s"
"""In a checkpoint: seconds the stage had run, all its interrupted runs together."""

PROGRESS_INTERVAL_S = 0.25

Writer = Callable[[Path, bytes], None]


@dataclass
class Throttled:
    """Shows progress at most a few times a second: only then are scalars read from the device."""

    shown: StageProgress
    reported: float = 0.0

    def progress(self, step: int, total: int, **scalars: Tensor | float) -> None:
        """Show how far a stage is."""
        now = time.monotonic()
        if now - self.reported >= PROGRESS_INTERVAL_S or step >= total:
            self.reported = now
            self.shown.update(step, total, **{name: float(value) for name, value in scalars.items()})


@dataclass
class StageContext:
    """What a teacher or a synthesizer is given (`ddbench.Context`)."""

    train: TrainSplit
    device: torch.device
    generator: torch.Generator
    precision: Precision
    families: Mapping[str, NetworkFamily]
    needs: Mapping[str, TrainedNetwork] = field(default_factory=dict)
    offline: bool = False
    work: Path | None = None
    """Folder for checkpoints; None keeps none."""
    write: Writer | None = None
    shown: StageProgress = field(default_factory=Silent)
    spent_before_s: float = 0.0
    """Seconds that interrupted runs of this stage took up to their last checkpoint."""
    _throttled: Throttled | None = None
    _kept: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - looked up when called
    _started: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - the same

    @property
    def folder(self) -> Path:
        """The stage's work folder."""
        if self.work is None:
            raise BadRequest("this context has no work folder")
        return self.work

    def progress(self, step: int, total: int, **scalars: Tensor | float) -> None:
        """Show how far the stage is, at most a few times a second."""
        if self._throttled is None or self._throttled.shown is not self.shown:
            self._throttled = Throttled(self.shown)
        self._throttled.progress(step, total, **scalars)

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Keep `state` for a resume, at most once in ten seconds."""
        import torch
        from safetensors.torch import save

        now = time.monotonic()
        if self.work is None or self.write is None or now - self._kept < CHECKPOINT_INTERVAL_S:
            return
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        tensors[SPENT] = torch.tensor(self.spent_before_s + now - self._started, dtype=torch.float64)
        self.write(self.work / CHECKPOINT, save(tensors))
        self._kept = time.monotonic()

    def resumed(self) -> Mapping[str, Tensor] | None:
        """Return the last state kept, or None; one that is not whole is as good as none."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.work is None or not (self.work / CHECKPOINT).is_file():
            return None
        try:
            state = load_file(self.work / CHECKPOINT)
        except SafetensorError:
            return None
        self.spent_before_s = float(state.pop(SPENT))
        return state

    def forget_checkpoint(self) -> None:
        """Remove the checkpoint of a group of jobs that is done."""
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def network(self, name: str, generator: torch.Generator) -> nn.Module:
        """Return a freshly initialised network fitted to the dataset."""
        import torch

        from ddbench.networks import build, resolve

        facts = self.train.facts
        spec = resolve(name, self.families, shape=facts.shape, num_classes=facts.num_classes)
        seed = int(torch.randint(2**62, (), generator=generator))
        return build(spec, self.families, seed=seed).to(self.device)


@dataclass(frozen=True)
class GroupProgress:
    """Shows the progress of one of several equal groups as part of the whole."""

    whole: StageProgress
    number: int
    groups: int

    def update(self, step: int, total: int, **scalars: float) -> None:
        """Tell the whole stage's progress."""
        self.whole.update(self.number * total + step, self.groups * total, **scalars)


def network_settings(precision: Precision) -> dict[str, Any]:
    """Return how a stage ran, as its card holds it."""
    return {"dtype": precision.dtype, "compile": precision.compile, "channels_last": precision.channels_last}

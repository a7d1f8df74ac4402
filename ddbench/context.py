"""The context a stage is given: the one door through which data enters it. It does not lead to the test split."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.checked import packed, unpacked
from ddbench.errors import BadRequest
from ddbench.progress import Silent, StageProgress

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ddbench.api.context import Part, PartKind, Precision
    from ddbench.api.dataset import TrainSplit
    from ddbench.api.network import NetworkFamily

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_INTERVAL_S = 10.0
SPENT = "ddbench.spent_s"
"""In a checkpoint: seconds the stage had run, all its interrupted runs together."""

NOTES = "notes"
"""In a checkpoint's metadata and in a job's: a JSON list of what did not go as the precision says."""

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
            self.shown.update(step, total, **{name: _read(value) for name, value in scalars.items()})


def _read(value: Tensor | float) -> float:
    """Return a scalar as a number; one that still carries a graph is read like any other."""
    return value if isinstance(value, float | int) else float(value.detach())


@dataclass
class StageContext:
    """What a teacher or a synthesizer is given (`ddbench.Context`)."""

    train: TrainSplit
    device: torch.device
    generator: torch.Generator
    precision: Precision
    families: Mapping[str, NetworkFamily]
    needs: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[PartKind, Part] = field(default_factory=dict)
    offline: bool = False
    work: Path | None = None
    """Folder for checkpoints; None keeps none."""
    write: Writer | None = None
    shown: StageProgress = field(default_factory=Silent)
    spent_before_s: float = 0.0
    """Seconds that interrupted runs of this stage took up to their last checkpoint."""
    notes: list[str] = field(default_factory=list)
    """What did not go as the precision says, a line for each thing; of a distilled set, that of the present group."""
    _checkpoint: str = CHECKPOINT
    _throttled: Throttled | None = None
    _kept: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - looked up when called
    _started: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - the same

    @property
    def folder(self) -> Path:
        """The stage's work folder."""
        if self.work is None:
            raise BadRequest("this context has no work folder")
        return self.work

    def begin(self, generator: torch.Generator, shown: StageProgress, *, checkpoint: str = CHECKPOINT) -> None:
        """Begin a part of the stage that is resumed by itself: a group of jobs, an expert; `checkpoint` names its file."""
        self.generator, self.shown, self.notes = generator, shown, []
        self._checkpoint = checkpoint
        self.spent_before_s, self._started = 0.0, time.monotonic()

    def progress(self, step: int, total: int, **scalars: Tensor | float) -> None:
        """Show how far the stage is, at most a few times a second."""
        if self._throttled is None or self._throttled.shown is not self.shown:
            self._throttled = Throttled(self.shown)
        self._throttled.progress(step, total, **scalars)

    def note(self, line: str) -> None:
        """Keep a line on what did not go as the precision says, once; checkpoints keep it too."""
        if line not in self.notes:
            self.notes.append(line)

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Keep `state` for a resume, at most once in ten seconds."""
        import torch

        now = time.monotonic()
        if self.work is None or self.write is None or now - self._kept < CHECKPOINT_INTERVAL_S:
            return
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        tensors[SPENT] = torch.tensor(self.spent_before_s + now - self._started, dtype=torch.float64)
        self.write(self.work / self._checkpoint, packed(tensors, {NOTES: json.dumps(self.notes)}))
        self._kept = time.monotonic()

    def resumed(self) -> Mapping[str, Tensor] | None:
        """Return the last state kept, or None; one that is not whole is as good as none."""
        kept = None if self.work is None else unpacked(self.work / self._checkpoint)
        if kept is None:
            return None
        state, about = kept
        self.spent_before_s = float(state.pop(SPENT))
        for line in json.loads(about.get(NOTES, "[]")):
            self.note(line)
        return state

    def forget_checkpoint(self) -> None:
        """Remove the checkpoint of a group of jobs that is done."""
        (self.folder / self._checkpoint).unlink(missing_ok=True)

    def plugin(self, kind: PartKind) -> Part:
        """Return the objective or the selector that the synthesizer said it uses, with its options."""
        if kind not in self.parts:
            raise BadRequest(f"the synthesizer uses no {kind}: its `uses` names {', '.join(self.parts) or 'nothing'}")
        return self.parts[kind]

    def network(self, name: str, generator: torch.Generator) -> nn.Module:
        """Return a freshly initialised network fitted to the dataset."""
        import torch

        from ddbench.data.moving import moved_network
        from ddbench.networks import build, resolve

        facts = self.train.facts
        spec = resolve(name, self.families, shape=facts.shape, num_classes=facts.num_classes)
        seed = int(torch.randint(2**62, (), generator=generator))
        return moved_network(build(spec, self.families, seed=seed), self.device)


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
    return asdict(precision)

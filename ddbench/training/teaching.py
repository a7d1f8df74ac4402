"""A teacher's answers during training: no gradients, the regime's batch-norm mode, from a copy, so that it is never touched."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from ddbench.errors import BadRequest, OutOfMemory
from ddbench.training.memory import Pieces, ran_out
from ddbench.training.precision import Compiled, at_least_float32, autocast, placed

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.network import TrainedNetwork
    from ddbench.training.loop import RunSettings
    from ddbench.training.students import StudentData
    from ddbench.training.views import Source

CHUNK = 256
"""Images asked about at once, where nothing about a batch decides the answer."""


def answering_copy(module: nn.Module, bn: Literal["running", "batch"]) -> nn.Module:
    """Return a frozen copy of a teacher that answers in eval mode.

    With `batch`, its batch-norm layers use the statistics of the batch in front of them, as the released CIFAR scripts of SRe2L
    and DWA do by never leaving train mode; they keep no track of them, and every other layer (dropout) stays in eval mode.
    """
    answering = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
    if bn == "batch":
        for layer in answering.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - the one base of all batch norms
                layer.training = True
                layer.track_running_stats = False
    return answering


class Answers:
    """A teacher that is asked about views: batches of images, normalised as the student sees them."""

    def __init__(
        self, data: StudentData, bn: Literal["running", "batch"], run: RunSettings, *, sizes: frozenset[int] | None = None
    ) -> None:
        """Copy the set's teacher onto the device.

        Args:
            data: Its teacher and how its images are normalised.
            bn: Whose statistics the teacher's batch norm uses.
            run: Where and how it answers.
            sizes: Of the batches worth compiling for; None stands for every size.

        Raises:
            BadRequest: There is no teacher, or the images are whitened and no teacher can read them.
        """
        teacher = checked_teacher(data)
        module = placed(answering_copy(teacher.module, bn), run.precision, run.device)
        scale, shift = renormalisation(data, teacher, run.device)

        def forward(view: Tensor) -> Tensor:
            with autocast(run.precision, run.device):
                logits: Tensor = module(view if scale is None else torch.addcmul(shift, view, scale))
            return at_least_float32(logits)

        self.forward = Compiled(forward, run.precision)
        self._told: list[str] = []
        self._batchwide, self._sizes = bn == "batch", sizes
        self._pieces = Pieces("images per question to the teacher", self._told.append)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the teacher runs uncompiled, where it should not, and what memory did not suffice for."""
        return (*(() if self.forward.note is None else (self.forward.note,)), *self._told)

    def __call__(self, view: Tensor) -> Tensor:
        """Return the teacher's float32 (n, classes) logits, without a graph.

        Raises:
            OutOfMemory: Memory does not suffice, and the batch cannot be cut, because its statistics decide the answers.
        """
        with torch.no_grad():
            if not self._batchwide:
                return self._pieces.joined(lambda place: self._asked(view[place]), len(view), at_once=len(view))
            try:
                return self._asked(view)
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                raise OutOfMemory(
                    f"memory ran out while the teacher answered {len(view)} images, and batch statistics allow no cutting; "
                    "use a device with more memory, --precision bf16, or a protocol whose teacher_bn is 'running'"
                ) from error

    def _asked(self, images: Tensor) -> Tensor:
        worth = self._sizes is None or len(images) in self._sizes
        logits: Tensor = self.forward(images) if worth else self.forward.plain(images)
        return logits


def checked_teacher(data: StudentData) -> TrainedNetwork:
    """Return the set's teacher.

    Raises:
        BadRequest: There is none, or the images are whitened and no teacher can read them.
    """
    if data.teacher is None:
        raise BadRequest("this label regime needs a teacher, and none was given")
    if data.space == "zca":
        raise BadRequest("a teacher cannot answer ZCA-whitened images; use a protocol with hard labels")
    return data.teacher


def renormalisation(data: StudentData, teacher: TrainedNetwork, device: torch.device) -> tuple[Tensor | None, Tensor]:
    """Return scale and shift, (1, C, 1, 1), from the student's normalisation to the teacher's; no scale where they are equal."""
    (own_mean, own_std), (mean, std) = ((d.mean.to(device), d.std.to(device)) for d in (data, teacher))
    same = torch.equal(mean, own_mean) and torch.equal(std, own_std)
    return None if same else (own_std / std).view(1, -1, 1, 1), ((own_mean - mean) / std).view(1, -1, 1, 1)


def one_answer_each(ask: Callable[[Tensor], Tensor], source: Source, *, temperature: float) -> Tensor:
    """Return float32 (N, classes): softmax(logits / T) of a teacher on every image as it is."""
    places = torch.split(torch.arange(source.count, device=source.fill.device), CHUNK)
    return torch.cat([torch.softmax(ask(source.fetch(place)) / temperature, dim=1) for place in places])

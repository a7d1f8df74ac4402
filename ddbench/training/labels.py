"""Soft labels stored per epoch and view (`soft_epoch`): float16 logits [epoch, image, class]; views come again from their seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from ddbench.api.protocol import training_epochs
from ddbench.errors import BadRequest
from ddbench.training.loop import sizes_to_compile
from ddbench.training.precision import forget_compiled
from ddbench.training.recipe import student_recipe
from ddbench.training.students import VIEWS, held
from ddbench.training.teaching import Answers
from ddbench.training.views import draw_epoch, view

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.protocol import ProtocolSpec
    from ddbench.training.loop import RunSettings
    from ddbench.training.students import StudentData


@dataclass(frozen=True)
class StoredLabels:
    """A teacher's answers to every view of every epoch."""

    logits: Tensor
    """float16 (epochs, images, classes), on the CPU, usually memory-mapped: an epoch is read when it is trained on."""
    view_seed: int
    """Decides batch order, augmentation and mixing of every student trained with these labels."""

    @classmethod
    def read(cls, path: Path) -> StoredLabels:
        """Return the labels of a file that `write_labels` made, memory-mapped."""
        with safe_open(path, framework="pt") as file:
            return cls(file.get_tensor("logits"), int(file.metadata()["view_seed"]))


def label_epochs(data: StudentData, spec: ProtocolSpec, *, view_seed: int, run: RunSettings) -> Iterator[Tensor]:
    """Yield, epoch by epoch, float16 (images, classes) on the CPU: row i is the teacher's logits for the view made of image i.

    Where the view is mixed, image i is the one it is mixed from; its partner comes again from the view seed.

    Raises:
        BadRequest: There is no teacher, the images are whitened, or the protocol states no batch-norm mode.
    """
    if spec.teacher_bn is None:
        raise BadRequest(f"protocol {spec.name} has hard labels: there is nothing to store")
    forget_compiled(run.precision)
    recipe, source = student_recipe(spec, ""), held(data, run.device)
    ask = Answers(data, spec.teacher_bn, run, sizes=sizes_to_compile(recipe, source.count))
    epochs = training_epochs(recipe, source.count)
    for epoch in range(epochs):
        batches = draw_epoch(recipe, source, seed=(VIEWS, view_seed), epoch=epoch)
        logits = torch.cat([ask(view(source, recipe, drawn)) for drawn in batches])
        order = torch.cat([drawn.index for drawn in batches])
        yield torch.empty_like(logits, dtype=torch.float16).index_copy_(0, order, logits.half()).cpu()
        if run.progress:
            run.progress(epoch + 1, epochs)
    if run.note:
        for line in ask.notes:
            run.note(line)


def write_labels(path: Path, epochs: Iterator[Tensor], *, shape: tuple[int, int, int], view_seed: int) -> None:
    """Write (epochs, images, classes) float16 logits as one safetensors file, an epoch in memory at a time.

    Raises:
        BadRequest: The epochs are not as many, or not of the shape, that was promised.
    """
    count, images, classes = shape
    size = 2 * count * images * classes
    header = {
        "__metadata__": {"view_seed": str(view_seed)},
        "logits": {"dtype": "F16", "shape": list(shape), "data_offsets": [0, size]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        written = 0
        for logits in epochs:
            if logits.shape != (images, classes) or logits.dtype != torch.float16:
                raise BadRequest(f"an epoch of labels is {logits.dtype} {tuple(logits.shape)}, not float16 {(images, classes)}")
            written += file.write(logits.contiguous().numpy().tobytes())
    if written != size:
        raise BadRequest(f"{written} bytes of labels were made, and {size} promised")


def stored_label_bytes(spec: ProtocolSpec, images: int, classes: int) -> int:
    """Return what stored labels need: 2 bytes per epoch, image and class; 0 where the regime stores none."""
    return spec.label_bytes(images, classes)

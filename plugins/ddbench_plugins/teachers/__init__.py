"""Teachers: trained from scratch, published weights, or a user's checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Teacher, hookimpl
from ddbench_plugins.teachers.checkpoint import Checkpoint
from ddbench_plugins.teachers.pretrained import Pretrained
from ddbench_plugins.teachers.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Checkpoint", "Pretrained", "Scratch"]


@hookimpl
def ddbench_teachers() -> Iterable[Teacher]:
    return [Scratch(), Pretrained(), Checkpoint()]

"""Evaluators: `top1` of a trained student and `storage` of a distilled set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Evaluator, hookimpl
from ddbench_plugins.evaluators.storage import Storage
from ddbench_plugins.evaluators.top1 import Top1

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Storage", "Top1"]


@hookimpl
def ddbench_evaluators() -> Iterable[Evaluator]:
    return [Top1(), Storage()]

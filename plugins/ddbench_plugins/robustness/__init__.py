"""Evaluators of what top1 does not tell of a trained student: `calibration`, `corruption`, `attack`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Evaluator, hookimpl
from ddbench_plugins.robustness.attack import Attack
from ddbench_plugins.robustness.calibration import Calibration
from ddbench_plugins.robustness.corruption import Corruption

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Attack", "Calibration", "Corruption"]


@hookimpl
def ddbench_evaluators() -> Iterable[Evaluator]:
    return [Calibration(), Corruption(), Attack()]

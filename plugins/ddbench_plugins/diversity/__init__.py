"""Evaluators of the images themselves, as a teacher sees them: `diversity` and `embeddings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Evaluator, hookimpl
from ddbench_plugins.diversity.diversity import Diversity
from ddbench_plugins.diversity.embeddings import Embeddings

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Diversity", "Embeddings"]


@hookimpl
def ddbench_evaluators() -> Iterable[Evaluator]:
    return [Diversity(), Embeddings()]

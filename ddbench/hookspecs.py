"""The hooks: each says when it is called and what it returns. The harness calls them once, lazily, and keeps who answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetSource
    from ddbench.api.evaluator import Evaluator
    from ddbench.api.network import NetworkFamily
    from ddbench.api.objective import Objective
    from ddbench.api.prior import Prior
    from ddbench.api.protocol import ProtocolSpec
    from ddbench.api.selector import Selector
    from ddbench.api.synthesizer import Synthesizer
    from ddbench.api.teacher import Teacher

hookspec = pluggy.HookspecMarker("ddbench")
hookimpl = pluggy.HookimplMarker("ddbench")
"""Marks a module's function as the answer to one of the hooks below."""

api_version = 1
"""Of the signatures that plugins are written against. A plugin's module says which one it knows: `ddbench_api = 1`."""


@hookspec
def ddbench_datasets() -> Iterable[DatasetSource]:
    """Return dataset sources. Called when a dataset is listed, prepared or opened by name."""
    raise NotImplementedError


@hookspec
def ddbench_networks() -> Iterable[NetworkFamily]:
    """Return network families. Called when a network is listed or asked for; may import torch inside `fit` and `build` only."""
    raise NotImplementedError


@hookspec
def ddbench_teachers() -> Iterable[Teacher]:
    """Return ways to get a teacher. Called when a cell needs one."""
    raise NotImplementedError


@hookspec
def ddbench_synthesizers() -> Iterable[Synthesizer]:
    """Return distillation methods. Called when synthesizers are listed or cells are planned; must not import torch."""
    raise NotImplementedError


@hookspec
def ddbench_priors() -> Iterable[Prior]:
    """Return generative priors. Called when priors are listed or a synthesizer needs one; must not import torch."""
    raise NotImplementedError


@hookspec
def ddbench_objectives() -> Iterable[Objective]:
    """Return matching objectives. Called when they are listed or a synthesizer uses one; must not import torch."""
    raise NotImplementedError


@hookspec
def ddbench_selectors() -> Iterable[Selector]:
    """Return selectors. Called when they are listed or a synthesizer uses one; must not import torch."""
    raise NotImplementedError


@hookspec
def ddbench_evaluators() -> Iterable[Evaluator]:
    """Return evaluators. Called when cells are planned; they run after a student's training is over."""
    raise NotImplementedError


@hookspec
def ddbench_protocols() -> Iterable[ProtocolSpec]:
    """Return protocols, usually `read_protocols(files(__package__))`. Called when protocols are listed or cells are planned."""
    raise NotImplementedError

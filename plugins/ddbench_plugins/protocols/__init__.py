"""protocols: the recipes that students are trained and tested by, as TOML files beside this one."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from ddbench import ProtocolSpec, hookimpl, read_protocols


@hookimpl
def ddbench_protocols() -> Iterable[ProtocolSpec]:
    return read_protocols(files(__package__))

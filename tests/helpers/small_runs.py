"""A whole request on digits that takes seconds, and what must be equal of two stores it was made in."""

from __future__ import annotations

from ddbench.cells import Request
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

ASKED = {
    "students": ("convnet1-w32",),
    "teacher": "convnet1-bn-w32",
    "protocol": "dwa-cifar-stored/1",
    "options": {"teacher.epochs": 1, "iterations": 2},
    "eval_seeds": 1,
    "ipc": 2,
    "smoke": 0.005,
    "threads": 1,
}
REQUEST = Request(("sre2l",), **ASKED)


class Quiet:
    def started(self, unit, state): ...
    def ended(self, unit, ended, state): ...
    def looked(self, state): ...


def workspace(root):
    return open_workspace(Settings(root, (), ()))


def made(store):
    """Return what must be equal of two stores: files of artefacts, records without time, cost and host."""
    kept = Store(store)
    found = {path.relative_to(store): path.read_bytes() for path in store.rglob("*.safetensors")}
    return found | {key: kept.record(key).repeatable() for key in kept.record_keys()}

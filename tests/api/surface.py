"""What plugins are written against, as text from the code: names, signatures, fields, defaults, hooks.

`python tests/api/surface.py` renews `surface.txt`, once CHANGELOG.md tells of what changed.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic

import ddbench
import ddbench.kit
import ddbench.testing
from ddbench import hookspecs

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from telling import Snapshots  # noqa: E402 - found by the line above

CHANGELOG = HERE.parent.parent / "CHANGELOG.md"

PLACES = {"ddbench": ddbench, "ddbench.kit": ddbench.kit, "ddbench.testing": ddbench.testing}


def surface() -> str:
    """Return a line for the version, then one for each public name, member, field and hook."""
    lines = [f"api_version {ddbench.api_version}"]
    for place, module in PLACES.items():
        for name in sorted(module.__all__):
            if not name.startswith("__"):
                lines += list(_name(f"{place}.{name}", getattr(module, name)))
    hooks = sorted(name for name in vars(hookspecs) if name.startswith("ddbench_"))
    return "\n".join([*lines, *(f"hook {name}{signature(getattr(hookspecs, name))}" for name in hooks)]) + "\n"


def _name(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield f"class {name}({', '.join(base.__name__ for base in value.__bases__ if base is not object)})"
        yield from (f"{name}.{line}" for line in sorted(_members(value)))
    elif inspect.isroutine(value):
        yield f"def {name}{signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def _members(cls: type) -> Iterator[str]:
    """Give a class's own fields and methods; those of tests are no interface."""
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        if not name.startswith("_"):
            yield f"{name}: {annotation}{_default(cls, name)}"
    for name, value in vars(cls).items():
        if (
            name.startswith("test_")
            or name in {"model_config", "model_fields"}
            or (name.startswith("_") and not _begins(cls, name))
        ):
            continue
        plain = getattr(value, "__func__", value)
        if isinstance(value, property):
            yield f"{name}: property{_returns(value)}"
        elif inspect.isfunction(plain):
            yield f"{name}{signature(plain)}"


def _begins(cls: type, name: str) -> bool:
    """Return whether that is an `__init__` written by hand: what a dataclass or a protocol is given is in no source."""
    return name == "__init__" and not dataclasses.is_dataclass(cls) and vars(cls)[name].__module__ == cls.__module__


def _default(cls: type, name: str) -> str:
    """Return ` = VALUE` of a field or a class attribute, empty where there is none."""
    if dataclasses.is_dataclass(cls):
        field = next((one for one in dataclasses.fields(cls) if one.name == name), None)
        if field is not None and field.default_factory is not dataclasses.MISSING:
            return f" = {shown(field.default_factory)}()"
        return "" if field is None or field.default is dataclasses.MISSING else f" = {shown(field.default)}"
    if issubclass(cls, pydantic.BaseModel) and name in cls.model_fields:
        model = cls.model_fields[name]
        return "" if model.is_required() else f" = {shown(model.get_default(call_default_factory=True, validated_data={}))}"
    return f" = {shown(vars(cls)[name])}" if name in vars(cls) else ""


def _returns(value: property) -> str:
    annotation = getattr(value.fget, "__annotations__", {}).get("return", "")
    return f" -> {annotation}" if annotation else ""


def shown(value: Any) -> str:
    """Return a default as text that is the same in every process: what is called by its name, everything else by its repr."""
    return str(value.__qualname__) if inspect.isroutine(value) or inspect.isclass(value) else repr(value)


def signature(function: Any) -> str:
    """Return a function's signature with its defaults."""
    found = inspect.signature(function)
    parameters = [_plain(parameter) for parameter in found.parameters.values()]
    returns = found.return_annotation
    told = "" if returns is found.empty else f" -> {returns if isinstance(returns, str) else inspect.formatannotation(returns)}"
    return str(found.replace(parameters=parameters, return_annotation=found.empty)) + told


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter that shows its annotation without quotes and its default as `shown` does."""
    kept = parameter.annotation
    if isinstance(kept, str):
        parameter = parameter.replace(annotation=_As(kept))
    return parameter if parameter.default is parameter.empty else parameter.replace(default=_As(shown(parameter.default)))


class _As(str):
    """Text whose repr is itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def main() -> int:
    """Renew the snapshot, or say what the changelog lacks; return the exit code."""
    kept = Snapshots.read(HERE)
    now = kept.renewed(surface(), ddbench.api_version)
    if lacks := now.untold(CHANGELOG.read_text("utf-8")):
        sys.stderr.write("CHANGELOG.md: " + "; ".join(lacks) + "; write that, then again\n")
        return 1
    now.write(HERE)
    sys.stdout.write("wrote surface.txt\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What plugins are written against, as text from the code: names, signatures, fields, hooks.

`python tests/api/surface.py` renews `surface.txt`, once CHANGELOG.md tells of what changed.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic

import ddbench
import ddbench.kit
import ddbench.testing
from ddbench import hookspecs

SNAPSHOT = Path(__file__).with_name("surface.txt")

CHANGELOG = Path(__file__).parent.parent.parent / "CHANGELOG.md"

OWNER = re.compile(r"(?:class |def |hook )?(?:ddbench\.)?(?:kit\.|testing\.)?(\w+)")
"""What a line of the surface is about: a class, a function or a hook."""

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
        if name.startswith(("_", "test_")) or name in {"model_config", "model_fields"}:
            continue
        plain = getattr(value, "__func__", value)
        if isinstance(value, property):
            yield f"{name}: property{_returns(value)}"
        elif inspect.isfunction(plain):
            yield f"{name}{signature(plain)}"


def _default(cls: type, name: str) -> str:
    if dataclasses.is_dataclass(cls):
        field = next((one for one in dataclasses.fields(cls) if one.name == name), None)
        has = field is not None and (field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING)
        return " = …" if has else ""
    if issubclass(cls, pydantic.BaseModel) and name in cls.model_fields:
        return "" if cls.model_fields[name].is_required() else " = …"
    return ""


def _returns(value: property) -> str:
    annotation = getattr(value.fget, "__annotations__", {}).get("return", "")
    return f" -> {annotation}" if annotation else ""


def signature(function: Any) -> str:
    """Return a function's signature, each default as `…`: a default may move, that there is one is part of the interface."""
    found = inspect.signature(function)
    parameters = [_plain(parameter) for parameter in found.parameters.values()]
    return str(found.replace(parameters=parameters)).replace("'", "")


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter if parameter.default is parameter.empty else parameter.replace(default=_Anything())


class _Anything:
    def __repr__(self) -> str:
        return "…"


def untold(kept: str, now: str, changelog: str) -> list[str]:
    """Return the public names that differ and that the changelog's first section does not mention, nor the new API version.

    Args:
        kept: The surface as it was.
        now: As it is.
        changelog: The text of CHANGELOG.md.
    """
    unreleased = changelog.split("\n## ")[1]
    changed = set(kept.splitlines()) ^ set(now.splitlines())
    versions = [line for line in now.splitlines()[:1] if line in changed]
    if versions and re.search(rf"api_version.{{0,40}}\b{versions[0].split()[1]}\b", unreleased):
        return []
    names = {found[1] for line in changed if (found := OWNER.match(line))}
    return sorted(name for name in names if not re.search(rf"\b{name}\b", unreleased))


def main() -> int:
    """Renew the snapshot, or say what the changelog lacks; return the exit code."""
    now, kept = surface(), SNAPSHOT.read_text("utf-8") if SNAPSHOT.is_file() else ""
    lacks = untold(kept, now, CHANGELOG.read_text("utf-8")) if kept else []
    if lacks:
        sys.stderr.write(f"CHANGELOG.md, Unreleased, does not mention {', '.join(lacks)}; tell there what changed, then again\n")
        return 1
    SNAPSHOT.write_text(now, "utf-8")
    sys.stdout.write(f"wrote {SNAPSHOT.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

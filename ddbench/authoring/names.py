"""The names of a new project: what is accepted, and what follows from it."""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import ddbench
from ddbench.errors import BadRequest
from ddbench.plugins import KINDS

if TYPE_CHECKING:
    from ddbench.plugins import Plugins

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST = 30
"""Characters of a name: lines of the project are laid out for it."""

USED_IN_TEMPLATES = {"Any", "Cast", "Field", "Generator", "Iterable", "Literal", "Mapping", "Path", "Report", "Sequence", "Tensor"}


@dataclass(frozen=True)
class Names:
    """What a project's parts are called."""

    name: str
    """By which the thing is registered: `blend`."""
    kind: str
    title: str
    """`Blend`, the class."""
    module: str
    """`blend`, as part of Python's names."""
    package: str
    """`ddbench_blend`, what Python imports."""
    project: str
    """`ddbench-blend`, the distribution and its folder."""


def names_for(name: str, kind: str, plugins: Plugins) -> Names:
    """Return the names of a new project.

    Raises:
        BadRequest: The name is no identifier, means something else already, or is taken.
    """
    if kind not in KINDS:
        raise BadRequest(f"there is no kind of plugin {kind!r}; --kind takes: {', '.join(KINDS)}")
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise BadRequest(
            f"{name!r} is no name for a plugin; lower-case letters and digits, words joined by '-' or '_', a letter first, "
            f"at most {LONGEST} characters, are accepted: for example blend or sharp-teacher"
        )
    _refuse_taken(name, kind, plugins)
    words = re.split("[-_]", name)
    title = "".join(word.capitalize() for word in words)
    if keyword.iskeyword(title) or title in {*dir(builtins), *ddbench.__all__, *USED_IN_TEMPLATES}:
        raise BadRequest(f"{name!r} would be a class called {title}, which means something else already; take another name")
    package = f"ddbench_{'_'.join(words)}"
    if find_spec(package) is not None:
        raise BadRequest(f"the Python package {package} of {name!r} is installed already; take another name")
    return Names(name, kind, title, "_".join(words), package, f"ddbench-{'-'.join(words)}")


def _refuse_taken(name: str, kind: str, plugins: Plugins) -> None:
    if name in plugins.names(kind):
        owner = plugins.get(kind, name).owner
        raise BadRequest(f"{kind} {name!r} is there already, from {owner}; take another name")

"""Writes a new plugin's project from templates: all of it or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import ddbench
from ddbench.errors import BadRequest, EnvironmentProblem

if TYPE_CHECKING:
    import jinja2

    from ddbench.authoring.names import Names

SUFFIX = ".jinja"
COMMON = "project"
"""The folder of templates that every kind of project has; beside it one for each kind."""

PLACES = {
    "module.py": "{package}/__init__.py",
    "test.py": "tests/test_{module}.py",
    "recipe.toml": "{package}/{name}-1.toml",
}
"""Where a template's text goes; others keep their names."""


def write_project(names: Names, parent: Path) -> Path:
    """Return the folder of a new project, `parent/ddbench-NAME`, written whole.

    Raises:
        BadRequest: The folder is there already, or `parent` is none.
        EnvironmentProblem: It cannot be written.
    """
    target = parent / names.project
    if os.path.lexists(target):
        raise BadRequest(f"{target} is there already; take another name, or another folder with --into DIR")
    if not parent.is_dir():
        raise BadRequest(f"{parent} is no folder; name one that is there with --into DIR")
    content = dict(rendered(names))
    try:
        _write(content, target)
    except OSError as error:
        raise EnvironmentProblem(f"{target} cannot be written ({error.strerror}); name another folder with --into DIR") from error
    return target


def rendered(names: Names) -> Iterator[tuple[str, str]]:
    """Give each file of a project: its path below the project's folder, and its text."""
    templates = files("ddbench.authoring").joinpath("templates")
    environment = _environment(templates)
    version = {"api_version": ddbench.api_version, "minimum": ".".join(ddbench.__version__.split(".")[:2])}
    known = {**asdict(names), **version, "command": run_command(names)}
    for folder in (COMMON, names.kind):
        for template in sorted(entry.name for entry in templates.joinpath(folder).iterdir() if entry.name.endswith(SUFFIX)):
            plain = template.removesuffix(SUFFIX)
            where = PLACES.get(plain, plain).format(**asdict(names))
            yield where, environment.get_template(f"{folder}/{template}").render(known)


def run_command(names: Names) -> str:
    """Return the command line that uses what the project registers."""
    name = names.name
    return {
        "synthesizer": f"ddbench run {name}",
        "teacher": f"ddbench run dwa --teacher {name}",
        "evaluator": f"ddbench run random --evaluators {name}",
        "dataset": f"ddbench run random --dataset {name}",
        "prior": f"ddbench run glad -o prior={name}",
        "objective": f"ddbench run glad -o objective={name} -o prior=pixel -o init=encode",
        "selector": f"ddbench run hglad -o selector={name}",
        "network": f"ddbench run random --students {name}/small",
        "protocol": f"ddbench run random --protocol {name}/1",
    }[names.kind]


def _environment(templates: Traversable) -> jinja2.Environment:
    """Return jinja2 with undefined names refused; the text is code and Markdown, so nothing is escaped."""
    import jinja2

    def load(name: str) -> str:
        return templates.joinpath(*name.split("/")).read_text("utf-8")

    loader = jinja2.FunctionLoader(load)
    return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701


def _write(content: dict[str, str], target: Path) -> None:
    """Write beside the place, then rename."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for where, text in content.items():
            path = temporary / where
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        temporary.chmod(0o777 & ~_umask())  # mkdtemp's folder is private
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Checks what somebody registered: the plugin itself, and each of its things by the conformance kit of its kind."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import ddbench
from ddbench import cells
from ddbench.errors import BadRequest, DdbenchError, EnvironmentProblem, UnknownName
from ddbench.options import resolve
from ddbench.plugins import FROM_FOLDER, KINDS, Entry, Owner, Plugins

if TYPE_CHECKING:
    from ddbench.testing.checking import Finding

HEAVY = ("torch", "torchvision", "timm", "ray")
"""What nobody may import before something is computed: `ddbench --help` and `ddbench list` wait for it."""

LOOK = """
import sys
from pathlib import Path
from ddbench.plugins import KINDS, Plugins

name, folder, heavy = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
before = set(sys.modules)
plugins = Plugins((name,), folders=[Path(folder)] if folder else [])
for kind in KINDS:
    plugins.names(kind)
print(",".join(one for one in heavy if one in sys.modules))
"""

LOADS = "it loads, and its hooks answer with what they promise"


@dataclass(frozen=True)
class Wanted:
    """What is to be checked, and how."""

    name: str
    """Of a thing, or of a plugin's entry point or distribution."""
    kind: str | None = None
    """Of the thing, where several have the name."""
    options: Mapping[str, str] = field(default_factory=dict)
    """By name, as text: what things are checked with."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """By name, as text: what a thing's own tests would declare."""
    only: str = ""
    """Part of the sentence of the checks that are made."""


def check(wanted: Wanted, plugins: Plugins) -> list[Finding]:
    """Return what every check came to: of a thing with its plugin, or of all things of a plugin.

    Raises:
        UnknownName: Nothing has the name, registered or failed.
        EnvironmentProblem: pytest is not installed.
    """
    if find_spec("pytest") is None:  # before anything of ddbench.testing is imported, which needs it
        raise EnvironmentProblem("the checks are tests, which need pytest, and it is not installed; run: pip install pytest")
    entries = found(wanted.name, wanted.kind, plugins)
    plain = [*_load_errors(wanted.name, entries, plugins), *_looked_at(entries, plugins)]
    if not plain:
        known = {known for kind in KINDS for known in plugins.names(kind)}
        raise UnknownName(wanted.kind or "plugin", wanted.name, known, see="ddbench list plugins")
    return [*(one for one in plain if wanted.only in one.check), *_tested(entries, plugins, wanted)]


def found(name: str, kind: str | None, plugins: Plugins) -> list[Entry]:
    """Return the things that have a name, or all things of the plugin (entry point or distribution) that has it.

    Raises:
        BadRequest: Things of several kinds have the name.
        NameClash: Two plugins claim it.
    """
    kinds = [one for one in KINDS if kind in {None, one}]
    named = [plugins.get(one, name) for one in kinds if name in plugins.names(one)]
    if len(named) > 1:
        raise BadRequest(f"{name!r} is the name of a {' and of a '.join(entry.kind for entry in named)}; say which with --kind")
    if named:
        return named
    every = [plugins.get(one, thing) for one in kinds for thing in plugins.all(one)]
    return [entry for entry in every if name in {entry.owner.entry_point, entry.owner.distribution}]


def _load_errors(name: str, entries: Sequence[Entry], plugins: Plugins) -> Iterator[Finding]:
    """Give a finding for each load error of the name, or of the plugins that the things come from."""
    from ddbench.testing.checking import Finding

    names = {name, f"{FROM_FOLDER}{name}", *(entry.owner.entry_point for entry in entries)}
    advice = "Put right what the message says; import nothing that may be missing before it is needed."
    for error in plugins.errors:
        if names & {error.entry_point, error.distribution, error.distribution.removesuffix(".py")}:
            yield Finding(f"plugin {error.entry_point!r}", LOADS, "problem", error.message, advice)
    for sentence in plugins.clashes():
        if any(f" {entry.name!r} is registered twice" in sentence for entry in entries):
            yield Finding(f"plugin {name!r}", "no other plugin claims its names", "problem", sentence, "Take another name.")


def _looked_at(entries: Sequence[Entry], plugins: Plugins) -> Iterator[Finding]:
    """Give what is found of the plugins that the things come from, and of the things' presets."""
    failed = {error.entry_point for error in plugins.errors}
    for owner in {str(entry.owner): entry.owner for entry in entries}.values():
        module = sys.modules[owner.module.partition(":")[0]]
        if owner.entry_point not in failed:
            yield _ok(owner, LOADS)
        yield _hooks(owner, vars(module))
        yield _heavy(owner)
        yield _api(owner)
    for entry in entries:
        yield _presets(entry)


def _hooks(owner: Owner, names: dict[str, object]) -> Finding:
    """Tell of functions that are called like a hook, or nearly, and are not marked as one."""
    marked = {name for name, value in names.items() if inspect.isfunction(value) and getattr(value, "ddbench_impl", None)}
    likely = {name for name, value in names.items() if name.startswith("ddbench_") and inspect.isfunction(value)}
    check = "its hooks are hooks of ddbench, and marked"
    stray = sorted(likely - marked)
    if not stray:
        return _ok(owner, check)
    known = ", ".join(hook for hook, _ in KINDS.values())
    message = f"{stray[0]} is called like a hook and not marked, so nobody calls it"
    return _problem(owner, check, message, f"Put @hookimpl above it; the hooks are {known}.")


def _heavy(owner: Owner) -> Finding:
    """Tell whether loading the plugin and asking its hooks imports a library that takes seconds."""
    folder = str(Path(owner.where).parent) if owner.where else ""
    command = [sys.executable, "-c", LOOK, owner.entry_point, folder, ",".join(HEAVY)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter and code
    imported, check = ran.stdout.strip(), "importing it and asking its hooks imports no torch"
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return _problem(owner, check, f"loaded in a process of its own, it fails: {last}", "Depend on nothing loaded before.")
    if not imported:
        return _ok(owner, check)
    advice = "Import it inside the functions that compute, and under TYPE_CHECKING for annotations."
    return _problem(owner, check, f"it imports {imported.replace(',', ', ')}, and every command waits for it", advice)


def _api(owner: Owner) -> Finding:
    from ddbench.testing.checking import Finding

    check = "it says which version of the plugin API it was written against"
    if owner.api is not None:
        return _ok(owner, check)
    advice = f"Write ddbench_api = {ddbench.api_version} into the module that the entry point names."
    return Finding(_named(owner), check, "note", "it says nothing, and is taken for one that fits", advice)


def _presets(entry: Entry) -> Finding:
    """Tell whether every preset can be read, and sets only options that there are, within their bounds."""
    from ddbench.testing.checking import Finding

    thing, check = f"{entry.kind} {entry.name!r}", "its presets can be read and are within bounds"
    try:
        presets = cells.presets_of(entry)
        for preset in presets.values():
            resolve(entry.value.options, [preset.layer], owner=thing)
    except DdbenchError as error:
        advice = 'Each option of a preset is { value = …, source = "…" }, by a name that the options have.'
        return Finding(thing, check, "problem", str(error), advice)
    return Finding(thing, check, "ok" if presets else "skipped", "" if presets else "it brings none")


def _tested(entries: Sequence[Entry], plugins: Plugins, wanted: Wanted) -> Iterator[Finding]:
    from ddbench.testing.checking import Asked, conformance, declarations

    asked = Asked(declarations(wanted.options), declarations(wanted.declared), wanted.only)
    for entry in entries:
        yield from conformance(entry, plugins, asked)


def _named(owner: Owner) -> str:
    return f"plugin {owner.entry_point!r}"


def _ok(owner: Owner, check: str) -> Finding:
    from ddbench.testing.checking import Finding

    return Finding(_named(owner), check, "ok")


def _problem(owner: Owner, check: str, message: str, advice: str) -> Finding:
    from ddbench.testing.checking import Finding

    return Finding(_named(owner), check, "problem", message, advice)

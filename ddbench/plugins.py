"""Finds plugins entry point by entry point and file by file, keeps each load error, refuses name clashes, knows every owner."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from ddbench import hookspecs
from ddbench.api.dataset import DatasetSource
from ddbench.api.evaluator import Evaluator
from ddbench.api.network import NetworkFamily
from ddbench.api.objective import Objective
from ddbench.api.prior import Prior
from ddbench.api.protocol import ProtocolSpec
from ddbench.api.selector import Selector
from ddbench.api.synthesizer import Synthesizer
from ddbench.api.teacher import Teacher
from ddbench.errors import NameClash, PluginFailed, UnknownName
from ddbench.external import External, is_external

if TYPE_CHECKING:
    from ddbench.settings import Settings

GROUP = "ddbench"
BUILT_IN = "ddbench"
"""The distribution whose plugins are always loaded."""

FROM_FOLDER = "dir:"
"""What the distribution of a file without packaging begins with: `dir:blend.py`."""

KINDS: dict[str, tuple[str, type[Any]]] = {
    "dataset": ("ddbench_datasets", DatasetSource),
    "network": ("ddbench_networks", NetworkFamily),
    "teacher": ("ddbench_teachers", Teacher),
    "synthesizer": ("ddbench_synthesizers", Synthesizer),
    "prior": ("ddbench_priors", Prior),
    "objective": ("ddbench_objectives", Objective),
    "selector": ("ddbench_selectors", Selector),
    "evaluator": ("ddbench_evaluators", Evaluator),
    "protocol": ("ddbench_protocols", ProtocolSpec),
}
"""Kinds of things plugins register: the hook that returns them and the type they must have."""

HASHED_SUFFIXES = {".py", ".toml", ".json"}


@dataclass(frozen=True)
class Owner:
    """The plugin something came from."""

    distribution: str
    version: str
    entry_point: str
    module: str
    files_sha256: str
    """Hash of the plugin's own code and data files: an edited plugin never gets an old result."""
    api: int | None = None
    """Version of ddbench's plugin API that it says it was written against; None where it says nothing."""
    where: str = field(default="", compare=False)
    """The file of a plugin without packaging; it differs by machine, and stands in no record."""

    def __str__(self) -> str:
        if self.where:
            return f"{self.distribution} ({self.where})"
        return f"{self.distribution} {self.version} (entry point {self.entry_point!r}, {self.module})"


@dataclass(frozen=True)
class Entry:
    """A registered thing with its owner."""

    kind: str
    name: str
    value: Any
    owner: Owner


@dataclass(frozen=True)
class LoadError:
    """A plugin that could not be loaded, or a hook of it that failed."""

    distribution: str
    entry_point: str
    message: str


EXTERNAL_OWNER = Owner(BUILT_IN, "", "", "ddbench.external", "")
"""Of distilled sets made elsewhere: what decides them is in their options."""


class Plugins:
    """All that plugins registered, looked up by kind and name.

    A plugin that fails hurts only its own names; a name that two plugins claim is refused when it is used.
    """

    def __init__(
        self,
        allowed: Sequence[str] | None = None,
        found: Iterable[EntryPoint] | None = None,
        *,
        folders: Sequence[Path] = (),
    ) -> None:
        """Load the plugins.

        Args:
            allowed: Distributions or entry points to load besides the built-in ones; None loads all, () none.
            found: Entry points to consider; those of the installed distributions by default.
            folders: Folders whose files are plugins; a file counts as an entry point of its name without `.py`.
        """
        self.errors: list[LoadError] = []
        self._manager = pluggy.PluginManager("ddbench")
        self._manager.add_hookspecs(hookspecs)
        self._owners: dict[str, Owner] = {}
        self._brought: dict[str, External] = {}
        candidates = entry_points(group=GROUP) if found is None else found
        for entry_point in sorted(
            candidates, key=lambda point: (_distribution(point) != BUILT_IN, _distribution(point), point.name)
        ):
            if _is_allowed(_distribution(entry_point), entry_point.name, allowed):
                self._load(entry_point)
        for folder in folders:
            self._load_folder(folder, allowed)

    @cached_property
    def _entries(self) -> dict[tuple[str, str], list[Entry]]:
        entries: dict[tuple[str, str], list[Entry]] = {}
        for kind in KINDS:
            for entry in self._registered(kind):
                entries.setdefault((kind, entry.name), []).append(entry)
        return entries

    def owners(self) -> list[Owner]:
        """Return the plugins that were loaded, built-in ones first."""
        return list(self._owners.values())

    def names(self, kind: str) -> list[str]:
        """Return the names of one kind, sorted."""
        return sorted(name for of_kind, name in self._entries if of_kind == kind)

    def bring(self, external: External) -> None:
        """Know distilled sets that this process has read; without, a name such as `external:mtt` stands for what is stored."""
        self._brought[external.name] = external

    def get(self, kind: str, name: str) -> Entry:
        """Return what is registered under a name, or stands for sets made elsewhere.

        Raises:
            UnknownName: Nobody registered it.
            NameClash: More than one plugin did; both owners are named.
        """
        if kind == "synthesizer" and is_external(name):
            return Entry(kind, name, self._brought.get(name) or External(name), EXTERNAL_OWNER)
        entries = self._entries.get((kind, name))
        if not entries:
            raise UnknownName(kind, name, self.names(kind))
        if len(entries) > 1:
            owners = " and ".join(str(entry.owner) for entry in entries)
            raise NameClash(f"{kind} {name!r} is registered twice: by {owners}; uninstall one or restrict DDBENCH_PLUGINS")
        return entries[0]

    def all(self, kind: str) -> dict[str, Any]:
        """Return what can be used of one kind, by name; names that clash are left out."""
        return {
            name: found[0].value for (of_kind, name), found in sorted(self._entries.items()) if of_kind == kind and len(found) == 1
        }

    def clashes(self) -> list[str]:
        """Return a sentence for every name that two plugins claim."""
        sentences = []
        for kind, name in sorted(key for key, found in self._entries.items() if len(found) > 1):
            try:
                self.get(kind, name)
            except NameClash as clash:
                sentences.append(str(clash))
        return sentences

    def _load(self, entry_point: EntryPoint) -> None:
        label = f"{_distribution(entry_point)}:{entry_point.name}"
        if label in self._owners:
            return
        try:
            module = entry_point.load()
            self._register(module, label)
            self._owners[label] = _owner(entry_point, module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin does at import, it hurts only itself
            self._fail(label, f"{type(error).__name__}: {error}")

    def _load_folder(self, folder: Path, allowed: Sequence[str] | None) -> None:
        """Load a folder's files, those that begin with `_` left out."""
        if not folder.is_dir():
            self._fail(f"dir:{folder.name}:{folder.name}", f"{folder} is no folder; name another with --plugins-dir DIR")
            return
        for path in sorted(folder.glob("[!_.]*.py")):
            if _is_allowed(f"dir:{path.name}", path.stem, allowed):
                self._load_file(path)

    def _load_file(self, path: Path) -> None:
        label = f"dir:{path}:{path.stem}"
        if label in self._owners:
            return
        try:
            module = module_of_file(path)
            self._register(module, label)
            if not self._manager.get_hookcallers(module):
                self._manager.unregister(name=label)
                raise PluginFailed(
                    "it implements no hook; mark a function with ddbench.hookimpl, or begin the file's name with '_'"
                )
            self._owners[label] = _owner_of_file(path, module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the same
            self._fail(label, f"{type(error).__name__}: {error}")

    def _register(self, module: ModuleType, label: str) -> None:
        """Take a module in.

        Raises:
            PluginFailed: It was written against another API, or implements a hook that there is not.
        """
        declared_api(module)
        self._manager.register(module, name=label)
        for caller in self._manager.get_hookcallers(module) or []:
            if caller.spec is None:
                self._manager.unregister(name=label)
                raise PluginFailed(f"it implements {caller.name!r}, which is not a hook of ddbench")

    def _registered(self, kind: str) -> Iterator[Entry]:
        hook, expected = KINDS[kind]
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            label = implementation.plugin_name
            try:
                values = list(implementation.function())
            except Exception as error:  # noqa: BLE001 - the same
                self._fail(label, f"{hook} raised {type(error).__name__}: {error}")
                continue
            for value in values:
                problem = _problem(value, expected)
                if problem:
                    self._fail(label, f"{hook} returned {value!r}, which {problem}")
                else:
                    yield Entry(kind, str(value.name), value, self._owners[label])

    def _fail(self, label: str, message: str) -> None:
        distribution, _, name = label.rpartition(":")
        if distribution.startswith(FROM_FOLDER):
            distribution = f"{FROM_FOLDER}{Path(distribution).name}"
        self.errors.append(LoadError(distribution, name, message))


def _problem(value: object, expected: type[Any]) -> str:
    if isinstance(value, type):
        return f"is a class; give an instance of it: {value.__name__}()"
    promised = {*getattr(expected, "__annotations__", ()), *(name for name in vars(expected) if not name.startswith("_"))}
    missing = sorted(name for name in promised if not hasattr(value, name))
    if missing:
        return f"lacks {', '.join(missing)}"
    return "" if isinstance(value, expected) else f"is no {expected.__name__}"


def plugins_of(settings: Settings) -> Plugins:
    """Return the plugins that settings allow, those of folders included."""
    return Plugins(settings.plugins, folders=settings.plugin_dirs)


def declared_api(module: ModuleType) -> int | None:
    """Return the version of ddbench's plugin API that a module says it was written against, or None.

    Raises:
        PluginFailed: This ddbench does not serve that version.
    """
    declared = getattr(module, "ddbench_api", None)
    if declared is None:
        return None
    if not isinstance(declared, int) or isinstance(declared, bool) or declared < 1:
        raise PluginFailed(f"its ddbench_api is {declared!r}; it is a whole number, {hookspecs.api_version} today")
    if declared > hookspecs.api_version:
        raise PluginFailed(
            f"it was written against version {declared} of ddbench's plugin API, and this ddbench has {hookspecs.api_version}; "
            "upgrade ddbench"
        )
    return declared


def module_of_file(path: Path) -> ModuleType:
    """Return a file's module, run once for each content; nothing beside it can be imported, as only its own bytes are hashed."""
    mark = hashlib.sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:12]
    name = f"ddbench_dir_{path.stem}_{mark}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise PluginFailed(f"{path} is no Python file")
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _is_allowed(distribution: str, name: str, allowed: Sequence[str] | None) -> bool:
    return allowed is None or distribution == BUILT_IN or distribution in allowed or name in allowed


def _distribution(entry_point: EntryPoint) -> str:
    return _name_and_version(entry_point.dist)[0] if entry_point.dist else "unknown"


@lru_cache
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Return both; a distribution reads its whole metadata anew, long description and all, whenever it is asked for one."""
    return distribution.name, distribution.version


def _owner(entry_point: EntryPoint, module: ModuleType) -> Owner:
    distribution, version = _name_and_version(entry_point.dist) if entry_point.dist else ("unknown", "0")
    api = hookspecs.api_version if distribution == BUILT_IN else declared_api(module)
    return Owner(distribution, version, entry_point.name, entry_point.value, files_sha256(module), api)


def _owner_of_file(path: Path, module: ModuleType) -> Owner:
    """Return who a file's things come from; its hash stands in for a version."""
    sha256 = files_sha256(module)
    return Owner(f"{FROM_FOLDER}{path.name}", sha256[:12], path.stem, module.__name__, sha256, declared_api(module), str(path))


@cache
def files_sha256(module: ModuleType) -> str:
    """Return a hash of a plugin's own files: its package folder, or its single file where it stands in no package."""
    file = getattr(module, "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    in_package = path.name == "__init__.py" or bool(module.__package__)
    files = sorted(path.parent.rglob("*")) if in_package else [path]
    digest = hashlib.sha256()
    for item in files:
        if item.suffix in HASHED_SUFFIXES and "__pycache__" not in item.parts:
            digest.update(f"{item.relative_to(path.parent)}\0".encode())
            digest.update(hashlib.sha256(item.read_bytes()).digest())
    return digest.hexdigest()

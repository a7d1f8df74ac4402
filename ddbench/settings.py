"""Where things are: flag > environment > `ddbench.toml` of the project > the user's directories."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from ddbench.errors import BadOption

KEYS = ("store", "data", "plugins", "plugins_dir")
"""What `ddbench.toml` may set: a directory, a list of directories, a list of names, a list of directories."""


@dataclass(frozen=True)
class Settings:
    """Resolved locations, each with where it came from."""

    store: Path
    data_roots: tuple[Path, ...]
    """Searched in order; the last one is where datasets are prepared when no other is writable."""
    plugins: tuple[str, ...] | None
    """Distributions or entry points loaded besides the built-in ones; None loads all."""
    offline: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    plugin_dirs: tuple[Path, ...] = ()
    """Folders whose files are plugins, without packaging."""

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, for a process that is to have the same."""
        roots = [str(root) for root in self.data_roots]
        plugins = None if self.plugins is None else list(self.plugins)
        dirs = [str(folder) for folder in self.plugin_dirs]
        return {"store": str(self.store), "data_roots": roots, "plugins": plugins, "offline": self.offline, "plugin_dirs": dirs}


def settings_from_json(content: Mapping[str, Any]) -> Settings:
    """Return the settings that `Settings.to_json` told of."""
    plugins = None if content["plugins"] is None else tuple(content["plugins"])
    roots, dirs = (tuple(Path(path) for path in content[name]) for name in ("data_roots", "plugin_dirs"))
    return Settings(Path(content["store"]), roots, plugins, content["offline"], plugin_dirs=dirs)


def load_settings(
    *,
    store: Path | None = None,
    data_roots: Sequence[Path] = (),
    plugin_dirs: Sequence[Path] = (),
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings in force.

    Raises:
        BadOption: `ddbench.toml` is not TOML or holds an unknown key.
    """
    env = os.environ if environ is None else environ
    project, where = _project_file(Path.cwd())
    sources: dict[str, str] = {}
    found_store = _first(
        "store", sources, (store, "--store"), (env.get("DDBENCH_STORE"), "DDBENCH_STORE"), (project.get("store"), where)
    )
    roots = _first(
        "data",
        sources,
        (list(data_roots), "--data-root"),
        (_paths(env.get("DDBENCH_DATA", "")), "DDBENCH_DATA"),
        (project.get("data"), where),
    )
    dirs = _first(
        "plugins_dir",
        sources,
        (list(plugin_dirs), "--plugins-dir"),
        (_paths(env.get("DDBENCH_PLUGINS_DIR", "")), "DDBENCH_PLUGINS_DIR"),
        (project.get("plugins_dir"), where),
    )
    names = env.get("DDBENCH_PLUGINS")
    sources["plugins"] = "DDBENCH_PLUGINS" if names is not None else where if "plugins" in project else "all"
    allowed = names.split(",") if names is not None else project.get("plugins")
    user = Path(platformdirs.user_data_dir("ddbench", appauthor=False))
    return Settings(
        store=_absolute(found_store) if found_store else user / "store",
        data_roots=(*(_absolute(root) for root in _listed(roots)), user / "data"),
        plugins=None if allowed is None else tuple(name.strip() for name in _listed(allowed) if str(name).strip()),
        offline=offline,
        sources=sources,
        plugin_dirs=tuple(dict.fromkeys(_absolute(folder) for folder in _listed(dirs))),
    )


def _first(key: str, sources: dict[str, str], *candidates: tuple[object, str]) -> object:
    """Return the first candidate that says something, and note where it came from."""
    for value, source in candidates:
        if value:
            sources[key] = source
            return value
    sources[key] = "user directory"
    return None


def _paths(text: str) -> list[str]:
    return [part for part in text.split(os.pathsep) if part]


def _listed(value: object) -> list[str]:
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def _absolute(path: object) -> Path:
    return Path(str(path)).expanduser().resolve()


def _project_file(start: Path) -> tuple[dict[str, object], str]:
    """Return the nearest `ddbench.toml` at or above `start`, relative paths made absolute, and its path."""
    for folder in (start, *start.parents):
        path = folder / "ddbench.toml"
        if path.is_file():
            return _read_project(path), str(path)
    return {}, "ddbench.toml"


def _read_project(path: Path) -> dict[str, object]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(f"{path} is not TOML: {error}") from error
    unknown = sorted(set(content) - set(KEYS))
    if unknown:
        raise BadOption(f"{path} has unknown key {unknown[0]!r}; it may set: {', '.join(KEYS)}")
    if "store" in content:
        content["store"] = path.parent / str(content["store"])
    for key in ("data", "plugins_dir"):
        content[key] = [path.parent / item for item in _listed(content.get(key))]
    return content

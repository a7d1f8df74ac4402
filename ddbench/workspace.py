"""What every run shares: settings, store, plugins and the one who is told about progress."""

from __future__ import annotations

from dataclasses import dataclass, field

from ddbench.plugins import Plugins, plugins_of
from ddbench.progress import Reporter, Silent
from ddbench.settings import Settings, load_settings
from ddbench.store import Store


@dataclass
class Workspace:
    """An opened store with the plugins and settings in force."""

    settings: Settings
    store: Store
    plugins: Plugins
    reporter: Reporter = field(default_factory=Silent)


def open_workspace(settings: Settings | None = None, reporter: Reporter | None = None) -> Workspace:
    """Return a workspace; nothing is written and no torch is imported."""
    found = load_settings() if settings is None else settings
    return Workspace(found, Store(found.store), plugins_of(found), reporter or Silent())

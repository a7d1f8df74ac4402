"""What a changelog must say of a surface that changed: the snapshots that are kept, and how they are held against it.

`surface.txt` is the surface as it is. `surface-N.txt` is the one that API version N began with, and is not touched again. Each step
from one to the next is told in the changelog's sections `### API`, in bullets that begin with the version and the surface that they
lead to, and that hold the full name of everything that differs as code:

    - api_version 1, surface `0123456789abcdef`: `ddbench.run` takes `fresh`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

ENTRY = re.compile(r"(?:class |def |hook )?([\w.]+)")
"""How a line of a surface begins: what it is about."""

SECTION = re.compile(r"^### API\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)

BULLET = re.compile(r"^- api_version (\d+), surface `([0-9a-f]{16})`:(.*?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Bullet:
    """What one bullet says: the version, the surface that it leads to, and the names in it."""

    version: int
    surface: str
    names: frozenset[str]


@dataclass(frozen=True)
class Snapshots:
    """The surface as it is kept, and what each API version began with."""

    now: str
    begun: Mapping[int, str]

    @classmethod
    def read(cls, folder: Path) -> Snapshots:
        """Return the snapshots in a folder."""
        files = {path.stem: path.read_text("utf-8") for path in folder.glob("surface*.txt")}
        begun = {int(stem.removeprefix("surface-")): text for stem, text in files.items() if stem != "surface"}
        return cls(files["surface"], dict(sorted(begun.items())))

    def renewed(self, surface: str, version: int) -> Snapshots:
        """Return them with another surface, with which a new API version begins."""
        return replace(self, now=surface, begun={**self.begun, version: self.begun.get(version, surface)})

    def write(self, folder: Path) -> None:
        """Write what is not there yet, and the surface as it is; what a version began with stays."""
        (folder / "surface.txt").write_text(self.now, "utf-8")
        for version, text in self.begun.items():
            if not (folder / f"surface-{version}.txt").exists():
                (folder / f"surface-{version}.txt").write_text(text, "utf-8")

    def untold(self, changelog: str) -> list[str]:
        """Return what the changelog's sections `### API` lack, a clause each; nothing where all is told."""
        bullets = list(told(changelog))
        return [*self._unknown(bullets), *self._unnamed(bullets)]

    def _unknown(self, bullets: list[Bullet]) -> Iterator[str]:
        """Give the snapshots that no bullet leads to; the newest bullet must lead to the surface as it is."""
        for version, text in self.begun.items():
            if (version, digest(text)) not in {(bullet.version, bullet.surface) for bullet in bullets}:
                yield f"no line begins with {opening(version, text)}, what surface-{version}.txt holds"
        if not bullets or bullets[0].surface != digest(self.now):
            yield f"the last line of the first section `### API` does not begin with {opening(max(self.begun), self.now)}"

    def _unnamed(self, bullets: list[Bullet]) -> Iterator[str]:
        """Give the names that differ from one snapshot to the next, and that no bullet of its version names."""
        steps = [*self.begun.items(), (max(self.begun), self.now)]
        for (_, before), (version, after) in pairwise(steps):
            names = {name for bullet in bullets if bullet.version == version for name in bullet.names}
            for name in sorted(changed(before, after) - names):
                yield f"no line of api_version {version} names `{name}`"


def opening(version: int, surface: str) -> str:
    """Return how a bullet that leads to a surface begins."""
    return f"`- api_version {version}, surface `{digest(surface)}`:`"


def digest(surface: str) -> str:
    """Return the 16 hex digits by which a changelog names a surface."""
    return hashlib.sha256(surface.encode()).hexdigest()[:16]


def told(changelog: str) -> Iterator[Bullet]:
    """Give the bullets of the sections `### API`, the newest first: sections from above, the bullets of each from below."""
    for section in SECTION.findall(changelog):
        for version, surface, text in reversed(BULLET.findall(section)):
            codes = re.findall(r"`([^`]+)`", text)
            yield Bullet(int(version), surface, frozenset(name for code in codes for name in re.findall(r"[\w.]+", code)))


def changed(before: str, after: str) -> frozenset[str]:
    """Return the full names of the entries that differ; a class that is new or gone stands for its members."""
    old, new = entries(before), entries(after)
    differ = {name for name in old | new if old.get(name) != new.get(name)} - {"api_version"}
    whole = {name for name in differ if (name in old) != (name in new)}
    return frozenset(name for name in differ if name.rpartition(".")[0] not in whole)


def entries(surface: str) -> dict[str, str]:
    """Return a surface's lines by the full name that each is about."""
    return {found[1]: line for line in surface.splitlines() if (found := ENTRY.match(line))}

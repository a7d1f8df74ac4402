"""The checkout's Markdown where the site has it: pages keep their text, links are turned to where their target went."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))|((?:src|href)=\")([^\"]+)(\")")
MARK = re.compile(r"^<!-- generated: (\w+) ([\w/.-]+) -->$", re.MULTILINE)
FILES = "files"
"""The site's folder of what pages link to and that is no page: pictures, the licence, scripts."""

WHOLE = PurePosixPath("docs/leaderboard")
"""A site of its own, which the build copies beside the pages as it is; linked by `<a href>`, which Sphinx leaves alone."""

Made = Mapping[str, Callable[[str], str]]
"""By the first word of a mark, what gives the Markdown that takes the mark's place; it is given the second word."""


def pages_of(root: Path) -> dict[str, str]:
    """Return every page of the checkout: where the site has it, by its path in the checkout."""
    found = {"README.md": "overview.md", "CHANGELOG.md": "changelog.md", "docs/site/index.md": "index.md"}
    for path in sorted((root / "docs").rglob("*.md")):
        if "site" not in path.relative_to(root / "docs").parts:
            found[path.relative_to(root).as_posix()] = path.relative_to(root / "docs").as_posix()
    for path in sorted((root / "plugins").glob("*/README.md")):
        found[path.relative_to(root).as_posix()] = f"plugins/{path.parent.name}.md"
    for path in sorted((root / "plugins" / "ddbench_plugins").glob("*/README*.md")):
        extra = path.stem.removeprefix("README")
        found[path.relative_to(root).as_posix()] = f"plugins/{path.parent.name}{extra}.md"
    for path in sorted((root / "benchmarks").rglob("README.md")):
        found[path.relative_to(root).as_posix()] = f"{path.parent.relative_to(root).as_posix().replace('/', '-')}.md"
    return found


def stage(root: Path, out: Path, made: Made) -> list[str]:
    """Write every page of the checkout below `out`, with its links and marks put right; return their paths there."""
    pages = pages_of(root)
    for source, target in pages.items():
        text = (root / source).read_text("utf-8")
        write(out / target, turned(filled(text, made), source=source, pages=pages, root=root, out=out))
    return list(pages.values())


def write(path: Path, text: str) -> None:
    """Write a page, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def filled(text: str, made: Made) -> str:
    """Return a page with every `<!-- generated: WHAT NAME -->` replaced by what is generated there."""
    return MARK.sub(lambda mark: made[mark[1]](mark[2]), text)


def turned(text: str, *, source: str, pages: Mapping[str, str], root: Path, out: Path) -> str:
    """Return a page whose relative links lead to where the site has their targets; code blocks are left alone.

    Args:
        text: Markdown.
        source: The page's path in the checkout.
        pages: Where the site has each page.
        root: The checkout.
        out: The site's source folder, into which linked files are copied.
    """

    def placed(link: str) -> str:
        path, hash_sign, anchor = link.partition("#")
        if not path or "://" in link or link.startswith("mailto:"):
            return link
        found = PurePosixPath(os.path.normpath(PurePosixPath(source).parent / path))
        target = pages.get(str(found)) or pages.get(str(found / "README.md")) or _file(found, root, out)
        here = PurePosixPath(pages[source]).parent
        return os.path.relpath(target, here).replace(os.sep, "/") + hash_sign + anchor

    def replaced(link: re.Match[str]) -> str:
        before, target, after = (part for part in link.groups() if part is not None)
        return f"{before}{placed(target)}{after}"

    parts, last = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(replaced, text[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, LINK.sub(replaced, text[last:])])


def _file(found: PurePosixPath, root: Path, out: Path) -> str:
    """Copy a linked file that is no page and return where it is; of a folder, only its README's page can be shown."""
    if found.is_relative_to(WHOLE):
        return found.relative_to(WHOLE.parent).as_posix()
    if (root / found).is_dir():
        raise FileNotFoundError(f"{found} is a folder without a README; link to a file in it")
    target = out / FILES / found
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / found, target)
    return target.relative_to(out).as_posix()

"""The documentation's pages, and what is cut out of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", "CHANGELOG.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Every page's text by its path in the checkout."""
    return {name: (ROOT / name).read_text("utf-8") for name in PAGES}


@pytest.fixture(scope="session")
def written(pages) -> str:
    """All pages as one text."""
    return "\n".join(pages.values())


@pytest.fixture(scope="session")
def blocks():
    """Return a function from a page's text and a language to the code blocks in that language."""

    def cut(text: str, language: str) -> list[str]:
        return [code for found, code in FENCE.findall(text) if found == language]

    return cut


@pytest.fixture(scope="session")
def prose():
    """Return a function from a page's text to the text without code blocks, fenced or indented."""

    def cut(text: str) -> str:
        return re.sub(r"^ {4}.*$", "", FENCE.sub("", text), flags=re.MULTILINE)

    return cut

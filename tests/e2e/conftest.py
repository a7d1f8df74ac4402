"""A headless Chromium for the tests that look at pages as a reader does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

REQUIRED = "DDBENCH_REQUIRE_BROWSER"
"""Where this is set, as by `nox -s e2e`, a missing browser is an error and no reason to skip."""


TIMEOUT_MS = 10_000
"""For what never comes; nothing waits so long where all is well."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium that is installed; none is downloaded."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("playwright is not installed: pip install 'ddbench[dev]'")
    path = os.environ.get("CHROMIUM") or next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        without(f"no Chromium: none of {', '.join(BROWSERS)} is on PATH, and CHROMIUM names none")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


def without(why: str) -> NoReturn:
    """Skip, or fail where a browser must be there."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{why}; {REQUIRED} asks for a browser")
    pytest.skip(why)


@dataclass
class Reader:
    """Opens pages in contexts of their own, and keeps what they complain of and ask for."""

    browser: Browser
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, address: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Page:
        """Return a page that is open at an address."""
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(address)
        return page


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    """Opens pages; at the end nothing may have complained or left the machine."""
    one = Reader(browser)
    yield one
    for context in browser.contexts:
        context.close()
    assert one.complaints == []
    assert [url for url in one.asked if not url.startswith(("file:", "data:", "blob:"))] == []

"""The documentation's site, built as `nox -s docs` builds it, in a real headless browser: from disk, wide and narrow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from looks import commonest, pictured

pytestmark = pytest.mark.e2e

BUILD = Path(__file__).parents[2] / "docs" / "site" / "build.py"

PAGES = ("index", "quickstart", "tutorial", "hooks", "methods/dwa")

WIDTHS = (1280, 360)


@pytest.fixture(scope="module")
def documentation(tmp_path_factory):
    """The site's root folder."""
    out = tmp_path_factory.mktemp("docs")
    subprocess.run([sys.executable, str(BUILD), "--out", str(out)], check=True, capture_output=True)
    return out / "html"


@pytest.fixture
def opened(reader, documentation):
    """Return a function that opens a page of the documentation from disk."""
    return lambda name, **screen: reader.open(f"{documentation.as_uri()}/{name}.html", **screen)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_screen_and_has_something_on_it(opened, tmp_path, name, width):
    page = opened(name, width=width, height=800)
    assert page.get_by_role("heading", level=1).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("article").evaluate("article => article.getBoundingClientRect().right") <= width
    assert page.locator("img:visible").evaluate_all("all => all.filter(one => !one.naturalWidth).map(one => one.src)") == []
    share, _ = commonest(pictured(page, tmp_path / "page.png"))
    assert 0.3 < share < 0.98


def test_a_wide_screen_leads_from_page_to_page_by_the_sidebar(opened):
    page = opened("index")
    for text, address in (
        ("Quickstart", "quickstart.html"),
        ("Hooks", "hooks.html"),
        ("Methods", "methods/index.html"),
        ("dwa", "methods/dwa.html"),
    ):
        page.locator(".sidebar-tree a", has_text=text).first.click()
        page.wait_for_url(f"**/{address}")
        assert page.locator(".sidebar-tree .current-page > a").first.inner_text().startswith(text)


def test_a_narrow_screen_opens_its_menu_and_leads_on(opened):
    page = opened("quickstart", width=360, height=700)
    link = page.locator(".sidebar-tree a", has_text="Hooks").first
    assert link.bounding_box()["x"] < 0
    page.locator("label[for='__navigation']:visible").first.click()
    page.wait_for_function("document.querySelector('.sidebar-drawer').getBoundingClientRect().x >= 0")
    link.click()
    page.wait_for_url("**/hooks.html")


def test_the_next_page_and_a_search_are_found_without_a_network(opened):
    page = opened("quickstart")
    page.locator(".next-page").click()
    page.wait_for_load_state()
    assert "quickstart" not in page.url
    page.locator(".sidebar-search").fill("tie groups")
    page.locator(".sidebar-search").press("Enter")
    page.wait_for_url("**/search.html?q=tie+groups*")
    page.locator("#search-results li a").first.wait_for()

"""The leaderboard in a real headless browser: from disk, by mouse and by keyboard, wide and narrow, light and dark."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from boards import saved, small_board
from handmade import nested

pytestmark = pytest.mark.e2e

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

HOSTILE = "<img src=x onerror=alert(1)>"


def found_browser() -> str | None:
    return os.environ.get("CHROMIUM") or next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that is installed; none is downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'ddbench[dev]'")
    path = found_browser()
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(BROWSERS)} is on PATH, and CHROMIUM names none")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site with two rankings, four methods, and a name that means harm."""
    folder = tmp_path_factory.mktemp("board")
    records = saved(folder / "records", *small_board(), *nested(HOSTILE, [[0.3, 0.4], [0.3, 0.5], [0.2, 0.4]]))
    command = [sys.executable, "-m", "ddbench", "leaderboard", "build", str(records), "--out", str(folder / "site")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture
def opened(browser, site):
    """Return a function that opens a page of the site from disk; at the end nothing may have complained or left the machine."""
    contexts, complaints, asked = [], [], []

    def at(name="index.html", width=1280, height=900, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{site.as_uri()}/{name}")
        if name.startswith("index"):
            page.wait_for_selector("html[data-ready]")
        return page

    yield at
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def methods(page) -> list[str]:
    return [cell.inner_text().split()[0] for cell in page.locator(".tabulator-row:not(.tabulator-group) .method").all()]


def test_it_loads_from_disk_with_every_row_in_its_ranking(opened):
    page = opened()
    assert page.locator(".tabulator-group").count() == 2
    assert len(methods(page)) == 6
    assert page.locator("#shown").inner_text() == "6 of 6 rows"
    assert page.locator(".whiskers .whisker").count() == 6
    assert page.locator(".verdict", has_text="▲").count() == 1
    assert page.locator(".verdict .unseen", has_text="better than random").count() == 1


def test_tie_groups_are_parted_by_a_line_only_where_rows_stand_by_rank(opened):
    page = opened("index.html#labels=hard")
    parted = page.locator(".by-rank .starts-group")
    assert [row.locator(".method").inner_text().split()[0] for row in parted.all()] == ["dwa"]
    assert parted.first.evaluate("element => getComputedStyle(element).borderTopWidth") == "2px"
    assert [cell.inner_text() for cell in page.locator(".rank").all()] == ["1", "2"]
    page.get_by_role("button", name="method").click()
    assert parted.count() == 0


def test_sorting_keeps_to_each_ranking_and_puts_missing_values_last(opened):
    page = opened()
    page.get_by_role("button", name="top1 %").click()
    groups = [4, 2] if len(set(methods(page)[:4])) == 4 else [2, 4]
    split = groups[0]
    scores = [float(cell.inner_text().split()[0]) for cell in page.locator('.tabulator-cell[tabulator-field="score"]').all()]
    for part in (scores[:split], scores[split:]):
        assert part == sorted(part, reverse=True)
    page.get_by_role("button", name="Δ random").click()
    for direction in ("descending", "ascending"):
        assert page.locator(f'.tabulator-col[aria-sort="{direction}"]').count() == 1
        parts = methods(page)[:split], methods(page)[split:]
        assert [part[-1] for part in parts] == ["random", "random"]
        page.get_by_role("button", name="Δ random").click()


def test_filters_choose_rows_and_stand_in_the_address(opened):
    page = opened()
    page.select_option("#filter-labels", "hard")
    assert sorted(methods(page)) == ["dwa", "random"]
    assert page.url.endswith("#labels=hard")
    page.fill("#filter-method", "dw")
    assert methods(page) == ["dwa"]
    assert page.locator("#shown").inner_text() == "1 of 6 rows"
    page.fill("#filter-method", "no such method")
    assert page.get_by_text("No row passes these filters.").is_visible()
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.getElementById('shown').textContent === '6 of 6 rows'")
    again = opened("index.html#labels=hard&method=rand")
    assert methods(again) == ["random"]


def test_a_row_opens_and_tells_everything(opened, site):
    page = opened()
    page.locator(".method", has_text="dwa").first.click()
    page.wait_for_load_state()
    assert "/row/" in page.url
    assert page.get_by_role("heading", level=1).inner_text().startswith("dwa")
    assert page.locator("code").inner_text().startswith("ddbench run dwa --dataset digits --ipc 10")
    assert page.get_by_role("img", name="Training loss").is_visible()
    assert page.locator("tr", has_text="rho").first.is_visible()
    page.get_by_role("link", name="dwa", exact=True).click()
    page.wait_for_load_state()
    assert "/method/" in page.url
    assert page.locator("tbody tr").count() == 2
    page.locator("tbody a").first.click()
    page.wait_for_load_state()
    assert "/row/" in page.url


def test_the_keyboard_alone_sorts_filters_and_opens(opened):
    page = opened()

    def go_to(expression):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"(document.activeElement.{expression}) ?? false"):
                return
        raise AssertionError(f"60 times Tab, and never at {expression}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    go_to("id === 'filter-method'")
    page.keyboard.type("dwa")
    assert methods(page) == ["dwa", "dwa"]
    go_to("textContent === 'top1 %'")
    page.keyboard.press("Enter")
    assert page.locator('.tabulator-col[aria-sort="descending"] .sort').inner_text().startswith("top1")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    go_to("classList.contains('method')")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/row/"))


@pytest.mark.parametrize("width", [320, 375, 700, 800, 900, 1000, 1100, 1200])
def test_a_narrow_screen_needs_no_sideways_scrolling(opened, site, width):
    pages = ["index.html", "about.html"]
    pages += [f"{kind}/{min(path.name for path in (site / kind).iterdir())}" for kind in ("row", "method")]
    for name in pages:
        page = opened(name, width=width, height=700)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page = opened(width=width)
    assert page.locator('.tabulator-cell[tabulator-field="score"]').first.is_visible()
    box = page.locator(".tabulator-row:not(.tabulator-group)").first.bounding_box()
    assert box["x"] + box["width"] <= width
    if width < 700:
        page.locator("summary", has_text="Filters").click()
    page.select_option("#filter-labels", "hard")
    assert sorted(methods(page)) == ["dwa", "random"]


def channel(value: float) -> float:
    value /= 255
    return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    red, green, blue = (channel(float(part)) for part in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_light_and_dark(opened, site, scheme):
    for name in ("index.html", f"row/{next((site / 'row').iterdir()).name}"):
        page = opened(name, scheme=scheme)
        paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (paper < 0.1) == (scheme == "dark")
        read = "element => [...element.querySelectorAll('main *')].filter(one => one.textContent && one.checkVisibility())"
        colours = set(page.evaluate(f"({read})(document).map(one => getComputedStyle(one).color)"))
        for colour in colours:
            light, dark = sorted([luminance(colour), paper], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colour)


def test_what_is_shown_can_be_downloaded(opened):
    page = opened("index.html#labels=hard")
    with page.expect_download() as waited:
        page.get_by_role("button", name="CSV").click()
    lines = Path(waited.value.path()).read_text("utf-8").splitlines()
    assert lines[0].startswith("dataset,ipc,protocol,labels,student")
    assert len(lines) == 3
    with page.expect_download() as waited:
        page.get_by_role("button", name="JSON").click()
    assert waited.value.suggested_filename == "leaderboard.json"


def test_a_name_that_means_harm_is_text_everywhere(opened, site):
    page = opened()
    page.locator(".method", has_text="<img").click()
    page.wait_for_load_state()
    assert page.get_by_role("heading", level=1).inner_text().startswith(HOSTILE)
    assert page.locator("main img").count() == 0


def test_without_scripts_there_is_a_way_to_every_row(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.as_uri()}/index.html")
    assert page.get_by_text("The table needs JavaScript").is_visible()
    page.locator(".methods a").first.click()
    assert page.locator("tbody tr").count() >= 1
    context.close()

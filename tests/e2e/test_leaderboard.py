"""The leaderboard in a real headless browser: from disk, by mouse and by keyboard, wide and narrow, light and dark."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from boards import saved, small_board
from handmade import nested
from looks import commonest, contrasts, luminance, pictured

pytestmark = pytest.mark.e2e

HOSTILE = "<img src=x onerror=alert(1)>"

RANKINGS = [
    ("digits", 1, "longer-soft/1", "soft_once", "alexnet"),
    ("digits", 10, "quick-soft/1", "soft_online", "convnet3"),
    ("digits", 10, "quick-hard/1", "hard", "resnet10t"),
    ("letters", 2, "quick-soft/1", "soft_online", "resnet10t"),
]
"""Dataset, images per class, protocol, labels and student of the site's rankings."""

COORDINATES = ("dataset", "ipc", "protocol", "labels", "student")


def elsewhere() -> list:
    """Return records of rankings beside those of the small board, so that every filter has something to choose between."""
    found = []
    for dataset, ipc, protocol, regime, student in (RANKINGS[0], RANKINGS[3]):
        where = {"dataset": dataset, "ipc": ipc, "protocol": protocol, "label_regime": regime, "student": f"ddbench/{student}"}
        found += nested("random", [[0.30, 0.31], [0.33, 0.32], [0.31, 0.30]], **where)
        found += nested("dwa", [[0.35, 0.36], [0.38, 0.37], [0.36, 0.35]], options={"rho": 0.015}, **where)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site with four rankings, four methods, a picture, and a name that means harm."""
    folder = tmp_path_factory.mktemp("board")
    pictured_one = next(one for one in small_board() if one.cell.synthesizer == "dwa")
    hostile = nested(HOSTILE, [[0.3, 0.4], [0.3, 0.5], [0.2, 0.4]])
    records = saved(folder / "records", *small_board(), *elsewhere(), *hostile)
    Image.frombytes("L", (80, 80), random.Random(0).randbytes(6400)).save(records / f"{pictured_one.distilled_key}.png")
    command = [sys.executable, "-m", "ddbench", "leaderboard", "build", str(records), "--out", str(folder / "site")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture
def opened(reader, site):
    """Return a function that opens a page of the site from disk, and waits for the table."""

    def at(name="index.html", **screen):
        page = reader.open(f"{site.as_uri()}/{name}", **screen)
        if name.startswith("index"):
            page.wait_for_selector("html[data-ready]")
        return page

    return at


def page_of(site, kind: str, heading: str) -> str:
    """Return the name of the first page whose first heading begins so."""
    named = (path for path in sorted((site / kind).iterdir()) if f"<h1>{heading}" in path.read_text("utf-8"))
    return f"{kind}/{next(named).name}"


def rankings(page) -> list[tuple]:
    """Return the coordinates of the rankings that are shown, in their order, as their headings tell them."""
    found = []
    for heading in page.locator(".tabulator-group .ranking").all():
        dataset, ipc, student = heading.locator("strong").inner_text().split(" · ")
        protocol, labels = heading.locator(".rest").inner_text().split(" · ")[:2]
        found.append((dataset, int(ipc.removeprefix("ipc ")), protocol, labels, student))
    return found


def methods(page) -> list[str]:
    return [cell.inner_text().split()[0] for cell in page.locator(".tabulator-row:not(.tabulator-group) .method").all()]


def test_it_loads_from_disk_with_every_row_in_its_ranking(opened):
    page = opened()
    assert sorted(rankings(page)) == sorted(RANKINGS)
    assert len(methods(page)) == 10
    assert page.locator("#shown").inner_text() == "10 of 10 rows"
    assert page.locator(".whiskers .whisker").count() == 10
    assert page.locator(".verdict", has_text="▲").count() == 3
    assert page.locator(".verdict .unseen", has_text="better than random").count() == 3


def test_tie_groups_are_parted_by_a_line_only_where_rows_stand_by_rank(opened):
    page = opened("index.html#labels=hard")
    parted = page.locator(".by-rank .starts-group")
    assert [row.locator(".method").inner_text().split()[0] for row in parted.all()] == ["dwa"]
    assert parted.first.evaluate("element => getComputedStyle(element).borderTopWidth") == "2px"
    assert [cell.inner_text() for cell in page.locator(".rank").all()] == ["1", "2"]
    page.get_by_role("button", name="method").click()
    assert parted.count() == 0


def by_ranking(page, field: str) -> list[list[str]]:
    """Return the texts of a column, ranking by ranking as they are shown."""
    read = """(rows, field) => rows.map(row => row.matches('.tabulator-group') ? null
        : row.querySelector(`[tabulator-field="${field}"]`).innerText)"""
    found: list[list[str]] = []
    for text in page.locator(".tabulator-row").evaluate_all(read, field):
        if text is None:
            found.append([])
        else:
            found[-1].append(text)
    return found


def test_sorting_keeps_to_each_ranking_and_puts_missing_values_last(opened):
    page = opened()
    before = rankings(page)
    page.get_by_role("button", name="top1 %").click()
    for texts in by_ranking(page, "score"):
        scores = [float(text.split()[0]) for text in texts]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) > 1
    page.get_by_role("button", name="Δ random").click()
    for direction in ("descending", "ascending"):
        assert page.locator(f'.tabulator-col[aria-sort="{direction}"]').count() == 1
        assert [part[-1].split()[0] for part in by_ranking(page, "method")] == ["random"] * 4
        page.get_by_role("button", name="Δ random").click()
    assert rankings(page) == before


@pytest.mark.parametrize("coordinate", COORDINATES)
def test_rankings_stand_by_the_coordinate_that_is_asked_for(opened, coordinate):
    page = opened()
    page.select_option("#order", coordinate)
    shown = [ranking[COORDINATES.index(coordinate)] for ranking in rankings(page)]
    assert shown == sorted(shown)
    assert len(set(shown)) > 1
    assert sorted(rankings(page)) == sorted(RANKINGS)
    page.get_by_role("button", name="top1 %").click()
    assert [ranking[COORDINATES.index(coordinate)] for ranking in rankings(page)] == shown


def test_two_orders_of_rankings_differ(opened):
    page = opened()
    orders = set()
    for coordinate in COORDINATES:
        page.select_option("#order", coordinate)
        orders.add(tuple(rankings(page)))
    assert len(orders) > 2


@pytest.mark.parametrize("coordinate", COORDINATES)
def test_a_filter_leaves_the_rankings_of_its_value_and_show_all_brings_them_back(opened, coordinate):
    place = COORDINATES.index(coordinate)
    values = sorted({ranking[place] for ranking in RANKINGS})
    page = opened()
    assert page.locator(f"#filter-{coordinate} option").evaluate_all("all => all.map(one => one.value)") == ["", *map(str, values)]
    for value in values:
        page.select_option(f"#filter-{coordinate}", str(value))
        wanted = sorted(ranking for ranking in RANKINGS if ranking[place] == value)
        assert sorted(rankings(page)) == wanted
        assert len(wanted) < len(RANKINGS)
        assert f"#{coordinate}=" in page.url
        assert sorted(rankings(opened(f"index.html{page.url.partition('index.html')[2]}"))) == wanted
    page.get_by_role("button", name="Show all").click()
    page.locator("#shown", has_text="10 of 10 rows").wait_for()
    assert sorted(rankings(page)) == sorted(RANKINGS)


def test_filters_are_all_met_at_once(opened):
    page = opened()
    page.select_option("#filter-student", "resnet10t")
    page.select_option("#filter-dataset", "letters")
    assert rankings(page) == [RANKINGS[3]]
    page.select_option("#filter-ipc", "1")
    assert page.get_by_text("No row passes these filters.").is_visible()


def test_filters_choose_rows_and_stand_in_the_address(opened):
    page = opened()
    page.select_option("#filter-labels", "hard")
    assert sorted(methods(page)) == ["dwa", "random"]
    assert page.url.endswith("#labels=hard")
    page.fill("#filter-method", "dw")
    assert methods(page) == ["dwa"]
    assert page.locator("#shown").inner_text() == "1 of 10 rows"
    page.fill("#filter-method", "no such method")
    assert page.get_by_text("No row passes these filters.").is_visible()
    page.get_by_role("button", name="Show all").click()
    page.locator("#shown", has_text="10 of 10 rows").wait_for()
    again = opened("index.html#labels=hard&method=rand")
    assert methods(again) == ["random"]


def test_a_row_opens_and_tells_everything(opened, site):
    page = opened("index.html#labels=hard")
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
    assert page.locator(".lines tbody tr").count() == 4
    page.locator(".lines tbody a").first.click()
    page.wait_for_load_state()
    assert "/row/" in page.url


def test_a_methods_page_shows_a_row_from_close_up(opened, site):
    page = opened(page_of(site, "method", "dwa"))
    example = page.locator("#example")
    assert example.locator("code").inner_text().startswith("ddbench run dwa --dataset digits --ipc 10 --protocol quick-soft/1")
    assert example.get_by_role("img", name="Training loss").is_visible()
    assert example.locator(".pictures img").evaluate("image => [image.complete, image.naturalWidth]") == [True, 80]
    assert example.locator("tr", has_text="rho").is_visible()
    example.get_by_role("link").first.click()
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
    assert methods(page) == ["dwa"] * 4
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
    pages += [page_of(site, kind, "dwa") for kind in ("row", "method")]
    for name in pages:
        page = opened(name, width=width, height=700)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page = opened(width=width)
    assert page.locator('.tabulator-cell[tabulator-field="score"]').first.is_visible()
    box = page.locator(".tabulator-row:not(.tabulator-group)").first.bounding_box()
    assert box["x"] + box["width"] <= width
    clipped = "cells => cells.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    assert page.locator(".tabulator-cell").evaluate_all(clipped) == []
    if width < 700:
        page.locator("summary", has_text="Filters").click()
    page.select_option("#filter-labels", "hard")
    assert sorted(methods(page)) == ["dwa", "random"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_text_is_legible_in_light_and_dark(opened, site, scheme, width):
    for name in ("index.html", "about.html", page_of(site, "row", "dwa"), page_of(site, "method", "dwa")):
        page = opened(name, scheme=scheme, width=width)
        assert (luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.1) == (scheme == "dark")
        found = contrasts(page)
        assert len(found) > 20
        assert [one for one in found if one[1] < 4.5] == [], name


@pytest.mark.parametrize(("look", "screen"), [("wide", {}), ("narrow", {"width": 375}), ("dark", {"scheme": "dark"})])
def test_pages_look_like_something(opened, site, tmp_path, look, screen):
    for name in ("index.html", page_of(site, "row", "dwa"), page_of(site, "method", "dwa")):
        share, colour = commonest(pictured(opened(name, **screen), tmp_path / f"{look}-{Path(name).parent.name or 'index'}.png"))
        assert 0.5 < share < 0.98, name  # paper, with something on it
        assert (max(colour) < 60) == (look == "dark")


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
    assert page.locator(".lines tbody tr").count() >= 1
    context.close()

"""Every relative link of the documentation leads to a file of the checkout, and to a heading where it names one."""

from __future__ import annotations

import re

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(pages, prose):
    for page, text in pages.items():
        for first, second in LINK.findall(prose(text)):
            yield page, first or second


def test_every_relative_link_resolves(pages, prose, root):
    broken = []
    for page, link in links(pages, prose):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (root / page).parent / path if path else root / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(f"{page}: {link}")
    assert broken == []


def test_no_link_leaves_the_checkout(pages, prose, root):
    paths = [(page, (root / page).parent / link.partition("#")[0]) for page, link in links(pages, prose) if "://" not in link]
    assert [page for page, path in paths if not path.resolve().is_relative_to(root)] == []


def test_every_page_can_be_reached_from_the_readme(pages, prose, root):
    seen, todo = set(), ["README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page not in pages:
            continue
        seen.add(page)
        for first, second in LINK.findall(prose(pages[page])):
            target = ((root / page).parent / (first or second).partition("#")[0]).resolve()
            if target.is_relative_to(root):
                todo.append(target.relative_to(root).as_posix())
    assert seen == set(pages)

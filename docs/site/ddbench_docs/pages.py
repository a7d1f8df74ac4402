"""All pages of the site: those of the checkout, those generated from the code, and the way through them."""

from __future__ import annotations

from pathlib import Path

from ddbench_docs import commands, methods, names, options, staging

NAVIGATION: dict[str, tuple[str, ...]] = {
    "Start": ("overview", "quickstart", "tutorial"),
    "Understand": ("concepts", "protocols", "reading-a-table", "evaluators", "figures", "leaderboard", "footguns"),
    "Methods": ("methods/index",),
    "Use": ("data", "suites", "machines", "faults", "bringing-a-set", "submitting", "performance"),
    "Write a plugin": ("writing-a-plugin", "plugin-kinds", "hooks"),
    "Look up": (
        "command-line",
        "reference/commands",
        "reference/hooks",
        "reference/names",
        "reference/kit",
        "reference/testing",
        "reference/errors",
        "reference/options",
        "records",
    ),
    "Evidence": ("benchmarks-results",),
    "Project": ("changelog",),
}
"""The site's table of contents; a page that is not here yet, or not yet written, breaks nothing."""

TITLES = {"overview": "Overview <overview>", "benchmarks-results": "Measured records <benchmarks-results>"}
"""What the table of contents calls a page whose own heading says too little there."""


def stage_all(root: Path, out: Path) -> list[str]:
    """Write the source of the whole site below `out`; return the pages' paths there."""
    made = {
        "options": methods.options_of_method,
        "presets": methods.presets_of_method,
        "measured": lambda name: methods.measured(name, root / "benchmarks" / "results"),
        "published": methods.published,
        "methods": lambda _: methods.overview(root / "docs" / "methods"),
    }
    found = staging.stage(root, out, made)
    for path, text in generated():
        staging.write(out / path, text)
        found.append(path)
    index = (out / "index.md").read_text("utf-8")
    staging.write(out / "index.md", index + contents({path.removesuffix(".md") for path in found} - {"index"}))
    return found


def generated() -> list[tuple[str, str]]:
    """Return the pages that the code writes: path in the site, text."""
    kinds = list(options.pages())
    listed = "\n".join(path.removeprefix("reference/").removesuffix(".md") for path, _ in kinds)
    return [
        ("reference/commands.md", commands.page()),
        ("reference/hooks.md", names.hooks_page()),
        ("reference/names.md", names.public_page()),
        ("reference/kit.md", names.kit_page()),
        ("reference/testing.md", names.testing_page()),
        ("reference/errors.md", names.errors_page()),
        (
            "reference/options.md",
            f"# Every option and preset\n\nBy kind of plugin, generated from the code.\n\n{tree('', listed, depth=2)}",
        ),
        *kinds,
    ]


def contents(pages: set[str]) -> str:
    """Return the navigation over pages, those that nobody placed included."""
    placed = [page for part in NAVIGATION.values() for page in part]
    below = {page for page in pages if page.startswith(("methods/", "reference/")) and page not in placed}
    notes = {page for page in pages if page.startswith("plugins/")}
    parts = {caption: [page for page in part if page in pages] for caption, part in NAVIGATION.items()}
    parts["Evidence"] += sorted(page for page in pages if page.startswith("benchmarks") and page not in placed)
    parts["Plugins' own notes"] = sorted(notes)
    parts["More"] = sorted(pages - set(placed) - below - notes - set(parts["Evidence"]))
    return "".join(
        tree(caption, "\n".join(TITLES.get(page, page) for page in listed), hidden=True)
        for caption, listed in parts.items()
        if listed
    )


def tree(caption: str, listed: str, *, depth: int = 1, hidden: bool = False) -> str:
    """Return one table of contents in MyST."""
    lines = [f":caption: {caption}" if caption else "", ":hidden:" if hidden else "", f":maxdepth: {depth}"]
    head = "\n".join(line for line in lines if line)
    return f"\n```{{toctree}}\n{head}\n\n{listed}\n```\n"

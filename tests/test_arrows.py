"""Reads every import and holds the arrows of the design: a module imports from its own line or from lines above."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES = [
    {"errors"},
    {"api", "options", "hookspecs", "provenance", "reading", "records", "settings", "seeding", "progress"},
    {"checked", "plugins", "store", "packing", "distilled", "cells", "external", "stages", "workspace"},
    {"data", "networks", "training", "kit"},
    {
        "context",
        "costs",
        "heap",
        "making",
        "needs",
        "distilling",
        "students",
        "measuring",
        "overlap",
        "remaining",
        "runner",
        "place",
        "planning",
        "estimates",
        "evaluation",
        "exchange",
        "executors",
        "suites",
    },
    {"report"},
    {"testing"},
    {"authoring", "cli", "notebook"},
]
NO_TORCH_AT_ALL = {
    "authoring",
    "errors",
    "api",
    "options",
    "hookspecs",
    "provenance",
    "reading",
    "records",
    "settings",
    "progress",
    "report",
}
NO_TORCH_AT_IMPORT = NO_TORCH_AT_ALL | LINES[2] | {"seeding", "cli"}
HEAVY = {"torch", "torchvision", "timm", "ray"}
PLUGINS_MAY = {"errors", "seeding", "kit", "training", "networks", "data", "distilled", "testing"}


def core_files() -> list[Path]:
    return sorted(
        path
        for path in (ROOT / "ddbench").rglob("*.py")
        if (path.name != "__main__.py" and path.parent.name != "ddbench") or _top(path)
    )


def _top(path: Path) -> bool:
    return path.parent.name == "ddbench" and path.name not in {"__init__.py", "__main__.py"}


def plugin_files() -> list[Path]:
    return sorted((ROOT / "plugins" / "ddbench_plugins").rglob("*.py"))


def room(path: Path) -> str:
    """Return the module or package directly under `ddbench` that a file belongs to."""
    return path.relative_to(ROOT / "ddbench").parts[0].removesuffix(".py")


def line_of(name: str) -> int:
    for number, line in enumerate(LINES):
        if name in line:
            return number
    raise AssertionError(f"ddbench/{name} stands on no line; add it to LINES and to docs/concepts.md")


def imports(path: Path, *, everywhere: bool) -> list[str]:
    """Return imported modules; type-checking blocks do not count, functions only where asked."""
    tree = ast.parse(path.read_text())
    found: list[str] = []

    def visit(node: ast.AST, *, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if not inside or everywhere:
                if isinstance(child, ast.Import):
                    found.extend(alias.name for alias in child.names)
                elif isinstance(child, ast.ImportFrom) and child.level == 0:
                    found.extend(f"{child.module}.{alias.name}" for alias in child.names)
            visit(child, inside=inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(tree, inside=False)
    return found


@pytest.mark.parametrize("path", core_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_core_module_imports_only_its_own_line_or_lines_above(path):
    own = line_of(room(path))
    for name in imports(path, everywhere=True):
        parts = name.split(".")
        if (
            parts[0] == "ddbench"
            and len(parts) > 1
            and (ROOT / "ddbench" / parts[1]).exists() | (ROOT / "ddbench" / f"{parts[1]}.py").exists()
        ):
            assert line_of(parts[1]) <= own, f"{path} imports {name}"
        assert parts[0] != "ddbench_plugins", f"{path} knows the plugin {name}"


@pytest.mark.parametrize("path", core_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_imports_stay_where_they_belong(path):
    name = room(path)
    if name in NO_TORCH_AT_ALL:
        assert not {found.split(".")[0] for found in imports(path, everywhere=True)} & HEAVY
    if name in NO_TORCH_AT_IMPORT:
        assert not {found.split(".")[0] for found in imports(path, everywhere=False)} & HEAVY


@pytest.mark.parametrize("path", plugin_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_first_party_plugin_imports_only_public_names_and_never_another_plugin(path):
    own = path.relative_to(ROOT / "plugins").parts[1]
    for name in imports(path, everywhere=True):
        parts = name.split(".")
        if parts[0] == "ddbench_plugins":
            assert parts[1] == own, f"{path} imports {name}"
        if parts[0] == "ddbench" and (ROOT / "ddbench" / parts[1]).is_dir() | (ROOT / "ddbench" / f"{parts[1]}.py").is_file():
            assert parts[1] in PLUGINS_MAY, f"{path} imports {name}"


def test_every_first_party_plugin_comes_in_through_an_entry_point_of_its_own():
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["ddbench"]
    folders = {
        path.parent.name for path in plugin_files() if path.name == "__init__.py" and path.parent.parent.name == "ddbench_plugins"
    }
    assert {value.split(".")[1] for value in declared.values()} == folders


def test_importing_ddbench_and_loading_every_plugin_imports_no_torch():
    code = """
import sys
import ddbench
from ddbench.plugins import Plugins

plugins = Plugins(())
plugins.names("synthesizer")
print(plugins.errors, "torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[] False"

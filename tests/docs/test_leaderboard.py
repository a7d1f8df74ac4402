"""The leaderboard that is kept in the checkout is what the measured records give, and stays small."""

from __future__ import annotations

import importlib.util

from typer.testing import CliRunner

from ddbench.cli.app import app

MOST_BYTES = 8_000_000
"""Of the whole site; a checkout should not be mostly leaderboard."""


def script(root):
    """Return the script that makes it."""
    spec = importlib.util.spec_from_file_location("leaderboard_script", root / "benchmarks" / "leaderboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_leaderboard_that_is_kept_is_what_the_records_give(root):
    ours = script(root)
    tables = [word for page in ours.PAGES for word in ("--table", str(page))]
    result = CliRunner().invoke(app, ["leaderboard", "check", str(ours.RECORDS), "--out", str(ours.SITE), *tables])
    assert result.exit_code == 0, f"{result.stderr}\nMake it again with: python benchmarks/leaderboard.py"


def test_the_leaderboard_that_is_kept_is_small(root):
    sizes = [path.stat().st_size for path in script(root).SITE.rglob("*") if path.is_file()]
    assert max(sizes) < 2_000_000
    assert sum(sizes) < MOST_BYTES

"""Without a browser the tests that need one are skipped on a laptop, and fail where they are to be proof."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

NEEDS_ONE = Path(__file__).with_name("test_leaderboard.py")


@pytest.mark.parametrize(("required", "code", "outcome"), [("", 0, "1 skipped"), ("1", 1, "1 error")])
def test_a_lack_of_a_browser_fails_only_where_one_is_required(tmp_path, required, code, outcome):
    environment = {**os.environ, "PATH": str(tmp_path), "DDBENCH_REQUIRE_BROWSER": required}
    environment.pop("CHROMIUM", None)
    one = f"{NEEDS_ONE}::test_two_orders_of_rankings_differ"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "e2e", one]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, outcome in done.stdout) == (code, True), done.stdout
    assert "no Chromium" in done.stdout

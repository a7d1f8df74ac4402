"""Makes our own leaderboard from the measured records, where it is kept: the site, its page and the README's digest.

python benchmarks/leaderboard.py [--check]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "benchmarks" / "results"
SITE = ROOT / "docs" / "leaderboard"
PAGES = (ROOT / "docs" / "leaderboard.md", ROOT / "README.md")


def main() -> int:
    """Build, or with `--check` only tell whether what is kept is stale; return the command's exit code."""
    tables = [word for page in PAGES for word in ("--table", str(page))]
    what = "check" if "--check" in sys.argv[1:] else "build"
    command = [sys.executable, "-m", "ddbench", "leaderboard", what, str(RECORDS), "--out", str(SITE), *tables]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own command


if __name__ == "__main__":
    sys.exit(main())

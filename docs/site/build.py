"""Build the documentation site; warnings are errors.

python docs/site/build.py [--out DIR]        then open DIR/html/index.html, with a server or without
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from ddbench_docs import pages, staging  # noqa: E402 - found by the line above


def main() -> None:
    """Stage all pages below `--out`, build the site from them, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs")
    out = parser.parse_args().out
    for part in ("source", "html", "doctrees"):
        shutil.rmtree(out / part, ignore_errors=True)
    pages.stage_all(ROOT, out / "source")
    from sphinx.cmd.build import build_main

    status = build_main(
        [
            "-W",
            "--keep-going",
            "-n",
            "-q",
            "-b",
            "html",
            "-c",
            str(HERE),
            "-d",
            str(out / "doctrees"),
            str(out / "source"),
            str(out / "html"),
        ]
    )
    shutil.copytree(ROOT / staging.WHOLE, out / "html" / staging.WHOLE.name, dirs_exist_ok=True)
    sys.stdout.write(f"{out / 'html' / 'index.html'}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()

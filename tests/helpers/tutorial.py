"""docs/tutorial.md as what it is to be carried out as; `python tests/helpers/tutorial.py` prints it as a script for bash."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent.parent / "docs" / "tutorial.md"

BLOCK = re.compile(r"(?:`([\w/.]+)`[^`\n]*:\n\n)?```(sh|python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """A block of the page: commands, or a file that the line before names."""

    name: str
    """Of the file, below the project's folder; empty where there is none."""
    language: str
    text: str


def steps() -> list[Step]:
    """Return the page's blocks in order."""
    return [Step(*found) for found in BLOCK.findall(PAGE.read_text("utf-8"))]


def script(parts: Sequence[Step]) -> str:
    """Return steps as a script for bash: their commands, and their files written where they stand."""
    return "\n".join(["set -euo pipefail", *(part.text if part.language == "sh" else _written(part) for part in parts)])


def _written(part: Step) -> str:
    return f"mkdir -p {Path(part.name).parent}\ncat > {part.name} <<'END OF FILE'\n{part.text}END OF FILE"


if __name__ == "__main__":
    sys.stdout.write(script(steps()) + "\n")

"""The parts that the tutorial writes: what keeps every contract, and is broken on purpose here."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "writing-a-plugin.md"


@pytest.fixture(scope="session")
def tutorial():
    """Every class of the tutorial's objective, prior, selector and walk, by name."""
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if any(f"class {name}(" in code for name in ("Means", "Eigen", "Near", "Carve")):
            exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)  # noqa: S102 - our own page
    return SimpleNamespace(**names)

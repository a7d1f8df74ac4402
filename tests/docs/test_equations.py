"""Equations are drawn by the browser from MathML: none holds a command that would show as its name."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("latex2mathml", reason="belongs to the extra `docs`")
pytest.importorskip("sphinx", reason="belongs to the extra `docs`")

EQUATION = re.compile(r"\$\$(.+?)\$\$|(?<!\$)\$([^$\n]+)\$(?!\$)", re.DOTALL)


def equations(root):
    for page in sorted((root / "docs").rglob("*.md")):
        for display, inline in EQUATION.findall(re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)):
            yield page.name, display or inline


def test_every_equation_of_the_documentation_becomes_mathml(root):
    from ddbench_docs.mathml import mathml

    found = list(equations(root))
    assert len(found) > 50
    for page, latex in found:
        assert mathml(latex, display="inline").startswith("<math"), page


def test_a_command_that_is_not_known_is_an_error():
    from sphinx.errors import ExtensionError

    from ddbench_docs.mathml import mathml

    with pytest.raises(ExtensionError, match="does not know"):
        mathml(r"\bigl\| x", display="inline")

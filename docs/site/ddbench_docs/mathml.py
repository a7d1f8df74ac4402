"""A Sphinx extension: equations as MathML, which browsers draw themselves; no script, no font from elsewhere."""

from __future__ import annotations

from typing import Any

from latex2mathml.converter import convert
from sphinx.errors import ExtensionError


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer under the name that `html_math_renderer` uses."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer: Any, node: Any) -> None:
    writer.body.append(mathml(node.astext(), display="inline"))
    _skip()


def _display(writer: Any, node: Any) -> None:
    writer.body.append(f'<div class="equation">{mathml(node.astext(), display="block")}</div>')
    _skip()


def mathml(latex: str, *, display: str) -> str:
    """Return one equation.

    Raises:
        ExtensionError: It holds a command that latex2mathml does not know, and would show as the command's name.
    """
    drawn = convert(latex, display=display)
    if "\\" in drawn:
        raise ExtensionError(f"the equation {latex!r} holds a command that latex2mathml does not know; write it another way")
    return str(drawn)


def _skip() -> None:
    from docutils.nodes import SkipNode

    raise SkipNode

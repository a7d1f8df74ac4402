"""How figures look, and that equal figures are equal files."""

from __future__ import annotations

import pytest

from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.report.figures import style
from ddbench.report.figures.tradeoffs import against_bytes
from swept import a_grid

VALUES = {("random", 1): 0.3, ("random", 10): 0.6, ("dwa", 1): 0.4, ("dwa", 10): 0.7}


def luminance(colour: str) -> float:
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_methods_are_told_apart_without_colour():
    found = style.looks([f"method {number}" for number in range(8)] + ["random"])
    assert len({look.marker for look in found.values()}) == 9
    assert len({(look.marker, str(look.line)) for look in found.values()}) == 9


def test_every_colour_stands_out_on_white_paper():
    assert max(luminance(colour) for colour in style.COLOURS) < 0.75


def test_the_control_is_black_wherever_it_stands():
    assert style.looks(["dwa", "random"])["random"] == style.looks(["random"])["random"]
    assert style.looks(["random version=2"])["random version=2"].colour == "#000000"


@pytest.mark.parametrize("suffix", style.FORMATS)
def test_equal_records_give_equal_files(asked, tmp_path, suffix):
    for name in ("one", "two"):
        style.save(against_bytes(asked(a_grid(VALUES))), tmp_path / f"{name}{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
    assert first == second
    assert b"20" + b"26-" not in first


def test_without_a_suffix_both_formats_are_written_and_an_unknown_one_is_refused(asked, tmp_path):
    drawing = against_bytes(asked(a_grid(VALUES)))
    files = style.save(drawing, tmp_path / "figure")
    assert [file.name for file in files] == ["figure.svg", "figure.png"]
    assert all(file.stat().st_size > 1000 for file in files)
    with pytest.raises(BadRequest, match=r"'.gif'; figures are written as .svg, .png, .pdf"):
        style.save(drawing, tmp_path / "figure.gif")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        style.save(drawing, tmp_path / "missing" / "figure.svg")


def test_what_records_say_is_drawn_as_text_and_not_as_mathematics(asked, tmp_path):
    records = a_grid({("random", 1): 0.3, ("$\\frac{a$\x07", 1): 0.4})
    drawing = against_bytes(asked(records))
    files = style.save(drawing, tmp_path / "figure")
    assert all(file.is_file() for file in files)
    assert "\x07" not in "".join(text.get_text() for text in drawing.figure.legends[0].get_texts())


def test_a_caption_names_the_protocol_and_is_wrapped_to_the_figure(asked):
    drawing = against_bytes(asked(a_grid(VALUES)))
    (caption,) = drawing.figure.texts
    drawing.figure.draw_without_rendering()
    assert "protocol quick-hard/1 (sha256 00000000): a protocol." in " ".join(caption.get_text().split())
    assert caption.get_window_extent().x1 <= drawing.figure.bbox.x1

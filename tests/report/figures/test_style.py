"""How figures look, and that equal figures are equal files."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.report.figures import style
from ddbench.report.figures.naming import MOST
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


def test_thirty_methods_differ_in_colour_and_line_and_in_marker_and_line():
    found = style.looks([f"method{number}" for number in range(MOST)]).values()
    assert len({(look.colour, str(look.line)) for look in found}) == MOST  # curves have no markers
    assert len({(look.marker, str(look.line)) for look in found}) == MOST  # a printer may have no colours


def test_versions_of_the_control_are_black_with_markers_of_their_own():
    found = style.looks(["random version=1", "random version=2", "dwa"])
    assert [look.colour for look in found.values()][:2] == ["#000000", "#000000"]
    assert len({look.marker for look in found.values()}) == 3


def test_every_colour_stands_out_on_white_paper():
    assert max(luminance(colour) for colour in style.COLOURS) < 0.75


SIMULATED = {
    "full colour vision": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
}
"""What linear sRGB looks like: Machado, Oliveira and Fernandes (2009), the matrices of severity 1.0."""

TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
"""From linear sRGB, white point D65."""

APART = 15.0
"""Difference in CIE L*a*b* (1976); about 2.3 is just noticeable, side by side and large."""


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """Return a colour's L*, a* and b* for eyes that see linear sRGB by a matrix."""
    encoded = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratios = TO_XYZ @ np.clip(seen @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours: Sequence[str], eyes: str) -> float:
    """Return the distance between the two colours that are hardest to tell apart."""
    found = [lab(colour, SIMULATED[eyes]) for colour in colours]
    return min(float(np.linalg.norm(first - second)) for first, second in itertools.combinations(found, 2))


@pytest.mark.parametrize("eyes", SIMULATED)
def test_the_colour_blind_tell_every_two_colours_apart(eyes):
    assert nearest([*style.COLOURS, "#000000", "#ffffff"], eyes) > APART


def test_the_simulation_takes_from_red_and_green_what_they_need():
    red_and_green = ["#d02000", "#758800"]
    assert nearest(red_and_green, "full colour vision") > 60
    assert nearest(red_and_green, "deuteranopia") < 5
    assert lab("#ffffff", SIMULATED["deuteranopia"]) == pytest.approx([100, 0, 0], abs=0.1)
    usual = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")  # no palette made for them: some pair is lost
    assert min(nearest(usual, eyes) for eyes in ("protanopia", "deuteranopia")) < APART / 2


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

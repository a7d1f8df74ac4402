"""Sweeps and heat maps: what is drawn, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ddbench.errors import BadRequest, DataMissing
from ddbench.report.figures.sweeps import heatmap, sweep
from ddbench.report.tables import summary
from factory import a_record
from handmade import record
from swept import a_swept


def swept(values, **more):
    """Return two sets of each combination of options, half a point apart."""
    return [
        a_swept("dwa", dict(options), seeds=(seed, 0), top1=mean + 0.005 * (2 * seed - 1), **more)
        for options, mean in values
        for seed in range(2)
    ]


LAMBDA = [((("r_var", r), ("rho", 0.1)), 0.4 + r / 100) for r in (1.0, 5.0, 11.0)]
GRID = [((("steps", k), ("rho", r)), 0.3 + k / 100 + r) for k in (1, 12) for r in (0.0, 0.05, 0.1)]


def test_a_sweep_draws_the_mean_at_each_value_and_its_interval_as_a_band(asked):
    drawing = sweep(asked([*swept(LAMBDA), a_record(top1=0.42)], options=("r_var",)))
    (axes,) = drawing.figure.axes
    line = next(one for one in axes.lines if one.get_label() == "dwa")
    assert list(line.get_xdata()) == [1, 5, 11]
    np.testing.assert_allclose(line.get_ydata(), [41, 45, 51])
    band = axes.collections[0].get_paths()[0].vertices
    half = 12.706204736 * np.std([0.5, -0.5], ddof=1) / np.sqrt(2)  # Student's t at one degree of freedom
    at_five = band[np.isclose(band[:, 0], 5), 1]
    np.testing.assert_allclose(sorted(set(at_five.round(6))), [45 - half, 45 + half], rtol=1e-6)
    level = next(one for one in axes.lines if one.get_label() == "random")
    assert level.get_ydata()[0] == pytest.approx(42)


def test_of_several_versions_of_the_control_the_level_is_the_one_that_tables_compare_with(asked):
    """Versions sort as text, `10` before `9`, and the older one by label; neither is what a table takes: the one made last."""
    rows = [record(0.5 + rho / 100, synthesizer="dwa", options={"rho": rho}) for rho in (1.0, 2.0)]
    for versions in (("1", "2"), ("9", "10"), ("10", "9")):
        old, new = (
            record(top1, version=version, code=version * 32, made=f"2026-0{month}-01", set_sha=version)
            for top1, version, month in zip((0.7, 0.3), versions, (1, 2), strict=True)
        )
        records = [old, new, *rows]
        (table,) = summary(records)
        drawing = sweep(asked(records, options=("rho",)))
        assert [one["value"] for one in drawing.data["random"]] == [0.3]
        assert dict(table.control.settings)["version"] == versions[1]
        assert f"random version={versions[1]}" in {line.get_label() for line in drawing.figure.axes[0].lines}


def test_many_lines_have_bars_side_by_side_instead_of_bands_over_bands(asked):
    many = [((("r_var", r), ("rho", rho / 10)), 0.4) for r in (1.0, 5.0) for rho in range(7)]
    drawing = sweep(asked(swept(many), options=("r_var",)))
    (axes,) = drawing.figure.axes
    assert len(axes.containers) == 7
    assert "Bars: 95 %" in drawing.caption
    assert [point["x"] for point in drawing.data["lines"]["dwa rho=0.1"]] == [1, 5]


def test_options_that_differ_otherwise_are_lines_of_their_own_and_single_values_are_no_line(asked):
    more = [((("r_var", r), ("rho", 0.2)), 0.5) for r in (1.0, 5.0)] + [((("r_var", 1.0), ("rho", 0.9)), 0.1)]
    drawing = sweep(asked(swept([*LAMBDA, *more]), options=("r_var",)))
    assert {label: len(line) for label, line in drawing.data["lines"].items()} == {"dwa rho=0.1": 3, "dwa rho=0.2": 2}


def test_values_over_more_than_a_decade_stand_on_a_logarithmic_axis(asked):
    wide = [((("r_var", r),), 0.4) for r in (0.1, 1.0, 10.0)]
    assert sweep(asked(swept(wide), options=("r_var",))).figure.axes[0].get_xscale() == "log"
    with_zero = [((("r_var", r),), 0.4) for r in (0.0, 1.0, 10.0)]
    assert sweep(asked(swept(with_zero), options=("r_var",))).figure.axes[0].get_xscale() == "linear"


def test_numbers_of_values_that_lie_close_are_upright(asked):
    close = [((("r_var", r),), 0.4) for r in (100.0, 101.0, 102.0, 110.0, 150.0)]
    drawing = sweep(asked(swept(close), options=("r_var",)))
    drawing.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in drawing.figure.axes[0].get_xticklabels()]
    assert all(left.x0 < right.x0 for left, right in itertools.pairwise(boxes))
    assert boxes[0].height > boxes[0].width
    apart = sweep(asked(swept(LAMBDA), options=("r_var",)))
    assert {label.get_rotation() for label in apart.figure.axes[0].get_xticklabels()} == {0}


def test_a_heat_map_holds_each_combination_with_its_number(asked):
    drawing = heatmap(asked(swept(GRID), options=("steps", "rho")))
    axes = drawing.figure.axes[0]
    table = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(table, [[100 * (0.3 + k / 100 + r) for r in (0.0, 0.05, 0.1)] for k in (1, 12)])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.05", "0.1"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "12"]
    assert {text.get_text().split("\n")[0] for text in axes.texts} == {f"{value:.1f}" for value in table.ravel()}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rho", "steps")


def test_a_combination_that_was_not_run_is_left_blank(asked):
    table = np.ma.asarray(heatmap(asked(swept(GRID[:-1]), options=("steps", "rho"))).figure.axes[0].images[0].get_array())
    assert np.isnan(table.filled(np.nan)).sum() == 1


@pytest.mark.parametrize(
    ("draw", "options", "error", "sentence"),
    [
        (sweep, (), BadRequest, "this figure has 1 option as axes, given none; for example --option r_var"),
        (heatmap, ("rho",), BadRequest, "this figure has 2 options as axes, given rho"),
        (sweep, ("nonsense",), DataMissing, "no method here has the option 'nonsense'; they have: .*r_var"),
        (sweep, ("rho",), DataMissing, "was run with several values of rho; make some with: ddbench run METHOD -o rho=…"),
        (heatmap, ("r_var", "rho"), DataMissing, "several values of r_var and rho"),
    ],
)
def test_what_lacks_is_said_in_a_sentence(asked, draw, options, error, sentence):
    with pytest.raises(error, match=sentence):
        draw(asked(swept(LAMBDA), options=options))


def test_two_methods_over_the_same_options_are_no_one_map(asked):
    both = [*swept(GRID, key="a"), *swept([((*options, ("lr", 0.5)), mean) for options, mean in GRID])]
    with pytest.raises(BadRequest, match="2 methods were swept over steps and rho"):
        heatmap(asked(both, options=("steps", "rho")))

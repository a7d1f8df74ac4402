from __future__ import annotations

from math import e

import numpy as np
import pytest

from ddbench.report.formats import TEXT_FORMS, render
from ddbench.report.robustness import (
    WEIGHT,
    augmentation_robustness,
    bounded,
    contrast,
    label_robustness,
)
from ddbench.report.robustness_sheet import robustness_sheets
from ddbench.report.spread import of_contrast
from ddbench.report.tables import summary
from handmade import nested

HARD = {"protocol": "dc-hard/1", "label_regime": "hard", "teacher": None}
NO_AUG = {"protocol": "dc-hard-noaug/1", "label_regime": "hard", "teacher": None}

FULL, RANDOM_SOFT = [[0.80, 0.82, 0.81]], [[0.40, 0.42, 0.41], [0.44, 0.43, 0.45], [0.39, 0.40, 0.38]]
DWA_HARD, DWA_SOFT = [[0.60, 0.61, 0.59], [0.62, 0.60, 0.61]], [[0.55, 0.56, 0.54], [0.57, 0.58, 0.56]]


def mean(values: list[list[float]]) -> float:
    return float(np.mean(values))


def label_records():
    return [
        *nested("random", RANDOM_SOFT),
        *nested("dwa", DWA_SOFT),
        *nested("dwa", DWA_HARD, **HARD),
        *nested("random", RANDOM_SOFT, **HARD),
        *nested("full", FULL, **HARD),
    ]


@pytest.mark.parametrize(("alpha", "score"), [(-1, 0), (0, 0.268941), (1, 1)])
def test_the_score_is_the_closed_form_at_its_ends_and_in_the_middle(alpha, score):
    assert bounded(alpha) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize(("hlr", "ior", "score"), [(0.30, -0.10, 0.1918), (0.10, 0.20, 0.2908)])
def test_lrs_of_hlr_and_ior_is_the_closed_form(hlr, ior, score):
    assert bounded(WEIGHT * ior - (1 - WEIGHT) * hlr) == pytest.approx(score, abs=5e-5)


def test_lrs_stands_with_the_hlr_and_ior_it_is_made_of():
    (view,) = [view for view in label_robustness(summary(label_records())) if view.score]
    hlr, ior = mean(FULL) - mean(DWA_HARD), mean(DWA_SOFT) - mean(RANDOM_SOFT)
    assert view.parts["HLR"].value == pytest.approx(hlr)
    assert view.parts["IOR"].value == pytest.approx(ior)
    assert view.score.value == pytest.approx((e ** (ior / 2 - hlr / 2) - 1 / e) / (e - 1 / e))
    assert view.score.low < view.score.value < view.score.high
    assert (view.sets, view.seeds, view.protocols) == (2, 3, ("dc-hard/1", "quick-soft/1"))


def test_ars_is_the_mean_lead_over_random_with_and_without_augmentation():
    records = [
        *nested("random", RANDOM_SOFT, augment=[{"name": "dsa"}], **HARD),
        *nested("dwa", DWA_HARD, augment=[{"name": "dsa"}], **HARD),
        *nested("random", [[0.3, 0.31, 0.29]] * 3, **NO_AUG),
        *nested("dwa", DWA_SOFT, **NO_AUG),
    ]
    (view,) = augmentation_robustness(summary(records))
    beta = ((mean(DWA_HARD) - mean(RANDOM_SOFT)) + (mean(DWA_SOFT) - 0.30)) / 2
    assert view.parts["beta"].value == pytest.approx(beta)
    assert view.score.value == pytest.approx(bounded(beta))
    assert view.protocols == ("dc-hard/1", "dc-hard-noaug/1")


def test_protocols_that_differ_in_more_than_augmentation_make_no_ars():
    records = [
        *nested("random", RANDOM_SOFT, augment=[{"name": "dsa"}], batch=256, **HARD),
        *nested("dwa", DWA_HARD, augment=[{"name": "dsa"}], batch=256, **HARD),
        *nested("random", RANDOM_SOFT, **NO_AUG),
        *nested("dwa", DWA_SOFT, **NO_AUG),
    ]
    assert augmentation_robustness(summary(records)) == []


def test_a_difference_in_length_is_told():
    records = [
        *nested("random", RANDOM_SOFT, augment=[{"name": "dsa"}], steps=1000, **HARD),
        *nested("dwa", DWA_HARD, augment=[{"name": "dsa"}], steps=1000, **HARD),
        *nested("random", RANDOM_SOFT, **NO_AUG),
        *nested("dwa", DWA_SOFT, **NO_AUG),
    ]
    (view,) = augmentation_robustness(summary(records))
    assert "also differ in steps" in view.note


@pytest.mark.parametrize(
    ("without", "why"),
    [
        (("full", "hard"), "no records of `full` under hard labels"),
        (("random", "soft_online"), "no records of random under soft labels"),
        (("dwa", "hard"), "no records of its sets under hard labels"),
        (("dwa", "soft_online"), "no records under soft labels"),
    ],
)
def test_what_is_missing_is_told_in_every_format(without, why):
    records = [one for one in label_records() if (one.cell.synthesizer, one.cell.label_regime) != without]
    tables = summary(records)
    assert [view.why for view in label_robustness(tables)] == [why]
    sheets = robustness_sheets(tables)
    assert any(why in note for note in sheets[0].notes)
    assert why in render(sheets, "json")


def test_full_of_another_hard_protocol_stands_in_and_is_named():
    records = [one for one in label_records() if one.cell.synthesizer != "full"]
    records += nested("full", FULL, protocol="full-steps/1", label_regime="hard", teacher=None, ipc=10)
    (view,) = label_robustness(summary(records))
    assert view.note == "`full` of HLR was trained under full-steps/1"


def test_other_sets_of_the_same_method_are_no_counterpart():
    records = [one for one in label_records() if (one.cell.synthesizer, one.cell.label_regime) != ("dwa", "hard")]
    records += nested("dwa", DWA_HARD, options={"rho": 0}, **HARD)
    assert not any(view.score for view in label_robustness(summary(records)))


def test_the_interval_of_lrs_covers_the_truth_in_93_to_97_percent_of_simulations():
    """Sets, draws of random and students of `full` vary; an eval seed shifts all; alpha = 0.1."""
    rng, runs, sets, seeds = np.random.default_rng(1), 20_000, 5, 5
    shared = rng.normal(0, 0.01, (runs, 1, seeds))

    def students(worth, of_set, count):
        return worth + shared + rng.normal(0, of_set, (runs, count, 1)) + rng.normal(0, 0.008, (runs, count, seeds))

    both = (students(0.6, 0.01, sets) + students(0.5, 0.01, sets)) / 2
    sides = [both, -WEIGHT * students(0.3, 0.012, 3), -(1 - WEIGHT) * students(0.6, 0, 1)]
    alpha, width = sum(side.mean((-1, -2)) for side in sides), of_contrast(sides).half_width()
    low, high = (np.vectorize(bounded)(alpha + sign * width) for sign in (-1, 1))
    assert 0.93 <= np.mean((low <= bounded(0.1)) & (bounded(0.1) <= high)) <= 0.97


def test_a_contrast_of_two_sides_is_their_paired_difference_and_needs_a_seed_in_common():
    one, two = {"a": {0: 0.7, 1: 0.72}, "b": {0: 0.6, 1: 0.66}}, {"x": {0: 0.5, 1: 0.55, 2: 0.9}}
    found = contrast([(1, one), (-1, two)])
    assert found.value == pytest.approx(0.67 - 0.525)
    assert contrast([(1, one), (-1, {"x": {7: 0.5}})]) is None


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_every_format_has_the_score_with_hlr_and_ior(form):
    text = render(robustness_sheets(summary(label_records())), form)
    for part in ("LRS", "HLR", "IOR"):
        assert part.lower() in text.lower()
    assert "0.246" in text if form in {"md", "latex"} else "0.24" in text


def test_all_parts_of_a_score_are_of_the_same_sets_and_seeds():
    third = [[0.9, 0.9, 0.9, 0.2]]
    records = [one for one in label_records() if one.cell.synthesizer != "dwa" or one.cell.label_regime == "hard"]
    records += nested("dwa", [*DWA_SOFT, *third])
    (view,) = [view for view in label_robustness(summary(records)) if view.score]
    hlr, ior = (view.parts[name].value for name in ("HLR", "IOR"))
    assert view.sets == 2
    assert ior == pytest.approx(mean(DWA_SOFT) - mean(RANDOM_SOFT))
    assert view.score.value == pytest.approx(bounded(WEIGHT * ior - (1 - WEIGHT) * hlr))


def test_two_networks_of_one_short_name_make_no_score():
    hard, soft = [one for one in label_records() if one.cell.label_regime == "hard"], []
    for one in label_records():
        if one.cell.label_regime != "hard":
            soft += nested(one.cell.synthesizer, [[0.5]], student="timm/convnet3")
    assert not any(view.score for view in label_robustness(summary([*hard, *soft])))


def test_random_is_the_tables_own_control():
    older = nested("random", [[0.9] * 3] * 4, version=9, made="2025-01-01")
    (view,) = [view for view in label_robustness(summary([*older, *label_records()])) if view.score]
    assert view.parts["IOR"].value == pytest.approx(mean(DWA_SOFT) - mean(RANDOM_SOFT))

"""What a suite comes to: cells, shared stages, what cannot be made yet, and which of them are meant."""

from __future__ import annotations

import json

import pytest

import ddbench
from ddbench.errors import BadRequest
from ddbench.suites.planning import Changes, plan_suite
from small_suites import CELLS, TEXT, known_at, planned

SAME = {"students": ["convnet1-w32"], "protocol": "quick-hard/1", "eval_seeds": 1, "ipc": 1, "smoke": 0.02, "threads": 1}

WALKED = """
[variants.walked]
synthesizer = "hglad"
title = "the walk"
options = { iterations = 2, prior = "random" }
"""


def names(asked):
    cells = asked.planned.cells
    return [(cells[key].cell.synthesizer, cells[key].cell.distill_seed, cells[key].role) for key in asked.chosen]


@pytest.fixture
def known(tmp_path):
    return known_at(tmp_path / "store")


def test_a_suite_has_the_cells_that_its_requests_have_each_once_with_the_same_keys(tmp_path, known):
    asked = planned(tmp_path, known)
    assert names(asked) == [
        ("random", 0, "control"),
        ("random", 1, "control"),
        ("random", 2, "control"),
        ("herding", 0, "asked"),
        ("dm", 0, "asked"),
    ]
    one = ddbench.plan("herding", store=tmp_path / "store", **SAME)
    assert asked.chosen[:4] == [cell.record_key for cell in one.cells]
    assert asked.planned.cells[asked.chosen[0]].labels == ["herding", "still"]
    assert not (tmp_path / "store").exists()


def test_cells_know_what_their_rows_are_called_what_a_method_starts_from_too(tmp_path, known):
    text = TEXT.replace('"herding", "still"]', '"herding", "still", "walked"]') + WALKED
    rows = {(cell.cell.synthesizer, cell.role): cell.row for cell in planned(tmp_path, known, text).planned.cells.values()}
    assert rows == {
        ("random", "control"): "",
        ("herding", "asked"): "herding",
        ("dm", "asked"): "DM, no step",
        ("hglad", "asked"): "the walk",
        ("hglad", "control"): "the walk, as it starts",
    }


def test_titles_of_units_tell_variants_and_datasets_apart(tmp_path, known):
    here = {unit.title for unit in planned(tmp_path, known).planned.units.values() if unit.folder == "distilled"}
    assert "dm, ipc 1, distill seed 0 (still)" in here
    assert "herding, ipc 1, distill seed 0" in here
    outlined = known_at(tmp_path / "store", outline=True)
    two = planned(tmp_path, outlined, TEXT.replace('["digits"]', '["digits", "cifar10"]')).planned.units.values()
    sets = [unit.title for unit in two if unit.folder == "distilled"]
    assert {"dm, ipc 1, distill seed 0 (still, digits)", "dm, ipc 1, distill seed 0 (still, cifar10)"} <= set(sets)
    assert len(sets) == len(set(sets))


def test_shared_stages_are_priced_once_and_say_how_many_cells_they_serve(tmp_path, known):
    told = planned(tmp_path, known, TEXT.replace("eval_seeds = 1", "eval_seeds = 3")).to_json()
    assert json.loads(json.dumps(told)) == told
    sets = {unit["title"]: unit["cells"] for unit in told["units"] if unit["kind"] == "distilled"}
    assert sets["random, ipc 1, distill seed 0"] == 3
    assert len(sets) == 5
    assert len([unit for unit in told["units"] if unit["kind"] == "records"]) == 3 * CELLS
    assert told["expected"]["work_s"] >= told["expected"]["wall_s"] > 0
    assert told["expected"]["bytes"] > 0


def test_what_needs_a_plugin_that_nobody_registered_is_said_and_the_rest_is_planned(tmp_path, known):
    text = TEXT.replace('"herding", "still"]', '"herding", "still", "gladd"]')
    asked = planned(tmp_path, known, text)
    assert len(asked.chosen) == CELLS
    (blocked,) = asked.planned.blocked
    assert "gladd on digits, ipc 1: unknown synthesizer 'gladd'. Did you mean 'glad'?" in str(blocked)


def test_a_dataset_that_is_not_here_is_priced_by_its_outline_and_never_counted_as_something_to_make(tmp_path):
    text = TEXT.replace('["digits"]', '["cifar10"]')
    outlined = planned(tmp_path, known_at(tmp_path / "store", outline=True), text)
    assert (len(outlined.chosen), outlined.lacking, outlined.missing) == (CELLS, [], 0)
    assert outlined.work_s > 0


def test_an_option_that_fits_nothing_is_refused_with_the_place_in_the_suite(tmp_path, known):
    with pytest.raises(BadRequest, match="suite few, still on digits, ipc 1: synthesizer 'dm' has no option 'rhoo'"):
        planned(tmp_path, known, TEXT.replace("iterations = 1", "rhoo = 1"))


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (["herding"], {"random", "herding"}),
        (["still"], {"random", "dm"}),
        (["still", "distill_seed=0,eval_seed=7"], {"random", "dm"}),
        (["convnet1*"], {"random", "herding", "dm"}),
        (["ipc=1", "digits", "her*"], {"random", "herding"}),
    ],
)
def test_only_names_methods_as_the_suite_does_and_places_and_brings_their_controls(tmp_path, known, only, found):
    asked = planned(tmp_path, known, only=only)
    assert {asked.planned.cells[key].cell.synthesizer for key in asked.chosen} == found


@pytest.mark.parametrize("only", ["dwa", "ipc=2", "her"])
def test_only_that_matches_nothing_is_refused_with_what_there_is(tmp_path, known, only):
    with pytest.raises(BadRequest, match=f"--only {only} matches no cell; the suite's methods are: herding, still"):
        planned(tmp_path, known, only=[only])


def test_failed_means_cells_that_failed_and_have_no_record(tmp_path, known):
    keys = planned(tmp_path, known).chosen
    store = known.workspace.store
    store.add_failure(keys[3], {"message": "it broke"})
    store.add_failure(keys[3], {"message": "it broke again"})
    store.add_failure("0" * 20, {"message": "of another suite"})
    assert planned(tmp_path, known, failed=store.failure_keys()).chosen == [keys[3]]


def test_changes_of_the_command_line_hold_for_every_cell(tmp_path, known):
    from ddbench.suites.files import read_suite
    from small_suites import suite_file

    suite = read_suite(suite_file(tmp_path))
    shorter = plan_suite(suite, known.workspace, changes=Changes(smoke=0.01), known=known)
    assert set(shorter.cells).isdisjoint(planned(tmp_path, known).chosen)

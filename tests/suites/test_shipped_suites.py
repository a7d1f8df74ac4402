"""Every suite in benchmarks/suites is valid, and is planned and priced here, whether or not its images are."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ddbench.executors.local import Budget
from ddbench.planning import Known
from ddbench.plugins import Plugins
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.suites.files import Suite, expand, read_suite
from ddbench.suites.planning import choose, plan_suite
from ddbench.suites.prices import priced
from ddbench.workspace import Workspace

FOLDER = Path(__file__).parents[2] / "benchmarks" / "suites"
FILES = sorted(FOLDER.glob("*.toml"))
WAITING = {"glad-subsets": ("glad", "hglad")}
"""Suites that need a prior which nobody registered yet, and the methods that ask for it."""

PUBLISHED = {
    "dwa-cifar", "dwa-tiny", "dwa-imagenet", "dwa-lambda", "dwa-steps-rho", "dwa-ablation", "sre2l-cifar", "sre2l-tiny",
    "sre2l-imagenet", "glad-subsets", "dc-bench", "digits",
}  # fmt: skip
"""The papers' tables and figures, and the suite of every method."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """What planning looks up, with no data root and an empty store."""
    root = tmp_path_factory.mktemp("suites")
    settings = Settings(root / "store", (root / "data",), (), offline=True)
    return Known(Workspace(settings, Store(settings.store), Plugins(()), Silent()), outline=True)


def test_the_papers_tables_and_figures_are_there() -> None:
    assert {path.stem for path in FILES} >= PUBLISHED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_suite_says_its_own_name_and_where_it_comes_from(path: Path) -> None:
    suite = read_suite(path)
    assert suite.name == path.stem
    assert suite.title
    assert suite.source


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_cell_of_a_suite_is_planned_and_priced_and_what_waits_says_for_what(path: Path, known: Known) -> None:
    suite = read_suite(path)
    whole = plan_suite(suite, known.workspace, known=known)
    told = priced(whole, choose(whole), known, Budget(2, 2))
    waits = [asked.label for asked in expand(suite) if asked.request.synthesizers[0] in WAITING.get(path.stem, ())]
    assert sorted(one.label for one in whole.blocked) == sorted(waits)
    assert all("stylegan-xl" in one.why for one in whole.blocked)
    made = {(cell.cell.synthesizer, cell.cell.facts.name, cell.cell.ipc) for cell in whole.cells.values() if cell.role == "asked"}
    assert made == {one for one in _places(suite) if one[0] not in WAITING.get(path.stem, ())}
    assert told.work_s >= told.wall_s > 0
    assert told.bytes > 0
    assert min(told.prices[unit.key].seconds for unit in told.units if unit.folder == "records") > 0


def _places(suite: Suite) -> set[tuple[str, str, int | None]]:
    return {(asked.request.synthesizers[0], asked.request.dataset, asked.request.ipc) for asked in expand(suite)}


def test_the_subsets_suite_has_three_objectives_in_three_ways_on_ten_subsets() -> None:
    asked = expand(read_suite(FOLDER / "glad-subsets.toml"))
    assert len({one.request.dataset for one in asked}) == 10
    methods = {
        "random",
        "dc",
        "dm",
        "mtt",
        *(f"{name}-{objective}" for name in ("glad", "hglad") for objective in ("dc", "dm", "mtt")),
    }
    assert {one.method for one in asked} == methods
    spaces = {one.method: one.request.options.get("space") for one in asked if one.request.synthesizers == ("glad",)}
    assert spaces == {"glad-dc": "f16", "glad-dm": "f20", "glad-mtt": "f12"}


def test_the_sweep_of_figure_3_moves_one_weight_or_both_over_the_whole_range() -> None:
    weights: dict[str, list[float]] = {"decoupled": [], "coupled": []}
    for asked in expand(read_suite(FOLDER / "dwa-lambda.toml")):
        options = dict(asked.request.options)
        assert options["r_bn"] == 0.01 if asked.method == "decoupled" else options["r_var"] == 1.0
        weights[asked.method].append(round(options["r_bn"] * options["r_var"], 6))
    range_ = [round(0.01 + 0.02 * number, 6) for number in range(12)]
    assert sorted(weights["decoupled"]) == sorted(weights["coupled"]) == sorted(2 * range_)  # at two ipcs; .11 is the default


def test_the_grid_of_figure_5_is_whole_and_holds_the_default() -> None:
    grid = {(asked.values["steps"], asked.values["rho"]) for asked in expand(read_suite(FOLDER / "dwa-steps-rho.toml"))}
    assert grid == set(itertools.product([1, 4, 8, 12, 16, 20], [0.001, 0.005, 0.01, 0.015, 0.02, 0.05]))
    assert (12, 0.015) in grid


def test_the_ablation_is_a_whole_2_by_2_by_2_grid() -> None:
    grid = {
        (asked.request.ipc, *(asked.values[name] for name in ("init", "r_var", "direction")))
        for asked in expand(read_suite(FOLDER / "dwa-ablation.toml"))
        if asked.method == "dwa"
    }
    assert len(grid) == 2 * 8

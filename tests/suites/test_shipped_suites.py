"""Every suite in benchmarks/suites is valid, and is planned and priced here, whether or not its images are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddbench.errors import UnknownName
from ddbench.planning import Known, Plan, plan
from ddbench.plugins import Plugins
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.suites.files import Asked, expand, read_suite
from ddbench.workspace import Workspace

FOLDER = Path(__file__).parents[2] / "benchmarks" / "suites"
FILES = sorted(FOLDER.glob("*.toml"))
WAITING = {"glad-subsets": "stylegan-xl"}
"""Suites that need a prior which nobody registered yet, and that prior."""

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


def planned(asked: Asked, known: Known) -> Plan:
    return plan(asked.request, known.workspace, known=known)


def test_the_papers_tables_and_figures_are_there() -> None:
    assert {path.stem for path in FILES} >= PUBLISHED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_suite_says_its_own_name_and_where_it_comes_from(path: Path) -> None:
    suite = read_suite(path)
    assert suite.name == path.stem
    assert suite.title
    assert suite.source


@pytest.mark.parametrize("path", [path for path in FILES if path.stem not in WAITING], ids=lambda path: path.stem)
def test_every_cell_of_a_suite_is_planned_and_priced(path: Path, known: Known) -> None:
    for asked in expand(read_suite(path)):
        one = planned(asked, known)
        assert {cell.cell.synthesizer for cell in one.cells} >= {"random", asked.request.synthesizers[0]}
        assert all(cell.cell.ipc == asked.request.ipc for cell in one.cells)
        assert one.expected_s > 0
        assert not any(cell.stored for cell in one.cells)


@pytest.mark.parametrize("name", WAITING)
def test_a_suite_that_waits_for_a_prior_names_it(name: str, known: Known) -> None:
    for asked in expand(read_suite(FOLDER / f"{name}.toml")):
        if asked.request.synthesizers in (("random",), ("dm",)):
            assert planned(asked, known).expected_s > 0
            continue
        with pytest.raises(UnknownName, match=WAITING[name]):
            planned(asked, known)


def test_the_sweep_of_figure_3_moves_one_weight_or_both() -> None:
    for asked in expand(read_suite(FOLDER / "dwa-lambda.toml")):
        options = dict(asked.request.options)
        weight = options["r_bn"] * options["r_var"]
        assert 0.01 - 1e-12 <= weight <= 0.23 + 1e-12
        assert options["r_bn"] == 0.01 if asked.method == "decoupled" else options["r_var"] == 1.0


def test_the_ablation_is_a_whole_2_by_2_by_2_grid() -> None:
    grid = {
        (asked.request.ipc, *(asked.values[name] for name in ("init", "r_var", "direction")))
        for asked in expand(read_suite(FOLDER / "dwa-ablation.toml"))
        if asked.method == "dwa"
    }
    assert len(grid) == 2 * 8

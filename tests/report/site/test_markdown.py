"""The digest of a board names who shares the first place, and counts them where they are many."""

from __future__ import annotations

import pytest

from boards import saved
from ddbench.report.site.admission import admit
from ddbench.report.site.board import board
from ddbench.report.site.markdown import NAMED, brief, digest
from handmade import nested

ALIKE = [[0.60, 0.62], [0.63, 0.62], [0.58, 0.60]]


@pytest.mark.parametrize("more", [1, NAMED - 1, NAMED])
def test_the_first_place_is_named_by_its_rows_or_by_how_many_there_are(tmp_path, more):
    names = ["random", *(f"method{number}" for number in range(more))]
    records = [one for name in names for one in nested(name, ALIKE)]
    row = digest(board(admit([saved(tmp_path, *records)]))).splitlines()[2]
    first = row.split(" | ")[5]
    if len(names) <= NAMED:
        assert set(first.split(", ")) == set(names)
    else:
        assert first == f"{len(names)} rows"
        assert sum(name in row.split(" | ")[6] for name in names) == 1


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("glad avg_w=true", "glad avg_w=true"),
        (f"glad a=1 {'b' * 30}=2 {'c' * 30}=3 d=4", f"glad a=1 {'b' * 30}=2 …"),
        ("m" * 80, f"{'m' * 80} …"),
        (f"{'m' * 70} a=1", f"{'m' * 70} …"),
    ],
)
def test_a_long_label_keeps_as_many_options_as_fit(label, shown):
    assert brief(label) == shown

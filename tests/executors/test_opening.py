from __future__ import annotations

import sys

import pytest

from ddbench.errors import BadRequest
from ddbench.executors.local import Budget, Limits, Pool
from ddbench.executors.opening import Choice, machines
from ddbench.planning import Known
from small_runs import workspace


@pytest.fixture
def known(tmp_path):
    return Known(workspace(tmp_path))


def test_the_local_machine_gives_a_pool_with_what_was_asked_for(known):
    limits = Limits(time_s=5.0)
    with machines(Choice(workers=2, limits=limits), known, "cpu") as found:
        place = known.place("cpu")
        assert found.budget(place) == Budget(2, max(2, place.threads))
        with found.executor(place, lambda key: key) as pool:
            assert isinstance(pool, Pool)
            assert (pool.budget.workers, pool.limits) == (2, limits)


def test_an_address_without_ray_is_refused(known):
    with (
        pytest.raises(BadRequest, match="--address auto is of a Ray cluster; add --executor ray"),
        machines(Choice(address="auto"), known, "cpu"),
    ):
        pass


def test_without_ray_installed_a_sentence_says_what_to_install(known, monkeypatch):
    for name in [name for name in sys.modules if name == "ray" or name.startswith(("ray.", "ddbench.executors.ray"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadRequest, match=r"pip install 'ddbench\[ray\]'"), machines(Choice("ray"), known, "cpu"):
        pass

"""What the package registers, and what it plans without looking at an image."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ddbench import DatasetFacts, Synthesizer
from ddbench_plugins.baselines import Herding, KCenter, ddbench_synthesizers


def imagenet() -> DatasetFacts:
    return DatasetFacts(
        name="imagenet",
        classes=tuple(str(i) for i in range(1000)),
        shape=(3, 224, 224),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        counts=(1281,) * 1000,
        test_images=50_000,
        sha256="0" * 64,
    )


def test_the_hook_returns_the_five_baselines():
    found = list(ddbench_synthesizers())
    assert [synthesizer.name for synthesizer in found] == ["random", "noise", "herding", "kcenter", "full"]
    assert all(isinstance(synthesizer, Synthesizer) for synthesizer in found)


def test_only_the_selecting_ones_need_a_teacher():
    needs = {s.name: {n.kind for n in s.needs(s.options(), imagenet()).values()} for s in ddbench_synthesizers()}
    assert needs == {"random": set(), "noise": set(), "herding": {"teacher"}, "kcenter": {"teacher"}, "full": set()}


def test_only_noise_starts_from_noise():
    assert {s.name: s.start(s.options()) for s in ddbench_synthesizers()} == {
        "random": "real",
        "noise": "noise",
        "herding": "real",
        "kcenter": "real",
        "full": "real",
    }


@pytest.mark.parametrize("synthesizer", [Herding(), KCenter()])
def test_selectors_make_small_sets_in_one_group_and_never_hold_more_than_two_gibibytes(synthesizer, train):
    o = synthesizer.options()
    assert synthesizer.stack(o, train.facts) > 1000
    assert synthesizer.stack(o, imagenet()) * 1000 * 3 * 224 * 224 <= 2 * 2**30


def test_importing_the_plugin_and_planning_imports_no_torch():
    code = (
        "import sys; from ddbench_plugins.baselines import ddbench_synthesizers\n"
        "from ddbench import DatasetFacts\n"
        "facts = DatasetFacts('toy', ('a', 'b'), (1, 2, 2), (0.5,), (0.2,), (3, 3), 1, '')\n"
        "[s.jobs(s.options(), facts, 2, 0) for s in ddbench_synthesizers()]\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

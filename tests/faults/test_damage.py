"""A bit flipped in every kind of artefact, a truncated record, and a clock that jumps back."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ddbench.executors.inline import Inline
from ddbench.executors.local import Budget
from ddbench.executors.schedule import Rules
from ddbench.executors.workbench import Workbench
from ddbench.suites.files import read_suite
from ddbench.suites.planning import choose, forget_damaged, plan_suite
from ddbench.suites.prices import priced
from ddbench.suites.running import Run, run_suite
from ddbench.suites.status import StatusFile
from disturbed import content, half_there
from small_suites import known_at

pytestmark = pytest.mark.slow

TEXT = """
name = "faults"

[settings]
students = ["convnet1-w32"]
teacher = "convnet1-bn-w32"
eval_seeds = 1
smoke = 0.005
threads = 1
options = { "teacher.epochs" = 1, iterations = 2, "experts.count" = 1, "experts.epochs" = 5 }

[variants.untrained]
synthesizer = "glad"
options = { prior = "random" }

[[cells]]
methods = ["sre2l"]
datasets = ["digits"]
ipc = [1]
settings = { protocol = "dwa-cifar-stored/1" }

[[cells]]
methods = ["mtt", "untrained"]
datasets = ["digits"]
ipc = [1]
settings = { protocol = "quick-hard/1" }
"""
"""Every kind of artefact: teachers, priors, experts, distilled sets, stored labels, evaluations, records."""

KINDS = ("teachers", "priors", "experts", "distilled", "labels", "evaluations", "records")


@pytest.fixture(autouse=True)
def only_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "faults.toml").write_text(TEXT)
    assert run(folder / "faults.toml", folder / "store").failures == []
    assert all(list((folder / "store" / kind).iterdir()) for kind in KINDS)
    return folder


def run(file: Path, store: Path):
    known = known_at(store)
    planned = plan_suite(read_suite(file), known.workspace, known=known)
    forget_damaged(planned, known.workspace.store)
    asked = priced(planned, choose(planned), known, Budget(1, 1))
    inline = Inline(Workbench(known.workspace), planned.task)
    return run_suite(asked, known.workspace, Run(inline, StatusFile(known.workspace.store, "faults", asked.missing), Rules()))


def flip(path: Path, moments: random.Random) -> None:
    """Change one bit of a file."""
    bytes_ = bytearray(path.read_bytes())
    bytes_[moments.randrange(len(bytes_))] ^= 1 << moments.randrange(8)
    path.write_bytes(bytes_)


@pytest.mark.parametrize("round_", range(3))
@pytest.mark.parametrize("what", ["cards", "data"])
def test_a_bit_flipped_in_every_artefact_is_told_and_made_again_with_the_same_bytes(whole, tmp_path, what, round_):
    store, moments = tmp_path / "store", random.Random(100 * round_ + len(what))
    shutil.copytree(whole / "store", store)
    flipped = []
    for kind in KINDS:
        files = [path for path in sorted((store / kind).rglob("*.*")) if (path.suffix == ".json") == (what == "cards")]
        files = [path for path in files if path.suffix != ".png" and not path.name.startswith("after-")]
        for _, own in itertools.groupby(files, key=lambda path: path.stem if kind == "records" else path.parent):
            flipped.append(moments.choice(list(own)))
            flip(flipped[-1], moments)
    outcome = run(whole / "faults.toml", store)
    assert outcome.failures == []
    told = "\n".join(outcome.damaged)
    unread = [path for path in flipped if (path.stem if path.parent.name == "records" else path.parent.name) not in told]
    assert unread == []
    assert content(store) == content(whole / "store")
    assert half_there(store) == []
    assert len(list((store / "damaged").iterdir())) >= len(flipped)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_record_is_made_again(whole, tmp_path, part):
    store = tmp_path / "store"
    shutil.copytree(whole / "store", store)
    path = sorted((store / "records").glob("*.json"))[2]
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    outcome = run(whole / "faults.toml", store)
    assert (outcome.made, len(outcome.damaged)) == ([path.stem], 1)
    assert content(store) == content(whole / "store")


def test_a_clock_that_jumps_back_while_a_suite_runs_changes_no_record(whole, tmp_path, monkeypatch):
    from ddbench import students
    from ddbench.executors import problems
    from ddbench.suites import status

    jumps = iter(range(10_000))

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 1, tzinfo=tz or UTC) - timedelta(hours=next(jumps))

    real = time.time
    for module in (students, problems, status):
        monkeypatch.setattr(module, "datetime", Jumping)
    monkeypatch.setattr(time, "time", lambda: real() - 3600.0 * next(jumps))
    outcome = run(whole / "faults.toml", tmp_path / "store")
    assert outcome.failures == []
    assert content(tmp_path / "store") == content(whole / "store")
    assert half_there(tmp_path / "store") == []

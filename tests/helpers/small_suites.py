"""A suite of a few cells on digits that takes seconds, and what must be equal of two stores it was run into."""

from __future__ import annotations

from ddbench.executors.inline import Inline
from ddbench.executors.local import Budget
from ddbench.executors.schedule import Rules
from ddbench.executors.workbench import Workbench
from ddbench.planning import Known
from ddbench.settings import Settings
from ddbench.suites.files import read_suite
from ddbench.suites.planning import choose, plan_suite
from ddbench.suites.prices import priced
from ddbench.suites.running import Run, run_suite
from ddbench.suites.status import StatusFile
from ddbench.workspace import open_workspace

TEXT = """
name = "few"
title = "A few cells"

[settings]
protocol = "quick-hard/1"
students = ["convnet1-w32"]
eval_seeds = 1
smoke = 0.02
threads = 1

[variants.still]
synthesizer = "dm"
title = "DM, no step"
options = { iterations = 1 }

[[cells]]
methods = ["herding", "still"]
datasets = ["digits"]
ipc = [1]
"""
CELLS = 5
"""Three draws of random, and one cell of each method."""


def known_at(root, *, outline=False):
    return Known(open_workspace(Settings(root, (), ())), outline=outline)


def suite_file(folder, text=TEXT):
    path = folder / "few.toml"
    path.write_text(text)
    return path


def planned(folder, known, text=TEXT, **chosen):
    """Return the suite's chosen cells, priced for one worker."""
    whole = plan_suite(read_suite(suite_file(folder, text)), known.workspace, known=known)
    return priced(whole, choose(whole, **chosen), known, Budget(1, 1))


def run_here(folder, known, text=TEXT, **rules):
    """Run the suite in this process and return its outcome."""
    asked = planned(folder, known, text)
    workbench = Workbench(known.workspace)
    status = StatusFile(known.workspace.store, "few", asked.missing)
    return run_suite(asked, known.workspace, Run(Inline(workbench, asked.planned.task), status, Rules(**rules)))

"""Cells that raise, hang, or take all the memory there is: they fail with a sentence, the others go on, and the machine lives."""

from __future__ import annotations

import json
import textwrap
import time

import pytest

from disturbed import content, finished, half_there

pytestmark = pytest.mark.slow

PLUGIN = '''
"""odd: noise, made by a method that does what a file beside it says."""

import time
from pathlib import Path

import torch

from ddbench import JobResult, NoOptions, Synthesizer, hookimpl, jobs_per_image_index

TROUBLE = Path(__file__).with_name("trouble.txt")


class Odd(Synthesizer):
    name = "odd"
    version = 1
    options = NoOptions

    def start(self, o):
        return "noise"

    def needs(self, o, facts):
        return {}

    def jobs(self, o, facts, ipc, seed):
        return jobs_per_image_index(facts, ipc, seed)

    def run(self, ctx, o, group):
        trouble = TROUBLE.read_text() if TROUBLE.is_file() else ""
        if trouble == "raise":
            raise RuntimeError("an odd thing happened")
        if trouble == "hang":
            time.sleep(3600)
        held = []
        while trouble == "greedy":
            held.append(torch.ones(2**22))  # 16 MiB at a time
            time.sleep(0.005)
        shape = ctx.train.facts.shape
        return [JobResult(torch.full((len(job.labels), *shape), 0.5), torch.tensor(job.labels), space="unit") for job in group]


@hookimpl
def ddbench_synthesizers():
    return [Odd()]
'''

TEXT = """
name = "faults"

[settings]
protocol = "quick-hard/1"
students = ["convnet1-w32"]
eval_seeds = 1
smoke = 0.01
threads = 1

[[cells]]
methods = ["odd", "noise"]
datasets = ["digits"]
ipc = [1]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the suite and the plugin."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "faults.toml").write_text(TEXT)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "odd.py").write_text(textwrap.dedent(PLUGIN))
    return folder


def run(folder, store, *more, code=0):
    return finished(folder, store, "--plugins-dir", str(folder / "plugins"), *more, code=code)


@pytest.fixture(scope="module")
def found(folder):
    run(folder, folder / "whole")
    return content(folder / "whole")


@pytest.mark.parametrize(
    "case",
    [
        ("raise", [], "RuntimeError", "an odd thing happened"),
        ("hang", ["--time-limit", "20s"], "TimeLimit", "it took longer than 20 s and was ended"),
        ("greedy", ["--memory-limit", "2500M"], "MemoryLimit", "the limit is 2500 MiB"),
    ],
    ids=["raises", "hangs", "takes memory"],
)
def test_a_cell_in_trouble_fails_alone_and_is_made_once_the_trouble_is_over(folder, found, tmp_path, case):
    trouble, limits, error, said = case
    store, switch = tmp_path / "store", folder / "plugins" / "trouble.txt"
    switch.write_text(trouble)
    begun = time.monotonic()
    try:
        told = run(folder, store, *limits, code=1)
    finally:
        switch.unlink()
    assert time.monotonic() - begun < 1800  # it hangs for an hour where nobody ends it
    assert said in told
    assert "next: ddbench suite run" in told
    assert "--failed" in told
    kept = [json.loads(path.read_text()) for path in (store / "failures").iterdir()]
    assert [(one["error"], one["cell"]["synthesizer"]) for one in kept] == [(error, "odd")]
    assert len(list((store / "records").glob("*.json"))) == 4
    assert half_there(store) == []
    run(folder, store, "--failed")
    assert content(store) == found

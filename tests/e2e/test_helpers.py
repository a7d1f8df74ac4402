"""Helper processes change where cells are made, not what they are."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import torch
from rich.console import Console
from rich.progress import Progress

import ddbench
from ddbench import planning
from ddbench.executors import helping
from ddbench.making import threads_kept
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

RUN = {
    "students": ["convnet1-w32"],
    "teacher": "convnet1-bn-w32",
    "options": {"teacher.epochs": 1},
    "eval_seeds": 2,
    "ipc": 1,
    "smoke": 0.1,
}


@pytest.fixture(autouse=True)
def only_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")
    with threads_kept():
        yield


def test_small_steps_take_one_thread_each_and_a_process_for_every_idle_one(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    small = ddbench.plan("noise", store=tmp_path, **RUN)
    assert (small.threads, small.helpers) == (1, 3)
    asked = ddbench.plan("noise", store=tmp_path, threads=2, **RUN)
    assert (asked.threads, asked.helpers) == (2, 0)
    few = ddbench.plan("random", store=tmp_path, **{**RUN, "eval_seeds": 1})
    assert (few.threads, few.helpers) == (4, 0)
    monkeypatch.setattr(planning, "SMALL_STEP_FLOPS", 1.0)
    large = ddbench.plan("noise", store=tmp_path, **RUN)
    assert (large.threads, large.helpers) == (4, 0)


@pytest.mark.e2e
def test_a_run_gives_torch_its_threads_back_for_the_next_one(tmp_path):
    before = torch.get_num_threads()
    first = ddbench.plan("random", store=tmp_path / "first", **RUN)
    ddbench.run("random", store=tmp_path / "first", **RUN)
    assert torch.get_num_threads() == before
    second = ddbench.plan("random", store=tmp_path / "second", **RUN)
    assert (second.threads, second.helpers) == (first.threads, first.helpers)
    assert first.threads == 1 or before == 1


@pytest.mark.e2e
def test_cells_made_side_by_side_are_those_made_one_after_another(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    alone = ddbench.run("noise", "dwa", store=tmp_path / "alone", threads=1, **RUN)
    beside = ddbench.run("noise", "dwa", store=tmp_path / "beside", **RUN)
    assert [record.repeatable() for record in beside.records] == [record.repeatable() for record in alone.records]
    assert Store(tmp_path / "beside").failures() == []


@pytest.mark.parametrize("copies", [True, False], ids=["a copy", "an interpreter"])
@pytest.mark.e2e
def test_a_helper_makes_cells_by_itself_and_ends_with_the_block(copies, monkeypatch, tmp_path):
    monkeypatch.setattr(helping, "may_copy", lambda planned: copies)
    store = Store(tmp_path / "store")
    planned = ddbench.plan("random", store=store.root, threads=1, **RUN)
    workspace = open_workspace(Settings(store.root, (), ()))
    with helping.helping(planned, workspace, count=1) as helpers:
        for _ in range(600):
            if len(store.record_keys()) == 6:
                break
            time.sleep(0.1)
        pids = [helper.pid for helper in helpers]
    assert len(store.record_keys()) == 6
    assert len(pids) == 1
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_helpers_are_copies_only_where_no_thread_could_be_missed(monkeypatch, tmp_path):
    one = ddbench.plan("random", store=tmp_path, threads=1, **RUN)
    several = ddbench.plan("random", store=tmp_path, threads=2, **RUN)
    drawing = Console(file=io.StringIO(), force_terminal=True)
    with monkeypatch.context() as patch, Progress(console=drawing):
        patch.setattr(threading, "enumerate", lambda: [threading.main_thread()])
        assert helping.may_copy(one) == (sys.platform == "linux" and not torch.accelerator.is_available())
        assert not helping.may_copy(several)
        patch.setattr(torch.accelerator, "is_available", lambda: True)
        assert not helping.may_copy(one)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert not helping.may_copy(one)
        assert not pool.submit(helping.may_copy, one).result()


def test_progress_does_not_stand_against_copies(monkeypatch, tmp_path):
    one, before = ddbench.plan("random", store=tmp_path, threads=1, **RUN), threading.enumerate()
    others = threading.enumerate
    monkeypatch.setattr(threading, "enumerate", lambda: [thread for thread in others() if thread not in before])
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)):
        assert len(threading.enumerate()) == 1
        assert helping.may_copy(one) == (sys.platform == "linux" and not torch.accelerator.is_available())


def in_a_process(lines, tmp_path, first=""):
    """Return the words that lines print at the end of a process, in which `plan` and `workspace` are at hand."""
    script = f"""
{first}
import os, random, sys, time, warnings
import numpy, psutil, torch
import ddbench
from ddbench.executors import helping
from ddbench.settings import Settings
from ddbench.workspace import open_workspace
torch.set_num_threads(2)
torch.ones(400, 400) @ torch.ones(400, 400)  # so that OpenMP has threads, which a copy has not
planned = ddbench.plan("random", store={str(tmp_path / "store")!r}, threads=1, **{RUN!r})
workspace = open_workspace(Settings({str(tmp_path / "store")!r}, (), ()))
torch.set_num_threads(1)
told = {str(tmp_path / "told")!r}
"""
    done = subprocess.run([sys.executable, "-c", script + lines], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout.split()


linux = pytest.mark.skipif(sys.platform != "linux", reason="helpers are copies on Linux alone")


@linux
@pytest.mark.e2e
def test_a_copy_says_nothing_and_ends_when_it_is_asked_to_or_is_left_alone(tmp_path):
    said = in_a_process(
        """
def talkative(planned, workspace, parent):
    print("a copy", flush=True)
    warnings.warn("a copy")
    os.system("echo a copy")
    open(told, "w").close()
    time.sleep(60)  # busy with one cell
helping._help = talkative
def begun():
    while not os.path.exists(told):
        time.sleep(0.05)
    os.remove(told)
print("before", end=" ")
with helping.helping(planned, workspace, count=2) as helpers:
    begun()
    print(*(helper.is_running() for helper in helpers), end=" ")
print(*(helper.is_running() for helper in helpers), end=" ")
with helping.helping(planned, workspace, count=1) as helpers:
    begun()
    print(helpers[0].pid, flush=True)
    os._exit(0)
""",
        tmp_path,
    )
    assert said[:-1] == ["before", "True", "True", "False", "False"]
    for _ in range(100):
        if not psutil.pid_exists(int(said[-1])) or psutil.Process(int(said[-1])).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a copy goes on without its caller")


@linux
@pytest.mark.e2e
def test_a_copy_leaves_what_began_with_more_threads_and_draws_numbers_of_its_own(tmp_path):
    said = in_a_process(
        """
def look(planned, workspace, parent):
    with open(told + str(os.getpid()), "w") as file:
        torch.set_num_threads(1)
        try:
            torch.set_num_threads(2)
        except RuntimeError as error:
            print(error, "/", numpy.random.random(), random.random(), float(torch.rand(())), torch.get_num_threads(), file=file)
helping._help = look
with helping.helping(planned, workspace, count=2) as helpers:
    for helper in helpers:
        helper.wait()
print(numpy.random.random(), random.random(), float(torch.rand(())))
print(*(open(told + str(helper.pid)).read() for helper in helpers))
""",
        tmp_path,
    )
    first, second = " ".join(said[3:]).replace("a helper that is a copy", "|").split("|")[1:]
    assert first.startswith(" of its process has one thread, asked for 2 / ")
    drawn = [said[:3], first.split("/")[1].split()[:3], second.split("/")[1].split()[:3]]
    assert [len(set(numbers)) for numbers in zip(*drawn, strict=True)] == [3, 3, 3]
    assert first.split()[-1] == second.split()[-1] == "1"


@linux
@pytest.mark.e2e
def test_helpers_that_began_are_ended_where_a_later_one_cannot(monkeypatch, tmp_path):
    planned = ddbench.plan("random", store=tmp_path, threads=1, **RUN)
    begun, start = [], helping._started

    def start_once(*given):
        if begun:
            raise OSError("no more processes")
        begun.append(start(*given))
        return begun[0]

    monkeypatch.setattr(helping, "may_copy", lambda planned: False)
    monkeypatch.setattr(helping, "_started", start_once)
    with pytest.raises(OSError, match="no more"), helping.helping(planned, open_workspace(Settings(tmp_path, (), ())), count=2):
        pass
    assert not begun[0].is_running()


@linux
@pytest.mark.e2e
def test_what_waits_to_be_written_is_written_once(tmp_path):
    written = tmp_path / "written"
    said = in_a_process(
        f"""
sys.stdout = open({str(written)!r}, "w")  # nothing else holds it, so that a copy closes it
print("once")
helping._help = lambda planned, workspace, parent: None
with helping.helping(planned, workspace, count=2) as helpers:
    for helper in helpers:
        helper.wait()
sys.stdout.flush()
""",
        tmp_path,
    )
    assert said == []
    assert written.read_text() == "once\n"


@linux
@pytest.mark.e2e
@pytest.mark.parametrize("stream", ["Tee()", "closed()"])
def test_output_that_cannot_be_flushed_keeps_no_helper_from_its_work(tmp_path, stream):
    said = in_a_process(
        f"""
class Tee:
    def write(self, text):
        return sys.__stdout__.write(text)
def closed():
    stream = open(os.devnull, "w")
    stream.close()
    return stream
sys.stdout = {stream}
helping._help = lambda planned, workspace, parent: open(told, "w").close()
with helping.helping(planned, workspace, count=1) as helpers:
    helpers[0].wait()
sys.stdout = sys.__stdout__
print(os.path.exists(told))
""",
        tmp_path,
    )
    assert said == ["True"]


@linux
@pytest.mark.e2e
def test_an_interrupt_while_a_copy_begins_leaves_none_behind(tmp_path):
    said = in_a_process(
        """
import signal
fork, begun = os.fork, []
def interrupted():
    pid = fork()
    if pid:
        begun.append(pid)
        os.kill(os.getpid(), signal.SIGINT)
    return pid
os.fork = interrupted
def stay(planned, workspace, parent):
    while os.getppid() == parent:
        time.sleep(0.05)
helping._help = stay
try:
    with helping.helping(planned, workspace, count=1):
        print("inside")
except KeyboardInterrupt:
    print("interrupted", psutil.pid_exists(begun[0]))
""",
        tmp_path,
    )
    assert said == ["interrupted", "False"]


@linux
@pytest.mark.e2e
def test_a_copy_may_use_another_librarys_openmp_after_its_caller_did(tmp_path):
    said = in_a_process(
        """
points = numpy.random.default_rng(0).standard_normal((5000, 64))
fit = lambda: KMeans(5, n_init=1, random_state=0).fit(points)
fit()
def cluster(planned, workspace, parent):
    fit()
    open(told, "w").close()
helping._help = cluster
with helping.helping(planned, workspace, count=1) as helpers:
    helpers[0].wait(timeout=60)
print(os.path.exists(told))
""",
        tmp_path,
        first="from sklearn.cluster import KMeans",  # before torch: else it takes torch's OpenMP
    )
    assert said == ["True"]

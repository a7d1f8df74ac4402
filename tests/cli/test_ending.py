"""How the process of a command ends: at once, but with all that was to be done, said and waited for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import atexit, sys, threading, time
import ddbench.__main__ as command

class Undone:
    def __del__(self):
        print("taken apart")

left = Undone()
atexit.register(lambda: print("hook"))
if {thread}:
    threading.Thread(target=lambda: (time.sleep(0.5), print("thread"))).start()
sys.argv = ["ddbench", *{words!r}]
command.main()
"""


def ended(words: list[str], *, thread: bool = False) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(words=words, thread=thread)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["list", "nothing-like-this"], 2)])
def test_hooks_run_and_output_is_whole_but_nothing_is_taken_apart(words, code):
    returned, lines = ended(words)
    assert returned == code
    assert "hook" in lines
    assert "taken apart" not in lines


def test_a_thread_that_is_still_at_work_is_waited_for():
    returned, lines = ended(["--version"], thread=True)
    assert (returned, lines[1:]) == (0, ["thread", "hook", "taken apart"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a device that is always full")
def test_what_cannot_be_written_is_no_success():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ddbench", "list", "networks"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3

"""`python -m ddbench` is the command line."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

from ddbench.cli import app
from ddbench.heap import collect_seldom

__all__ = ["main"]


def main() -> None:
    """Run the command line in a process of its own."""
    collect_seldom()
    try:
        app.main()
    except SystemExit as done:
        _leave(done.code)
        raise


def _leave(code: object) -> None:
    """End the process where nothing but taking modules apart is left to do: that of torch takes half a second.

    Return where a thread is still to be waited for, where there is something to say, or where what was said cannot be written.
    """
    waited_for = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if waited_for or not isinstance(code, int | None):
        return
    with contextlib.suppress(OSError, ValueError):
        atexit._run_exitfuncs()  # noqa: SLF001 - what Python itself calls at this point
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    main()

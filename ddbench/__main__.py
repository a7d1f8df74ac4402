"""`python -m ddbench` is the command line."""

from __future__ import annotations

from ddbench.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()

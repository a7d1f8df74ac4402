"""The same as the command line, for notebooks and scripts: records and DataFrames instead of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ddbench.progress import Reporter
    from ddbench.records import Record
    from ddbench.runner import Outcome, Plan
    from ddbench.workspace import Workspace


def plan(*synthesizers: str, store: Path | str | None = None, reporter: Reporter | None = None, **request: Any) -> Plan:
    """Return what `run` would do with the same arguments, without doing it."""
    from ddbench import planning

    workspace = _workspace(store, reporter, request.pop("data_roots", ()), offline=request.pop("offline", False))
    return planning.plan(_request(synthesizers, request), workspace)


def run(
    *synthesizers: str, store: Path | str | None = None, reporter: Reporter | None = None, fresh: bool = False, **request: Any
) -> Outcome:
    """Distil, train students, test them, and return the outcome: records, failures, how much was reused.

    Args:
        synthesizers: Names, as on the command line: `run("dwa", "sre2l")`.
        store: Where results are kept; the settings' store unless given.
        reporter: Told about progress; silent unless given.
        fresh: Make everything again.
        request: Fields of `ddbench.cells.Request`: `dataset`, `ipc`, `students`, `protocol`, `options`, ...;
            and `data_roots` (directories searched first) and `offline` (download nothing).

    Raises:
        DdbenchError: A name, an option or a combination is wrong, or data are missing.
    """
    from ddbench import planning, runner

    workspace = _workspace(store, reporter, request.pop("data_roots", ()), offline=request.pop("offline", False))
    return runner.run(planning.plan(_request(synthesizers, request), workspace), workspace, fresh=fresh)


def load_records(store: Path | str | None = None) -> list[Record]:
    """Return every whole record of a store, by key."""
    return list(_workspace(store, None).store.records())


def table(records: Sequence[Record] | None = None, *, store: Path | str | None = None) -> pd.DataFrame:
    """Return records as a long table, a row per record; those of the store unless given."""
    from ddbench.report.tables import frame

    return frame(load_records(store) if records is None else records)


def _request(synthesizers: Sequence[str], fields: Mapping[str, Any]) -> Any:
    from ddbench.cells import Request
    from ddbench.errors import BadRequest

    if not synthesizers:
        raise BadRequest("name at least one synthesizer, for example run('dwa')")
    unknown = sorted(set(fields) - set(Request.__dataclass_fields__))
    if unknown:
        raise BadRequest(f"run() has no argument {unknown[0]!r}; it takes: {', '.join(sorted(Request.__dataclass_fields__))}")
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return replace(Request(tuple(synthesizers)), **{**fields, **lists})


def _workspace(
    store: Path | str | None, reporter: Reporter | None, data_roots: Sequence[Path | str] = (), *, offline: bool = False
) -> Workspace:
    from ddbench.settings import load_settings
    from ddbench.workspace import open_workspace

    roots = [Path(root) for root in data_roots]
    return open_workspace(
        load_settings(store=Path(store) if store is not None else None, data_roots=roots, offline=offline), reporter
    )

"""`ddbench verify` and `ddbench submit`: checksums, students trained again, and records for others."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, say, write, write_json
from ddbench.cli.progress import shown_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench.exchange.checking import Finding
    from ddbench.exchange.retraining import Asked
    from ddbench.exchange.verifying import Result
    from ddbench.workspace import Workspace

KEY_FILE = re.compile(r"[0-9a-f]{8,64}\.json")
"""What a record's file is called."""

Places = list[tuple[Path, Path | None]]
"""Files of records, each with the folder that holds what it names."""


def verify(  # noqa: PLR0913 - a parameter per flag
    targets: Annotated[
        list[str], typer.Argument(metavar="KEY|FILE", help="Keys, submissions, records' files, or folders of such files.")
    ],
    *,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train the student again from the set, and compare.")] = False,
    redistil: Annotated[
        bool, typer.Option("--redistil", help="Distil the set again too, with all it needs, and train students on that.")
    ] = False,
    eval_seeds: Annotated[
        int, typer.Option(metavar="N", min=3, help="Students to train where predictions cannot be the same ones.")
    ] = 5,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who checks, as the record's level will tell.")] = "unnamed",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where records of a submission go that agree. Default: beside it.")
    ] = None,
    device: flags.DeviceFlag = "auto",
    store: flags.StoreFlag = None,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    offline: flags.OfflineFlag = False,
    json: flags.JsonFlag = False,
) -> None:
    """Recompute every checksum of a record and of what it names; with --retrain or --redistil, its student too.

    A record whose student agrees is raised to `verified`, or to `reproduced` where its set was distilled again: in a file beside
    it, or, of a submission, beside its copy in --out.
    """
    from ddbench.settings import load_settings
    from ddbench.workspace import open_workspace

    dirs, roots = plugins_dir or (), data_root or ()
    settings = load_settings(store=store, data_roots=roots, plugin_dirs=dirs, offline=offline)
    with shown_progress() as reporter:
        workspace = open_workspace(settings, reporter)
        findings = _artefact(targets, workspace)
        if findings is not None:
            _answer_artefact(findings, as_json=json)
            return
        asked = _asked(eval_seeds, device, by, redistil=redistil) if retrain or redistil else None
        results = [result for target in targets for result in _verified(target, workspace, asked, out)]
    write_json([result.to_json() for result in results]) if json else _show(results)
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def submit(
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="Records; see: ddbench store list records")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A file that is not there yet, submission.zip for example.")],
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Send the sets' images, without which nobody can train on them again.")
    ] = True,
    store: flags.StoreFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Write records, with the sets they were made from, into one file for others to verify."""
    from ddbench.exchange.submitting import submit as write_submission
    from ddbench.report.show import find
    from ddbench.settings import load_settings
    from ddbench.store import Store

    where = Store(load_settings(store=store).store)
    records = write_submission(where, [find(where, key)[1] for key in keys], out, images=images)
    size = out.stat().st_size
    if json:
        write_json({"out": str(out), "bytes": size, "images": images, "records": [record.key for record in records]})
        return
    write(f"{out}: {len(records)} records, {size} bytes{'' if images else ', without images'}")
    say(f"what others will see: ddbench verify {out}")


def _asked(eval_seeds: int, device: str, by: str, *, redistil: bool) -> "Asked":
    from ddbench.exchange.retraining import Asked

    return Asked(eval_seeds, device, by, redistil=redistil)


def _artefact(targets: "Sequence[str]", workspace: "Workspace") -> "list[Finding] | None":
    """Return the findings on artefacts by their keys; None where no target is one.

    Raises:
        BadRequest: Some are artefacts, and some are not.
        DataMissing: One is the name of a file that is not there.
    """
    from ddbench.errors import BadRequest, DataMissing
    from ddbench.exchange.checking import check_artefact
    from ddbench.report.show import find

    keys = [target for target in targets if not Path(target).exists()]
    for lost in (key for key in keys if "/" in key or Path(key).suffix):
        raise DataMissing(f"there is no file {lost}, and it is no key; keys: ddbench store list")
    named = [find(workspace.store, key) for key in keys]
    others = [(kind, key) for kind, key in named if kind != "records"]
    if others and len(others) < len(targets):
        raise BadRequest(f"{others[0][1]} is no record ({others[0][0]}); verify records and artefacts by two commands")
    found = [finding for kind, key in others for finding in check_artefact(kind, key, workspace.store.root)]
    return found if others else None


def _verified(target: str, workspace: "Workspace", asked: "Asked | None", out: Path | None) -> "list[Result]":
    from ddbench.exchange.submitting import is_submission
    from ddbench.exchange.verifying import verify as verify_record

    path = Path(target)
    keep = out or (path.with_name(f"{path.stem}-verified") if is_submission(path) else None)
    with _places(target, workspace) as places:
        return [verify_record(file, root, workspace, asked, keep) for file, root in places]


@contextmanager
def _places(target: str, workspace: "Workspace") -> Iterator[Places]:
    """Give the files of the records that a target names, of a folder all; a submission is unpacked into a folder that goes with
    the block.

    Raises:
        DdbenchError: It is no record and no submission.
    """
    from tempfile import TemporaryDirectory

    from ddbench.exchange.submitting import is_submission, unpack
    from ddbench.report.show import find

    path, root = Path(target), workspace.store.root
    if not path.exists():
        yield [(root / "records" / f"{find(workspace.store, target)[1]}.json", root)]
    elif is_submission(path):
        with TemporaryDirectory(prefix="ddbench-") as folder:
            keys = unpack(path, Path(folder))
            yield [(Path(folder) / "records" / f"{key}.json", Path(folder)) for key in keys]
    elif path.is_dir():
        yield _of_folder(path, root)
    else:
        yield [(path, root)]


def _of_folder(folder: Path, root: Path) -> Places:
    """Return the files of records at or below a folder.

    Raises:
        DataMissing: There are none.
    """
    from ddbench.errors import DataMissing
    from ddbench.report.sources import record_files

    found = [path for path in record_files(folder) if KEY_FILE.fullmatch(path.name)]
    if not found:
        raise DataMissing(f"{folder} holds no records: files such as 3f9a….json, as ddbench leaves them in STORE/records")
    return [(path, root) for path in found]


def _answer_artefact(findings: "list[Finding]", *, as_json: bool) -> None:
    write_json([finding.to_json() for finding in findings]) if as_json else write(_lines(findings))
    if any(finding.state == "damaged" for finding in findings):
        raise typer.Exit(1)


def _show(results: "list[Result]") -> None:
    from ddbench.exchange.safety import shown

    for result in results:
        record = result.checked.record
        cell = record and f"{shown(record.key)}: {shown(record.cell.synthesizer)}, {shown(record.cell.student)}"
        title = f"record {cell or shown(result.checked.path.name)}"
        write(f"{title}\n{_lines(list(result.checked.findings))}")
        if result.verdict:
            write(f"  {'agrees' if result.verdict.agrees else 'DISAGREES'}: {result.verdict.why}")
        write(f"  {_outcome(result)}" + (f"; level: {result.level}" if result.level else ""))
        write("  seconds and memory are as the record states them; nothing checks these")
        if result.raised and result.verdict:
            write(f"  level and who checked ({shown(result.verdict.check.by)}; --by NAME) are in {result.raised}")
    if len(results) > 1:
        failed = [shown(result.checked.path.stem) for result in results if not result.passed]
        write(f"{len(results) - len(failed)} passed, {len(failed)} FAILED{': ' if failed else ''}{', '.join(failed)}")


def _outcome(result: "Result") -> str:
    """Return what verifying came to, with how much of it was not here to be checked."""
    missing = sum(finding.state == "missing" for finding in result.checked.findings)
    unseen = f" as far as it is here; {missing} part{'s are' if missing > 1 else ' is'} missing and not checked" if missing else ""
    return f"passed{unseen}" if result.passed else "FAILED"


def _lines(findings: "list[Finding]") -> str:
    return columns([(one.state if one.state != "damaged" else "DAMAGED", one.what, one.about) for one in findings], indent=2)

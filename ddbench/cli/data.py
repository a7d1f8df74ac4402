"""`ddbench data`: which datasets there are, and their prepared form."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, tell_load_errors, write, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ddbench.data import Listed
    from ddbench.progress import Reporter

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List datasets and write their prepared form.")


@data.command("list")
def list_data(
    *,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """List every dataset that can be asked for, and where it lies."""
    from ddbench.data import list_datasets
    from ddbench.plugins import plugins_of
    from ddbench.settings import load_settings

    settings = load_settings(data_roots=data_root or (), plugin_dirs=plugins_dir or ())
    plugins = plugins_of(settings)
    tell_load_errors(plugins)
    found = list_datasets(settings.data_roots, plugins.all("dataset"))
    if json:
        write_json([dataset_json(one) for one in found])
        return
    write(columns([(one.name, _shape(one), _where(one)) for one in found]))


@data.command("prepare")
def prepare_data(  # noqa: PLR0913 - a parameter per flag
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name; any name with --from.")],
    *,
    originals: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Folder of the original files, or of images by class.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side that a folder's images are resized and cropped to.")] = None,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    offline: flags.OfflineFlag = False,
    json: flags.JsonFlag = False,
) -> None:
    """Write a dataset's prepared form once; every later run reads it in milliseconds."""
    from ddbench.cli.progress import shown_progress
    from ddbench.data import prepare, source_for
    from ddbench.plugins import plugins_of
    from ddbench.settings import load_settings

    settings = load_settings(data_roots=data_root or (), plugin_dirs=plugins_dir or (), offline=offline)
    plugins = plugins_of(settings)
    tell_load_errors(plugins)
    source = source_for(name, plugins.all("dataset"), originals=originals, size=size)
    root = first_writable(settings.data_roots)
    with shown_progress() as reporter:
        if source.download_bytes and not offline and originals is None:
            reporter.note(f"{name}: {source.download_bytes / 1e6:.0f} MB from {source.origin}")
        made = prepare(source, root, originals=originals, offline=settings.offline, report=_reported(reporter))
    if json:
        write_json({"name": name, "folder": str(root / name), "classes": made.facts.num_classes, "shape": list(made.facts.shape)})
        return
    shape = "×".join(str(part) for part in made.facts.shape)
    write(f"{name}: {sum(made.facts.counts)} train and {made.facts.test_images} test images of {shape} in {root / name}")


def first_writable(roots: "Sequence[Path]") -> Path:
    """Return the first data root that can be written, made if it was not there.

    Raises:
        EnvironmentProblem: None can.
    """
    from ddbench.errors import EnvironmentProblem

    for root in roots:
        if writable(root):
            return root
    raise EnvironmentProblem(f"no data root can be written: {', '.join(map(str, roots))}; name another with --data-root DIR")


def writable(folder: Path) -> bool:
    """Return whether a folder can be written; it is made if it was not there."""
    from tempfile import TemporaryFile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def dataset_json(one: "Listed") -> dict[str, object]:
    """Return a listed dataset as JSON values."""
    return {
        "name": one.name,
        "folder": str(one.folder) if one.folder else None,
        "classes": one.num_classes,
        "shape": list(one.shape) if one.shape else None,
        "download_bytes": one.download_bytes,
        "origin": one.origin,
        "problem": one.problem or None,
    }


def _reported(reporter: "Reporter") -> "Callable[[str, int, int], None]":
    """Return a data report that tells each new kind of work once, and progress in tenths."""
    told: set[tuple[str, int]] = set()

    def report(what: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if (what, tenth) not in told:
            told.add((what, tenth))
            reporter.note(f"{what}: {10 * tenth} %" if total and done else what)

    return report


def _shape(one: "Listed") -> str:
    if one.shape is None:
        return ""
    return f"{'×'.join(str(part) for part in one.shape)}, {one.num_classes} classes"


def _where(one: "Listed") -> str:
    if one.problem:
        return f"DAMAGED: {one.problem}"
    if one.folder:
        return str(one.folder)
    if one.download_bytes:
        return f"not here; ddbench data prepare {one.name} downloads {one.download_bytes / 1e6:.0f} MB"
    return f"not here; ddbench data prepare {one.name} --from DIR"

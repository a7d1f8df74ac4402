"""`ddbench export`: give a distilled set to others, with its manifest."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import say, write, write_json

if TYPE_CHECKING:
    from ddbench.distilled import DistilledSet
    from ddbench.store import Store


class Form(StrEnum):
    """What a set is written as."""

    imagefolder = "imagefolder"
    safetensors = "safetensors"
    npz = "npz"


def export(  # noqa: PLR0913 - a parameter per flag
    key: Annotated[str, typer.Argument(metavar="KEY", help="Of a distilled set, or of a record of it; or its beginning.")],
    *,
    format: Annotated[  # noqa: A002
        Form, typer.Option(help="PNG files in a folder for each class, one safetensors file, or one npz.")
    ] = Form.safetensors,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder that is not there yet, or empty.")],
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Round float images to 8 bits for image files; the manifest keeps it.")
    ] = False,
    store: flags.StoreFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Write a distilled set for others, with its manifest; brought again with `ddbench evaluate`, it scores the same."""
    from ddbench.settings import load_settings
    from ddbench.store import Store

    where = Store(load_settings(store=store).store)
    found = _set(where, key)
    from ddbench.exchange.exporting import export as write_set

    done = write_set(found, out, form=format.value, lossy=lossy)
    if json:
        write_json(done.to_json())
        return
    write(f"{done.out}: {done.images} images, {done.bytes} bytes, {done.form}{', rounded to 8 bits' if done.lossy else ''}")
    say(f"score it again: ddbench evaluate {done.out} --dataset {found.manifest['dataset']['name']}")


def _set(store: "Store", key: str) -> "DistilledSet":
    """Return the set that a key of its own, or of a record, stands for.

    Raises:
        UnknownName: The store has no such set.
        BadRequest: The key is of something else.
        ArtefactDamaged: The record or its set is damaged.
    """
    from ddbench.distilled import DistilledSet
    from ddbench.errors import ArtefactDamaged, BadRequest, UnknownName
    from ddbench.report.show import find

    kind, full = find(store, key)
    record = store.read_record(full) if kind == "records" else None
    if kind not in {"records", "distilled"}:
        raise BadRequest(f"{full} is of {kind}, not of a distilled set; see: ddbench store list distilled")
    artefact = store.find("distilled", record.distilled_key if record else full)
    if artefact is None and store.damaged:
        raise ArtefactDamaged(store.damaged[-1])
    if artefact is None:
        raise UnknownName(
            "distilled set", record.distilled_key if record else full, store.keys("distilled"), see="ddbench store list"
        )
    return DistilledSet.open(artefact)

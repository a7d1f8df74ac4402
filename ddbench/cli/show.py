"""`ddbench show`: what is known of a record, a distilled set, a teacher or a set of labels."""

from typing import Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, say, write, write_json


def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key, or its beginning; see: ddbench store list KIND")],
    *,
    store: flags.StoreFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Show a result's numbers, options with sources, curve and files."""
    from ddbench.report.show import view
    from ddbench.settings import load_settings
    from ddbench.store import Store

    where = Store(load_settings(store=store).store)
    found = view(where, key)
    for sentence in where.damaged:
        say(sentence)
    if json:
        write_json(found.to_json())
        return
    blocks = [f"{section.title}\n{columns(section.lines, indent=2)}" for section in found.sections if section.lines]
    write("\n\n".join([f"{found.title}\n{found.kind} {found.key}", *blocks]))

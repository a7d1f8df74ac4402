"""checkpoint: a user's own weights, checked against the dataset before anything is distilled from them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

from pydantic import Field

from ddbench import Context, NetworkSpec, Options, Teacher, TrainedNetwork
from ddbench.errors import BadOption
from ddbench_plugins.teachers.checks import check_classes, per_channel


class CheckpointOptions(Options):
    """Options of `checkpoint`."""

    path: str = Field(default="", description="The file: safetensors, or a .pt/.pth state dict that holds weights alone.")
    classes: str = Field(
        default="",
        description="A file with the checkpoint's class names in its order, one a line or a JSON list; without it and without "
        "`classes` in the file's metadata only the answers on train images are checked.",
    )
    mean: tuple[float, ...] | None = Field(
        default=None, description="Per channel, of pixels in [0, 1]; without it the file's metadata, else the dataset's."
    )
    std: tuple[float, ...] | None = Field(default=None, description="The same for the standard deviation.")


class Checkpoint(Teacher):
    """Weights from a file. The file's bytes, not its name, decide which teacher it is."""

    name = "checkpoint"
    version = 1  # bump when a change moves a number
    options = CheckpointOptions

    def fingerprint(self, o: Options) -> str:
        """Return the sha256 of the file's bytes, with that of the list of classes where one is given.

        Raises:
            BadOption: No file is named, or there is none.
        """
        options = cast("CheckpointOptions", o)
        if not options.path:
            raise BadOption("teacher 'checkpoint' needs a file: give its path with -o teacher.path=FILE")
        named = {"path": options.path, "classes": options.classes}
        return "-".join(_sha256(existing_file(path, option)) for option, path in named.items() if path)

    def train(self, ctx: Context, o: Options, network: NetworkSpec) -> TrainedNetwork:
        """Return the file's network, after checking architecture, class list and answers on train images.

        Raises:
            BadOption: The file is missing, or is not weights alone.
            TeacherMismatch: It was made for another architecture, class count or class order.
        """
        from ddbench_plugins.teachers.files import read_classes, read_weights  # torch enters here
        from ddbench_plugins.teachers.fitting import fitted
        from ddbench_plugins.teachers.probe import probed

        options = cast("CheckpointOptions", o)
        path = existing_file(options.path, "path")
        weights = read_weights(path)
        classes = read_classes(existing_file(options.classes, "classes")) if options.classes else weights.classes
        if classes is not None:
            check_classes(classes, ctx.train.facts, str(path))
        normalisation = (
            per_channel(options.mean or weights.mean, ctx.train.facts.mean, "mean"),
            per_channel(options.std or weights.std, ctx.train.facts.std, "std"),
        )
        return probed(ctx, fitted(ctx, network, weights.tensors, normalisation, source=str(path)), str(path))


def existing_file(path: str, option: str) -> Path:
    """Return the path of a file that is there.

    Raises:
        BadOption: It is not.
    """
    found = Path(path).expanduser().resolve()
    if not found.is_file():
        raise BadOption(f"teacher 'checkpoint', option {option!r}: there is no file {found}")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

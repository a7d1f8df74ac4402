"""Distilled sets made elsewhere: a synthesizer that stands for files somebody brought, so that everything after it is as ever.

Its options say what was brought (the file's checksum, how its pixels are read, who checked its classes), not where it lay: cells,
keys, controls, records and tables follow from them alone. Only the process that read the file can make the set; others find it in
the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import pydantic

from ddbench.api.context import Need
from ddbench.api.synthesizer import Job, JobResult, Synthesizer
from ddbench.errors import BadRequest, DataMissing
from ddbench.options import Options

if TYPE_CHECKING:
    from ddbench.api.context import Context
    from ddbench.api.dataset import DatasetFacts

PREFIX = "external:"
"""Begins the name of every method whose distilled sets were brought: `external:mtt`."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,63}")

CHECKER = "classifier"
"""The need under which the teacher that checks the order of classes is made; its options are `classifier.NAME`."""

BY_CLASS, BY_INDEX = "by-class", "by-index"
"""Orders of labels: all images of the first class, then of the second; or image 0 of every class, then image 1."""

Format = Literal["imagefolder", "pt", "safetensors", "npz", "set"]
"""What was brought: `set` is a distilled set as a store holds it."""


class ExternalOptions(Options):
    """What was brought, and how it is read."""

    file_sha256: str = pydantic.Field(
        description="Checksum of the file, or of the listing of a folder's files with their checksums."
    )
    format: Format = pydantic.Field(description="What the file is.")
    labels: tuple[str, ...] = pydantic.Field(
        description="Of each distilled set, the class of every image in order: `by-class`, `by-index`, or runs such as `0x10 3x2`."
    )
    space: Literal["uint8", "unit", "normalised", "zca"] = pydantic.Field(description="How pixel values are read.")
    told_by: Literal["values", "flag", "manifest"] = pydantic.Field(description="What told the space.")
    mean: tuple[float, ...] | None = pydantic.Field(
        None, description="What it was normalised by, where not by the dataset's own figures."
    )
    std: tuple[float, ...] | None = pydantic.Field(None, description="The same.")
    soft_labels: Literal["none", "probabilities", "logits"] = pydantic.Field("none", description="Soft labels that came with it.")
    learned_lr: tuple[float, ...] = pydantic.Field((), description="Of each distilled set, the step size that came with it.")
    made_by: str = pydantic.Field("", description="The synthesizer, where its manifest came along.")
    lossy: bool = pydantic.Field(default=False, description="Whether its float images were rounded when they were exported.")
    external_data: bool = pydantic.Field(default=False, description="Whether other images than the train split went into it.")
    class_check: str = pydantic.Field("", description="The teacher that checked the order of classes; empty where nothing did.")


class Contents(Protocol):
    """What was read of a file, ready to become distilled sets."""

    def result(self, ctx: Context, o: ExternalOptions, job: Job) -> JobResult:
        """Return the set of the job's distill seed, its order of classes checked if the options say so.

        Raises:
            ClassOrderMismatch: Another order of classes agrees clearly better with the teacher.
        """
        ...


class External(Synthesizer):
    """Stands for the distilled sets somebody brought; distill seeds count them."""

    version = 1
    options = ExternalOptions
    made_here: ClassVar[bool] = False
    """Nobody knows what making it cost."""

    def __init__(self, name: str, contents: Contents | None = None) -> None:
        """Take a name that begins with `external:`.

        Raises:
            BadRequest: What follows is no name.
        """
        own = name.removeprefix(PREFIX)
        if not NAME.fullmatch(own):
            raise BadRequest(f"{own!r} is no name for a method: use letters, digits and . _ + @ -, at most 64; see --name")
        self.name = name
        self.contents = contents

    def start(self, o: Any) -> Any:  # noqa: ARG002 - a synthesizer's signature
        """Return `unknown`: neither a zero-iterations control nor `random` is known to be where its images began."""
        return "unknown"

    def needs(self, o: Any, facts: DatasetFacts) -> Mapping[str, Need]:  # noqa: ARG002 - the same
        """Return the teacher that checks the order of classes, if one does."""
        return {CHECKER: Need("teacher", o.class_check)} if o.class_check else {}

    def jobs(self, o: Any, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """Return one job, a whole set.

        Raises:
            BadRequest: Fewer sets were brought, or they hold another number of images.
        """
        if seed >= len(o.labels):
            raise BadRequest(f"{self.name}: {len(o.labels)} distilled sets were brought, so there is no distill seed {seed}")
        labels = labels_of(o.labels[seed], facts.num_classes, ipc)
        if len(labels) != ipc * facts.num_classes:
            raise BadRequest(
                f"{self.name}: the set holds {len(labels)} images, which is not ipc {ipc} × {facts.num_classes} classes"
            )
        return [Job(index=0, labels=labels, seed=seed)]

    def run(self, ctx: Context, o: Any, group: Sequence[Job]) -> Sequence[JobResult]:
        """Return the set that was brought.

        Raises:
            DataMissing: This process has not read the file.
        """
        if self.contents is None:
            raise DataMissing(
                f"the distilled set of {self.name} is not in this store; bring it again: "
                f"ddbench evaluate PATH --name {self.name.removeprefix(PREFIX)}"
            )
        return [self.contents.result(ctx, o, job) for job in group]


def order_of(labels: Sequence[int], num_classes: int) -> str:
    """Return labels as short text that `labels_of` reads again."""
    count = len(labels) // num_classes
    for order in (BY_CLASS, BY_INDEX):
        if tuple(labels) == labels_of(order, num_classes, count):
            return order
    return " ".join(f"{label}x{sum(1 for _ in run)}" for label, run in groupby(labels))


def labels_of(order: str, num_classes: int, ipc: int) -> tuple[int, ...]:
    """Return the class of every image from `by-class`, `by-index` or runs such as `0x10 3x2`.

    Raises:
        BadRequest: It is none of these.
    """
    if order == BY_CLASS:
        return tuple(label for label in range(num_classes) for _ in range(ipc))
    if order == BY_INDEX:
        return tuple(range(num_classes)) * ipc
    return tuple(_runs(order, num_classes * ipc))


def _runs(order: str, most: int) -> Iterator[int]:
    """Give the labels of runs, and never more than one above `most`."""
    given = 0
    for run in order.split():
        match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", run)
        if match is None:
            raise BadRequest(f"labels {run!r} are no run of labels such as 3x10; say {BY_CLASS} or {BY_INDEX}")
        for _ in range(min(int(match[2]), most + 1 - given)):
            given += 1
            yield int(match[1])


def is_external(name: str) -> bool:
    """Return whether a synthesizer's name is that of sets made elsewhere."""
    return name.startswith(PREFIX)

"""What can be checked of a teacher before any weights are read; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench.errors import BadOption, TeacherMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench import DatasetFacts


def per_channel(given: Sequence[float] | None, facts: Sequence[float], option: str) -> tuple[float, ...]:
    """Return a value per channel: the given ones, else the dataset's.

    Raises:
        BadOption: There are more or fewer than the dataset has channels.
    """
    if given is None:
        return tuple(facts)
    if len(given) != len(facts):
        raise BadOption(f"teacher option {option!r}: {len(given)} values given, and the dataset has {len(facts)} channels")
    return tuple(given)


def check_classes(classes: Sequence[str], facts: DatasetFacts, source: str) -> None:
    """Do nothing where two class lists are equal, order included.

    Raises:
        TeacherMismatch: They are not; the message names the first difference.
    """
    if tuple(classes) == facts.classes:
        return
    if len(classes) != facts.num_classes:
        raise TeacherMismatch(f"{source} was made for {len(classes)} classes, and {facts.name} has {facts.num_classes}")
    place = next(i for i, pair in enumerate(zip(classes, facts.classes, strict=True)) if pair[0] != pair[1])
    kind = "the same classes in another order" if sorted(classes) == sorted(facts.classes) else "other classes"
    raise TeacherMismatch(
        f"{source} was made for {kind} than {facts.name}: class {place} is {classes[place]!r} there and "
        f"{facts.classes[place]!r} in the dataset"
    )

"""Every error a user can meet, one class per condition; each knows its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class DdbenchError(Exception):
    """A known error: its message is one sentence that says what was wrong and what to do next."""

    exit_code: ClassVar[int] = 2


class UnknownName(DdbenchError):
    """A plugin's thing was asked for by a name nobody registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, see: str | None = None) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names[:12]) or 'none'}."
        super().__init__(f"unknown {kind} {name!r}.{hint} See: {see or f'ddbench list {kind}s'}")


class NameClash(DdbenchError):
    """Two plugins of one kind registered one name."""


class PluginFailed(DdbenchError):
    """A plugin raised while it was imported, or a hook of it returned something else than promised."""


class BadOption(DdbenchError):
    """An option is unknown, of the wrong type, or out of its bounds."""


class BadRequest(DdbenchError):
    """A command or a call asks for something that contradicts itself or that cannot be done."""


class NotEnoughImages(DdbenchError):
    """A class holds fewer train images than were asked for."""


class UnfitNetwork(DdbenchError):
    """A network cannot be built for this image size or channel count."""


class TeacherMismatch(DdbenchError):
    """A teacher was made for other classes, another class order, shape or architecture."""


class PriorMismatch(DdbenchError):
    """A prior was made for images of another shape, or for other classes."""


class PriorRefused(DdbenchError):
    """A prior did not pass the quality gate: its images are not of their classes, or too much alike within them."""

    exit_code: ClassVar[int] = 1


class LabelsTooLarge(DdbenchError):
    """Stored soft labels would need more bytes than `--max-label-bytes` allows."""


class TestSplitTouched(DdbenchError):
    """Something read the test split before a student's training was over."""

    __test__: ClassVar[bool] = False  # pytest would take the name for a test class


class SpecialValue(DdbenchError):
    """A stage produced NaN or infinity, and its result would be worthless."""

    exit_code: ClassVar[int] = 1


class EnvironmentProblem(DdbenchError):
    """The machine or its data, not the command, stands in the way."""

    exit_code: ClassVar[int] = 3


class OutOfMemory(EnvironmentProblem):
    """A step needs more memory than there is, and cutting its batch would change what is computed."""


class DataMissing(EnvironmentProblem):
    """A dataset's files are nowhere to be found."""


class DataDamaged(EnvironmentProblem):
    """A dataset's files are cut short or do not match their checksum."""


class Offline(EnvironmentProblem):
    """Something would have to be downloaded, and `--offline` forbids it."""


class StoreProblem(EnvironmentProblem):
    """The store cannot be written: not writable, no space left, or locked for too long."""


class ArtefactDamaged(EnvironmentProblem):
    """A stored artefact does not match the checksum in its card."""

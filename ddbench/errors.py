"""Every error a user can meet, one class per condition; each knows its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class DdbenchError(Exception):
    """A known error: its message is one sentence that says what was wrong and what to do next.

    What to do: read the sentence; it says so.
    """

    exit_code: ClassVar[int] = 2


LISTED = 40
"""Known names that a message lists; where there are more, it says how many."""


class UnknownName(DdbenchError):
    """A plugin's thing was asked for by a name nobody registered.

    What to do: take the name that is suggested, or one that `ddbench list` shows; `ddbench doctor` tells which plugins failed.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, see: str | None = None) -> None:
        names = sorted(known)
        hint = _hint(name, names)
        super().__init__(f"unknown {kind} {name!r}.{hint} See: {see or f'ddbench list {kind}s'}")


def _hint(name: str, names: list[str]) -> str:
    """Return what an unknown name may have meant: several in one word, the nearest whatever its case, else what there is."""
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and set(parts) <= set(names):
        return f" Name them apart: {' '.join(parts)}."
    whole = {one.lower(): one for one in reversed(names)}
    near = difflib.get_close_matches(name.lower(), whole, n=1, cutoff=0.5)
    if near:
        return f" Did you mean {whole[near[0]]!r}?"
    few = ", ".join(names) or "none"
    return f" Known: {few}." if len(names) <= LISTED else f" {len(names)} are known."


class NameClash(DdbenchError):
    """Two plugins of one kind registered one name.

    What to do: uninstall one of the two plugins that are named, or load one of them alone with `DDBENCH_PLUGINS`.
    """


class PluginFailed(DdbenchError):
    """A plugin raised while it was imported, or a hook of it returned something else than promised.

    What to do: mend the plugin, or run without it: `DDBENCH_PLUGINS` says which are loaded; `ddbench doctor` tells what failed.
    """


class BadOption(DdbenchError):
    """An option is unknown, of the wrong type, or out of its bounds.

    What to do: look at the option's type and bounds with `ddbench list synthesizers NAME`, and give another value with `-o`.
    """


class BadRequest(DdbenchError):
    """A command or a call asks for something that contradicts itself or that cannot be done.

    What to do: change the command as the sentence says; `--dry-run` checks a request without computing anything.
    """


class NotEnoughImages(DdbenchError):
    """A class holds fewer train images than were asked for.

    What to do: ask for fewer images with `--ipc`, or name a synthesizer that draws none.
    """


class UnfitNetwork(DdbenchError):
    """A network cannot be built for this image size or channel count.

    What to do: choose another network, which `ddbench list networks` names, or prepare the dataset at another size.
    """


class TeacherMismatch(DdbenchError):
    """A teacher was made for other classes, another class order, shape or architecture.

    What to do: name a teacher for this dataset; a checkpoint needs the dataset's classes in the dataset's order.
    """


class PriorMismatch(DdbenchError):
    """A prior was made for images of another shape, or for other classes.

    What to do: name a prior for this dataset, or let `trained` learn the dataset itself.
    """


class PriorRefused(DdbenchError):
    """A prior did not pass the quality gate: its images are not of their classes, or too much alike within them.

    What to do: train it longer (`-o prior.steps=…`), or choose another prior; the sentence says which check failed.
    """

    exit_code: ClassVar[int] = 1


class LabelsTooLarge(DdbenchError):
    """Stored soft labels would need more bytes than `--max-label-bytes` allows.

    What to do: allow more with `--max-label-bytes`, or take a protocol whose labels are not stored, a smaller ipc, fewer epochs.
    """


class TestSplitTouched(DdbenchError):
    """Something read the test split before a student's training was over.

    What to do: mend the plugin that read it: what has to be chosen is chosen on a cut of train (`ddbench.data.validation_cut`).
    """

    __test__: ClassVar[bool] = False  # pytest would take the name for a test class


class TestImagesInSet(DdbenchError):
    """Images of a distilled set are images of the test split.

    What to do: make the set from the train split alone; a score of this one would say nothing.
    """

    exit_code: ClassVar[int] = 1
    __test__: ClassVar[bool] = False  # pytest would take the name for a test class


class SpecialValue(DdbenchError):
    """A stage produced NaN or infinity, and its result would be worthless.

    What to do: lower the learning rate, or compute in float32 with `--precision fp32`; the sentence says where it happened.
    """

    exit_code: ClassVar[int] = 1


class LeaderboardStale(DdbenchError):
    """A site or table that is kept is not what the records give any more.

    What to do: run `ddbench leaderboard build` with the arguments of the check, and keep what it writes.
    """

    exit_code: ClassVar[int] = 1


class EnvironmentProblem(DdbenchError):
    """The machine or its data, not the command, stands in the way.

    What to do: mend what the sentence names, then run the same command again; `ddbench doctor` checks the machine.
    """

    exit_code: ClassVar[int] = 3


class OutOfMemory(EnvironmentProblem):
    """A step needs more memory than there is, and cutting its batch would change what is computed.

    What to do: free memory, choose a smaller network or batch by an option, or another device with `--device`.
    """


class DataMissing(EnvironmentProblem):
    """A dataset's files are nowhere to be found.

    What to do: prepare the dataset with `ddbench data prepare NAME`, or name its folder with `--data-root`.
    """


class DataDamaged(EnvironmentProblem):
    """A dataset's files are cut short or do not match their checksum.

    What to do: remove the folder that is named and prepare the dataset again.
    """


class WorkerDiffers(EnvironmentProblem):
    """A worker of a distributed run has other plugins, other data or another ddbench than the process that asks.

    What to do: install the same ddbench and plugins on every machine, and prepare the same datasets there.
    """


class Offline(EnvironmentProblem):
    """Something would have to be downloaded, and `--offline` forbids it.

    What to do: run once without `--offline`, or bring the file to where the sentence says.
    """


class StoreProblem(EnvironmentProblem):
    """The store cannot be written: not writable, no space left, or locked for too long.

    What to do: free space, mend the folder's permissions, or name another folder with `--store`.
    """


class ArtefactDamaged(EnvironmentProblem):
    """A stored artefact does not match the checksum in its card.

    What to do: run the same command again: what is damaged is moved aside and made anew.
    """


class BadSet(EnvironmentProblem):
    """A distilled set made elsewhere is not what it must be: a class missing, labels out of range, images of several sizes, NaN.

    What to do: bring images and labels as the message says, for the dataset that they were distilled from.
    """


class UnsafeFile(EnvironmentProblem):
    """A file from elsewhere holds code, unpacks to too much, or names a place outside its folder; nothing of it was used.

    What to do: ask whoever made it for images and labels as plain tensors, in a safetensors file best.
    """


class ClassOrderMismatch(DdbenchError):
    """The labels of a distilled set made elsewhere agree clearly better with a teacher in another order of classes.

    What to do: number the classes as the dataset does, or say `--no-class-check` where the teacher is at fault.
    """

    exit_code: ClassVar[int] = 1

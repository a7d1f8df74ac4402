"""Teachers: ways to get a network trained on the real train split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ddbench.api.context import Context
    from ddbench.api.network import NetworkSpec, TrainedNetwork
    from ddbench.options import Options


@runtime_checkable
class Teacher(Protocol):
    """A way to get a teacher: train it, load published weights, or read a user's checkpoint."""

    name: str
    version: int
    options: type[Options]

    def fingerprint(self, o: Options) -> str:  # noqa: ARG002 - for those that override it
        """Return a hash of the files that `o` names, so that a changed file is a new teacher; empty where there are none.

        Called when cells are planned, before anything is read from the store.

        Raises:
            BadOption: `o` names no file, or one that is not there.
        """
        return ""

    def train(self, ctx: Context, o: Options, network: NetworkSpec) -> TrainedNetwork:
        """Return a network trained on `ctx.train`; `card` holds what the harness cannot know (recipe, train top1).

        Raises:
            TeacherMismatch: Weights belong to another architecture, class count or class order.
        """
        ...

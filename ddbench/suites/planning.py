"""Plans a suite: its cells, each once however many requests name it, the units that make them, and what cannot be made yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from ddbench.data import is_outline
from ddbench.errors import BadRequest, DdbenchError, EnvironmentProblem, UnknownName
from ddbench.executors.units import Stage, Task, Unit, stages_of, units_of
from ddbench.planning import Known, plan
from ddbench.suites.files import Asked, Suite, expand

if TYPE_CHECKING:
    from ddbench.cells import Cell, Role
    from ddbench.planning import Plan
    from ddbench.store import Store
    from ddbench.workspace import Workspace


@dataclass(frozen=True)
class Changes:
    """What the command line says about every cell of a suite."""

    device: str = "auto"
    threads: int | None = None
    precision: Literal["auto", "fp32", "bf16"] | None = None
    compile: Literal["auto", "on", "off"] | None = None
    smoke: float | None = None

    def of(self, asked: Asked) -> Asked:
        """Return what a suite asks for with the changes made."""
        changed = {name: value for name, value in vars(self).items() if value is not None}
        return replace(asked, request=replace(asked.request, **changed))


@dataclass
class SuiteCell:
    """A cell of a suite."""

    key: str
    cell: Cell
    role: Role
    stored: bool
    outlined: bool
    """Whether its dataset is not here: it is priced, and cannot be made."""
    labels: list[str] = field(default_factory=list)
    """What the suite calls the methods whose requests it belongs to, as their own cell or as their control."""
    own: str | None = None
    """What the suite calls its method; None of a control that no block names."""
    row: str = ""
    """What its row of a table is called; empty of such a control, unless it is what a method starts from."""

    def facts(self) -> dict[str, str]:
        """Return what `--only` is compared with, by name."""
        told = self.cell.coordinate()
        names = ("synthesizer", "dataset", "ipc", "teacher", "student", "protocol", "distill_seed", "eval_seed")
        return {name: str(told[name]) for name in names}

    def matches(self, pattern: str) -> bool:
        """Return whether the cell is meant by `dwa`, `cifar*`, `ipc=10`, or by what the suite calls its method."""
        name, given, value = pattern.rpartition("=")
        facts = self.facts()
        if given and name in facts:
            return fnmatchcase(facts[name], value)
        own = [facts["dataset"], facts["student"], facts["student"].partition("/")[2], facts["protocol"]]
        return any(fnmatchcase(text, pattern) for text in (*own, *self.labels, *(label.partition(" ")[0] for label in self.labels)))

    def to_json(self) -> dict[str, Any]:
        """Return the cell as JSON values."""
        return {**self.cell.coordinate(), "labels": self.labels, "role": self.role, "key": self.key, "stored": self.stored}


@dataclass(frozen=True)
class Blocked:
    """A request of a suite that cannot be planned yet: a plugin or a dataset is not there."""

    label: str
    dataset: str
    ipc: int | None
    why: str

    def __str__(self) -> str:
        return f"{self.label} on {self.dataset}, ipc {self.ipc}: {self.why}"


@dataclass
class SuitePlan:
    """All that a suite comes to."""

    suite: Suite
    device: str = "auto"
    """As it was asked for."""
    smoke: float | None = None
    """What training is shortened to, where it is."""
    cells: dict[str, SuiteCell] = field(default_factory=dict)
    """By key, in the order of the file."""
    units: dict[str, Unit] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    blocked: list[Blocked] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    _plans: list[Plan] = field(default_factory=list)
    _owner: dict[str, int] = field(default_factory=dict)
    """By unit: the number of the plan that it was found in first."""

    def task(self, key: str) -> Task:
        """Return what a worker is told of a unit."""
        owner = self._plans[self._owner[key]]
        return Task(owner.request, owner.place, key)

    def add(self, asked: Asked, planned: Plan) -> None:
        """Take in a request: what an earlier one has as well stays the earlier one's."""
        number, stages = len(self._plans), stages_of(planned.cells)
        self._plans.append(planned)
        several = len({name for block in self.suite.cells for name in block.datasets}) > 1
        for key, unit in units_of(planned, stages).items():
            if key not in self.units:
                title = _title(unit.title, asked, several_datasets=several)
                self.units[key], self._owner[key] = replace(unit, title=title), number
        for key, stage in stages.items():
            self.stages.setdefault(key, stage)
        for one in planned.cells:
            outlined = is_outline(planned.facts)
            cell = self.cells.setdefault(one.record_key, SuiteCell(one.record_key, one.cell, one.cell.role, one.stored, outlined))
            cell.labels.append(asked.label)
            if one.cell.role == "asked":
                cell.role = "asked"
                cell.own, cell.row = cell.own or asked.label, cell.row or asked.row
            elif one.cell.synthesizer in asked.request.synthesizers and not cell.own:
                cell.row = cell.row or f"{asked.row}, as it starts"
        self.notes |= dict.fromkeys(planned.notes)

    def names(self) -> dict[str, str]:
        """Return what the row of each cell is called in a table, by key; empty for controls that no block names."""
        return {key: cell.row for key, cell in self.cells.items()}

    def users(self, units: Sequence[Unit], chosen: Iterable[str]) -> Mapping[str, int]:
        """Return, by unit, how many of the chosen cells depend on it."""
        lacking, counts = {unit.key for unit in units}, dict.fromkeys((unit.key for unit in units), 0)
        for key in chosen:
            ask, seen = [key], set[str]()
            while ask:
                one = ask.pop()
                if one in lacking and one not in seen:
                    seen.add(one)
                    counts[one] += 1
                    ask += self.units[one].needs
        return counts


def _title(title: str, asked: Asked, *, several_datasets: bool) -> str:
    """Return a unit's title with what the suite calls its method and with its dataset, where those do not go without saying."""
    (method,) = asked.request.synthesizers
    more = [asked.label] if asked.label != method and method in re.split(r"[ ,]+", title) else []
    more += [asked.request.dataset] if several_datasets else []
    return f"{title} ({', '.join(more)})" if more else title


def plan_suite(suite: Suite, workspace: Workspace, *, changes: Changes | None = None, known: Known | None = None) -> SuitePlan:
    """Return what a suite comes to.

    Args:
        suite: The suite.
        workspace: Store, plugins, and who is told.
        changes: What holds for every cell besides what the file says.
        known: What was looked up before; whether datasets that are not here may be planned from their outline.

    Raises:
        BadRequest: A request contradicts itself or has an option that fits nothing. A name that nobody registered, or a dataset
            that is not here, is no error: the plan says so.
    """
    known, changes = known or Known(workspace), changes or Changes()
    found = SuitePlan(suite, changes.device, changes.smoke or suite.settings.smoke)
    for asked in expand(suite):
        changed = changes.of(asked)
        request = changed.request
        try:
            found.add(changed, plan(request, workspace, known=known))
        except (UnknownName, EnvironmentProblem) as error:
            found.blocked.append(Blocked(asked.label, request.dataset, request.ipc, str(error)))
        except DdbenchError as error:
            raise BadRequest(f"suite {suite.name}, {asked.label} on {request.dataset}, ipc {request.ipc}: {error}") from error
    return found


def forget_damaged(planned: SuitePlan, store: Store) -> None:
    """Count a damaged record as missing: each is read whole, told where it does not match its checksum, and moved aside."""
    for cell in planned.cells.values():
        if cell.stored and store.record(cell.key) is None:
            cell.stored = False


def choose(planned: SuitePlan, *, only: Sequence[str] = (), failed: Iterable[str] | None = None) -> list[str]:
    """Return the keys of the cells that are meant, in order.

    Args:
        planned: The suite.
        only: Comma lists of patterns; a cell must match one of each list.
        failed: Keys of cells that failed before; then only those without a record.

    Raises:
        BadRequest: A list matches no cell.
    """
    keys = list(planned.cells)
    for text in only:
        patterns = [word.strip() for word in text.split(",") if word.strip()]
        kept = [key for key in keys if any(planned.cells[key].matches(pattern) for pattern in patterns)]
        if not kept:
            labels = dict.fromkeys(label for key in keys for label in planned.cells[key].labels)
            raise BadRequest(f"--only {text} matches no cell; the suite's methods are: {', '.join(labels)}")
        keys = kept
    if failed is not None:
        again = set(failed)
        keys = [key for key in keys if key in again and not planned.cells[key].stored]
    return keys

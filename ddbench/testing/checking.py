"""The conformance kit without a test file: runs a kind's tests for one registered thing, and says what each came to."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import tomllib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock
from uuid import uuid4

import pytest

from ddbench.errors import BadOption, DdbenchError, EnvironmentProblem
from ddbench.testing import (
    Bench,
    DatasetConformance,
    EvaluatorConformance,
    NetworkConformance,
    ObjectiveConformance,
    PriorConformance,
    ProtocolConformance,
    SelectorConformance,
    SynthesizerConformance,
    TeacherConformance,
)

if TYPE_CHECKING:
    from types import ModuleType

    from ddbench.plugins import Entry, Plugins

KITS: Mapping[str, tuple[type[Any], str]] = {
    "synthesizer": (SynthesizerConformance, "synthesizer"),
    "teacher": (TeacherConformance, "teacher"),
    "evaluator": (EvaluatorConformance, "evaluator"),
    "dataset": (DatasetConformance, "source"),
    "network": (NetworkConformance, "family"),
    "prior": (PriorConformance, "prior"),
    "objective": (ObjectiveConformance, "objective"),
    "selector": (SelectorConformance, "selector"),
    "protocol": (ProtocolConformance, "protocol"),
}
"""By kind: the tests, and the attribute under which they find what they are for."""

CHEAP = {"iterations": 3, "epochs": 3}
"""What options of these names are set to where nobody says otherwise: the contracts do not depend on how long a method works."""

RAISED = "Put right what the message says; what the check itself looks at can be told only then."
"""What to do where a check met an error of ddbench's own on its way, whose sentence says more than the check's advice would."""

Status = Literal["ok", "problem", "skipped", "note"]

TEST_FILE = "from ddbench.testing.checking import subject\n\nTestIt = subject.tests\n"


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    thing: str
    """`synthesizer 'blend'`, or the plugin itself."""
    check: str
    """As a sentence: `equal seeds give equal bytes`."""
    status: Status
    message: str = ""
    """What was found, or why it was skipped."""
    advice: str = ""
    """What to do about a problem."""
    where: str = ""
    """The last line of the plugin's own code that took part, `file:line`."""
    seconds: float = 0.0


@dataclass
class Subject:
    """What the file that pytest collects looks up: the tests of the thing that is being checked."""

    tests: type[Any] | None = None


subject = Subject()


@dataclass
class Asked:
    """How a thing is checked."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Its options by name; those of parts and needs as `objective.batch_real`, `prior.steps`."""
    declared: Mapping[str, Any] = field(default_factory=dict)
    """What its own tests would declare: `seeded = False`, `nested = True`."""
    only: str = ""
    """Part of the sentence of the checks that are made; all of them where it is empty."""


def tests_for(entry: Entry, plugins: Plugins, asked: Asked) -> type[Any]:
    """Return the tests of a thing's kind, set up for it; whatever other plugins it may use or need is registered on the bench.

    Raises:
        BadOption: The kit of its kind has nothing of a declared name.
    """
    kit, attribute = KITS[entry.kind]
    known = {name for one in kit.__mro__ for name in vars(one).get("__annotations__", ())} - {attribute, "options"}
    stray = sorted(set(asked.declared) - known)
    if stray:
        raise BadOption(f"a {entry.kind} declares no {stray[0]!r}; it may declare: {', '.join(sorted(known)) or 'nothing'}")
    members: dict[str, Any] = {attribute: entry.value, "options": options_of(entry, asked.options), **asked.declared}
    if hasattr(kit, "new_bench"):
        members["new_bench"] = lambda _self, root: whole_bench(root, plugins)
    return type("TestIt", (kit,), members)


def whole_bench(root: Path, plugins: Plugins) -> Bench:
    """Return a bench that knows every objective, selector, prior and family of networks that is registered."""
    parts: Any = {kind: list(plugins.all(kind).values()) for kind in ("objective", "selector")}
    networks = list(plugins.all("network").values())
    return Bench(root, parts=parts, priors=list(plugins.all("prior").values()), networks=networks)


def options_of(entry: Entry, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a thing is checked with: those given, and few steps where nothing is said."""
    fields = getattr(getattr(entry.value, "options", None), "model_fields", {})
    cheap = {name: value for name, value in CHEAP.items() if name in fields and name not in given}
    return {**cheap, **given}


def declarations(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return declared values, read as TOML where they are, else as text."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            values[name] = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            values[name] = text
    return values


def conformance(entry: Entry, plugins: Plugins, asked: Asked) -> list[Finding]:
    """Return what every test of the thing's kind came to.

    Raises:
        BadOption: An option or a declaration is of no use to it.
        EnvironmentProblem: pytest could not run.
    """
    subject.tests = tests_for(entry, plugins, asked)
    collector = Collector(f"{entry.kind} {entry.name!r}", _folder(entry), asked.only)
    with tempfile.TemporaryDirectory() as folder, _alone():
        file = Path(folder) / f"test_plugin_{uuid4().hex}.py"  # a module of its own each time
        file.write_text(TEST_FILE)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = pytest.main(_arguments(file), plugins=[collector])
    if collector.interrupted:
        raise KeyboardInterrupt
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise EnvironmentProblem(f"pytest could not run the checks: {' '.join(said.getvalue().split())[-500:]}")
    return collector.findings


@dataclass
class Collector:
    """A pytest plugin that keeps what each test came to."""

    thing: str
    own: Path
    """The folder or file that the plugin's code is in."""
    only: str = ""
    findings: list[Finding] = field(default_factory=list)
    interrupted: bool = False

    def pytest_keyboard_interrupt(self) -> None:
        """Keep that somebody wants it to end."""
        self.interrupted = True

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what was not asked for."""
        items[:] = [item for item in items if self.only in sentence(item.name)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep a test's outcome: that of its body, or of whatever failed around it."""
        report = yield
        if report.when == "call" or report.outcome != "passed":
            self.findings.append(self._finding(item, call, report))
        return report

    def _finding(self, item: pytest.Function, call: pytest.CallInfo[None], report: pytest.TestReport) -> Finding:
        check = sentence(item.name)
        if report.skipped:
            why = call.excinfo.value if call.excinfo else ""
            return Finding(self.thing, check, "skipped", str(why), seconds=call.duration)
        if call.excinfo is None:
            return Finding(self.thing, check, "ok", seconds=call.duration)
        error = call.excinfo.value
        own = " ".join((item.function.__doc__ or "").split())
        advice = RAISED if isinstance(error, DdbenchError) else own
        return Finding(self.thing, check, "problem", told(error), advice, self._where(call.excinfo), call.duration)

    def _where(self, caught: pytest.ExceptionInfo[BaseException]) -> str:
        places = [frame for frame in caught.traceback if Path(str(frame.path)).is_relative_to(self.own)]
        return f"{places[-1].path}:{places[-1].lineno + 1}" if places else ""


def sentence(name: str) -> str:
    """Return a test's name as a sentence: `test_equal_seeds_give_equal_bytes[1]` as `equal seeds give equal bytes (1)`."""
    plain, bracket, parameter = name.removeprefix("test_").partition("[")
    return plain.replace("_", " ") + (f" ({parameter.removesuffix(']')})" if bracket else "")


def told(error: BaseException) -> str:
    """Return an error in one line: what an assertion says, or a class and its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else ""
    return first if isinstance(error, AssertionError) and first else f"{type(error).__name__}: {first}"


def _arguments(file: Path) -> list[str]:
    config = file.with_name("pytest.ini")
    config.write_text("[pytest]\n")  # nobody else's settings
    return [str(file), "-q", "-c", str(config), "--rootdir", str(file.parent), "-p", "no:cacheprovider", "--import-mode=importlib"]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no plugin of pytest's and no option of the environment take part."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    with mock.patch.dict(os.environ, {**clean, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, clear=True):
        yield


def _folder(entry: Entry) -> Path:
    """Return the folder of a plugin's package, or its single file."""
    import sys

    module: ModuleType | None = sys.modules.get(entry.owner.module.partition(":")[0])
    file = Path(getattr(module, "__file__", None) or "nowhere")
    return file.parent if file.name == "__init__.py" else file

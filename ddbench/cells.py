"""Cells: from what a user asks for to the coordinates of a table, controls included. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from ddbench.api.experts import ExpertOptions
from ddbench.errors import BadOption, BadRequest, UnknownName
from ddbench.options import Layer, Preset, Resolved, read_presets, resolve

if TYPE_CHECKING:
    from ddbench.api.context import Need, PartKind, Use
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.network import NetworkSpec
    from ddbench.api.prior import Prior
    from ddbench.api.protocol import LabelRegime, ProtocolSpec
    from ddbench.api.synthesizer import Synthesizer
    from ddbench.api.teacher import Teacher
    from ddbench.plugins import Entry, Plugins

CONTROL = "random"
"""The synthesizer every other one is compared with; the only method the harness knows by name."""

CONTROL_DRAWS = 3
"""Distill seeds of the control at least: with one draw, 'beats random' would be false one time in five."""

ALWAYS = ("top1", "storage")
"""Evaluators that every cell has: a score without the bytes it took is no comparison."""

DEFAULT_WAY = "scratch"
"""How a teacher is got where only a network is named."""

WITH_PRESETS = {"synthesizer", "teacher", "prior", "objective", "selector", "evaluator"}
"""Kinds of things whose options may be set by presets."""

Role = Literal["asked", "control"]


@dataclass(frozen=True)
class Request:
    """What a user asks for; None and empty mean the dataset's defaults."""

    synthesizers: tuple[str, ...]
    dataset: str = "digits"
    ipc: int | None = None
    teacher: str | None = None
    """A network (`resnet18`), a way (`pretrained`), or both (`checkpoint:resnet18`)."""
    students: tuple[str, ...] = ()
    protocol: str | None = None
    distill_seeds: int | None = None
    eval_seeds: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """`rho` for every synthesizer that has it, `dwa.rho` for one, `teacher.epochs` for the teacher, `calibration.bins` for an
    evaluator; each must fit something."""
    shared: Mapping[str, object] = field(default_factory=dict)
    """The same from a suite's shared settings: weaker, and taken where they fit."""
    source: str = "command line"
    """Where `options` come from, as records tell it."""
    preset: str | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    threads: int | None = None
    evaluators: tuple[str, ...] = ()
    """What is measured besides `ALWAYS`."""
    max_label_bytes: int | None = None
    view_seed: int = 0
    smoke: float | None = None
    """Fraction of the protocol's training; the records are marked and can never enter a leaderboard."""


@dataclass(frozen=True)
class BoundPart:
    """An objective or a selector that a method works with, or an evaluator, with its resolved options."""

    entry: Entry
    options: Resolved


@dataclass(frozen=True)
class Method:
    """A synthesizer with its resolved options, and the parts it works with."""

    entry: Entry
    options: Resolved
    parts: Mapping[PartKind, BoundPart] = field(default_factory=dict)

    @property
    def synthesizer(self) -> Synthesizer:
        synthesizer: Synthesizer = self.entry.value
        return synthesizer

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def stopped(self) -> bool:
        """Whether it is a control: stopped before its first step, as `zero_iterations` makes it."""
        return self.options.sources.get("iterations") == "control"

    def needs(self, facts: DatasetFacts) -> dict[str, Need]:
        """Return what must be made before: for the synthesizer itself and for its parts, by name.

        Raises:
            BadRequest: Two of them ask for different things by one name.
        """
        found = dict(self.synthesizer.needs(self.options.values, facts))
        for part in self.parts.values():
            for name, need in part.entry.value.needs(part.options.values, facts).items():
                if found.setdefault(name, need) != need:
                    raise BadRequest(f"{self.name} and its {part.entry.kind} {part.entry.name!r} both need another {name!r}")
        return found


@dataclass(frozen=True)
class PriorChoice:
    """A generative prior, with its resolved options."""

    entry: Entry
    options: Resolved
    seed: int = 0

    @property
    def prior(self) -> Prior:
        prior: Prior = self.entry.value
        return prior

    @property
    def name(self) -> str:
        return self.entry.name


@dataclass(frozen=True)
class ExpertsChoice:
    """Training trajectories of one network, with the options they are made with."""

    options: Resolved
    network: NetworkSpec
    family: Entry
    """Who builds the network."""
    seed: int = 0

    @property
    def name(self) -> str:
        return f"experts {self.network.name}"


@dataclass(frozen=True)
class TeacherChoice:
    """A way to get a teacher, with its resolved options and network."""

    entry: Entry
    options: Resolved
    network: NetworkSpec
    family: Entry
    """Who builds the network."""
    seed: int = 0

    @property
    def way(self) -> Teacher:
        way: Teacher = self.entry.value
        return way

    @property
    def name(self) -> str:
        return f"{self.entry.name}:{self.network.name}"


@dataclass(frozen=True)
class Cell:
    """One coordinate of a table: one student to be trained."""

    method: Method
    facts: DatasetFacts
    ipc: int
    choice: TeacherChoice | None
    """None where neither the synthesizer nor the protocol needs a teacher."""
    network: NetworkSpec
    recipe: ProtocolSpec
    distill_seed: int
    eval_seed: int
    role: Role

    @property
    def synthesizer(self) -> str:
        return self.method.name

    @property
    def student(self) -> str:
        return self.network.name

    @property
    def protocol(self) -> str:
        return self.recipe.name

    @property
    def label_regime(self) -> LabelRegime:
        return self.recipe.label_regime

    @property
    def teacher(self) -> str | None:
        return self.choice.name if self.choice else None

    def coordinate(self) -> dict[str, Any]:
        """Return the cell block of a record."""
        return {
            "synthesizer": self.synthesizer,
            "dataset": self.facts.name,
            "ipc": self.ipc,
            "teacher": self.teacher,
            "student": self.student,
            "protocol": self.protocol,
            "label_regime": self.label_regime,
            "distill_seed": self.distill_seed,
            "eval_seed": self.eval_seed,
        }

    def __str__(self) -> str:
        return f"{self.synthesizer} · {self.student} · distill seed {self.distill_seed} · eval seed {self.eval_seed}"


def methods(request: Request, plugins: Plugins, facts: DatasetFacts, measured: Sequence[BoundPart] = ()) -> list[Method]:
    """Return the asked synthesizers with their options, the control first where it was not asked for.

    Args:
        request: What is asked for.
        plugins: Who registered synthesizers.
        facts: Of the dataset.
        measured: The run's evaluators, which may have options too.

    Raises:
        UnknownName: A synthesizer or preset is unknown.
        BadOption: An option is unknown, out of bounds, or belongs to none of the synthesizers.
    """
    if len(set(request.synthesizers)) != len(request.synthesizers):
        raise BadRequest(f"a synthesizer is named twice in {' '.join(request.synthesizers)}; name each once")
    names = list(request.synthesizers) if CONTROL in request.synthesizers else [CONTROL, *request.synthesizers]
    entries = [plugins.get("synthesizer", name) for name in names]
    found = [bind(entry, request, plugins, facts) for entry in entries]
    refuse_homeless(request, [method for method in found if method.name in request.synthesizers], facts, measured)
    return found


def evaluators(request: Request, plugins: Plugins, facts: DatasetFacts) -> list[BoundPart]:
    """Return what measures, with options: presets, and what a suite and the command line say under an evaluator's name.

    `ALWAYS` comes first, then what was asked for by name, so that the order in which it was asked for changes no key.

    Raises:
        UnknownName: An evaluator is unknown.
        BadOption: An option of one is unknown or out of bounds.
    """
    found = []
    names = (*ALWAYS, *sorted({*request.evaluators} - {*ALWAYS}))
    for entry in (plugins.get("evaluator", name) for name in names):
        layers = [*_preset_layers(entry, request, facts), *_under(entry.name, request)]
        found.append(BoundPart(entry, resolve(entry.value.options, layers, owner=f"evaluator {entry.name!r}")))
    return found


def teacher_way(request: Request, plugins: Plugins, default_network: str) -> tuple[Entry, str]:
    """Return the way to get the teacher and the network's name.

    `NAME` may be a way, a network, or `way:network`; a named preset's network stands in where no network is given.
    """
    way, _, network = (request.teacher or "").rpartition(":")
    if not way and network in plugins.names("teacher"):
        way, network = network, ""
    entry = plugins.get("teacher", way or DEFAULT_WAY)
    if not network:
        preset = presets_of(entry).get(request.preset or "")
        network = preset.network if preset and preset.network else default_network
    return entry, network


def needed_options(
    entry: Entry, request: Request, facts: DatasetFacts, *, name: str = "teacher", need: Need | None = None
) -> Resolved:
    """Return the options of a teacher or a prior: presets, what the need asks for, what the command line says under its name."""
    layers = [*_preset_layers(entry, request, facts), *_asked(need), *_under(name, request)]
    return resolve(entry.value.options, layers, owner=f"{entry.kind} {entry.name!r}")


def experts_options(request: Request, *, name: str, need: Need) -> Resolved:
    """Return the options of experts: what the need asks for, and what the command line says under its name."""
    return resolve(ExpertOptions, [*_asked(need), *_under(name, request)], owner="experts")


def check_preset(request: Request, entries: Sequence[Entry]) -> None:
    """Raise UnknownName if a preset was asked for that nothing in the run has."""
    known = {name for entry in entries for name in presets_of(entry)}
    if request.preset is not None and request.preset not in known:
        raise UnknownName("preset", request.preset, known, see="ddbench list synthesizers NAME, ddbench list teachers NAME")


def presets_of(entry: Entry) -> Mapping[str, Preset]:
    """Return a plugin thing's presets: `presets/<name>/*.toml` of its package, or `presets/*.toml` where it stands alone."""
    if entry.kind not in WITH_PRESETS:
        return {}
    package = entry.owner.module.partition(":")[0]
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return {}  # a plain module has no folder of its own
    return _presets_in(package, entry.name, entry.owner.files_sha256)


@cache
def _presets_in(package: str, name: str, files_sha256: str) -> Mapping[str, Preset]:  # noqa: ARG001 - edited files are read again
    """Return what the files of a package hold for one of its things; every request of a suite asks for it several times."""
    folder = files(package).joinpath("presets")
    own = folder.joinpath(name)
    if own.is_dir():
        return read_presets(own)
    return {} if _has_folders(folder) else read_presets(folder)


def expand(cells: Cell, request_seeds: tuple[int, int]) -> Iterator[Cell]:
    """Give a cell for every distill seed and eval seed; the control has its draws at least."""
    distill_seeds, eval_seeds = request_seeds
    draws = max(CONTROL_DRAWS, distill_seeds) if cells.synthesizer == CONTROL else distill_seeds
    for distill_seed in range(draws):
        for eval_seed in range(eval_seeds):
            yield replace(cells, distill_seed=distill_seed, eval_seed=eval_seed)


def zero_iterations(method: Method) -> Method | None:
    """Return the method stopped before its first step, where that is another control than `random`.

    Images that start from plain real ones share `random` at the same seed; noise has nothing to be compared with.
    """
    if method.synthesizer.start(method.options.values) != "prior" or "iterations" not in type(method.options.values).model_fields:
        return None
    values = method.options.values.model_copy(update={"iterations": 0})
    return replace(method, options=Resolved(values, {**method.options.sources, "iterations": "control"}))


def derived_preset(facts: DatasetFacts) -> str:
    """Return the preset whose dataset is nearest in resolution, for datasets no plugin has a preset for."""
    side = max(facts.shape[1:])
    if side <= 32:
        return "cifar10" if facts.num_classes <= 10 else "cifar100"
    return "tiny-imagenet" if side <= 64 else "imagenet"


def bind(entry: Entry, request: Request, plugins: Plugins, facts: DatasetFacts) -> Method:
    """Return a synthesizer with its options, and its parts with theirs.

    Raises:
        UnknownName: It uses a part that nobody registered.
        BadOption: An option is out of bounds, or unknown to a part.
    """
    options = _options(entry, request, facts)
    uses: Mapping[PartKind, Use] = entry.value.uses(options.values)
    parts = {kind: _part(plugins.get(kind, use.name), request, facts, use) for kind, use in uses.items()}
    return Method(entry, options, parts)


def _part(entry: Entry, request: Request, facts: DatasetFacts, use: Use) -> BoundPart:
    """Return a part with its options; those of the command line that it lacks may be meant for another method's."""
    fields = entry.value.options.model_fields
    given = [
        replace(layer, values={key: value for key, value in layer.values.items() if key in fields})
        for layer in _under(entry.kind, request)
    ]
    layers = [*_preset_layers(entry, request, facts), Layer("synthesizer", use.options), *given]
    return BoundPart(entry, resolve(entry.value.options, layers, owner=f"{entry.kind} {entry.name!r}"))


def _asked(need: Need | None) -> list[Layer]:
    return [Layer("synthesizer", need.options)] if need and need.options else []


def _under(prefix: str, request: Request) -> list[Layer]:
    """Return what a suite shares and what is asked for under a name, `prior.steps` under `prior`."""

    def below(options: Mapping[str, object]) -> dict[str, object]:
        start = f"{prefix}."
        return {key.removeprefix(start): value for key, value in options.items() if key.startswith(start)}

    return [Layer("suite", below(request.shared)), Layer(request.source, below(request.options))]


def _options(entry: Entry, request: Request, facts: DatasetFacts) -> Resolved:
    shared, given = (dict(_own_options(entry, options)) for options in (request.shared, request.options))
    layers = [*_preset_layers(entry, request, facts), Layer("suite", shared), Layer(request.source, given)]
    return resolve(entry.value.options, layers, owner=f"synthesizer {entry.name!r}")


def _own_options(entry: Entry, options: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Give the options meant for one synthesizer: plain ones it has, and those under its own name."""
    for key, value in options.items():
        target, dot, name = key.rpartition(".")
        if dot and target == entry.name:
            yield name, value
        elif not dot and key in entry.value.options.model_fields:
            yield key, value


def refuse_homeless(request: Request, asked: Sequence[Method], facts: DatasetFacts, measured: Sequence[BoundPart] = ()) -> None:
    """Raise BadOption for an option that nothing in the run takes."""
    others = {part.entry.name for part in measured}
    others |= {need for part in measured for need in part.entry.value.needs(part.options.values, facts)}
    models = [method.entry.value.options.model_fields for method in asked]
    for key, value in request.options.items():
        target, dot, name = key.rpartition(".")
        if dot and target not in others:
            _refuse_stray((target, name, request.source), asked, facts, others)
        elif not dot and not any(key in fields for fields in models):
            first = asked[0].entry
            resolve(first.value.options, [Layer(request.source, {key: value})], owner=f"synthesizer {first.name!r}")


def _refuse_stray(option: tuple[str, str, str], asked: Sequence[Method], facts: DatasetFacts, others: set[str]) -> None:
    """Raise BadOption where an option's first word names nothing in the run, or a part that has no such option."""
    target, name, source = option
    parts = [part for method in asked for kind, part in method.parts.items() if kind == target]
    homes = {"teacher", *(method.name for method in asked), *(need for method in asked for need in method.needs(facts))}
    if not parts and target not in homes:
        known = sorted(homes | others | {kind for method in asked for kind in method.parts})
        here = f"it has: {', '.join(known)}; evaluators are named with --evaluators"
        raise BadOption(f"option '{target}.{name}' is for {target!r}, which is not in this run; {here}")
    if parts and not any(name in part.entry.value.options.model_fields for part in parts):
        entry = parts[0].entry
        resolve(entry.value.options, [Layer(source, {name: None})], owner=f"{entry.kind} {entry.name!r}")


def _preset_layers(entry: Entry, request: Request, facts: DatasetFacts) -> list[Layer]:
    """Return the layers of the dataset's preset, or of the nearest one, and of the preset asked for."""
    presets = presets_of(entry)
    layers = []
    if facts.name in presets:
        layers.append(presets[facts.name].layer)
    elif derived_preset(facts) in presets:
        layer = presets[derived_preset(facts)].layer
        layers.append(replace(layer, source=f"{layer.source} (derived)"))
    if request.preset in presets:
        layers.append(presets[str(request.preset)].layer)
    return layers


def _has_folders(folder: Traversable) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())

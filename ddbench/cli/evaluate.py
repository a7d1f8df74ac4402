"""`ddbench evaluate`: score a distilled set made elsewhere, the random control beside it."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.answer import answer, executed, tell_failures, tell_plan
from ddbench.cli.output import tell_load_errors
from ddbench.cli.progress import shown_progress

if TYPE_CHECKING:
    from ddbench.api.synthesizer import Space as SpaceName
    from ddbench.exchange.bringing import Brought, Elsewhere
    from ddbench.exchange.spaces import Asked
    from ddbench.runner import Outcome
    from ddbench.workspace import Workspace


class Space(StrEnum):
    """How pixels are read."""

    uint8 = "uint8"
    unit = "unit"
    normalised = "normalised"
    zca = "zca"


class Order(StrEnum):
    """The order of images that carry no labels."""

    by_class = "by-class"
    by_index = "by-index"


class Rows(StrEnum):
    """What soft labels are."""

    probabilities = "probabilities"
    logits = "logits"


SetPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="A folder of images for each class, .pt, .safetensors, .npz, or the folder of a set of ours."
    ),
]
NameFlag = Annotated[
    str | None, typer.Option(metavar="NAME", help="What the method is called: `external:NAME`. Default: the file's name.")
]
SpaceFlag = Annotated[
    Space | None, typer.Option(help="How pixels are read: 0-255, 0-1, normalised or whitened. Default: as they tell.")
]
MeanFlag = Annotated[
    str | None, typer.Option(metavar="M,M,M", help="What the images were normalised by, if not by the dataset's own mean.")
]
ClassCheckFlag = Annotated[
    bool, typer.Option("--class-check/--no-class-check", help="Hold the order of classes against the teacher, before training.")
]
ExternalDataFlag = Annotated[
    bool, typer.Option("--external-data", help="Other images than the train split went into it, a pretrained generator's say.")
]


def evaluate(  # noqa: PLR0913 - a parameter per flag
    path: SetPath,
    *,
    name: NameFlag = None,
    dataset: flags.DatasetFlag = "digits",
    ipc: Annotated[int | None, typer.Option(metavar="N", min=1, help="Images per class that the set should have.")] = None,
    space: SpaceFlag = None,
    zca: Annotated[bool, typer.Option("--zca", help="Whitened as trajectory matching does; short for --space zca.")] = False,
    mean: MeanFlag = None,
    std: Annotated[str | None, typer.Option(metavar="S,S,S", help="The same, if not by the dataset's own std.")] = None,
    labels: Annotated[Order | None, typer.Option(help="The order of images in a file without labels.")] = None,
    soft_labels: Annotated[Rows | None, typer.Option(help="What rows of soft labels are. Default: probabilities.")] = None,
    class_check: ClassCheckFlag = True,
    external_data: ExternalDataFlag = False,
    students: flags.StudentsFlag = None,
    teacher: flags.TeacherFlag = None,
    protocol: flags.ProtocolFlag = None,
    eval_seeds: flags.EvalSeedsFlag = None,
    option: flags.OptionFlag = None,
    preset: flags.PresetFlag = None,
    device: flags.DeviceFlag = "auto",
    precision: flags.PrecisionFlag = flags.Precision.auto,
    compile: flags.CompileFlag = flags.Compile.auto,  # noqa: A002
    threads: flags.ThreadsFlag = None,
    evaluators: flags.EvaluatorsFlag = None,
    max_label_bytes: flags.LabelBytesFlag = None,
    view_seed: flags.ViewSeedFlag = 0,
    smoke: flags.SmokeFlag = None,
    store: flags.StoreFlag = None,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    offline: flags.OfflineFlag = False,
    dry_run: flags.DryRunFlag = False,
    fresh: flags.FreshFlag = False,
    json: flags.JsonFlag = False,
) -> None:
    """Score a distilled set made elsewhere: train students on it, test them, and compare with random images.

    Nothing in the file is run. How its pixels are read is told by their values or asked for; the order of its classes is held
    against a teacher before any student is trained.
    """
    from ddbench.exchange.bringing import bring
    from ddbench.options import parse_assignments
    from ddbench.settings import load_settings
    from ddbench.workspace import open_workspace

    settings = load_settings(store=store, data_roots=data_root or (), plugin_dirs=plugins_dir or (), offline=offline or dry_run)
    request = flags.request(
        (),
        dataset=dataset,
        ipc=ipc,
        students=flags.split_names(students),
        teacher=teacher,
        protocol=protocol,
        eval_seeds=eval_seeds,
        options=parse_assignments(option or []),
        preset=preset,
        device=device,
        precision=precision.value,
        compile=compile.value,
        threads=threads,
        evaluators=flags.split_names(evaluators),
        max_label_bytes=max_label_bytes,
        view_seed=view_seed,
        smoke=smoke,
    )
    pixels = _asked(_space(space, zca=zca), mean, std)
    elsewhere = _elsewhere(path, name, pixels, labels, soft_labels)
    with shown_progress() as reporter:
        workspace = open_workspace(settings, reporter)
        tell_load_errors(workspace.plugins)
        brought = bring(replace(elsewhere, class_check=class_check, external_data=external_data), request, workspace)
        for note in brought.planned.notes:
            reporter.note(note)
        outcome = None if dry_run else _executed(brought, workspace, fresh=fresh)
    if outcome is None:
        tell_plan(brought.planned, fresh=fresh, as_json=json)
        return
    answer(outcome, brought.planned, workspace.store, as_json=json)
    tell_failures(outcome, brought.planned, workspace.store)


def _executed(brought: "Brought", workspace: "Workspace", *, fresh: bool) -> "Outcome":
    from ddbench.exchange.bringing import make_sets

    make_sets(brought, workspace)
    return executed(brought.planned, workspace, fresh=fresh)


def _elsewhere(path: Path, name: str | None, pixels: "Asked", labels: Order | None, soft_labels: Rows | None) -> "Elsewhere":
    from ddbench.exchange.bringing import Elsewhere
    from ddbench.exchange.opening import Telling

    telling = Telling(pixels, labels.value if labels else None, soft_labels.value if soft_labels else None)
    return Elsewhere(path, name, telling)


def _space(space: Space | None, *, zca: bool) -> "SpaceName | None":
    """Return the space that two flags name together.

    Raises:
        BadRequest: They contradict one another.
    """
    from ddbench.errors import BadRequest

    if zca and space not in (None, Space.zca):
        raise BadRequest(f"--zca and --space {space.value} contradict one another; give one of them")
    return "zca" if zca else space.value if space else None


def _asked(space: "SpaceName | None", mean: str | None, std: str | None) -> "Asked":
    from ddbench.exchange.spaces import Asked

    return Asked(space, _numbers("--mean", mean), _numbers("--std", std))


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    """Return the numbers of a comma list.

    Raises:
        BadRequest: One is none, or not finite.
    """
    from math import isfinite

    from ddbench.errors import BadRequest

    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(isfinite(number) for number in numbers):
        raise BadRequest(f"{flag} {text!r} is no list of numbers; give one, or one for each channel: {flag} 0.49,0.48,0.45")
    return numbers

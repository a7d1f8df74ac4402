"""`ddbench doctor`: what stands in the way of a run on this machine."""

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, write, write_json
from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from ddbench.settings import Settings
    from ddbench.training.precision import Abilities

PACKAGES = (
    "ddbench",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "scipy",
    "safetensors",
    "pydantic",
    "pluggy",
    "typer",
    "rich",
)

NEEDED = {"torch", "torchvision", "timm", "numpy", "safetensors", "pydantic", "pluggy"}

LOW_SPACE_BYTES = 1e9


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    status: Literal["ok", "note", "problem"]
    """`problem` stops runs; `note` is worth knowing."""
    detail: str


def doctor(
    *,
    store: flags.StoreFlag = None,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Check versions, devices, data, store and plugins.

    It exits with 3 where something would stop runs.
    """
    from ddbench.settings import load_settings

    settings = load_settings(store=store, data_roots=data_root or (), plugin_dirs=plugins_dir or ())
    checks = list(all_checks(settings))
    problems = [check for check in checks if check.status == "problem"]
    if json:
        write_json({"checks": [asdict(check) for check in checks], "problems": len(problems)})
    else:
        write(
            columns(
                [
                    (check.status.upper() if check.status == "problem" else check.status, check.name, check.detail)
                    for check in checks
                ]
            )
        )
    if problems:
        raise typer.Exit(3)


def all_checks(settings: "Settings") -> Iterator[Check]:
    """Give every check, cheap ones first."""
    yield from _versions()
    yield from _store(settings)
    yield from _plugins_and_data(settings)
    yield from _devices()


def _versions() -> Iterator[Check]:
    new_enough = sys.version_info >= (3, 11)
    yield Check("python", "ok" if new_enough else "problem", f"{platform.python_version()} on {platform.platform(terse=True)}")
    for name in PACKAGES:
        try:
            yield Check(name, "ok", version(name))
        except PackageNotFoundError:
            yield Check(name, "problem" if name in NEEDED else "note", "is not installed; pip install ddbench brings it")


def _store(settings: "Settings") -> Iterator[Check]:
    from ddbench.errors import StoreProblem
    from ddbench.store import Store

    source = settings.sources.get("store", "")
    try:
        Store(settings.store).check_writable()
    except StoreProblem as problem:
        yield Check("store", "problem", str(problem))
        return
    free = shutil.disk_usage(settings.store).free
    status: Literal["ok", "note"] = "ok" if free > LOW_SPACE_BYTES else "note"
    yield Check("store", status, f"{settings.store} ({source}), writable, {free / 1e9:.1f} GB free")


def _plugins_and_data(settings: "Settings") -> Iterator[Check]:
    from ddbench.data import list_datasets
    from ddbench.plugins import BUILT_IN, KINDS, plugins_of

    plugins = plugins_of(settings)
    names = {kind: len(plugins.names(kind)) for kind in KINDS}
    counted = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in names.items())
    yield Check("plugins", "ok", f"{len(plugins.owners())} loaded: {counted}")
    for error in plugins.errors:
        status: Literal["note", "problem"] = "problem" if error.distribution == BUILT_IN else "note"
        yield Check("plugin", status, f"{error.entry_point!r} of {error.distribution} failed and is left out: {error.message}")
    for sentence in plugins.clashes():
        yield Check("plugin", "note", sentence)
    for root in settings.data_roots:
        yield Check("data root", "ok", f"{root}{'' if root.is_dir() else ' (not there yet)'}")
    for one in list_datasets(settings.data_roots, plugins.all("dataset")):
        if one.problem:
            yield Check(f"data {one.name}", "problem", one.problem)
        elif one.folder:
            yield Check(f"data {one.name}", "ok", str(one.folder))


def _devices() -> Iterator[Check]:
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken installation raises anything
        yield Check("devices", "problem", f"torch cannot be imported: {type(error).__name__}: {error}")
        return
    from ddbench.training.precision import device_abilities

    yield Check("device", "ok", f"cpu, {torch.get_num_threads()} threads, {_abilities(device_abilities(torch.device('cpu')))}")
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        yield Check("device", "ok", "no accelerator; runs use the cpu")
    else:
        yield Check(
            "device", "ok", f"{accelerator.type}, {torch.accelerator.device_count()}: {_abilities(device_abilities(accelerator))}"
        )
    yield _compiler()
    yield _native_layers()


def _abilities(abilities: "Abilities") -> str:
    return f"{'bf16 in hardware' if abilities.bf16 else 'no bf16 in hardware'}, {'can' if abilities.compiler else 'cannot'} compile"


def _native_layers() -> Check:
    """Compile what a CPU's fast layers need, as a run would, and say whether that went well."""
    from ddbench.training import cpu_layers

    try:
        cpu_layers.ready()
    except BadRequest as error:
        return Check("native layers", "note", f"{error}: runs on the CPU are slower, and no less right")
    return Check("native layers", "ok", "compiled for this processor")


def _compiler() -> Check:
    found = next((path for path in map(shutil.which, ("c++", "g++", "clang++")) if path), None)
    if found:
        return Check("compiler", "ok", f"{Path(found)}; --compile works")
    return Check("compiler", "note", "no C++ compiler: runs are not compiled (--compile off)")

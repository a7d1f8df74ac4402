"""Typed options of plugins, and the layers their values come from: default < preset < suite < command line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import TypeVar

import pydantic

from ddbench.errors import BadOption, PluginFailed


class Options(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Base of every plugin's options: typed, bounded, each field with help, unknown keys refused."""


class NoOptions(Options):
    """Options of a plugin that has none."""


O = TypeVar("O", bound=Options)  # noqa: E741 - the name the signatures in `api` use


@dataclass(frozen=True)
class Resolved:
    """Options with where each value came from."""

    values: Options
    sources: Mapping[str, str]
    """By option: `default`, `preset cifar10: <reference>`, `suite`, `command line`."""

    def dump(self) -> dict[str, object]:
        """Return JSON values by option."""
        return self.values.model_dump(mode="json")


@dataclass(frozen=True)
class Layer:
    """Values from one place."""

    source: str
    values: Mapping[str, object]
    notes: Mapping[str, str] = field(default_factory=dict)
    """By option: the reference a preset gives for its number."""


@dataclass(frozen=True)
class Preset:
    """A named set of values that a plugin ships as TOML, each with where it comes from."""

    name: str
    layer: Layer
    network: str | None = None
    """Teachers only: the network that the recipe is meant for."""
    title: str = ""


def read_presets(folder: Traversable) -> dict[str, Preset]:
    """Return a plugin's presets by name, from `folder/*.toml`.

    A file holds `title`, optionally `network`, and a table `[options]` in which every value is
    `{ value = 0.25, source = "released code, README command" }`.

    Raises:
        PluginFailed: A file is not TOML, or a value has no source.
    """
    presets: dict[str, Preset] = {}
    if not folder.is_dir():
        return presets
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            name = entry.name.removesuffix(".toml")
            presets[name] = _read_preset(name, entry)
    return presets


def _read_preset(name: str, entry: Traversable) -> Preset:
    try:
        content = tomllib.loads(entry.read_text("utf-8"))
        options = content.get("options", {})
        values = {key: item["value"] for key, item in options.items()}
        notes = {key: str(item["source"]) for key, item in options.items()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise PluginFailed(f"preset {entry.name} is not a preset ({error!r}); each option needs a value and a source") from error
    layer = Layer(f"preset {name}", values, notes)
    return Preset(name, layer, network=content.get("network"), title=str(content.get("title", "")))


def resolve(model: type[Options], layers: Iterable[Layer], *, owner: str) -> Resolved:
    """Return options from layers, later ones winning, with each value's source.

    Args:
        model: The plugin's options.
        layers: From weakest to strongest; text values (from a command line) are parsed by the field's type.
        owner: The plugin's kind and name, for messages: `synthesizer 'dwa'`.

    Raises:
        BadOption: A key is unknown, or a value is of the wrong type or out of bounds.
    """
    values: dict[str, object] = {}
    sources = dict.fromkeys(model.model_fields, "default")
    for layer in layers:
        for key, value in layer.values.items():
            if key not in model.model_fields:
                raise BadOption(_unknown_option(key, model, owner, layer.source))
            values[key] = _parsed(value, key, model)
            note = layer.notes.get(key)
            sources[key] = f"{layer.source}: {note}" if note else layer.source
    try:
        return Resolved(model.model_validate(values), sources)
    except pydantic.ValidationError as error:
        raise BadOption(_bad_value(error, owner)) from error


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Return `{"rho": "0.015"}` from `["rho=0.015"]`, dotted keys kept whole.

    Raises:
        BadOption: One has no `=`, or a key stands twice.
    """
    parsed: dict[str, str] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise BadOption(f"option {text!r} is not of the form name=value, for example -o rho=0.015")
        if key.strip() in parsed:
            raise BadOption(f"option {key.strip()!r} is given twice; give it once")
        parsed[key.strip()] = value.strip()
    return parsed


def _parsed(value: object, key: str, model: type[Options]) -> object:
    """Return text as what the field expects of a command line: TOML where it reads as TOML, else the text itself."""
    if not isinstance(value, str) or model.model_fields[key].annotation is str:
        return value
    try:
        return tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return value


def _unknown_option(key: str, model: type[Options], owner: str, source: str) -> str:
    known = sorted(model.model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known) or 'none'}."
    return f"{owner} has no option {key!r} (from {source}). {hint}"


def _bad_value(error: pydantic.ValidationError, owner: str) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "combination"
    return f"{owner}, option {name!r}: {first['msg'][:1].lower()}{first['msg'][1:]}; given {first['input']!r}"

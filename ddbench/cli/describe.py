"""What plugins offer as JSON values: one line each, or one thing with options and presets."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.api.network import NetworkFamily
    from ddbench.options import Options, Preset
    from ddbench.plugins import Entry, Plugins
    from ddbench.settings import Settings

OWN_FAMILY = "ddbench"
"""The family whose names are always listed: they cost no import of a network library."""

BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}

PREFIXED = {"teacher", "prior", "objective", "selector"}
"""Kinds whose options stand under the kind's own name on the command line; an evaluator's stand under its name."""

USUAL_SHAPE = (3, 32, 32)
"""What a network is fitted to where nothing but its name is asked about."""

Row = dict[str, Any]


def several(plugins: Plugins, kind: str) -> list[Row]:
    """Return name, description and owner of everything of a kind; names that clash say so."""
    rows = []
    for name in plugins.names(kind):
        value = plugins.all(kind).get(name)
        description = first_line(value) if value is not None else "claimed by two plugins; see: ddbench doctor"
        rows.append({"name": name, "description": description})
    return rows


def datasets(plugins: Plugins, settings: Settings) -> list[Row]:
    """Return every dataset that can be asked for, with where it lies."""
    from ddbench.data import list_datasets

    sources = plugins.all("dataset")
    rows = []
    for one in list_datasets(settings.data_roots, sources):
        about = first_line(sources[one.name]) if one.name in sources else "in prepared form under a data root"
        here = "damaged" if one.problem else "here" if one.folder else f"not here; ddbench data prepare {one.name}"
        rows.append({"name": one.name, "description": f"{about} ({here})", "folder": str(one.folder) if one.folder else None})
    return rows


def dataset(plugins: Plugins, settings: Settings, name: str) -> Row:
    """Return one dataset in full: what its source says, and what lies under a data root.

    Raises:
        UnknownName: No source and no folder has the name.
    """
    from ddbench.data import list_datasets
    from ddbench.errors import UnknownName

    found = {listed.name: listed for listed in list_datasets(settings.data_roots, plugins.all("dataset"))}
    if name not in found:
        raise UnknownName("dataset", name, found)
    here = found[name]
    facts: Row = {"folder": str(here.folder) if here.folder else None, "classes": here.num_classes, "problem": here.problem}
    facts["shape"] = "×".join(str(part) for part in here.shape) if here.shape else None
    if name in plugins.names("dataset"):
        row = one(plugins, "dataset", name)
        return row | {"facts": row["facts"] | facts}
    plain: Row = {"kind": "dataset", "name": name, "options": [], "flag": "", "works_with": [], "presets": []}
    return plain | {"about": "in prepared form under a data root", "facts": {"origin": here.origin} | facts}


def networks(plugins: Plugins, part: str | None, *, everything: bool) -> list[Row]:
    """Return families with their networks' names; `networks` is None where listing them would import a network library.

    Args:
        plugins: Who registered families.
        part: Only names that hold it, of every family.
        everything: Names of every family.

    Raises:
        UnknownName: No name has the part.
    """
    from ddbench.errors import UnknownName

    rows = []
    for family, value in plugins.all("network").items():
        names = None
        if family == OWN_FAMILY or everything or part is not None:
            names = [name for name in value.names() if part is None or part in f"{family}/{name}"]
        rows.append({"name": family, "description": first_line(value), "networks": names})
    if part is not None and not any(row["networks"] for row in rows):
        for row, family in zip(rows, plugins.all("network").values(), strict=True):
            row["networks"] = _variant(family, part)
    if part is not None and not any(row["networks"] for row in rows):
        known = (name for value in plugins.all("network").values() for name in value.names())
        raise UnknownName("network", part, known, see="ddbench list networks --all")
    return rows


def _variant(family: NetworkFamily, name: str) -> list[str]:
    """Return a name that a family knows and does not list, such as `convnet3-bn`; nothing where it does not know it."""
    from ddbench.errors import DdbenchError

    prefix, slash, bare = name.partition("/")
    if slash and prefix != family.name:
        return []
    try:
        family.fit(bare if slash else name, shape=USUAL_SHAPE, num_classes=10)
    except DdbenchError:
        return []
    return [bare if slash else name]


def plugins_found(plugins: Plugins) -> list[Row]:
    """Return what was loaded, what failed, and which names clash."""
    from ddbench.plugins import KINDS

    for kind in KINDS:
        plugins.names(kind)  # hooks are called here, so that their errors are known
    rows: list[Row] = [
        {"name": owner.entry_point, "description": f"{owner.distribution} {owner.version}, {owner.module}", **asdict(owner)}
        for owner in plugins.owners()
    ]
    rows += [
        {"name": error.entry_point, "description": f"FAILED ({error.distribution}): {error.message}"} for error in plugins.errors
    ]
    return rows + [{"name": "clash", "description": sentence} for sentence in plugins.clashes()]


def one(plugins: Plugins, kind: str, name: str) -> Row:
    """Return one thing in full.

    Raises:
        UnknownName: Nobody registered it.
        NameClash: More than one plugin did.
    """
    from ddbench.cli.parts import works_with

    entry = plugins.get(kind, name)
    model = getattr(entry.value, "options", None)
    return {
        "kind": kind,
        "name": name,
        "about": _about(entry.value),
        "facts": _facts(entry),
        "options": options_of(model) if model is not None else [],
        "flag": f"{kind}." if kind in PREFIXED else f"{name}." if kind == "evaluator" else "",
        "works_with": works_with(entry, plugins),
        "presets": [_preset(preset) for preset in _presets(entry, kind).values()],
    }


def options_of(model: type[Options]) -> list[Row]:
    """Return a model's options: name, type, default, bounds, help."""
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "type": _type_text(field, schema.get("$defs", {})),
            "default": None if name in required else field.get("default"),
            "required": name in required,
            "bounds": _bounds(field),
            "help": field.get("description", ""),
        }
        for name, field in schema["properties"].items()
    ]


def options_lines(options: Iterable[Row]) -> list[tuple[str, str, str, str]]:
    """Return name, default, type with bounds, and help of each option, as text."""
    return [
        (
            option["name"],
            "needed" if option["required"] else json.dumps(option["default"]),
            " ".join([option["type"], *option["bounds"]]),
            option["help"],
        )
        for option in options
    ]


def first_line(value: object) -> str:
    """Return the first sentence of what something says about itself."""
    return _about(value).partition("\n")[0]


def _about(value: object) -> str:
    text = getattr(value, "title", None) or getattr(value, "description", None) or inspect.getdoc(value) or ""
    return str(text).strip()


def _facts(entry: Entry) -> Row:
    value = entry.value
    facts: Row = {"version": getattr(value, "version", None), "from": str(entry.owner)}
    if entry.kind == "protocol":
        return (
            facts
            | {"sha256": value.sha256}
            | {name: _plain(part) for name, part in value.model_dump(mode="json").items() if name != "name"}
        )
    if entry.kind == "dataset":
        return (
            facts
            | {"origin": value.origin, "download_bytes": value.download_bytes}
            | (asdict(value.defaults) if value.defaults else {})
        )
    if entry.kind == "prior":
        from ddbench.cli.parts import spaces

        known = {"licence": value.licence, "external_data": value.external_data, "gated": value.gated}
        return facts | known | spaces(entry)
    return facts | ({"scope": value.scope} if entry.kind == "evaluator" else {})


def _plain(part: object) -> object:
    return json.dumps(part) if isinstance(part, dict | list) else part


def _presets(entry: Entry, kind: str) -> Mapping[str, Preset]:
    from ddbench.cells import WITH_PRESETS, presets_of

    return presets_of(entry) if kind in WITH_PRESETS else {}


def _preset(preset: Preset) -> Row:
    options = {name: {"value": value, "source": preset.layer.notes.get(name, "")} for name, value in preset.layer.values.items()}
    return {"name": preset.name, "title": preset.title, "network": preset.network, "options": options}


def _type_text(field: Row, definitions: Mapping[str, Row]) -> str:
    if "enum" in field:
        return " | ".join(json.dumps(choice) for choice in field["enum"])
    if "const" in field:
        return json.dumps(field["const"])
    if "anyOf" in field:
        return " | ".join(_type_text(part, definitions) for part in field["anyOf"])
    if "$ref" in field:
        return _type_text(definitions.get(field["$ref"].rpartition("/")[2], {}), definitions)
    if field.get("type") == "array":
        return f"list of {_type_text(field['items'], definitions)}" if "items" in field else "list"
    return {"number": "float", "integer": "int", "string": "text", "boolean": "true | false", "null": "none"}.get(
        str(field.get("type")), "value"
    )


def _bounds(field: Row) -> list[str]:
    parts = [field, *field.get("anyOf", ())]
    return [f"{sign} {part[key]:g}" for part in parts for key, sign in BOUNDS.items() if key in part]

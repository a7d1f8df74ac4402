"""Makes valid, sealed records by hand, coordinate by coordinate, for views over them."""

from __future__ import annotations

import hashlib
from typing import Any

from ddbench.records import Record

PROTOCOL = {
    "name": "quick-soft/1",
    "title": "A quick recipe for digits",
    "source": "ours",
    "label_regime": "soft_online",
    "steps": 300,
    "epochs": None,
    "batch": 64,
    "teacher_bn": "running",
}


RECIPE = ("augment", "batch", "steps")
"""Parts of the protocol that may be changed."""


def sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def record(top1: float = 0.5, **changes: Any) -> Record:
    """Return a sealed record.

    Args:
        top1: The metric.
        changes: Fields of the cell by name; of the protocol, those of `RECIPE`; `options`,
            `version`, `code`, `smoke`, `made`, `set_sha`, `fitting`, `metrics`,
            `dtype`, `protocol_sha256`, `shape`, `teacher_key`, `numerics`, `source` (of all options), `works_with` (plugins
            beside the synthesizer: kind, name, version, code); whatever is not given is that of a plain digits cell.
    """
    cell = {
        "synthesizer": "random",
        "dataset": "digits",
        "ipc": 10,
        "teacher": "scratch:ddbench/convnet3-bn",
        "student": "ddbench/convnet3",
        "protocol": "quick-soft/1",
        "label_regime": "soft_online",
        "distill_seed": 0,
        "eval_seed": 0,
    }
    cell |= {name: changes.pop(name) for name in list(changes) if name in cell}
    options, source = changes.pop("options", {}), changes.pop("source", "default")
    shape = changes.pop("shape", (1, 8, 8))
    code, version = changes.pop("code", "c" * 64), changes.pop("version", 1)
    set_sha = changes.pop("set_sha", sha(cell["synthesizer"], cell["distill_seed"], sorted(options.items()), code))
    metrics = {"top1": (top1, "fraction", True), **changes.pop("metrics", {})}
    protocol_sha = changes.pop("protocol_sha256", sha(cell["protocol"]))
    made = changes.pop("made", f"2026-01-01T00:00:{cell['eval_seed']:02d}Z")
    numerics, dtype = changes.pop("numerics", 1), changes.pop("dtype", "fp32")
    fitting = changes.pop("fitting", {})
    teacher_key = changes.pop("teacher_key", "7" * 20 if cell["teacher"] else None)
    bytes_ = changes.pop("bytes", {"images": 6400, "labels": 800})
    recipe = {**PROTOCOL, "name": cell["protocol"], **{name: changes.pop(name) for name in RECIPE if name in changes}}
    content = {
        "ddbench_version": "0.1.0",
        "numerics_version": numerics,
        "cell": cell,
        "options": {"synthesizer": {"values": options, "sources": dict.fromkeys(options, source)}},
        "protocol": recipe,
        "protocol_sha256": protocol_sha,
        "student": {"name": cell["student"], "version": 1, "shape": list(shape), "num_classes": 10, "fitting": fitting},
        "plugins": [_plugin(*one) for one in (("synthesizer", cell["synthesizer"], version, code), *changes.pop("works_with", ()))],
        "dataset": {
            "name": cell["dataset"],
            "sha256": sha(cell["dataset"]),
            "classes_sha256": sha("classes"),
            "num_classes": 10,
            "shape": shape,
            "test_images": 899,
            "test_order_sha256": sha("order"),
        },
        "teacher_key": teacher_key,
        "distilled_key": sha(set_sha)[:20],
        "distilled_sha256": set_sha,
        "labels_key": None,
        "view_seed": None,
        "images": 100,
        "start": "real",
        "training": {
            "optimiser_steps": 300,
            "images_seen": 19200,
            "parameters": 320010,
            "curve": ((100, 2.0), (200, 1.0), (300, 0.5)),
        },
        "precision": {"student": {"dtype": dtype}, "recover": {"dtype": "fp32"}, "device": "cpu"},
        "metrics": [_metric(name, *value) for name, value in metrics.items()],
        "bytes": bytes_,
        "smoke": changes.pop("smoke", False),
        "time": {"finished": made},
        "cost": changes.pop("cost", {"recover": {"seconds": 2.0}, "student": {"seconds": 1.5, "peak_bytes": 1000}}),
        "host": {"cpu": "a processor", "cores": 2},
    }
    if changes:
        raise TypeError(f"unknown changes {sorted(changes)}")
    return Record.model_validate({"key": sha(content)[:20], **content}).sealed()


def nested(synthesizer: str, values: list[list[float]], **changes: Any) -> list[Record]:
    """Return records of a synthesizer: `values[d][e]` is the top1 of distill seed d and eval seed e."""
    return [
        record(top1, synthesizer=synthesizer, distill_seed=d, eval_seed=e, **changes)
        for d, one_set in enumerate(values)
        for e, top1 in enumerate(one_set)
    ]


def _plugin(kind: str, name: str, version: int, code: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "version": version,
        "distribution": "ddbench",
        "distribution_version": "0.1.0",
        "files_sha256": code,
    }


def _metric(name: str, value: float, unit: str, better: bool) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "higher_is_better": better, "evaluator": "top1"}

"""Whole, valid records made by hand."""

from __future__ import annotations

from ddbench.records import Record


def a_record(**changes) -> Record:
    """Return a sealed record; cell coordinates, `top1`, `key`, `seconds` and whole blocks may be given."""
    cell = {
        "synthesizer": "random",
        "dataset": "digits",
        "ipc": 10,
        "teacher": None,
        "student": "ddbench/convnet3",
        "protocol": "quick-hard/1",
        "label_regime": "hard",
        "distill_seed": 0,
        "eval_seed": 0,
    }
    cell |= {name: changes.pop(name) for name in list(changes) if name in cell}
    top1 = changes.pop("top1", 0.5)
    seconds = changes.pop("seconds", 1.0)
    content = {
        "key": "-".join(str(value).replace("/", "_") for value in cell.values()),
        "ddbench_version": "0.1.0",
        "numerics_version": 1,
        "cell": cell,
        "options": {"synthesizer": {"values": {}, "sources": {}}},
        "protocol": {"name": cell["protocol"], "title": "a protocol", "source": "ours"},
        "protocol_sha256": "0" * 64,
        "student": {"name": cell["student"]},
        "plugins": (),
        "dataset": {
            "name": cell["dataset"],
            "sha256": "0" * 64,
            "classes_sha256": "0" * 64,
            "num_classes": 10,
            "shape": (1, 8, 8),
            "test_images": 100,
            "test_order_sha256": "0" * 64,
        },
        "teacher_key": None,
        "distilled_key": f"set-{cell['synthesizer']}-{cell['distill_seed']}",
        "distilled_sha256": "0" * 64,
        "labels_key": None,
        "view_seed": None,
        "images": 100,
        "start": "real",
        "training": {"optimiser_steps": 300, "images_seen": 19200, "parameters": 1000, "curve": ((0, 2.0), (1, 1.0))},
        "precision": {"student": {"dtype": "fp32"}, "recover": {"dtype": "fp32"}, "device": "cpu"},
        "metrics": ({"name": "top1", "value": top1, "unit": "fraction", "higher_is_better": True, "evaluator": "top1"},),
        "bytes": {"images": 6400, "labels": 800},
        "smoke": False,
        "time": {"started": "2026-01-01T00:00:00+00:00"},
        "cost": {"student": {"seconds": seconds, "peak_bytes": 1}},
        "host": {"cpu": "some"},
    }
    return Record.model_validate(content | changes).sealed()

"""Folders of handmade records, as a leaderboard is built from."""

from __future__ import annotations

import json
from pathlib import Path

from ddbench.records import Record, checksum
from handmade import nested


def saved(folder: Path, *records: Record) -> Path:
    """Write records as files, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in records:
        (folder / f"{one.key}.json").write_text(json.dumps(one.model_dump(mode="json")))
    return folder


def resealed(path: Path, content: dict, **changes) -> Path:
    """Write a record's content with changes and the checksum that belongs to them, as somebody who means harm would."""
    changed = {**content, **changes}
    path.write_text(json.dumps({**changed, "sha256": checksum(changed)}))
    return path


def small_board() -> list[Record]:
    """Return records of two rankings: three methods with two students, hard and soft labels."""
    hard = {"protocol": "quick-hard/1", "label_regime": "hard", "teacher": None, "student": "ddbench/resnet10t"}
    return [
        *nested("random", [[0.60, 0.62], [0.63, 0.62], [0.58, 0.60]]),
        *nested("dwa", [[0.80, 0.81], [0.82, 0.83], [0.80, 0.82]], options={"rho": 0.015}),
        *nested("sre2l", [[0.59, 0.61], [0.62, 0.60], [0.60, 0.61]]),
        *nested("random", [[0.50, 0.52], [0.53, 0.52], [0.48, 0.50]], **hard),
        *nested("dwa", [[0.40, 0.41], [0.42, 0.43], [0.40, 0.42]], options={"rho": 0.015}, **hard),
    ]

"""What rows are called in a figure: labels that fit, and how many rows it can tell apart."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddbench.errors import BadRequest
from ddbench.report.grouping import CEILING, CONTROL
from ddbench.report.layout import LONGEST_NAME, plain

MOST = 30
"""Rows of one figure, the control and the ceiling not counted: looks repeat after so many (`style.looks`)."""

LONG = 40
"""Characters from which a label is shortened."""

LEFT_OUT = "…"

Words = Mapping[str, str]
"""A label's options, as `{"rho": "rho=0.1"}`."""


@dataclass(frozen=True)
class Names:
    """What rows are called."""

    shown: Mapping[str, str]
    """By full label; no two are alike."""
    note: str
    """For the caption: which options `…` stands for; empty where nothing was left out."""


def names(labels: Sequence[str]) -> Names:
    """Return what labels are shown as: whole where all rows of a method are short, else less the options that tell nothing more.

    Of a method's options those are left out, one by one until the labels are short, without which its rows are still told apart.
    """
    by_method: dict[str, dict[str, Words]] = defaultdict(dict)
    for label in labels:
        method, *words = re.split(r" (?=[\w.]+=)", label)
        by_method[method][label] = {word.partition("=")[0]: word for word in words}
    shown: dict[str, str] = {}
    left_out: set[str] = set()
    for method, rows in by_method.items():
        dropped = _dropped(method, rows)
        left_out |= dropped
        shown |= {label: _text(method, words, dropped) for label, words in rows.items()}
    note = f"{LEFT_OUT}: options left out ({', '.join(sorted(left_out))}); --json has the labels in full." if left_out else ""
    return Names(_unlike({label: shown[label] for label in labels}), plain(note))


def refuse_many(labels: Sequence[str]) -> None:
    """Do nothing where a figure can tell so many rows apart.

    Raises:
        BadRequest: There are more; the message says how to take fewer.
    """
    rows = [label for label in labels if method_of(label) not in {CONTROL, CEILING}]
    if len(rows) <= MOST:
        return
    values: dict[str, set[str]] = defaultdict(set)
    for label in rows:
        for word in re.split(r" (?=[\w.]+=)", label)[1:]:
            values[word.partition("=")[0]].add(word)
    differing = [name for name, words in values.items() if len(words) > 1]
    where = f", or with --where NAME=VALUE ({', '.join(differing)} differ)" if differing else ""
    raise BadRequest(
        f"{len(rows)} rows are more than a figure can tell apart ({MOST}); take fewer with --method "
        f"({', '.join(sorted({method_of(label) for label in rows}))}){where}, --ipc or --protocol"
    )


def method_of(label: str) -> str:
    """Return the synthesizer that a row's label begins with."""
    return label.partition(" ")[0]


def in_order(label: str) -> tuple[bool, list[str | float]]:
    """Return what labels are sorted by: the control first, numbers in them by size."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", label)
    return (method_of(label) != CONTROL, [float(part) if number % 2 else part for number, part in enumerate(parts)])


def _dropped(method: str, rows: Mapping[str, Words]) -> set[str]:
    """Return the options to leave out: those that all rows share first, then those of parts, then from the last to the first."""
    keys = list(dict.fromkeys(key for words in rows.values() for key in words))
    shared = {key for key in keys if len({words.get(key) for words in rows.values()}) == 1}
    dropped: set[str] = set()
    for key in sorted(keys, key=lambda one: (one not in shared, "." not in one, -keys.index(one))):
        if max(len(_text(method, words, dropped)) for words in rows.values()) <= LONG:
            break
        kept = [one for one in keys if one not in {*dropped, key}]
        if len({tuple(words.get(one) for one in kept) for words in rows.values()}) == len(rows):
            dropped.add(key)
    return dropped


def _text(method: str, words: Words, dropped: set[str]) -> str:
    kept = [method, *(word for key, word in words.items() if key not in dropped)]
    return " ".join([*kept, LEFT_OUT] if dropped & set(words) else kept)


def _unlike(shown: Mapping[str, str]) -> dict[str, str]:
    """Return texts of one line that are not too long, those that would read the same with a number."""
    cut = {label: plain(text, LONGEST_NAME) for label, text in shown.items()}
    times, seen = Counter(cut.values()), Counter[str]()
    found = {}
    for label, text in cut.items():
        seen[text] += 1
        found[label] = text if times[text] == 1 else f"{text} ({seen[text]})"
    return found

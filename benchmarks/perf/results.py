"""What a run measured, as JSON and as tables for a terminal and for Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import Figure

if TYPE_CHECKING:
    from pairs import Ratio
    from rich.console import Console

RATIO_HEADER = ("work", "plain", "fast", "ratio", "at least / stretch", "met", "memory plain / fast", "GFLOP/s", "of peak")
FIGURE_HEADER = ("figure", "measured", "promised", "met")
BEGIN, END = "<!-- perf:begin -->", "<!-- perf:end -->"


@dataclass(frozen=True)
class Peak:
    """Floating-point operations per second of the machine's own matrix product, before and after the rest was measured."""

    before: float
    after: float

    @property
    def best(self) -> float:
        return max(self.before, self.after)


@dataclass
class Results:
    """Everything measured in one run, or read from earlier ones on the same machine."""

    host: Mapping[str, Any]
    peaks: dict[str, Peak] = field(default_factory=dict)
    """By dtype, `fp32` and `bf16`."""
    ratios: list[Ratio] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def to_json(self) -> str:
        """Return everything as JSON."""
        ratios = [{**asdict(one), "ratio": one.ratio} for one in self.ratios]
        peaks = {name: asdict(peak) for name, peak in self.peaks.items()}
        content = {"host": self.host, "peaks": peaks, "ratios": ratios, "figures": [asdict(one) for one in self.figures]}
        return json.dumps(content, indent=1)


def read(paths: Sequence[Path]) -> Results:
    """Return what earlier runs wrote; where two have the same row, the later file's counts.

    Raises:
        ValueError: They were measured on different machines, or with different threads.
    """
    from pairs import Ratio

    parts = [json.loads(path.read_text()) for path in paths]
    if any(part["host"] != parts[0]["host"] for part in parts):
        raise ValueError("the files were measured on different machines, versions or threads and make no one table")
    ratios: dict[str, Ratio] = {}
    figures: dict[str, Figure] = {}
    peaks: dict[str, Peak] = {}
    for part in parts:
        ratios |= {row["name"]: Ratio(**{name: row[name] for name in Ratio.__dataclass_fields__}) for row in part["ratios"]}
        figures |= {row["name"]: Figure(**row) for row in part["figures"]}
        for name, peak in part["peaks"].items():
            known = peaks.get(name, Peak(**peak))
            peaks[name] = Peak(max(known.before, peak["before"]), max(known.after, peak["after"]))
    return Results(parts[0]["host"], peaks, list(ratios.values()), list(figures.values()))


def show(results: Results, console: Console) -> None:
    """Print the tables for a reader at a terminal."""
    from rich.table import Table

    console.print("\n".join(_hardware(results)), highlight=False)
    for header, rows in _tables(results):
        table = Table(*header, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*row)
        console.print()
        console.print(table, highlight=False, markup=False)
    console.print("\n".join(["", *_notes(results)]), highlight=False, markup=False)


def markdown(results: Results) -> str:
    """Return the same as Markdown."""
    lines = [f"{line}\n" for line in _hardware(results)]
    for header, rows in _tables(results):
        lines += [_line(header), _line(["---"] * len(header)), *(_line(row) for row in rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in _notes(results))])


def fill(page: Path, text: str, place: str = "") -> None:
    """Replace what stands between a page's markers; a page with tables of several machines names its places.

    Raises:
        ValueError: The page has not exactly one such place.
    """
    begin, end = (marker.replace(" -->", f" {place} -->") if place else marker for marker in (BEGIN, END))
    content, found = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", page.read_text("utf-8"), flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"{page} has {found} places between {begin} and {end}; one is meant")
    page.write_text(content, "utf-8")


def _hardware(results: Results) -> Iterator[str]:
    host = results.host
    device = "" if host["device"] == "cpu" else f", {host['device']}"
    software = f"torch {host['packages']['torch']}; {host['system']}"
    simd = f" with {host['simd']}" if "simd" in host else ""
    yield f"{host['cpu']}{simd}{device}, {host['cores']} cores, {host['threads']} threads; {software}"
    for name, peak in results.peaks.items():
        yield f"matrix product, {name}: {_giga(peak.before)} GFLOP/s before, {_giga(peak.after)} after"


def _tables(results: Results) -> Iterator[tuple[Sequence[str], list[list[str]]]]:
    if results.ratios:
        peak = max((one.best for one in results.peaks.values()), default=None)
        yield RATIO_HEADER, [_ratio_row(one, peak) for one in results.ratios]
    if results.figures:
        yield FIGURE_HEADER, [_figure_row(one) for one in results.figures]


def _ratio_row(one: Ratio, peak: float | None) -> list[str]:
    """Return a ratio's cells; what cannot be told is a dash."""
    memory = "–" if not one.plain_peak_bytes else f"{one.plain_peak_bytes / 1e6:.0f} / {one.fast_peak_bytes / 1e6:.0f} MB"
    speed = "–" if one.flops_per_s is None else _giga(one.flops_per_s)
    part = "–" if one.flops_per_s is None or peak is None else f"{100 * one.flops_per_s / peak:.0f} %"
    reach = f"{one.at_least:g}× / {one.stretch:g}×" if one.at_least > 1 else "–"
    return [one.name, _time(one.plain_s), _time(one.fast_s), f"{one.ratio:.2f}×", reach, met(one), memory, speed, part]


def met(one: Ratio) -> str:
    """Return whether a ratio reaches what was set: `stretch`, `yes`, `no`, or a dash where nothing was set."""
    if one.at_least <= 1:
        return "–"
    return "stretch" if one.ratio >= one.stretch else "yes" if one.ratio >= one.at_least else "no"


def _figure_row(one: Figure) -> list[str]:
    return [one.name, f"{one.value:.3g} {one.unit}", one.promised, "–" if one.met is None else "yes" if one.met else "no"]


def _notes(results: Results) -> Iterator[str]:
    for one in results.ratios:
        rounds = f"median of {one.rounds} rounds"
        yield f"{one.name}: {f'composed of {one.composed}' if one.composed else rounds}"
    for figure in results.figures:
        if figure.runs > 1:
            yield f"{figure.name}: median of {figure.runs}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _giga(value: float) -> str:
    return f"{value / 1e9:.0f}"


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{1e3 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.3g} s"

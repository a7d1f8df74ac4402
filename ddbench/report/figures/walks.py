"""A walk through a generator's spaces: the images that each space ends with, and the loss and the selector's score by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.errors import DataMissing
from ddbench.report.figures import style
from ddbench.report.figures.choosing import Asked, choose
from ddbench.report.figures.grids import first_set, tiled
from ddbench.report.figures.legends import put
from ddbench.report.figures.style import Drawing
from ddbench.report.layout import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ddbench.records import Record
    from ddbench.report.figures.sidecars import Arrays

NAMES = ("images", "labels", "walk.loss", "walk.score", "walk.scored_at", "walk.chosen", "walk.ends")

PIXEL = "pixel"

STRIP_INCHES, CURVES_INCHES = 5.8, 3.2
"""The width of the images, the height of the curves."""


@dataclass(frozen=True)
class Walk:
    """One job's walk."""

    spaces: tuple[str, ...]
    loss: NDArray[np.float64]
    """By step, over all spaces."""
    ends: tuple[int, ...]
    """The step at which each space ends, counted over the whole walk."""
    scored_at: NDArray[np.int64]
    """Of each candidate, counted over the whole walk."""
    score: NDArray[np.float64]
    chosen: tuple[int, ...]
    """The step whose latents each space hands on, counted over the whole walk."""
    chosen_score: tuple[float, ...] = ()
    """The selector's score of each of these."""


def walk(asked: Asked) -> Drawing:
    """Return the images at the end of each space, and the curves of the walk that made them."""
    record, arrays, manifest = _walked(asked)
    steps = tuple(record.options["synthesizer"].values.get("space_steps") or ())
    one = read_walk(arrays, _spaces(asked, record, manifest), jobs=int(manifest["jobs"]), steps=steps)
    ends = arrays.get("walk.ends")
    chosen = choose(_only(asked, record))
    pictures = (
        "no images of the spaces were kept (-o keep_walk=true keeps them)"
        if ends is None
        else "above: images that each space ends with"
    )
    caption = chosen.caption(
        f"{plain(record.cell.synthesizer)}, distill seed {record.cell.distill_seed}, space by space: {pictures}; below: the "
        "objective's loss at each step; where a selector judged, its score of each candidate and the one handed on (star)."
    )
    rows = 0 if ends is None else 1
    figure, axes = style.panels(1 + rows, caption=caption, size=(7.0, CURVES_INCHES), columns=1)
    if ends is not None:
        shown = by_class(joined_ends(ends, len(one.spaces)), arrays["labels"], asked.classes)
        _strip(axes[0], shown, one.spaces)
        _make_room(figure, shown, caption)
    put(figure, *_curves(axes[-1], one), caption=caption)
    data: dict[str, Any] = {
        "distilled_key": record.distilled_key,
        "spaces": list(one.spaces),
        "ends": list(one.ends),
        "loss": one.loss.tolist(),
        "score": one.score.tolist(),
        "scored_at": one.scored_at.tolist(),
        "chosen": list(one.chosen),
    }
    return Drawing(figure, data, caption)


def read_walk(arrays: Arrays, spaces: Sequence[str], *, jobs: int, steps: Sequence[int] = ()) -> Walk:
    """Return the walk of a set's first job, its steps counted over the whole walk.

    Args:
        arrays: `walk.loss`, and where a selector judged `walk.score`, `walk.scored_at`, `walk.chosen`; jobs one after another.
        spaces: Their names, as far as they are known.
        jobs: Of the set.
        steps: Of each space, where no selector judged: with one, each space's end was judged too, which tells. Without
            either, spaces share the steps as evenly as can be.
    """
    loss = arrays["walk.loss"].astype(np.float64).reshape(jobs, -1)[0]
    if "walk.score" not in arrays:
        count = max(1, len(spaces))
        lengths = list(steps) or [len(loss) // count + (number < len(loss) % count) for number in range(count)]
        none = np.empty(0)
        return Walk(_names(spaces, count), loss, tuple(np.cumsum(lengths).tolist()), none.astype(np.int64), none, ())
    score = arrays["walk.score"].astype(np.float64).reshape(jobs, -1)[0]
    scored_at = arrays["walk.scored_at"].reshape(jobs, -1, 2)[0]
    handed_on = arrays["walk.chosen"].reshape(jobs, -1)[0]
    lengths = [int(scored_at[scored_at[:, 0] == leg, 1].max()) for leg in range(len(handed_on))]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    at = starts[scored_at[:, 0]] + scored_at[:, 1]
    best = [float(score[(scored_at == (leg, step)).all(axis=1)][-1]) for leg, step in enumerate(handed_on)]
    ends, chosen = tuple(starts[1:].tolist()), tuple((starts[:-1] + handed_on).tolist())
    return Walk(_names(spaces, len(lengths)), loss, ends, at, score, chosen, tuple(best))


def _names(spaces: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the spaces' names, or numbers where they are not known."""
    return tuple(spaces) if len(spaces) == count else tuple(f"space {leg + 1}" for leg in range(count))


def joined_ends(ends: NDArray[np.uint8], legs: int) -> NDArray[np.uint8]:
    """Return uint8 (legs, images, C, H, W), from jobs one after another along the first dimension."""
    by_job = ends.reshape(-1, legs, *ends.shape[1:])
    return np.concatenate(list(by_job), axis=1)


def by_class(ends: NDArray[np.uint8], labels: NDArray[Any], classes: int) -> NDArray[np.uint8]:
    """Return uint8 (legs, classes, C, H, W): the first image of each of the first classes."""
    present = sorted(set(labels.tolist()))[:classes]
    return ends[:, [int(np.flatnonzero(labels == label)[0]) for label in present]]


def _walked(asked: Asked) -> tuple[Record, Arrays, dict[str, Any]]:
    """Return the first record whose set holds a walk, with its tensors; sets whose walk kept images come first."""
    candidates: dict[str, Record] = {}
    for record in sorted(asked.records, key=lambda one: (one.cell.synthesizer, one.cell.distill_seed, one.key)):
        options = record.options.get("synthesizer")
        if options and "keep_walk" in options.values:
            candidates.setdefault(record.distilled_key, record)
    ordered = sorted(candidates.values(), key=lambda one: not one.options["synthesizer"].values["keep_walk"])
    for record in ordered:
        arrays, manifest = asked.sidecars.distilled(first_set([record]), NAMES)
        if "walk.loss" in arrays:
            return record, arrays, manifest
    raise DataMissing("no set here was made by a walk through a generator; make one with: ddbench run hglad -o keep_walk=true")


def _spaces(asked: Asked, record: Record, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the spaces walked through: those of the prior's card, without pixels unless they were asked for."""
    values = record.options["synthesizer"].values
    if values.get("space") or values.get("spaces"):
        return tuple(values.get("spaces") or (str(values["space"]),))
    card = asked.sidecars.card("priors", str(manifest.get("needs", {}).get("prior", "")))
    names = tuple(card["spaces"]) if card else ()
    return names if values.get("include_pixels") else tuple(name for name in names if name != PIXEL)


def _only(asked: Asked, record: Record) -> Asked:
    return Asked((record,), asked.sidecars, asked.metric)


def _make_room(figure: Figure, ends: NDArray[np.uint8], caption: str) -> None:
    """Give the upper panel the height that its images take."""
    legs, count, _, height, width = ends.shape
    inches = STRIP_INCHES * (legs * height) / (count * width) + 0.3
    grid = figure.axes[0].get_gridspec()
    if grid is not None:
        grid.set_height_ratios([inches, CURVES_INCHES])
    style.lay_out(figure, (7.0, inches + CURVES_INCHES), caption)


def _strip(axes: Axes, ends: NDArray[np.uint8], spaces: Sequence[str]) -> None:
    legs, count = ends.shape[:2]
    flat = ends.reshape(legs * count, *ends.shape[2:])
    picture = tiled(flat, np.repeat(np.arange(legs), count), rows=legs, columns=count)
    axes.imshow(picture, interpolation="nearest")
    height = (picture.shape[0] + 1) / legs
    axes.set_xticks([])
    axes.set_yticks([height * (leg + 0.5) - 1 for leg in range(legs)], [style.text(space) for space in spaces])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _curves(axes: Axes, one: Walk) -> tuple[list[Any], list[Any]]:
    """Draw loss and scores by step; return a legend's handles and labels."""
    axes.plot(np.arange(1, len(one.loss) + 1), one.loss, color=style.COLOURS[0], linewidth=1.0, label="loss (left)")
    start = 0
    for number, (space, end) in enumerate(zip(one.spaces, one.ends, strict=False)):
        axes.axvspan(start, end, color="#000000", alpha=0.05 * (number % 2), linewidth=0)
        middle = (start + end) / 2
        axes.annotate(
            style.text(space),
            (middle, 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
        start = end
    axes.set_xlim(0, len(one.loss))
    axes.set_xlabel("step of the whole walk")
    axes.set_ylabel("loss")
    handles, names = axes.get_legend_handles_labels()
    if len(one.score):
        beside = axes.twinx()
        colour = style.COLOURS[1]
        beside.plot(
            one.scored_at,
            one.score,
            color=colour,
            linestyle=(0, (4, 2)),
            marker="o",
            markersize=3,
            linewidth=0.9,
            label="score (right)",
        )
        star: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 11, "color": "#000000", "clip_on": False}
        beside.plot(one.chosen, one.chosen_score, label="handed on", **star)
        beside.set_ylabel("score")
        beside.grid(visible=False)
        beside.spines["right"].set_visible(True)
        more = beside.get_legend_handles_labels()
        handles, names = [*handles, *more[0]], [*names, *more[1]]
    return handles, names

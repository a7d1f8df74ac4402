"""t-SNE of a teacher's last features: where synthetic images lie, over the density of real ones (after DWA, fig. 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.errors import BadRequest
from ddbench.report.figures import style
from ddbench.report.figures.choosing import Asked, Chosen, choose
from ddbench.report.figures.grids import first_set
from ddbench.report.figures.legends import put
from ddbench.report.figures.style import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ddbench.report.figures.sidecars import Arrays

EVALUATOR = "embeddings"

PERPLEXITY = 30.0

COMPONENTS = 50
"""Principal components that t-SNE is given: more only take time (van der Maaten and Hinton, 2008)."""

PANEL_INCHES = 2.4

GRID = 120
"""Steps of the density's grid, each way."""

SHARES = (0.95, 0.75, 0.5, 0.25)
"""Of the real density inside each contour, from light to dark."""


def tsne(asked: Asked) -> Drawing:
    """Return one panel for each method, all on one map of its images, the other methods' and the real sample."""
    chosen = choose(asked)
    called = chosen.names
    found = _sets(asked, chosen)
    real = next(iter(found.values()))
    labels = np.concatenate([one["labels"] for one in found.values()])
    places = flattened([real["real_features"], *(one["features"] for one in found.values())])
    real_places, rest = places[: len(real["real_features"])], places[len(real["real_features"]) :]
    caption = chosen.caption(
        "t-SNE of the last features of a teacher: each method's first distilled set over the density of real train images (grey: "
        f"{', '.join(f'{share:.0%}' for share in sorted(SHARES))} of it), one map for all panels; colour and marker: class. "
        "Distances far apart mean little.",
        called.note,
    )
    figure, axes = style.panels(len(found), caption=caption, size=(PANEL_INCHES, PANEL_INCHES), columns=4)
    data: dict[str, Any] = {"real": {"points": real_places.tolist(), "labels": real["real_labels"].tolist()}, "methods": {}}
    start = 0
    for place, (label, one) in zip(axes, found.items(), strict=True):
        mine = rest[start : start + len(one["features"])]
        start += len(mine)
        density(place, real_places)
        _scatter(place, mine, one["labels"])
        style.title(place, called.shown[label], PANEL_INCHES)
        data["methods"][label] = {"points": mine.tolist(), "labels": one["labels"].tolist()}
    _legend(figure, sorted(set(labels.tolist())), caption)
    return Drawing(figure, data | {"shown_as": dict(called.shown)}, caption)


def flattened(parts: list[NDArray[Any]]) -> NDArray[np.float64]:
    """Return float64 (N, 2): all features on one t-SNE map; equal features give an equal map."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features = np.concatenate(parts).astype(np.float64)
    wide = min(COMPONENTS, *features.shape)
    reduced = PCA(wide, svd_solver="full").fit_transform(features)
    scaled = reduced / max(float(reduced[:, 0].std()), 1e-12)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    start = scaled[:, :2] * 1e-4 if wide > 1 else np.pad(scaled, ((0, 0), (0, 1))) * 1e-4
    found: NDArray[np.float64] = TSNE(2, perplexity=perplexity, init=start, random_state=0).fit_transform(scaled).astype(np.float64)
    return found


def density(axes: Axes, points: NDArray[np.float64]) -> None:
    """Draw the density of (N, 2) points as grey contours that hold `SHARES` of it."""
    from scipy.stats import gaussian_kde

    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.12 * (high - low) + 1e-9
    x, y = np.meshgrid(*(np.linspace(low[n] - margin[n], high[n] + margin[n], GRID) for n in range(2)))
    heights = gaussian_kde(points.T, bw_method=0.15)(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
    levels = contour_levels(heights)
    axes.contourf(
        x, y, heights, levels=[*levels, float(heights.max()) * 1.001], colors=["#ececec", "#d4d4d4", "#b8b8b8", "#9a9a9a"]
    )


def contour_levels(heights: NDArray[np.float64]) -> list[float]:
    """Return the heights above which `SHARES` of the whole density lie, strictly rising."""
    ordered = np.sort(heights.ravel())[::-1]
    share = np.cumsum(ordered) / ordered.sum()
    levels = [float(ordered[min(int(np.searchsorted(share, wanted)), len(ordered) - 1)]) for wanted in SHARES]
    for number in range(1, len(levels)):
        levels[number] = max(levels[number], levels[number - 1] * (1 + 1e-9) + 1e-300)
    return levels


def _sets(asked: Asked, chosen: Chosen) -> dict[str, Arrays]:
    """Return what was kept of each method's first set.

    Raises:
        BadRequest: The sets were embedded by different teachers or beside different real images.
    """
    (ipc,) = chosen.ipcs
    records = {chosen.labels[variant]: first_set(chosen.cells[variant, ipc]) for variant in chosen.variants}
    found = {label: asked.sidecars.kept(record, EVALUATOR) for label, record in records.items()}
    teachers = {tuple(sorted(record.evaluators[EVALUATOR].needs.items())) for record in records.values()}
    samples = {one["real_index"].tobytes() for one in found.values()}
    if len(teachers) > 1 or len(samples) > 1:
        what = "by different teachers" if len(teachers) > 1 else "beside different real images"
        raise BadRequest(f"these sets were embedded {what}, so they share no map; name some of one kind with --method")
    shown = range(asked.classes)
    return {label: _classes(one, shown) for label, one in found.items()}


def _classes(arrays: Arrays, shown: range) -> Arrays:
    mine, real = (np.isin(arrays[name], list(shown)) for name in ("labels", "real_labels"))
    return {
        "features": arrays["features"][mine],
        "labels": arrays["labels"][mine],
        "real_features": arrays["real_features"][real],
        "real_labels": arrays["real_labels"][real],
    }


def _scatter(axes: Axes, points: NDArray[np.float64], labels: NDArray[Any]) -> None:
    for label in sorted(set(labels.tolist())):
        mine = points[labels == label]
        axes.scatter(mine[:, 0], mine[:, 1], s=20, edgecolors="white", linewidths=0.4, label=str(label), **_class_look(label))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _class_look(label: int) -> dict[str, Any]:
    return {"color": style.COLOURS[label % len(style.COLOURS)], "marker": style.MARKERS[label % len(style.MARKERS)]}


def _legend(figure: Figure, labels: list[int], caption: str) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linestyle="none", markersize=4, **_class_look(label)) for label in labels]
    put(figure, handles, [str(label) for label in labels], caption=caption, title="class")

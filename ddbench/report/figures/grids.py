"""Image grids: the same classes across methods, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.report.figures import style
from ddbench.report.figures.choosing import Asked, choose
from ddbench.report.figures.sidecars import pixels
from ddbench.report.figures.style import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ddbench.records import Record

INCHES = 0.34
"""Of one image."""


def images(asked: Asked) -> Drawing:
    """Return a block of images for each method, a row for each class; of each method its first distilled set."""
    chosen = choose(asked)
    (ipc,), called = chosen.ipcs, chosen.names
    found: dict[str, NDArray[np.uint8]] = {}
    shown: dict[str, Any] = {}
    spaces, names = set(), []
    for variant in chosen.variants:
        record = first_set(chosen.cells[variant, ipc])
        arrays, manifest = asked.sidecars.distilled(record)
        label = chosen.labels[variant]
        found[label] = tiled(pixels(arrays["images"], manifest), arrays["labels"], rows=asked.classes, columns=asked.images)
        shown[label] = {"distilled_key": record.distilled_key, "size": list(found[label].shape[:2])}
        spaces.add(manifest["space"])
        names = manifest["dataset"]["class_names"][: asked.classes]
    stretched = " Whitened images are stretched to their own range." if "zca" in spaces else ""
    caption = chosen.caption(f"Images of each method's first distilled set, a row for each class.{stretched}", called.note)
    columns = max(1, min(asked.images, ipc))
    size = (max(1.2, INCHES * columns) + 0.35, INCHES * len(names) + 0.4)
    figure, axes = style.panels(len(found), caption=caption, size=size, columns=6)
    for place, (label, picture) in zip(axes, found.items(), strict=True):
        _show(place, picture, [style.text(name) for name in names])
        style.title(place, called.shown[label], size[0])
    return Drawing(figure, {"methods": shown, "classes": names, "shown_as": dict(called.shown)}, caption)


def first_set(records: Sequence[Record]) -> Record:
    """Return the record of the lowest distill seed."""
    return min(records, key=lambda record: (record.cell.distill_seed, record.cell.eval_seed))


def tiled(shown: NDArray[np.uint8], labels: NDArray[Any], *, rows: int, columns: int) -> NDArray[np.uint8]:
    """Return uint8 (height, width, 3): a row for each of the first classes, its first images side by side, white between them."""
    height, width = shown.shape[2] + 1, shown.shape[3] + 1
    present = sorted(set(labels.tolist()))[:rows]
    across = max(min(columns, int((labels == label).sum())) for label in present)
    canvas = np.full((len(present) * height - 1, across * width - 1, 3), 255, dtype=np.uint8)
    for row, label in enumerate(present):
        for column, image in enumerate(shown[labels == label][:columns]):
            top, left = row * height, column * width
            canvas[top : top + height - 1, left : left + width - 1] = np.broadcast_to(image, (3, *image.shape[1:])).transpose(
                1, 2, 0
            )
    return canvas


def _show(axes: Axes, picture: NDArray[np.uint8], names: Sequence[str]) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    height = (picture.shape[0] + 1) / max(1, len(names))
    axes.set_xticks([])
    axes.set_yticks([height * (row + 0.5) - 1 for row in range(len(names))], list(names), fontsize=7)
    axes.tick_params(length=0)

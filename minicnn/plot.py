"""What people would rather look at than read: curves, filters, feature maps, confusions.

Every function returns a matplotlib figure of its own, which needs no screen; `save` writes it.
"""

from __future__ import annotations

import importlib
import os
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.checkpoint import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float = 9, height: float = 4) -> Figure:
    """Return an empty figure, such as for `subplots`.

    Parameters
    ----------
    width, height : float [inch]

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    try:
        matplotlib = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'pictures need matplotlib, which is not installed: pip install "minicnn[plot]"'
        ) from None
    return matplotlib.Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, path: str | os.PathLike) -> None:
    """Write a figure as PNG, whole or not at all."""
    with written_whole(path) as temporary:
        drawn.savefig(temporary, dpi=150, format="png")


def curves(history: Sequence[Mapping[str, Any]], **names: str) -> Figure:
    """Draw how a training went: the losses, and one picture for each metric.

    Parameters
    ----------
    history : sequence of records
        What `fit` returned.
    **names : str
        Metrics of the records to draw, such as `valid_accuracy="accuracy on validation data"`.
    """
    epochs = [record["epoch"] for record in history]
    drawn = figure(4.5 * (1 + len(names)), 3.4)
    left, *others = np.atleast_1d(drawn.subplots(1, 1 + len(names)))
    for name in ("train_loss", "valid_loss"):
        if name in history[0]:
            values = [record[name] for record in history]
            left.plot(epochs, values, ".-", markersize=4, label=name.replace("_", " "))
    left.set(xlabel="epoch", ylabel="loss", yscale="log", title="loss")
    left.legend(frameon=False)
    for axes, (name, title) in zip(others, names.items(), strict=True):
        values = [record[name] for record in history]
        axes.plot(epochs, values, ".-", markersize=4, color="C1")
        axes.set(xlabel="epoch", title=f"{title}: {values[-1]:.3f} at the end")
    for axes in (left, *others):
        axes.grid(alpha=0.3)
    return drawn


def grid(
    images: Any,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    size: float = 1.1,
    signed: bool = True,
    title: str = "",
) -> Figure:
    """Draw images side by side, such as filters, feature maps or saliencies.

    Parameters
    ----------
    images : array, shape (N, H, W), or (N, H, W, 3) for colours in [0, 1]
    titles : sequence of N str, optional
    columns : int
    size : float [inch]
        How wide each is.
    signed : bool
        Whether red is positive, blue negative, and white 0, each image on a scale of its own;
        otherwise black is the largest value.
    title : str
        Above all.
    """
    images = np.asarray(images)
    rows = -(-len(images) // columns)
    shape = images.shape[1:3]
    drawn = figure(columns * size, rows * size * shape[0] / shape[1] + 0.4)
    places = np.atleast_1d(drawn.subplots(rows, columns)).reshape(-1)
    for axes in places:
        axes.axis("off")
    for i, (axes, image) in enumerate(zip(places, images, strict=False)):
        largest = np.abs(image).max() or 1
        style = dict(cmap="RdBu_r", vmin=-largest, vmax=largest) if signed else dict(cmap="gray_r")
        axes.imshow(image, aspect="auto", **({} if image.ndim == 3 else style))
        if titles is not None:
            axes.set_title(titles[i], fontsize=8, pad=2)
    drawn.suptitle(title, fontsize=10)
    return drawn


def rows(
    images: Mapping[str, Any],
    columns: Sequence[str] | None = None,
    *,
    size: float = 1.05,
    title: str = "",
) -> Figure:
    """Draw rows of images, such as the feature maps of several layers, or images and what counts.

    Where a row has negative values, red is positive, blue negative, and white 0; otherwise black is
    the largest. All of a row are on one scale.

    Parameters
    ----------
    images : mapping from name to array, shape (N, H, W), or (N, H, W, 3) for colours in [0, 1]
        The rows may have other sizes and numbers of images than each other.
    columns : sequence of str, optional
        What is above the first row.
    size : float [inch]
        How wide each image is.
    title : str
        Above all.
    """
    images = {name: np.asarray(row) for name, row in images.items()}
    count = max(map(len, images.values()))
    heights = [row.shape[1] / row.shape[2] for row in images.values()]
    above = [0.3 + 0.2 * bool(columns and i == 0) for i in range(len(heights))]
    tall = [gap + size * height for gap, height in zip(above, heights, strict=True)]
    drawn = figure(count * size, sum(tall) + 0.3 * bool(title))
    # Each row is a figure of its own, so that a long name does not widen the first column.
    parts = drawn.subfigures(len(images), 1, squeeze=False, height_ratios=tall)[:, 0]
    for part, (name, row) in zip(parts, images.items(), strict=True):
        axes = part.subplots(1, count, squeeze=False)[0]
        part.suptitle(name, x=0.01, ha="left", fontsize=9)
        largest = np.abs(row).max() or 1
        signed = dict(cmap="RdBu_r", vmin=-largest, vmax=largest)
        style = signed if row.min() < 0 else dict(cmap="gray_r", vmin=0, vmax=largest)
        for each, image in zip(axes, row, strict=False):
            each.imshow(image, **({} if image.ndim == 3 else style))
        for each in axes:
            each.axis("off")
    for axes, text in zip(parts[0].axes, columns or (), strict=False):
        axes.set_title(text, fontsize=9)
    drawn.suptitle(title, fontsize=10)
    return drawn


def confusion(counts: Any, names: Sequence[str], title: str = "") -> Figure:
    """Draw how often each class was taken for which.

    Parameters
    ----------
    counts : array of int, shape (n_classes, n_classes)
        Rows are what it is, columns what it was taken for.
    names : sequence of n_classes str
    title : str
    """
    counts = np.asarray(counts)
    side = 1.8 + 0.45 * len(names)
    drawn = figure(side + 0.6, side)
    axes = drawn.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, count, ha="center", va="center", color=shade, fontsize=8)
    turned = 45 if max(map(len, names)) > 2 else 0
    axes.set_xticks(range(len(names)), names, rotation=turned, ha="right" if turned else "center")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="taken for", ylabel="is", title=title)
    return drawn


def bars(
    rows: Mapping[str, Mapping[str, float]],
    label: str,
    title: str = "",
    *,
    start: float | None = None,
) -> Figure:
    """Draw numbers beside each other, such as scores of several methods for each tag.

    Parameters
    ----------
    rows : mapping from name to mapping from method to number
        Each has the same methods.
    label : str
        What the numbers are.
    title : str
    start : float, optional
        Where the axis begins, such as where chance is; by default at 0, or below the least number.
    """
    methods = list(next(iter(rows.values())))
    drawn = figure(8, 1.2 + len(rows) * (0.12 + 0.16 * len(methods)))
    axes = drawn.subplots()
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        places = np.arange(len(rows)) + (i - (len(methods) - 1) / 2) * width
        axes.barh(places, [row[method] for row in rows.values()], width, label=method)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set(xlabel=label, title=title)
    axes.set_xlim(left=start)
    axes.grid(axis="x", alpha=0.3)
    if len(methods) > 1:  # below: inside it would cover bars
        drawn.legend(loc="outside lower center", ncols=len(methods), frameon=False)
    return drawn


def points(
    places: Mapping[str, Any],
    classes: Sequence[str],
    label: str = "",
    *,
    most: int = 8,
) -> Figure:
    """Draw points in a plane in the colours of their classes, such as where a network puts songs.

    Parameters
    ----------
    places : mapping from title to array, shape (N, 2)
        One picture for each, side by side, on the same axes.
    classes : sequence of N str
    label : str
        What the axes are; their numbers are not drawn.
    most : int
        So many classes have colours, those with the most points; all others are gray.
    """
    common = [name for name, _ in Counter(classes).most_common(most)]
    groups = {name: f"C{i}" for i, name in enumerate(common)}
    of = np.array([name if name in groups else "others" for name in classes])
    drawn = figure(1.2 + 4.4 * len(places), 4.4)
    sides = np.atleast_1d(drawn.subplots(1, len(places), sharex=True, sharey=True))
    for axes, (title, place) in zip(sides, places.items(), strict=True):
        for name, colour in {"others": "lightgray", **groups}.items():
            if (of == name).any():
                axes.scatter(*np.asarray(place)[of == name].T, s=14, color=colour, label=name)
        axes.set(title=title, xlabel=label, xticks=(), yticks=())
    handles = sides[0].get_legend_handles_labels()
    drawn.legend(*handles, loc="outside right center", frameon=False)
    return drawn


def table(
    rows: Sequence[Sequence[str]],
    columns: Sequence[str],
    shades: Any = None,
    *,
    width: int = 30,
    title: str = "",
) -> Figure:
    """Draw a table of texts.

    Parameters
    ----------
    rows : sequence of sequences of str
    columns : sequence of str
        What is above them.
    shades : array of float in [0, 1], shape (rows, columns), optional
        How green each field is.
    width : int [letters]
        After which lines are broken.
    title : str
    """
    shades = np.zeros((len(rows), len(columns))) if shades is None else np.asarray(shades)
    wrapped = [[textwrap.fill(text, width) for text in row] for row in rows]
    heights = [1 + max(text.count("\n") for text in row) for row in wrapped]
    drawn = figure(0.085 * width * len(columns), 0.6 + 0.22 * sum(heights))
    axes: Any = drawn.subplots()
    axes.axis("off")
    axes.set_title(title, fontsize=10)
    grid = axes.table(
        wrapped,
        [[(1 - 0.4 * each, 1 - 0.1 * each, 1 - 0.4 * each) for each in row] for row in shades],
        colLabels=columns,
        cellLoc="left",
        bbox=[0, 0, 1, 1],
    )
    grid.auto_set_font_size(False)
    grid.set_fontsize(8)
    for (row, _), cell in grid.get_celld().items():
        cell.set_height(heights[row - 1] if row else 1)
        cell.set_edgecolor("lightgray")
    return drawn

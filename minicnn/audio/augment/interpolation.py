"""Between frames and between bins: values at places that are no whole numbers."""

from __future__ import annotations

import numpy as np


def at(
    x: np.ndarray, positions, *, axis: int = -1, order: int = 1, fill: float | None = None
) -> np.ndarray:
    """Return an array at other positions along one axis.

    Parameters
    ----------
    x : array of float
    positions : array, shape (m,)
        Places on the axis, from 0 to its length less 1.
    axis : int
    order : 1 or 2
        Straight lines, or the spline of parabolas through all values, which has the axis mirrored
        at its ends.
    fill : float, optional
        What is beyond the ends. By default the values at the ends go on.

    Returns
    -------
    ndarray
        As x, with m values along the axis.

    Raises
    ------
    ValueError
        If there is no such order.
    """
    if order not in (1, 2):
        raise ValueError(f"at: order is {order!r}; it takes 1 or 2")
    positions = np.asarray(positions, np.float64)
    last = x.shape[axis] - 1
    inside = positions.clip(0, last)
    if order == 2 and last:
        from scipy import ndimage

        spline = ndimage.spline_filter1d
        x = spline(x, 2, axis, output=x.dtype, mode="mirror")
    first, weights = _lines(inside) if order == 1 else _parabolas(inside)
    if fill is not None:
        weights[:, (positions < 0) | (positions > last)] = 0
    shape = np.ones(x.ndim, int)
    shape[axis] = len(positions)
    y = None
    for i, weight in enumerate(weights.astype(x.dtype)):
        part = x.take(_mirrored(first + i, last), axis)
        part *= weight.reshape(shape)
        y = part if y is None else np.add(y, part, out=y)
    assert y is not None
    if fill:
        outside = (positions < 0) | (positions > last)
        np.moveaxis(y, axis, -1)[..., outside] = fill
    return y


def labels_at(labels: np.ndarray, positions) -> np.ndarray:
    """Return labels of frames that were moved, so that none is lost.

    A frame gets the label of the nearest old one; where it stands for several, the largest: an
    onset stays one when time is compressed.

    Parameters
    ----------
    labels : array, shape (..., n)
    positions : array, shape (m,)
        Where the new frames are among the old ones, in rising order. Beyond the ends, the labels at
        the ends go on.

    Returns
    -------
    ndarray, shape (..., m)
    """
    n = labels.shape[-1]
    positions = np.asarray(positions, np.float64).clip(0, n - 1)
    between = (positions[1:] + positions[:-1]) / 2
    # A new frame stands for the old ones from half way to the one before to half way to the next.
    starts = np.ceil(np.concatenate([positions[:1], between]))
    stops = np.ceil(np.concatenate([between, positions[-1:] + 1e-9]))
    nearest = np.floor(positions + 0.5).astype(np.int64)
    moved = labels[..., nearest]
    for _ in range(int((stops - starts).max(initial=0))):
        covered = starts < stops
        old = starts[covered].astype(np.int64)
        moved[..., covered] = np.maximum(moved[..., covered], labels[..., old])
        starts += 1
    return moved


def _lines(positions):
    """Return the first of two neighbours, and the weights of both."""
    first = np.floor(positions).astype(np.int64)
    part = positions - first
    return first, np.stack([1 - part, part])


def _parabolas(positions):
    """Return the first of three neighbours, and the weights of all, a quadratic B-spline."""
    nearest = np.floor(positions + 0.5).astype(np.int64)
    part = positions - nearest
    weights = np.stack([(0.5 - part) ** 2 / 2, 0.75 - part**2, (0.5 + part) ** 2 / 2])
    return nearest - 1, weights


def _mirrored(indices, last):
    """Return indices that are reflected at 0 and at the last one."""
    if not last:
        return np.zeros_like(indices)
    indices = np.abs(indices)
    return last - np.abs(last - indices)

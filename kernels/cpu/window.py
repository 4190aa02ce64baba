"""Pooling over windows with bounds of their own: adaptive, and the rarer kinds of strided ones.

A window is a range of rows and one of columns; padding has been cut off, for it is never a sample.
So strided and adaptive windows are the same to the loops. Sums are in float64.
"""

import numpy as np

from .. import memory, reference
from ..geometry import adaptive_windows, output_size
from .compiled import linked
from .elementwise import compilable
from .parallel import parallel
from .pool import larger, scattered


def lp_pool2d(x, *, p, kernel_size, stride, padding):
    """Return (sum of |x| ** p) ** (1 / p) of each window (n, c, oh, ow)."""
    if not compilable(x):
        return reference.lp_pool2d(x, p=p, kernel_size=kernel_size, stride=stride, padding=padding)
    return _pool(_lp, x, _strided(x.shape[2:], kernel_size, stride, padding), float(p))


def lp_pool2d_grad(dy, x, y, *, p, kernel_size, stride, padding):
    """Return the gradient (n, c, h, w); 0 where a window is all 0."""
    windows = dict(kernel_size=kernel_size, stride=stride, padding=padding)
    if not _same_kind(dy, x, y):
        return reference.lp_pool2d_grad(dy, x, y, p=p, **windows)
    return _spread(_lp_grad, dy, x, y, _strided(x.shape[2:], **windows), float(p))


def std_pool2d(x, *, kernel_size, stride, padding):
    """Return the standard deviation of the samples of each window, divided by their number."""
    if not compilable(x):
        return reference.std_pool2d(x, kernel_size=kernel_size, stride=stride, padding=padding)
    return _pool(_std, x, _strided(x.shape[2:], kernel_size, stride, padding))


def std_pool2d_grad(dy, x, y, *, kernel_size, stride, padding):
    """Return the gradient (n, c, h, w); 0 where all samples of a window are equal."""
    windows = dict(kernel_size=kernel_size, stride=stride, padding=padding)
    if not _same_kind(dy, x, y):
        return reference.std_pool2d_grad(dy, x, y, **windows)
    return _spread(_std_grad, dy, x, y, _strided(x.shape[2:], **windows))


def adaptive_max_pool2d(x, windows, with_index=True):
    """Return the maximum of each of (oh, ow) windows, and its index in h * w."""
    if not compilable(x) or not x.size:
        return reference.adaptive_max_pool2d(x, windows, with_index)
    y = memory.empty((*x.shape[:2], *windows), x.dtype)
    index = memory.empty(y.shape, np.int32) if with_index else None
    where = _planes(index) if with_index else None
    _over_planes(_max, _planes(x), _planes(y), where, *_adaptive(x.shape[2:], windows))
    return y, index


def adaptive_max_pool2d_grad(dy, index, size):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was."""
    return scattered(dy, index, size, is_shared=True)


def adaptive_avg_pool2d(x, windows):
    """Return the average of each of (oh, ow) windows."""
    if not compilable(x):
        return reference.adaptive_avg_pool2d(x, windows)
    if tuple(windows) == x.shape[2:]:  # of one sample each, as in AlexNet and VGG
        return memory.copy(x)
    return _pool(_mean, x, _adaptive(x.shape[2:], windows))


def adaptive_avg_pool2d_grad(dy, size):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    if not compilable(dy):
        return reference.adaptive_avg_pool2d_grad(dy, size)
    if tuple(size) == dy.shape[2:]:
        return memory.copy(dy)
    dx = memory.empty((*dy.shape[:2], *size), dy.dtype)
    _over_planes(_mean_grad, _planes(dx), _planes(dy), *_adaptive(size, dy.shape[2:]))
    return dx


def adaptive_lp_pool2d(x, windows, p):
    """Return (sum of |x| ** p) ** (1 / p) of each of (oh, ow) windows."""
    if not compilable(x):
        return reference.adaptive_lp_pool2d(x, windows, p)
    return _pool(_lp, x, _adaptive(x.shape[2:], windows), float(p))


def adaptive_lp_pool2d_grad(dy, x, y, p):
    """Return the gradient (n, c, h, w); 0 where a window is all 0."""
    if not _same_kind(dy, x, y):
        return reference.adaptive_lp_pool2d_grad(dy, x, y, p)
    return _spread(_lp_grad, dy, x, y, _adaptive(x.shape[2:], dy.shape[2:]), float(p))


def adaptive_std_pool2d(x, windows):
    """Return the standard deviation of each of (oh, ow) windows."""
    if not compilable(x):
        return reference.adaptive_std_pool2d(x, windows)
    return _pool(_std, x, _adaptive(x.shape[2:], windows))


def adaptive_std_pool2d_grad(dy, x, y):
    """Return the gradient (n, c, h, w); 0 where all samples of a window are equal."""
    if not _same_kind(dy, x, y):
        return reference.adaptive_std_pool2d_grad(dy, x, y)
    return _spread(_std_grad, dy, x, y, _adaptive(x.shape[2:], dy.shape[2:]))


def _same_kind(dy, x, y):
    return compilable(dy, y) and compilable(x) and x.dtype == y.dtype


def _strided(size, kernel_size, stride, padding):
    """Return the bounds (windows, 2) of strided windows along both axes, cut to the samples."""
    bounds = []
    for axis in (0, 1):
        before, kernel = padding[axis][0], kernel_size[axis]
        count = output_size(size[axis], kernel, stride[axis], padding[axis], 1)
        starts = np.array([window * stride[axis] - before for window in range(count)], np.int64)
        bounds.append(np.stack([starts, starts + kernel], axis=1).clip(0, size[axis]))
    return bounds


def _adaptive(size, windows):
    return [
        np.array(adaptive_windows(size[axis], windows[axis]), np.int64).reshape(-1, 2)
        for axis in (0, 1)
    ]


def _planes(x):
    n, c, h, w = x.shape
    return memory.contiguous(x).reshape(n * c, h, w)


def _pool(kernel, x, bounds, *constants):
    y = memory.empty((*x.shape[:2], *map(len, bounds)), x.dtype)
    _over_planes(kernel, _planes(x), _planes(y), *bounds, *constants)
    return y


def _spread(kernel, dy, x, y, bounds, *constants):
    dx = memory.zeros(x.shape, x.dtype)
    _over_planes(kernel, *(_planes(array) for array in (dx, dy, x, y)), *bounds, *constants)
    return dx


def _over_planes(kernel, first, second, *others):
    kernel(first, second, *others, count=len(first), elements=first.size + second.size)


@linked(fastmath={"reassoc"})
def _sum(x, rows, columns):
    """Return the sum of a window; its terms are in any order, which float64 hides."""
    total = 0.0
    for r in range(rows[0], rows[1]):
        row = x[r, columns[0] : columns[1]]
        for j in range(row.size):
            total += np.float64(row[j])
    return total


@parallel()
def _max(x, y, index, rows, columns, start, stop):
    for p in range(start, stop):
        for i in range(len(rows)):
            for j in range(len(columns)):
                best, at = x[p, rows[i, 0], columns[j, 0]], rows[i, 0] * x.shape[2] + columns[j, 0]
                for r in range(rows[i, 0], rows[i, 1]):
                    for s in range(columns[j, 0], columns[j, 1]):
                        best, at = larger(x[p, r, s], r * x.shape[2] + s, best, at)
                y[p, i, j] = best
                if index is not None:
                    index[p, i, j] = at


@parallel(error_model="numpy")
def _mean(x, y, rows, columns, start, stop):
    for p in range(start, stop):
        for i in range(len(rows)):
            for j in range(len(columns)):
                cells = (rows[i, 1] - rows[i, 0]) * (columns[j, 1] - columns[j, 0])
                y[p, i, j] = _sum(x[p], rows[i], columns[j]) / cells


@parallel(error_model="numpy")
def _mean_grad(dx, dy, rows, columns, start, stop):
    for p in range(start, stop):
        dx[p] = 0
        for i in range(len(rows)):
            for j in range(len(columns)):
                cells = (rows[i, 1] - rows[i, 0]) * (columns[j, 1] - columns[j, 0])
                share = dy[p, i, j] / dy.dtype.type(cells)
                for r in range(rows[i, 0], rows[i, 1]):
                    for s in range(columns[j, 0], columns[j, 1]):
                        dx[p, r, s] += share


@linked(inline="always")
def _power(value, p):
    """Return value ** p; squares are the usual case, and the library's power takes 10 ns."""
    return value * value if p == 2 else value if p == 1 else value**p


@parallel(error_model="numpy")
def _lp(x, y, rows, columns, p, start, stop):
    """Take the largest out first: powers of numbers up to 1 cannot overflow."""
    for n in range(start, stop):
        for i in range(len(rows)):
            for j in range(len(columns)):
                largest, total = 0.0, 0.0
                for r in range(rows[i, 0], rows[i, 1]):
                    for s in range(columns[j, 0], columns[j, 1]):
                        largest = max(largest, np.float64(abs(x[n, r, s])))
                scale = largest if 0 < largest < np.inf else 1.0
                for r in range(rows[i, 0], rows[i, 1]):
                    for s in range(columns[j, 0], columns[j, 1]):
                        total += _power(np.float64(abs(x[n, r, s])) / scale, p)
                y[n, i, j] = scale * total ** (1 / p)


@parallel(error_model="numpy")
def _lp_grad(dx, dy, x, y, rows, columns, p, start, stop):
    for n in range(start, stop):
        for i in range(len(rows)):
            for j in range(len(columns)):
                norm = np.float64(y[n, i, j])
                slope = np.float64(dy[n, i, j]) if norm > 0 else 0.0
                safe = norm if norm > 0 else 1.0
                for r in range(rows[i, 0], rows[i, 1]):
                    for s in range(columns[j, 0], columns[j, 1]):
                        value = np.float64(x[n, r, s])
                        share = _power(abs(value) / safe, p - 1)
                        dx[n, r, s] += slope * np.sign(value) * share


@linked(inline="always")
def _centre(x, rows, columns):
    """Return a sample, the mean distance of all from it, and their number.

    From a sample first: the mean of equal samples may round to something else than they are.
    """
    cells = (rows[1] - rows[0]) * (columns[1] - columns[0])
    first = np.float64(x[rows[0], columns[0]]) if cells else 0.0
    total = 0.0
    for r in range(rows[0], rows[1]):
        for s in range(columns[0], columns[1]):
            total += np.float64(x[r, s]) - first
    return first, total / cells, cells


@parallel(error_model="numpy")
def _std(x, y, rows, columns, start, stop):
    for p in range(start, stop):
        for i in range(len(rows)):
            for j in range(len(columns)):
                first, mean, cells = _centre(x[p], rows[i], columns[j])
                total = 0.0
                for r in range(rows[i, 0], rows[i, 1]):
                    for s in range(columns[j, 0], columns[j, 1]):
                        deviation = (np.float64(x[p, r, s]) - first) - mean
                        total += deviation * deviation
                y[p, i, j] = np.sqrt(total / cells)


@parallel(error_model="numpy")
def _std_grad(dx, dy, x, y, rows, columns, start, stop):
    for p in range(start, stop):
        for i in range(len(rows)):
            for j in range(len(columns)):
                first, mean, cells = _centre(x[p], rows[i], columns[j])
                std = np.float64(y[p, i, j])
                slope = np.float64(dy[p, i, j]) / (std * cells) if std > 0 else 0.0
                for r in range(rows[i, 0], rows[i, 1]):
                    for s in range(columns[j, 0], columns[j, 1]):
                        deviation = (np.float64(x[p, r, s]) - first) - mean
                        dx[p, r, s] += slope * deviation

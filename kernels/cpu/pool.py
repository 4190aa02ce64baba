"""Maximum and average of strided windows.

The maximum is taken of all windows of a row at once; `taps` says how. Short rows are joined where
windows do not care. Averages add up rows first; then vectors want neighbours: a row is dealt out
into lanes, so that what one tap meets in all windows lies side by side.
"""

import math
import operator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import memory, reference
from ..geometry import output_size, window_counts
from .compiled import linked
from .lanes import collect, deal, empty_lanes, first_lane
from .parallel import parallel
from .taps import largest

# Windows of longer rows [samples] meet one row after the other: processors fetch ahead what is read
# through, but little of rows that are read in turns, which took two to three times as long.
LONG = 64
# Steps for which there are vectors; each is code of its own.
STEPS = 8
# And so many taps in a row have code of their own.
TAPS = 8


class Windows(NamedTuple):
    """Windows over planes: how many samples, how many windows, and how they lie, in both axes."""

    h: int
    w: int
    oh: int
    ow: int
    kh: int
    kw: int
    sh: int
    sw: int
    top: int
    left: int
    dh: int
    dw: int


def max_pool2d(x, *, kernel_size, stride, padding, dilation, with_index=True):
    """Return the maximum of each window (n, c, oh, ow), and where it was: its index in h * w."""
    if x.shape[2] * x.shape[3] > np.iinfo(np.int32).max:  # no index of 32 bits reaches its end
        options = dict(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
        return reference.max_pool2d(x, **options, with_index=with_index)
    y = memory.empty(_shape(x, kernel_size, stride, padding, dilation), x.dtype)
    index = memory.empty(y.shape, np.int32) if with_index else None
    windows, lanes = _laid(x.shape[2:], kernel_size, stride, padding, dilation)
    arrays = _flat(x), _flat(y), _flat(index) if with_index else None
    count, elements = x.shape[0] * x.shape[1], x.size + y.size
    if lanes:
        columns = (0,) * windows.kw if windows.kw <= TAPS else ()
        kernel = _largest_of_long if windows.w > LONG else _largest
        kernel(*arrays, windows, lanes, columns, count=count, elements=elements)
    else:
        _largest_one_by_one(*arrays, windows, count=count, elements=elements)
    return y, index


def max_pool2d_grad(dy, index, size, *, kernel_size, stride, padding, dilation):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was."""
    is_shared = any(map(operator.gt, kernel_size, stride)) or dilation != (1, 1)
    return scattered(dy, index, size, is_shared)


def scattered(dy, index, size, is_shared):
    """Return planes (n, c, h, w) of zeros, and dy where the index says: it is added if shared."""
    dx = memory.empty((*dy.shape[:2], *size), dy.dtype)
    arrays = (_planes(array, (math.prod(array.shape[2:]),)) for array in (dx, dy, index))
    scatter = _add_scattered if is_shared else _set_scattered
    scatter(*arrays, count=dy.shape[0] * dy.shape[1], elements=dx.size + dy.size)
    return dx


def avg_pool2d(x, *, kernel_size, stride, padding, counted):
    """Return the average of each window (n, c, oh, ow), over the cells that count."""
    y = memory.empty(_shape(x, kernel_size, stride, padding, (1, 1)), x.dtype)
    axes = _long_rows(x.shape[2:], y.shape[2:], kernel_size, stride, padding, counted)
    size, windows, kernel_size, stride, padding, counted = axes
    planes, means = _planes(x, size), _planes(y, windows)
    rows, cols = _counts(x.dtype, size, kernel_size, stride, padding, counted)
    first = (padding[0][0], padding[1][0])
    _average(
        planes, means, rows, cols, kernel_size, stride, first,
        count=len(planes), elements=x.size + y.size,
    )  # fmt: skip
    return y


def avg_pool2d_grad(dy, size, *, kernel_size, stride, padding, counted):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    dx = memory.empty((*dy.shape[:2], *size), dy.dtype)
    axes = _long_rows(size, dy.shape[2:], kernel_size, stride, padding, counted)
    size, windows, kernel_size, stride, padding, counted = axes
    planes, slopes = _planes(dx, size), _planes(dy, windows)
    rows, cols = _counts(dy.dtype, size, kernel_size, stride, padding, counted)
    first = (padding[0][0], padding[1][0])
    _spread(
        planes, slopes, rows, cols, kernel_size, stride, first,
        count=len(planes), elements=dx.size + dy.size,
    )  # fmt: skip
    return dx


@lru_cache(maxsize=256)
def _laid(size, kernel_size, stride, padding, dilation):
    """Return the windows in rows as long as can be, and the lanes of `taps`, None without code."""
    windows = tuple(map(output_size, size, kernel_size, stride, padding, dilation))
    axes = _long_rows(size, windows, kernel_size, stride, padding, dilation)
    size, windows, kernel_size, stride, padding, dilation = axes
    # One window has no step, though a stride may say so that leads far beyond the samples.
    stride = [step if count > 1 else 1 for step, count in zip(stride, windows, strict=True)]
    before = [sides[0] for sides in padding]
    laid = Windows(*size, *windows, *kernel_size, *stride, *before, *dilation)
    is_near = laid.dw == 1 or (laid.sw == 1 and laid.left == 0)
    return laid, (0,) * laid.sw if laid.sw <= STEPS and is_near else None


def _flat(array):
    return memory.contiguous(array).reshape(-1)


def _shape(x, kernel_size, stride, padding, dilation):
    size = map(output_size, x.shape[2:], kernel_size, stride, padding, dilation)
    return (*x.shape[:2], *size)


def _planes(x, size):
    """Return images (n, c, h, w) as planes (n * c, *size), without gaps."""
    return memory.contiguous(x).reshape(x.shape[0] * x.shape[1], *size)


def _long_rows(size, windows, kernel_size, stride, padding, other):
    """Return the axes of pooling in longer rows, if windows lie the same in them.

    A column is laid down; rows that windows divide without a rest are joined. `other` is what else
    comes with each axis.
    """
    axes = [size, windows, kernel_size, stride, padding, other]
    if (size[1], windows[1], kernel_size[1], padding[1]) == (1, 1, 1, (0, 0)):
        axes = [axis[::-1] for axis in axes]
    size, windows, kernel_size, stride, padding, other = axes
    divided = stride[1] == kernel_size[1] and stride[1] * windows[1] == size[1]
    if divided and (kernel_size[0], stride[0], *padding) == (1, 1, (0, 0), (0, 0)):
        size, windows = (1, size[0] * size[1]), (1, windows[0] * windows[1])
    return size, windows, kernel_size, stride, padding, other


def _counts(dtype, size, kernel_size, stride, padding, counted):
    """Return how many rows and columns of each window its average counts."""
    counts = (
        window_counts(size[axis], kernel_size[axis], stride[axis], padding[axis], 1, counted[axis])
        for axis in (0, 1)
    )
    return tuple(np.array(along, dtype) for along in counts)


@linked(inline="always")
def _inside(start, extent, taps, dilation):
    """Return the first tap of a window that meets a sample, and the first behind that does not."""
    # Divisions take as long as a short row, and most windows need none.
    first = 0 if start >= 0 else (-start + dilation - 1) // dilation
    whole = start + (taps - 1) * dilation < extent
    return first, taps if whole else (extent - 1 - start) // dilation + 1


@linked(inline="always")
def larger(value, place, best, at):
    """Return the larger value and its place: the first of equals, or the first NaN."""
    wins = (not value <= best) & (best == best)
    return (value if wins else best), (place if wins else at)


@parallel()
def _largest(x, y, index, windows, lanes, columns, start, stop):
    """Let the windows of each row meet all rows of samples at once."""
    k = windows
    met = _rows_met(k)
    for p in range(start, stop):
        for i in range(k.oh):
            row, rows = i * k.sh - k.top + met[i, 0] * k.dh, met[i, 1] - met[i, 0]
            if largest(
                y, index, (p * k.oh + i) * k.ow, k.ow, x, p * k.h * k.w, row * k.w, k.w, k.left,
                rows, k.dh * k.w, k.kw, k.dw, False, lanes, columns,
            ):  # fmt: skip
                _row_one_by_one(x, y, index, k, p, i)


@parallel()
def _largest_of_long(x, y, index, windows, lanes, columns, start, stop):
    """Let them meet one row of samples after the other."""
    k = windows
    met = _rows_met(k)
    for p in range(start, stop):
        for i in range(k.oh):
            is_strange = False
            for r in range(met[i, 0], met[i, 1]):
                row = i * k.sh - k.top + r * k.dh
                is_strange |= largest(
                    y, index, (p * k.oh + i) * k.ow, k.ow, x, p * k.h * k.w, row * k.w, k.w, k.left,
                    1, 0, k.kw, k.dw, r > met[i, 0], lanes, columns,
                )  # fmt: skip
            if is_strange:
                _row_one_by_one(x, y, index, k, p, i)


@linked()
def _rows_met(windows):
    """Return for each row of windows its first row of taps that meets samples, and the last + 1."""
    k = windows
    met = np.empty((k.oh, 2), np.int64)
    for i in range(k.oh):
        met[i, 0], met[i, 1] = _inside(i * k.sh - k.top, k.h, k.kh, k.dh)
    return met


@parallel()
def _largest_one_by_one(x, y, index, windows, start, stop):
    """Do as `_largest`, for windows that lie so far apart that vectors would skip most of x."""
    for p in range(start, stop):
        for i in range(windows.oh):
            _row_one_by_one(x, y, index, windows, p, i)


@linked()
def _row_one_by_one(x, y, index, windows, p, i):
    """Do all windows of a row, sample by sample."""
    k = windows
    top = i * k.sh - k.top
    r0, r1 = _inside(top, k.h, k.kh, k.dh)
    for j in range(k.ow):
        left, to = j * k.sw - k.left, (p * k.oh + i) * k.ow + j
        s0, s1 = _inside(left, k.w, k.kw, k.dw)
        best, at = x.dtype.type(-np.inf), (top + r0 * k.dh) * k.w + left + s0 * k.dw
        for r in range(r0, r1):
            for s in range(s0, s1):
                place = (top + r * k.dh) * k.w + left + s * k.dw
                best, at = larger(x[p * k.h * k.w + place], place, best, at)
        y[to] = best
        if index is not None:
            index[to] = at


@parallel()
def _set_scattered(dx, dy, index, start, stop):
    """Set each place, which no other window has; without a sign it is not looked for at the end."""
    for p in range(start, stop):
        dx[p, :] = 0
        for i in range(dy.shape[1]):
            dx[p, np.uint64(index[p, i])] = dy[p, i]


@parallel()
def _add_scattered(dx, dy, index, start, stop):
    for p in range(start, stop):
        dx[p, :] = 0
        for i in range(dy.shape[1]):
            dx[p, np.uint64(index[p, i])] += dy[p, i]


@parallel(error_model="numpy")
def _average(x, y, rows, cols, kernel_size, stride, before, start, stop):
    """Add up the rows of a window first, then their columns."""
    _, h, w = x.shape
    _, oh, ow = y.shape
    step = stride[1] if ow > 1 else 1
    zero = x.dtype.type(0)
    lanes, total = empty_lanes(ow, kernel_size[1], step, 1, zero), np.empty(w, x.dtype)
    for p in range(start, stop):
        for i in range(oh):
            top = i * stride[0] - before[0]
            r0, r1 = _inside(top, h, kernel_size[0], 1)
            total[:] = zero
            for r in range(top + r0, top + r1):
                _add(x[p, r], total)
            deal(total, lanes, ow, kernel_size[1], step, 1, before[1])
            mean = y[p, i]
            mean[:] = zero
            for s in range(kernel_size[1]):
                k, a = first_lane(s, step, 1)
                _add(lanes[k, a : a + ow], mean)
            for j in range(ow):
                mean[j] /= rows[i] * cols[j]


@parallel(error_model="numpy")
def _spread(dx, dy, rows, cols, kernel_size, stride, before, start, stop):
    """Add up the windows that a row of samples lies in, then give each sample its share."""
    h, (_, oh, ow) = dx.shape[1], dy.shape
    step = stride[1] if ow > 1 else 1
    zero = dx.dtype.type(0)
    lanes, share = empty_lanes(ow, kernel_size[1], step, 1, zero), np.empty(ow, dx.dtype)
    for p in range(start, stop):
        for r in range(h):
            share[:] = zero
            last = r + before[0]
            first = max(0, (last - kernel_size[0] + stride[0]) // stride[0])
            for i in range(first, min(oh, last // stride[0] + 1)):
                for j in range(ow):
                    share[j] += dy[p, i, j] / (rows[i] * cols[j])
            lanes[:] = zero
            for s in range(kernel_size[1]):
                k, a = first_lane(s, step, 1)
                _add(share, lanes[k, a : a + ow])
            collect(lanes, dx[p, r], ow, kernel_size[1], step, before[1])


@linked(_nrt=False)
def _add(x, total):
    for j in range(total.size):
        total[j] += x[j]

"""Maximum and average of strided windows, for all windows of a row at once, in vectors.

Vectors want neighbours: a row is dealt out into lanes, so that what one tap meets in all windows
lies side by side; with a stride of 2, the even samples and the odd ones. Lanes begin with the
padding, which fills them from the start: no loop needs to look for the border.
"""

import numpy as np

from .. import memory
from ..geometry import output_size, window_counts
from .compiled import compiled
from .lanes import collect, deal, empty_lanes, first_lane
from .parallel import in_parts


def max_pool2d(x, *, kernel_size, stride, padding, dilation):
    """Return the maximum of each window (n, c, oh, ow), and where it was: its index in h * w."""
    y = memory.empty(_shape(x, kernel_size, stride, padding, dilation), x.dtype)
    index = memory.empty(y.shape, np.int32)
    planes, largest, where = _planes(x), _planes(y), _planes(index)
    first = (padding[0][0], padding[1][0])

    def some(start, stop):
        _max(
            planes[start:stop], largest[start:stop], where[start:stop],
            kernel_size, stride, first, dilation,
        )  # fmt: skip

    in_parts(some, len(planes), x.size + y.size)
    return y, index


def max_pool2d_grad(dy, index, size, *, kernel_size, stride, padding, dilation):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was."""
    dx = memory.empty((*dy.shape[:2], *size), dy.dtype)
    planes = dx.reshape(-1, size[0] * size[1])
    slopes = np.ascontiguousarray(dy).reshape(len(planes), dy.shape[2] * dy.shape[3])
    where = index.reshape(slopes.shape)

    def some(start, stop):
        _scatter(planes[start:stop], slopes[start:stop], where[start:stop])

    in_parts(some, len(planes), dx.size + dy.size)
    return dx


def avg_pool2d(x, *, kernel_size, stride, padding, counted):
    """Return the average of each window (n, c, oh, ow), over the cells that count."""
    y = memory.empty(_shape(x, kernel_size, stride, padding, (1, 1)), x.dtype)
    planes, means = _planes(x), _planes(y)
    rows, cols = _counts(x.dtype, x.shape[2:], kernel_size, stride, padding, counted)
    first = (padding[0][0], padding[1][0])

    def some(start, stop):
        _average(planes[start:stop], means[start:stop], rows, cols, kernel_size, stride, first)

    in_parts(some, len(planes), x.size + y.size)
    return y


def avg_pool2d_grad(dy, size, *, kernel_size, stride, padding, counted):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    dx = memory.empty((*dy.shape[:2], *size), dy.dtype)
    planes, slopes = _planes(dx), _planes(dy)
    rows, cols = _counts(dy.dtype, size, kernel_size, stride, padding, counted)
    first = (padding[0][0], padding[1][0])

    def some(start, stop):
        _spread(planes[start:stop], slopes[start:stop], rows, cols, kernel_size, stride, first)

    in_parts(some, len(planes), dx.size + dy.size)
    return dx


def _shape(x, kernel_size, stride, padding, dilation):
    size = map(output_size, x.shape[2:], kernel_size, stride, padding, dilation)
    return (*x.shape[:2], *size)


def _planes(x):
    """Return images (n, c, h, w) as planes (n * c, h, w), without gaps."""
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h, w)


def _counts(dtype, size, kernel_size, stride, padding, counted):
    """Return how many rows and columns of each window its average counts."""
    counts = (
        window_counts(size[axis], kernel_size[axis], stride[axis], padding[axis], 1, counted[axis])
        for axis in (0, 1)
    )
    return tuple(np.array(along, dtype) for along in counts)


@compiled(inline="always")
def _inside(start, extent, taps, dilation):
    """Return the first tap of a window that meets a sample, and the first behind that does not."""
    first = 0 if start >= 0 else (-start + dilation - 1) // dilation
    return first, min(taps, (extent - 1 - start) // dilation + 1)


@compiled()
def _max(x, y, index, kernel_size, stride, before, dilation):
    """Take a row of windows at once, but for those at the border."""
    _, h, w = x.shape
    planes, oh, ow = y.shape
    taps, step, spread = kernel_size[1], stride[1], dilation[1]
    j0 = min(ow, (before[1] + step - 1) // step)
    j1 = max(j0, min(ow, (w + before[1] - (taps - 1) * spread - 1) // step + 1))
    for p in range(planes):
        for i in range(oh):
            top = i * stride[0] - before[0]
            r0, r1 = _inside(top, h, kernel_size[0], dilation[0])
            rows = range(top + r0 * dilation[0], top + r1 * dilation[0], dilation[0])
            for j in range(ow - (j1 - j0)):
                here = j if j < j0 else j + j1 - j0
                left = here * step - before[1]
                s0, s1 = _inside(left, w, taps, spread)
                columns = range(left + s0 * spread, left + s1 * spread, spread)
                y[p, i, here], index[p, i, here] = _largest(x[p], rows, columns)
            if j0 < j1:
                left = j0 * step - before[1]
                _row_of_windows(
                    x[p], y[p, i, j0:j1], index[p, i, j0:j1], rows, left, taps, step, spread
                )


@compiled(inline="always")
def _larger(value, place, best, at):
    """Return the larger value and its place: the first of equals, or the first NaN."""
    wins = (not value <= best) & (best == best)
    return (value if wins else best), (place if wins else at)


@compiled()
def _largest(x, rows, columns):
    """Return the largest sample of one window and its place, -1 where there is none."""
    best, at = x.dtype.type(-np.inf), -1
    if len(rows) and len(columns):
        at = rows.start * x.shape[1] + columns.start  # where all samples are -inf, the first
    for r in rows:
        for c in columns:
            best, at = _larger(x[r, c], r * x.shape[1] + c, best, at)
    return best, at


@compiled()
def _row_of_windows(x, largest, at, rows, left, taps, step, spread):
    """Take the windows beside each other from the one that begins at `left`, all in the image.

    A loop is in vectors only if its taps and its step are constants: the usual ones are.
    """
    w = x.shape[1]
    largest[:] = -np.inf
    for j in range(at.size):
        at[j] = np.int32(rows.start * w + left + j * step if len(rows) else -1)
    for r in rows:
        row, place = x[r, left:], r * w + left
        if spread == 1 and taps == 2 and step == 2:
            _keep_larger(row, largest, at, place, 2, 2)
        elif spread == 1 and taps == 3 and step == 2:
            _keep_larger(row, largest, at, place, 3, 2)
        elif spread == 1 and taps == 3 and step == 3:
            _keep_larger(row, largest, at, place, 3, 3)
        elif spread == 1 and taps == 4 and step == 4:
            _keep_larger(row, largest, at, place, 4, 4)
        else:
            for s in range(0, taps * spread, spread):
                if step == 1:
                    _keep_larger(row[s:], largest, at, place + s, 1, 1)
                else:
                    _keep_larger(row[s:], largest, at, place + s, 1, step)


@compiled(inline="always")
def _keep_larger(row, largest, at, place, taps, step):
    for j in range(largest.size):
        best, k = largest[j], at[j]
        for s in range(taps):
            best, k = _larger(row[j * step + s], np.int32(place + j * step + s), best, k)
        largest[j], at[j] = best, k


@compiled()
def _scatter(dx, dy, index):
    for p in range(dy.shape[0]):
        dx[p, :] = 0
        for i in range(dy.shape[1]):
            dx[p, index[p, i]] += dy[p, i]


@compiled(error_model="numpy")
def _average(x, y, rows, cols, kernel_size, stride, before):
    """Add up the rows of a window first, then their columns."""
    planes, h, w = x.shape
    oh, ow = y.shape[1:]
    step = stride[1] if ow > 1 else 1
    zero = x.dtype.type(0)
    lanes, total = empty_lanes(ow, kernel_size[1], step, 1, zero), np.empty(w, x.dtype)
    for p in range(planes):
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


@compiled(error_model="numpy")
def _spread(dx, dy, rows, cols, kernel_size, stride, before):
    """Add up the windows that a row of samples lies in, then give each sample its share."""
    planes, h = dx.shape[:2]
    oh, ow = dy.shape[1:]
    step = stride[1] if ow > 1 else 1
    zero = dx.dtype.type(0)
    lanes, share = empty_lanes(ow, kernel_size[1], step, 1, zero), np.empty(ow, dx.dtype)
    for p in range(planes):
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


@compiled()
def _add(x, total):
    for j in range(total.size):
        total[j] += x[j]

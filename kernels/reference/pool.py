"""Pooling: one number per window, in four kinds, over strided and over adaptive windows.

Each kind is a reduction of windows (n, c, taps, ...) along their third axis, and its gradient. The
strided form unfolds its windows as convolution does; the adaptive form cuts h by w samples into a
given number of windows, one of which covers everything in global pooling.

Maximum and average: LeCun et al., 1998, and Ranzato et al., 2007; power average: Sermanet,
Chintala & LeCun, "Convolutional neural networks applied to house numbers digit classification",
2012, section 2.2. Padding is never a sample: it is below every maximum, and adds nothing elsewhere.
"""

import numpy as np

from ..geometry import adaptive_windows, window_counts
from .conv import col2im, im2col


def max_pool2d(x, *, kernel_size, stride, padding, dilation, with_index=True):
    """Return the maximum of each window (n, c, oh, ow), and where it was: its index in h * w.

    The index is for `max_pool2d_grad` of the same implementation, which may write it as it likes;
    it is None where nobody wants a gradient.
    """
    taps = _taps(x, kernel_size, stride, padding, dilation, fill=-np.inf)
    y = taps.max(axis=2)
    if not with_index:
        return y, None
    inside = _inside(x, kernel_size, stride, padding, dilation)
    # The first of the largest, or of NaN, but never the padding: samples may be -inf too.
    tap = ((inside > 0) & ((taps == y[:, :, None]) | (taps != taps))).argmax(axis=2)
    (kw, (oh, ow)) = kernel_size[1], y.shape[2:]
    rows = np.arange(oh, like=tap)[:, None] * stride[0] - padding[0][0] + tap // kw * dilation[0]
    cols = np.arange(ow, like=tap) * stride[1] - padding[1][0] + tap % kw * dilation[1]
    return y, rows * x.shape[3] + cols


def max_pool2d_grad(dy, index, size, *, kernel_size, stride, padding, dilation):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was.

    The windows tell an implementation which outputs can meet a sample; the index alone will do
    here.
    """
    return adaptive_max_pool2d_grad(dy, index, size)


def avg_pool2d(x, *, kernel_size, stride, padding, counted):
    """Return the average of each window (n, c, oh, ow).

    The divisor counts the samples and the padding up to `counted` per side, in the form of padding.
    """
    columns = im2col(x, kernel_size, stride=stride, padding=padding, dilation=(1, 1))
    return columns.sum(axis=(2, 3)) / _cells(x, x.shape[2:], kernel_size, stride, padding, counted)


def avg_pool2d_grad(dy, size, *, kernel_size, stride, padding, counted):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    dy = dy / _cells(dy, size, kernel_size, stride, padding, counted)
    columns = np.broadcast_to(dy[:, :, None, None], (*dy.shape[:2], *kernel_size, *dy.shape[2:]))
    return col2im(columns, size, stride=stride, padding=padding, dilation=(1, 1))


def lp_pool2d(x, *, p, kernel_size, stride, padding):
    """Return (sum of |x| ** p) ** (1 / p) of each window (n, c, oh, ow)."""
    return _lp(_taps(x, kernel_size, stride, padding), p)


def lp_pool2d_grad(dy, x, y, *, p, kernel_size, stride, padding):
    """Return the gradient (n, c, h, w); 0 where a window is all 0."""
    dtaps = _lp_grad(dy, _taps(x, kernel_size, stride, padding), y, p)
    return _untap(dtaps, x.shape[2:], kernel_size, stride, padding)


def std_pool2d(x, *, kernel_size, stride, padding):
    """Return the standard deviation of the samples of each window, divided by their number."""
    taps, inside = _taps(x, kernel_size, stride, padding), _inside(x, kernel_size, stride, padding)
    return _std(taps, inside)


def std_pool2d_grad(dy, x, y, *, kernel_size, stride, padding):
    """Return the gradient (n, c, h, w); 0 where all samples of a window are equal."""
    taps, inside = _taps(x, kernel_size, stride, padding), _inside(x, kernel_size, stride, padding)
    return _untap(_std_grad(dy, taps, y, inside), x.shape[2:], kernel_size, stride, padding)


def adaptive_max_pool2d(x, windows, with_index=True):
    """Return the maximum of each of (oh, ow) windows, and its index in h * w as `max_pool2d`."""
    if not with_index:
        return _pool_adaptively(x, windows, lambda taps: taps.max(axis=2)), None
    n, c, _, w = x.shape
    y = np.empty_like(x, shape=(n, c, *windows))
    index = np.empty_like(x, shape=y.shape, dtype=np.int64)
    for (i, j), rows, cols in _adaptive(x.shape[2:], windows):
        taps = _flat(x[:, :, rows, cols])
        tap = taps.argmax(axis=2)
        width = cols.stop - cols.start
        index[:, :, i, j] = (rows.start + tap // width) * w + cols.start + tap % width
        y[:, :, i, j] = taps.max(axis=2)
    return y, index


def adaptive_max_pool2d_grad(dy, index, size):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was."""
    n, c, oh, ow = dy.shape
    dx = np.zeros_like(dy, shape=n * c * size[0] * size[1])
    planes = np.arange(n * c, like=index)[:, None] * (size[0] * size[1])
    # CuPy adds at places along one axis only.
    np.add.at(dx, (planes + index.reshape(n * c, oh * ow)).reshape(-1), dy.reshape(-1))
    return dx.reshape(n, c, *size)


def adaptive_avg_pool2d(x, windows):
    """Return the average of each of (oh, ow) windows."""
    return _pool_adaptively(x, windows, lambda taps: taps.mean(axis=2))


def adaptive_avg_pool2d_grad(dy, size):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    dx = np.zeros_like(dy, shape=(*dy.shape[:2], *size))
    for (i, j), rows, cols in _adaptive(size, dy.shape[2:]):
        count = (rows.stop - rows.start) * (cols.stop - cols.start)
        dx[:, :, rows, cols] += dy[:, :, i, j, None, None] / count
    return dx


def adaptive_lp_pool2d(x, windows, p):
    """Return (sum of |x| ** p) ** (1 / p) of each of (oh, ow) windows."""
    return _pool_adaptively(x, windows, lambda taps: _lp(taps, p))


def adaptive_lp_pool2d_grad(dy, x, y, p):
    """Return the gradient (n, c, h, w); 0 where a window is all 0."""
    return _spread_adaptively(dy, x, y, lambda dy, taps, y: _lp_grad(dy, taps, y, p))


def adaptive_std_pool2d(x, windows):
    """Return the standard deviation of each of (oh, ow) windows."""
    return _pool_adaptively(x, windows, lambda taps: _std(taps, np.ones_like(taps)))


def adaptive_std_pool2d_grad(dy, x, y):
    """Return the gradient (n, c, h, w); 0 where all samples of a window are equal."""
    return _spread_adaptively(
        dy, x, y, lambda dy, taps, y: _std_grad(dy, taps, y, np.ones_like(taps))
    )


def _taps(x, kernel_size, stride, padding, dilation=(1, 1), fill=0):
    """Return the windows as (n, c, taps, oh, ow)."""
    options = dict(stride=stride, padding=padding, dilation=dilation)
    columns = im2col(x, kernel_size, **options, fill=fill)
    n, c, kh, kw, oh, ow = columns.shape
    return columns.reshape(n, c, kh * kw, oh, ow)


def _inside(x, kernel_size, stride, padding, dilation=(1, 1)):
    """Return 1 for the taps that meet a sample and 0 for those in the padding."""
    ones = np.ones_like(x, shape=(1, 1, *x.shape[2:]))
    return _taps(ones, kernel_size, stride, padding, dilation)


def _untap(dtaps, size, kernel_size, stride, padding):
    n, c, _, oh, ow = dtaps.shape
    columns = dtaps.reshape(n, c, *kernel_size, oh, ow)
    return col2im(columns, size, stride=stride, padding=padding, dilation=(1, 1))


def _cells(like, size, kernel_size, stride, padding, counted):
    """Return the number of cells (oh, ow) of each window that its average counts."""
    rows, cols = (
        window_counts(size[axis], kernel_size[axis], stride[axis], padding[axis], 1, counted[axis])
        for axis in (0, 1)
    )
    rows, cols = (np.asarray(counts, dtype=like.dtype, like=like) for counts in (rows, cols))
    return rows[:, None] * cols


def _adaptive(size, windows):
    """Yield the place (i, j) of each adaptive window and its two slices."""
    for i, (top, bottom) in enumerate(adaptive_windows(size[0], windows[0])):
        for j, (left, right) in enumerate(adaptive_windows(size[1], windows[1])):
            yield (i, j), slice(top, bottom), slice(left, right)


def _flat(window):
    n, c, h, w = window.shape
    return window.reshape(n, c, h * w)


def _pool_adaptively(x, windows, reduce):
    y = np.empty_like(x, shape=(*x.shape[:2], *windows))
    for (i, j), rows, cols in _adaptive(x.shape[2:], windows):
        y[:, :, i, j] = reduce(_flat(x[:, :, rows, cols]))
    return y


def _spread_adaptively(dy, x, y, gradient):
    dx = np.zeros_like(x)
    for (i, j), rows, cols in _adaptive(x.shape[2:], dy.shape[2:]):
        window = x[:, :, rows, cols]
        dtaps = gradient(dy[:, :, i, j], _flat(window), y[:, :, i, j])
        dx[:, :, rows, cols] += dtaps.reshape(window.shape)
    return dx


def _lp(taps, p):
    # Powers of numbers up to 1 cannot overflow: the largest of each window is taken out.
    largest = np.abs(taps).max(axis=2)
    scale = np.where((largest > 0) & (largest < np.inf), largest, 1)
    return scale * ((np.abs(taps) / scale[:, :, None]) ** p).sum(axis=2) ** (1 / p)


def _lp_grad(dy, taps, y, p):
    safe = np.where(y > 0, y, 1)[:, :, None]
    return np.where(y > 0, dy, 0)[:, :, None] * np.sign(taps) * (np.abs(taps) / safe) ** (p - 1)


def _std(taps, inside):
    deviation = _deviation(taps, inside)
    return np.sqrt((deviation * deviation).sum(axis=2) / inside.sum(axis=2))


def _deviation(taps, inside):
    """Return the difference of each sample to the mean of its window, and 0 in the padding."""
    # From the largest first: the mean of equal samples may round to something else than they are.
    largest = np.where(inside > 0, taps, -np.inf).max(axis=2)
    below = np.where(inside > 0, taps - largest[:, :, None], 0)
    return inside * (below - (below.sum(axis=2) / inside.sum(axis=2))[:, :, None])


def _std_grad(dy, taps, y, inside):
    count = inside.sum(axis=2)
    deviation = _deviation(taps, inside)
    slope = np.where(y > 0, dy, 0) / (np.where(y > 0, y, 1) * count)
    return slope[:, :, None] * deviation

"""Pooling on the GPU: strided and adaptive windows are one kernel of each kind."""

import math

import numpy as np

from .. import reference
from .launch import Launcher, contiguous, empty, made_for_reals, takes
from .packing import is_array
from .windows import adaptive, strided

_launch = Launcher("pool.cu")


@made_for_reals
def max_pool2d(x, *, kernel_size, stride, padding, dilation, with_index=True):
    """Return the maximum of each window (n, c, oh, ow), and where it was: its index in h * w."""
    windows, size = strided(x.shape, kernel_size, stride, padding, dilation)
    return _max(x, windows, size, with_index)


def max_pool2d_grad(dy, index, size, *, kernel_size, stride, padding, dilation):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was."""
    if not takes(dy):
        return reference.adaptive_max_pool2d_grad(dy, index, size)
    windows, _ = strided((*dy.shape[:2], *size), kernel_size, stride, padding, dilation)
    return _gather("max_pool_grad", windows, size, dy, index)


@made_for_reals
def avg_pool2d(x, *, kernel_size, stride, padding, counted):
    """Return the average of each window (n, c, oh, ow).

    The divisor counts the samples and the padding up to `counted` per side, in the form of padding.
    """
    windows, size = strided(x.shape, kernel_size, stride, padding, counted=counted)
    return _pool("avg_pool", windows, size, x)


@made_for_reals
def avg_pool2d_grad(dy, size, *, kernel_size, stride, padding, counted):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    shape = *dy.shape[:2], *size
    windows, _ = strided(shape, kernel_size, stride, padding, counted=counted)
    return _gather("avg_pool_grad", windows, size, dy)


@made_for_reals
def lp_pool2d(x, *, p, kernel_size, stride, padding):
    """Return (sum of |x| ** p) ** (1 / p) of each window (n, c, oh, ow)."""
    windows, size = strided(x.shape, kernel_size, stride, padding)
    return _pool("lp_pool", windows, size, x, p)


@made_for_reals
def lp_pool2d_grad(dy, x, y, *, p, kernel_size, stride, padding):
    """Return the gradient (n, c, h, w); 0 where a window is all 0."""
    windows, _ = strided(x.shape, kernel_size, stride, padding)
    return _gather("lp_pool_grad", windows, x.shape[2:], dy, x, y, p)


@made_for_reals
def std_pool2d(x, *, kernel_size, stride, padding):
    """Return the standard deviation of the samples of each window, divided by their number."""
    return _std(x, *strided(x.shape, kernel_size, stride, padding))


@made_for_reals
def std_pool2d_grad(dy, x, y, *, kernel_size, stride, padding):
    """Return the gradient (n, c, h, w); 0 where all samples of a window are equal."""
    windows, _ = strided(x.shape, kernel_size, stride, padding)
    return _std_grad(dy, x, y, windows)


@made_for_reals
def adaptive_max_pool2d(x, windows, with_index=True):
    """Return the maximum of each of (oh, ow) windows, and its index in h * w as `max_pool2d`."""
    return _max(x, adaptive(x.shape, windows), windows, with_index)


def adaptive_max_pool2d_grad(dy, index, size):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was."""
    if not takes(dy):
        return reference.adaptive_max_pool2d_grad(dy, index, size)
    windows = adaptive((*dy.shape[:2], *size), dy.shape[2:])
    return _gather("max_pool_grad", windows, size, dy, index)


@made_for_reals
def adaptive_avg_pool2d(x, windows):
    """Return the average of each of (oh, ow) windows."""
    return _pool("avg_pool", adaptive(x.shape, windows), windows, x)


@made_for_reals
def adaptive_avg_pool2d_grad(dy, size):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    windows = adaptive((*dy.shape[:2], *size), dy.shape[2:])
    return _gather("avg_pool_grad", windows, size, dy)


@made_for_reals
def adaptive_lp_pool2d(x, windows, p):
    """Return (sum of |x| ** p) ** (1 / p) of each of (oh, ow) windows."""
    return _pool("lp_pool", adaptive(x.shape, windows), windows, x, p)


@made_for_reals
def adaptive_lp_pool2d_grad(dy, x, y, p):
    """Return the gradient (n, c, h, w); 0 where a window is all 0."""
    windows = adaptive(x.shape, dy.shape[2:])
    return _gather("lp_pool_grad", windows, x.shape[2:], dy, x, y, p)


@made_for_reals
def adaptive_std_pool2d(x, windows):
    """Return the standard deviation of each of (oh, ow) windows."""
    return _std(x, adaptive(x.shape, windows), windows)


@made_for_reals
def adaptive_std_pool2d_grad(dy, x, y):
    """Return the gradient (n, c, h, w); 0 where all samples of a window are equal."""
    return _std_grad(dy, x, y, adaptive(x.shape, dy.shape[2:]))


def _pool(kernel, windows, size, x, *constants):
    y = empty(x, (*x.shape[:2], *size))
    _launch(kernel, contiguous(x), *constants, y, windows, threads=y.size * windows["lanes"])
    return y


def _gather(kernel, windows, size, dy, *known):
    """Return the gradient of images of this size from what is known of them and their windows."""
    dx = empty(dy, (*dy.shape[:2], *size))
    arguments = [contiguous(k) if is_array(k) else k for k in (dy, *known)]
    _launch(kernel, *arguments, dx, windows, threads=dx.size)
    return dx


def _max(x, windows, size, with_index):
    if math.prod(x.shape[2:]) >= 2**31:
        raise ValueError(f"max_pool2d: the index of a sample in {x.shape[2:]} takes over 31 bits")
    y = empty(x, (*x.shape[:2], *size))
    index = empty(x, y.shape, np.int32) if with_index else None
    _launch("max_pool", contiguous(x), y, index, windows, threads=y.size * windows["lanes"])
    return y, index


def _std(x, windows, size):
    y = empty(x, (*x.shape[:2], *size))
    threads = y.size * windows["lanes"]
    _launch("std_pool", contiguous(x), y, None, None, windows, threads=threads)
    return y


def _std_grad(dy, x, y, windows):
    largest, mean, x = empty(y), empty(y), contiguous(x)
    threads = y.size * windows["lanes"]
    _launch("std_pool", x, None, largest, mean, windows, threads=threads)
    return _gather("std_pool_grad", windows, x.shape[2:], dy, x, y, largest, mean)

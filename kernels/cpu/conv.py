"""Convolution and its gradients, by whichever algorithm takes the least time for a shape.

`plan` tells which that is and why. `allow` and the variable MINICNN_CONV narrow the choice, e.g. to
"direct,fft" where the rounding of Winograd's algorithm is too much.

Transforms spread a number that is not finite over results whose windows do not meet it. They notice
that, and the pass is done again by its definition.
"""

import os
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import memory, reference
from ..geometry import output_size
from . import conv_direct, conv_fft, conv_winograd
from .parallel import parallel
from .winograd_filters import transform_filters

ALGORITHMS = {"direct": conv_direct, "winograd": conv_winograd, "fft": conv_fft}

PASSES = "output", "input_grad", "weight_grad"

_allowed: ContextVar[tuple[str, ...] | None] = ContextVar("allowed", default=None)


class Plan(NamedTuple):
    """Which algorithm does a pass of a convolution, and what each that could do it would cost.

    A cost is the number of multiply-adds that take as long.
    """

    algorithm: str
    costs: dict[str, float]

    @property
    def cost(self) -> float:
        """What the chosen algorithm costs."""
        return self.costs[self.algorithm]


class Shape(NamedTuple):
    """A convolution in numbers: x (n, c, *size), w (o, c / groups, *taps), y (n, o, *windows)."""

    n: int
    c: int
    o: int
    size: tuple[int, int]
    taps: tuple[int, int]
    windows: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int

    @property
    def multiply_adds(self) -> int:
        """How many products the definition sums up."""
        rows, cols = self.windows
        return self.n * self.o * rows * cols * self.c // self.groups * self.taps[0] * self.taps[1]


def plan(
    x_shape, w_shape, *, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1,
    work="output", allowed=None,
) -> Plan:  # fmt: skip
    """Return how a pass of a convolution of x (n, c, h, w) and w (o, c/groups, kh, kw) is done.

    Parameters
    ----------
    x_shape, w_shape : (int, int, int, int)
    stride, padding, dilation, groups
        As of the kernel: (int, int), ((top, bottom), (left, right)), (int, int), int.
    work : "output", "input_grad" or "weight_grad"
    allowed : sequence of str, optional
        The algorithms to choose from; by default those of `allow` or MINICNN_CONV, or all.

    Returns
    -------
    Plan
        "direct" is always possible, and taken where none that is allowed can do it.

    Raises
    ------
    ValueError
        If `work` or an algorithm is unknown.
    """
    if work not in PASSES:
        raise ValueError(f"plan: work is {work!r}; it must be one of {', '.join(PASSES)}")
    padding = tuple(map(tuple, padding))
    shape = _shape(x_shape, w_shape, tuple(stride), padding, tuple(dilation), groups)
    chosen = _now_allowed() if allowed is None else _names(allowed)
    _, shape = _trimmed(shape)
    if not shape.multiply_adds:
        return Plan("direct", {"direct": 0.0})
    return _plan(_simplified(shape), work, chosen)


@contextmanager
def allow(*algorithms: str):
    """Choose from these algorithms only, inside the block.

    Raises
    ------
    ValueError
        If there are no names, or one is none of `ALGORITHMS`.
    """
    token = _allowed.set(_names(algorithms))
    try:
        yield
    finally:
        _allowed.reset(token)


def conv2d(x, w, b, *, stride, padding, dilation, groups, slope=1.0):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw), add b (o,) or None: (n, o, oh, ow)."""
    shape = _shape(x.shape, w.shape, stride, padding, dilation, groups)
    return _output(x, w, b, shape, slope)


def prepared(w, b, x_shape, *, stride, padding, dilation, groups, slope=1.0):
    """Return a function of x (n, c, h, w), always of this shape, that does what `conv2d` does.

    Filters that many images do not share are transformed here, once. Winograd's are; Fourier's are
    not: to read what they would take in memory takes as long as to make them.
    """
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    shape = _shape(x_shape, w.shape, **options)
    (rows, cols), trimmed = _trimmed(shape)
    if not trimmed.multiply_adds:
        return lambda x: _output(x, w, b, shape, slope)
    simple = _simplified(trimmed)
    name, ready = _plan(simple, "output", _now_allowed()).algorithm, {}
    filters = memory.contiguous(w[:, :, rows, cols])
    filters = filters.reshape(simple.o, simple.c // simple.groups, *simple.taps)
    if name == "winograd" and conv_winograd.is_worth_preparing(simple):
        m = conv_winograd.options(simple, "output")["m"]
        ready["filters"] = transform_filters(filters, m=m, groups=simple.groups)
    algorithm = ALGORITHMS[name]
    ready |= algorithm.options(simple, "output")
    plain = conv_direct.options(simple, "output")

    def convolve(x):
        y = memory.empty((shape.n, shape.o, *shape.windows), x.dtype)
        x = memory.contiguous(x).reshape(simple.n, simple.c, *simple.size)
        to = y.reshape(simple.n, simple.o, *simple.windows)
        if algorithm.conv2d(x, filters, b, to, slope, **ready):
            conv_direct.conv2d(x, filters, b, to, slope, **plain)
        return y

    return convolve


def conv2d_input_grad(dy, w, size, *, stride, padding, dilation, groups):
    """Return the gradient (n, c, h, w) of `conv2d` for an input of this size (h, w)."""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return conv_transpose2d(dy, w, None, size=size, **options)


def conv2d_weight_grad(dy, x, kernel_size, *, stride, padding, dilation, groups):
    """Return the gradient (o, c/groups, kh, kw) of `conv2d` for filters of this size (kh, kw)."""
    n, o, *windows = dy.shape
    c, size, taps = x.shape[1], x.shape[2:], tuple(kernel_size)
    shape = Shape(n, c, o, size, taps, tuple(windows), stride, padding, dilation, groups)
    (rows, cols), shape = _trimmed(shape)
    dw = memory.empty((o, c // groups, *taps), x.dtype)
    if shape.taps == taps and shape.multiply_adds:
        _weight_grad(dy, x, dw, shape)
        return dw
    dw.fill(0)
    if shape.multiply_adds:
        met = memory.empty((o, c // groups, *shape.taps), x.dtype)
        _weight_grad(dy, x, met, shape)
        dw[:, :, rows, cols] = met
    return dw


def conv_transpose2d(x, w, b, *, size, stride, padding, dilation, groups):
    """Spread x (n, c, h, w) with w (c, o/groups, kh, kw) over images of this size, add b (o,)."""
    n, o, *windows = x.shape
    c, taps, size = w.shape[1] * groups, w.shape[2:], tuple(size)
    y = memory.empty((n, c, *size), x.dtype)
    shape = Shape(n, c, o, size, taps, tuple(windows), stride, padding, dilation, groups)
    (rows, cols), shape = _trimmed(shape)
    if not shape.multiply_adds:
        y[...] = 0 if b is None else b[:, None, None]
        return y
    algorithm, shape, to, w, x = _chosen(shape, "input_grad", y, w[:, :, rows, cols], x)
    if b is not None:  # pixels that became channels have their channel's
        b = np.repeat(b, shape.c // c)
    if algorithm.conv2d_input_grad(x, w, b, to, **algorithm.options(shape, "input_grad")):
        conv_direct.conv2d_input_grad(x, w, b, to, **conv_direct.options(shape, "input_grad"))
    return y


def conv_transpose2d_input_grad(dy, w, size, *, stride, padding, dilation, groups):
    """Return the gradient (n, c, h, w) of an input of this size (h, w): a plain convolution."""
    shape = _shape(dy.shape, w.shape, stride, padding, dilation, groups)
    return _output(dy, w, None, shape._replace(windows=tuple(size)), 1.0)


def conv_transpose2d_weight_grad(dy, x, kernel_size, *, stride, padding, dilation, groups):
    """Return the gradient (c, o/groups, kh, kw) of `conv_transpose2d` for filters of this size."""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return conv2d_weight_grad(x, dy, kernel_size, **options)


def conv2d_bias_grad(dy):
    """Return the gradient (o,) of the bias of `conv2d` and of `conv_transpose2d`."""
    db = memory.empty((dy.shape[1],), dy.dtype)
    rows = memory.contiguous(dy).reshape(*dy.shape[:2], dy.shape[2] * dy.shape[3])
    _sums(rows, db, count=len(db), elements=dy.size)
    return db


@parallel(fastmath={"reassoc", "nsz"})
def _sums(rows, totals, start, stop):
    """Sum up channels in vectors, but not so much at a time that their rounding would show."""
    n, _, size = rows.shape
    for c in range(start, stop):
        total = 0.0
        for i in range(n):
            for first in range(0, size, 4096):
                some, part = rows.dtype.type(0), rows[i, c, first : first + 4096]
                for j in range(part.size):
                    some += part[j]
                total += some
        totals[c] = total


def _output(x, w, b, shape, slope):
    """Convolve to the windows of a shape; more may fit."""
    y = memory.empty((shape.n, shape.o, *shape.windows), x.dtype)
    (rows, cols), shape = _trimmed(shape)
    if not shape.multiply_adds:
        y[...] = 0 if b is None else b[:, None, None]
        return reference.conv.sloped(y, slope)
    algorithm, shape, x, w, to = _chosen(shape, "output", x, w[:, :, rows, cols], y)
    if algorithm.conv2d(x, w, b, to, slope, **algorithm.options(shape, "output")):
        conv_direct.conv2d(x, w, b, to, slope, **conv_direct.options(shape, "output"))
    return y


def _shape(x_shape, w_shape, stride, padding, dilation, groups):
    windows = tuple(map(output_size, x_shape[2:], w_shape[2:], stride, padding, dilation))
    (n, c, *size), (o, _, *taps) = x_shape, w_shape
    return Shape(n, c, o, tuple(size), tuple(taps), windows, stride, padding, dilation, groups)


def _weight_grad(dy, x, dw, shape):
    algorithm, shape, x, dw, dy = _chosen(shape, "weight_grad", x, dw, dy)
    if algorithm.conv2d_weight_grad(dy, x, dw, **algorithm.options(shape, "weight_grad")):
        conv_direct.conv2d_weight_grad(dy, x, dw, **conv_direct.options(shape, "weight_grad"))


def _chosen(shape, work, x, w, y):
    """Return the algorithm, the simplest shape, and the arrays in it, without gaps."""
    shape = _simplified(shape)
    x = memory.contiguous(x).reshape(shape.n, shape.c, *shape.size)
    w = memory.contiguous(w).reshape(shape.o, shape.c // shape.groups, *shape.taps)
    y = memory.contiguous(y).reshape(shape.n, shape.o, *shape.windows)
    return ALGORITHMS[_plan(shape, work, _now_allowed()).algorithm], shape, x, w, y


@lru_cache(maxsize=1024)
def _trimmed(shape):
    """Return the taps along both axes that meet data at all, and the shape with no others.

    Of the 64 taps of CREPE's last layer, on 8 samples, no more than 15 ever meet one.
    """
    kept, padding = [], []
    for axis in (0, 1):
        size, taps, windows = shape.size[axis], shape.taps[axis], shape.windows[axis]
        stride, dilation, (before, after) = (
            shape.stride[axis], shape.dilation[axis], shape.padding[axis],
        )  # fmt: skip
        first = max(0, -(-(before - (windows - 1) * stride) // dilation))
        stop = max(first, min(taps, (size - 1 + before) // dilation + 1))
        kept.append(slice(first, stop))
        padding.append((before - first * dilation, after - (taps - stop) * dilation))
    counts = tuple(some.stop - some.start for some in kept)
    return tuple(kept), shape._replace(taps=counts, padding=tuple(padding))


@lru_cache(maxsize=1024)
def _simplified(shape):
    """Return a shape of the same arrays with fewer axes, or longer ones.

    Rows of an image that has but one row of windows are channels, and pixels of a row that has but
    one window. A column of pixels is a row of them.
    """
    for axis in (0, 1):
        whole = shape.taps[axis] == shape.size[axis] and shape.windows[axis] == 1
        plain = shape.padding[axis][0] == 0 and shape.dilation[axis] == 1
        if whole and plain and (axis == 0 or shape.size[0] == shape.taps[0] == 1):
            values = dict(size=1, taps=1, padding=(0, 0), stride=1)
            changed = {k: _replaced(getattr(shape, k), axis, v) for k, v in values.items()}
            shape = shape._replace(c=shape.c * shape.size[axis], **changed)
    if shape.size[1] == shape.taps[1] == shape.windows[1] == 1 and shape.padding[1][0] == 0:
        pairs = {k: v for k, v in shape._asdict().items() if isinstance(v, tuple)}
        return shape._replace(**{k: v[::-1] for k, v in pairs.items()})
    return shape


def _replaced(pair, axis, value):
    return (value, pair[1]) if axis == 0 else (pair[0], value)


@lru_cache(maxsize=1024)
def _plan(shape, work, allowed):
    costs = {name: algorithm.cost(shape, work) for name, algorithm in ALGORITHMS.items()}
    costs = {name: cost for name, cost in costs.items() if cost is not None}
    choice = {name: costs[name] for name in allowed if name in costs} or {"direct": costs["direct"]}
    return Plan(min(choice, key=choice.__getitem__), costs)


def _now_allowed():
    """Return the algorithms to choose from here and now."""
    return _allowed.get() or _from_environment()


@lru_cache(maxsize=1)
def _from_environment():
    names = os.environ.get("MINICNN_CONV", "")
    return _names(names.split(",")) if names else tuple(ALGORITHMS)


def _names(names):
    """Return names of algorithms as a tuple; raise where one is none, or there are none."""
    if not names:
        raise ValueError(f"conv: no algorithm is allowed; there are {', '.join(ALGORITHMS)}")
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"conv: algorithm {name!r} is none of {', '.join(ALGORITHMS)}")
    return tuple(names)

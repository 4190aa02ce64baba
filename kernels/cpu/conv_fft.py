"""Convolution through the Fourier transform, along the longer axis of its filters.

There the sum over taps becomes one product per frequency. Channels, the taps of the other axis,
and the phases of a stride are terms of this product (see `spectra.py`). So the number of
multiplications hardly depends on the length of the filters. All three passes are the same product
of inputs, filters and outputs, of which the one that is missing is the result.

Taps that meet nothing but padding are left out. Between the ends of a signal stand only as many
zeros as the taps reach over at one end: both ends share them. Long signals are cut into blocks.

Spectra are not kept from one pass to the next: to make them takes about as long as to read them
from memory, where they are four to eight times as large as the numbers that they are made of.

A number that is not finite spoils more than the samples whose windows see it: all samples of its
image, or of the gradient of its filter. Each pass returns whether that may have happened.

Mathieu, Henaff & LeCun, "Fast training of convolutional networks through FFTs", 2014.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..reference.activation import sloped
from .fft import smooth_length
from .spectra import Matrix, Signals, Taps, after, before, by, multiply_signals, places
from .tile import columns
from .vectors import REGISTERS

# Signals longer than this are cut into blocks of this length, or of 4 times their taps [samples].
LONGEST = 1024
BLOCK = 512
# Spectra that lie in memory at once [bytes].
SHARED = 32 << 20
# A pass takes as long as so many multiply-adds, a signal in it as so many, and each of its samples;
# more where samples are apart in memory. Measured on an Intel Xeon, whose multiply-adds are quick;
# Zen 4 does half as many in the time, but there too direct sums are faster where these say so.
BEGIN, SIGNAL, SAMPLE, SAMPLE_APART = 10_000_000, 5000, 90, 270


class Axis(NamedTuple):
    """One axis of a convolution. Samples a stride apart form a phase, of signal and filter."""

    size: int
    kernel: int
    stride: int
    before: int
    outputs: int

    @property
    def taps(self):
        """Return how many taps a phase of the filter has."""
        return -(-self.kernel // self.stride)

    @property
    def begin(self):
        """Return where in a phase, counted with the padding before it, the samples begin."""
        return self.before // self.stride

    @property
    def end(self):
        """Return where in a phase, counted with the padding before it, the samples end."""
        return (self.size - 1 + self.before) // self.stride + 1

    @property
    def met(self):
        """Return the taps of a phase that meet samples: the first, and how many."""
        first = max(0, self.begin - self.outputs + 1)
        return first, min(self.taps, self.end) - first


class Piece(NamedTuple):
    """Where the blocks of a signal begin, and how many samples of it they hold."""

    first: int
    step: int
    size: int


class Cut(NamedTuple):
    """How signals are cut: the length of their transform, and the blocks of inputs and outputs.

    The results stand from sample `start` on.
    """

    length: int
    blocks: int
    x: Piece
    y: Piece
    start: int = 0


def options(shape, work):
    """Return the options with which the functions here do a pass."""
    return dict(stride=shape.stride, padding=shape.padding, groups=shape.groups)


def cost(shape, work):
    """Return how many multiply-adds take as long as a pass, None where there is a dilation."""
    if shape.dilation != (1, 1):
        return None
    x, w = (shape.n, shape.c, *shape.size), (shape.o, shape.c // shape.groups, *shape.taps)
    sizes = Sizes(x, w, (shape.n, shape.o, *shape.windows), **options(shape, work))
    if sizes.empty:
        return 0
    cut = sizes.cut(spread=work == "input_grad")
    inputs, outputs, taps = sizes.inputs * sizes.phases, sizes.outputs, sizes.short.taps
    positions = sizes.n * cut.blocks * sizes.width
    signals = positions * (inputs + outputs) + inputs * outputs * taps
    products = 3 * (cut.length // 2 + 1) * positions * inputs * outputs * taps
    sample = SAMPLE_APART if sizes.upright and sizes.short.size > 1 else SAMPLE
    return BEGIN + shape.groups * (products + signals * (SIGNAL + sample * cut.length))


def conv2d(x, w, b, y, slope, *, stride, padding, groups):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow).

    Results below 0 are multiplied by `slope`. Returns whether what is not finite may have spread.
    """
    sizes = Sizes(x.shape, w.shape, y.shape, stride, padding, groups)
    if sizes.empty:
        y[:] = 0 if b is None else b[:, None, None]
        y[:] = sloped(y, slope)
        return False
    cut, spoilt = sizes.cut(), False
    for group in range(groups):
        bias = None if b is None else b[group * sizes.outputs :][: sizes.outputs]
        filters = Matrix(w, sizes.w(sizes.w_inputs(), sizes.w_outputs(group)), -1)
        for strips in sizes.strips(cut, sizes.inputs * sizes.phases, x.itemsize):
            image = Matrix(x, sizes.x(sizes.x_positions(strips, cut), sizes.x_channels(group), cut))
            image = image.place(after(image.rows, sizes.short.taps - 1), image.columns)
            result = sizes.y(sizes.y_positions(strips, cut), sizes.y_channels(group), cut)
            spoilt |= _filter(
                image, filters, sizes.w_taps(), Matrix(y, result), sizes, cut, bias, slope
            )
    return spoilt


def conv2d_input_grad(dy, w, b, dx, *, stride, padding, groups):
    """Return in dx (n, c, h, w) what the filters w (o, c/groups, kh, kw) make of dy, plus b."""
    sizes = Sizes(dx.shape, w.shape, dy.shape, stride, padding, groups)
    if sizes.empty:
        dx[:] = 0 if b is None else b[:, None, None]
        return False
    cut, spoilt = sizes.cut(spread=True), False
    for group in range(groups):
        bias = None
        if b is not None:
            bias = np.repeat(b[group * sizes.inputs :][: sizes.inputs], sizes.phases)
        filters = Matrix(w, sizes.w(sizes.w_outputs(group), sizes.w_inputs()))
        for strips in sizes.strips(cut, sizes.outputs, dy.itemsize):
            slopes = Matrix(
                dy, sizes.y(sizes.y_positions(strips, cut), sizes.y_channels(group), cut)
            )
            slopes = slopes.place(before(slopes.rows, sizes.short.taps - 1), slopes.columns)
            result = sizes.x(sizes.x_positions(strips, cut), sizes.x_channels(group), cut)
            spoilt |= _filter(
                slopes, filters, sizes.w_taps()[::-1], Matrix(dx, result), sizes, cut, bias, 1.0
            )
    return spoilt


def conv2d_weight_grad(dy, x, dw, *, stride, padding, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    sizes = Sizes(x.shape, dw.shape, dy.shape, stride, padding, groups)
    if sizes.empty or sizes.taps < sizes.long.taps:
        dw.fill(0)
    if sizes.empty:
        return False
    cut, inputs, spoilt = sizes.cut(), sizes.inputs * sizes.phases, False
    for group in range(groups):
        result = Matrix(dw, sizes.w(sizes.w_outputs(group), sizes.w_inputs()))
        strips = sizes.strips(cut, min(inputs, sizes.outputs), x.itemsize)
        for number, some in enumerate(strips):
            positions = after(sizes.x_positions(some, cut), sizes.short.taps - 1)
            image = Matrix(x, sizes.x(sizes.x_channels(group), positions, cut))
            slopes = sizes.y(sizes.y_channels(group), sizes.y_positions(some, cut), cut)
            slopes = Matrix(dy, slopes, -1)
            spoilt |= _correlate(image, slopes, result, sizes, cut, add=number > 0)
    return spoilt


def _filter(image, filters, taps, result, sizes, cut, bias, slope):
    """Convolve an image (positions, terms) with filters (terms, channels); return if it spread."""
    count, channels = len(taps), len(filters.columns)
    if sizes.channels_are_columns(channels, len(filters.rows), cut, image.array.itemsize):
        filters = filters.place(by(filters.rows, taps), filters.columns)
        moves = Taps(count, left_rows=1, right_rows=1, rows_per_term=count)
        return multiply_signals(
            image, filters, result, moves, cut.length,
            start=cut.start, bias=bias, slope=slope,
        )  # fmt: skip
    filters = filters.place(by(taps, filters.columns), filters.rows)
    moves = Taps(count, left_rows=channels, right_columns=1)
    bias = None if bias is None else bias[:, None]
    return multiply_signals(
        filters, image.turned, result.turned, moves, cut.length,
        start=cut.start, bias=bias, slope=slope,
    )  # fmt: skip


def _correlate(image, slopes, result, sizes, cut, add):
    """Sum up an image by slopes (channels, positions): the more channels lie along vectors."""
    count, taps = sizes.short.taps, sizes.w_taps()
    if len(image.rows) >= len(slopes.rows):
        left, right = slopes, image.turned
        moves = Taps(count, right_rows=1, apart=True)
    else:
        left, right, result = image, slopes.turned, result.turned
        moves = Taps(count, left_columns=1, apart=True)
    result = result.place(by(taps, result.rows), result.columns)
    return multiply_signals(left, right, result, moves, cut.length, start=cut.start, add=add)


class Sizes:
    """The sizes of a convolution along the axis of the transform, `long`, and across it, `short`.

    It knows where signals lie. Positions are the columns of images across the axis, and blocks.
    """

    def __init__(self, x_shape, w_shape, y_shape, stride, padding, groups):
        self.n, self.c, self.o = x_shape[0], x_shape[1], y_shape[1]
        axes = [
            Axis(x_shape[2 + i], w_shape[2 + i], stride[i], padding[i][0], y_shape[2 + i])
            for i in range(2)
        ]
        self.upright = (axes[0].kernel, axes[0].size) >= (axes[1].kernel, axes[1].size)
        self.long, self.short = long, short = axes if self.upright else axes[::-1]
        self.inputs, self.outputs = self.c // groups, self.o // groups
        self.phases = long.stride * short.stride
        self.empty = 0 in (*x_shape, *w_shape, *y_shape)
        if not self.empty:
            self.first, self.taps = long.met
            self.empty = self.taps < 1
            self.width = max(short.outputs + short.taps - 1, short.end)

    def channels_are_columns(self, channels, terms, cut, itemsize):
        """Return whether channels are the columns of a product, and not the positions.

        They should fill vectors. But if samples are apart, those of neighbouring positions are not;
        then the spectra of all filters must find room.
        """
        if channels * itemsize < REGISTERS.size:
            return False
        filters = (cut.length // 2 + 1) * 3 * channels * terms * self.short.taps * itemsize
        return not self.upright or self.short.outputs < 8 or filters > SHARED

    def cut(self, spread=False):
        """Return how signals are cut, for outputs, or to spread slopes over inputs."""
        long, first, taps = self.long, self.first, self.taps
        whole = max(long.end - first, long.outputs + first + taps - 1 - long.begin, long.outputs)
        if whole <= LONGEST:
            x, y = Piece(first, 0, long.end - first), Piece(0, 0, long.outputs)
            return Cut(smooth_length(max(whole, taps)), 1, x, y)
        results = long.end - long.begin if spread else long.outputs
        blocks = -(-results // (max(BLOCK, 4 * taps) - taps + 1))
        step = -(-results // blocks)
        window, length = step + taps - 1, smooth_length(step + taps - 1)
        if spread:
            x = Piece(long.begin, step, step)
            return Cut(
                length, blocks, x, Piece(long.begin - first - taps + 1, step, window), taps - 1
            )
        return Cut(length, blocks, Piece(first, step, window), Piece(0, step, step))

    def strips(self, cut, channels, itemsize):
        """Return blocks of images, as many at a time as there is room for their spectra."""
        channels = max(channels, columns(np.dtype(f"f{itemsize}")))
        size = (cut.length // 2 + 1) * 3 * self.width * channels * itemsize
        count = self.n * cut.blocks
        parts = -(-count // max(SHARED // size, 1))
        cuts = [part * count // parts for part in range(parts + 1)]
        return [np.arange(a, z) for a, z in pairwise(cuts)]

    def x(self, rows, columns, cut):
        """Return these signals of the input."""
        return Signals(rows, columns, *self._steps("size"), self.long.stride, cut.x.size)

    def y(self, rows, columns, cut):
        """Return these signals of the output."""
        return Signals(rows, columns, *self._steps("outputs"), 1, cut.y.size)

    def w(self, rows, columns):
        """Return these signals of the filters."""
        return Signals(rows, columns, *self._steps("kernel"), self.long.stride, self.taps)

    def _steps(self, name) -> tuple[int, int, int, int]:
        """Return size and step in memory across, then along the axis of the transform."""
        along, across = getattr(self.long, name), getattr(self.short, name)
        return (across, 1, along, across) if self.upright else (across, along, along, 1)

    def x_positions(self, strips, cut):
        """Return the places of the columns of the input's images."""
        area = self.c * self.long.size * self.short.size
        return self._positions(strips, cut.blocks, area, cut.x, self.long.stride, self.short.stride)

    def y_positions(self, strips, cut):
        """Return the places of the columns of the output's images."""
        area = self.o * self.long.outputs * self.short.outputs
        return self._positions(strips, cut.blocks, area, cut.y, 1, 1)

    def _positions(self, strips, blocks, area, piece, long_stride, short_stride):
        images, parts = strips // blocks, strips % blocks
        along = (piece.first + parts * piece.step) * long_stride
        return by(places(images * area, 0, along), places(0, np.arange(self.width) * short_stride))

    def x_channels(self, group):
        """Return the places of a group's channels of the input, phase by phase."""
        area = self.long.size * self.short.size
        first = places(group * self.inputs * area, -self.short.before, -self.long.before)
        return by(by(first, places(np.arange(self.inputs) * area)), self._phases())

    def y_channels(self, group):
        """Return the places of a group's channels of the output."""
        first = group * self.outputs
        area = self.long.outputs * self.short.outputs
        return places(np.arange(first, first + self.outputs) * area)

    def w_inputs(self):
        """Return the places of the channels of a filter, phase by phase."""
        area = self.long.kernel * self.short.kernel
        channels = places(np.arange(self.inputs) * area, 0, self.first * self.long.stride)
        return by(channels, self._phases())

    def w_outputs(self, group):
        """Return the places of a group's filters."""
        first = group * self.outputs
        area = self.inputs * self.long.kernel * self.short.kernel
        return places(np.arange(first, first + self.outputs) * area)

    def w_taps(self):
        """Return the places of the taps across the axis."""
        return places(0, np.arange(self.short.taps) * self.short.stride)

    def _phases(self):
        long, short = np.arange(self.long.stride), np.arange(self.short.stride)
        return by(places(0, 0, long), places(0, short))

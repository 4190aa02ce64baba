"""Convolution through the Fourier transform, along the longer axis of its filters.

There the sum over taps becomes one product per frequency. Taps of the other axis, channels, and the
phases of a stride are terms of that product, which is one of small matrices: the tile of `tile.py`
does it, with three real products for a complex one. Long signals are cut into blocks.

Only as many zeros stand between the ends of a signal as the taps reach over: both ends share them.

A filter or a signal with a number that is not finite spoils all samples of its signal, not only those
that its taps meet.

Mathieu, Henaff & LeCun, "Fast training of convolutional networks through FFTs", 2014.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled
from .fft import samples, smooth_length, spectrum, transform, transpose
from .parallel import in_parts
from .tile import REGISTERS, ROWS, copy, in_vectors, multiply

# Signals longer than this are cut into blocks [samples].
LONGEST = 1024
BLOCK = 512
# Spectra that lie in memory at once, and those of a block of channels [bytes].
SHARED = 32 << 20
BLOCKED = 2 << 20
# As many multiply-adds take as long as `in_parts` takes for one number.
WORK = 32
NOWHERE = -(1 << 40)


class Axis(NamedTuple):
    """One axis of a convolution."""

    size: int
    kernel: int
    stride: int
    before: int
    outputs: int

    @property
    def taps(self):
        """Return how many taps the phases of the filter have."""
        return -(-self.kernel // self.stride)

    @property
    def begin(self):
        """Return the first sample of the phases that is not padding, counted with padding."""
        return self.before // self.stride

    @property
    def end(self):
        """Return one more than the last sample of the phases that is not padding."""
        return (self.size - 1 + self.before) // self.stride + 1

    @property
    def met(self):
        """Return the taps that meet data: the first, and how many."""
        first = max(0, self.begin - self.outputs + 1)
        return first, min(self.taps, self.end) - first


class Piece(NamedTuple):
    """Where the blocks of a signal begin, and how many samples of it they hold."""

    first: int
    step: int
    count: int


class Cut(NamedTuple):
    """How signals are cut into blocks: of inputs, of outputs, and where the results begin."""

    length: int
    blocks: int
    x: Piece
    y: Piece
    start: int


class Signals(NamedTuple):
    """Where the signals of a matrix of them lie in an array.

    The place of one is the sum of those of its row and its column: an offset, and where it begins
    across and along the axis of the transform. What lies outside the image is 0.
    """

    rows: np.ndarray
    columns: np.ndarray
    across: int
    across_step: int
    along: int
    along_step: int
    stride: int
    count: int


class Taps(NamedTuple):
    """What the taps of the shorter axis move: rows or columns of a factor, or the results."""

    count: int
    left_rows: int = 0
    left_columns: int = 0
    right_rows: int = 0
    right_columns: int = 0
    per_term: int = 1  # rows of the right factor
    apart: bool = False


def supports(dilation):
    """Return whether this module can do such a convolution."""
    return tuple(dilation) == (1, 1)


def conv2d(x, w, b, y, activation, *, stride, padding, groups):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow)."""
    problem = Problem(x.shape, w.shape, y.shape, stride, padding, groups)
    bias = np.zeros(len(w), y.dtype) if b is None else b
    if problem.empty:
        y[:] = bias[:, None, None]
        if activation:
            np.maximum(y, 0, out=y)
        return
    problem.convolve(x, w, bias, y, activation)


def conv2d_input_grad(dy, w, b, dx, *, stride, padding, groups):
    """Return in dx (n, c, h, w) what the filters w (o, c/groups, kh, kw) make of dy, plus b (c,)."""
    problem = Problem(dx.shape, w.shape, dy.shape, stride, padding, groups)
    bias = np.zeros(dx.shape[1], dx.dtype) if b is None else b
    if problem.empty:
        dx[:] = bias[:, None, None]
        return
    problem.spread(dy, w, bias, dx)


def conv2d_weight_grad(dy, x, dw, *, stride, padding, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    problem = Problem(x.shape, dw.shape, dy.shape, stride, padding, groups)
    if problem.empty or problem.trimmed:
        dw.fill(0)
    if not problem.empty:
        problem.weigh(dy, x, dw)


class Problem:
    """The sizes of a convolution, seen along the axis of the transform and across it."""

    def __init__(self, x_shape, w_shape, y_shape, stride, padding, groups):
        self.n, self.c, *size = x_shape
        self.o, *_ = w_shape
        axes = [
            Axis(size[i], w_shape[2 + i], stride[i], padding[i][0], y_shape[2 + i]) for i in (0, 1)
        ]
        self.upright = _is_upright(*axes)
        self.long, self.short = axes if self.upright else axes[::-1]
        self.groups = groups
        self.inputs, self.outputs = self.c // groups, self.o // groups
        self.first, self.taps = self.long.met
        self.empty = self.taps < 1 or 0 in (*x_shape, *w_shape, *y_shape)
        self.trimmed = self.taps < self.long.taps
        # Columns of an image, with those that a filter reaches over.
        short = self.short
        self.width = max(
            short.outputs + short.taps - 1, (short.size - 1 + short.before) // short.stride + 1
        )
        # No sum over the lanes of a vector: the side with more channels lies along them.
        self.lying = self.inputs * stride[0] * stride[1]

    def convolve(self, x, w, b, y, activation):
        """Do `conv2d`."""
        cut, short = self.cut(), self.short
        for group in range(self.groups):
            own = b[group * self.outputs :][: self.outputs]
            for strips in self.strips(cut, self.lying, x.itemsize):
                image = self.x(self.x_positions(strips, cut), self.x_channels(group), cut)
                filters = self.w(self.w_inputs(), self.w_outputs(group))
                result = self.y(self.y_positions(strips, cut), self.y_channels(group), cut)
                kernels = _by(filters.rows, self.w_taps())
                if self.columns_are_channels(self.outputs, x):
                    left = image._replace(rows=_after(image.rows, short.taps - 1))
                    right = filters._replace(rows=kernels)
                    taps = Taps(short.taps, left_rows=1, right_rows=1, per_term=short.taps)
                    _run(
                        x, left, w, right, y, result, taps, cut, (1, -1), cut.start,
                        None, own, activation,
                    )  # fmt: skip
                else:
                    left = filters._replace(
                        rows=_by(self.w_taps(), filters.columns), columns=filters.rows
                    )
                    right = image._replace(
                        rows=image.columns, columns=_after(image.rows, short.taps - 1)
                    )
                    taps = Taps(short.taps, left_rows=self.outputs, right_columns=1)
                    result = result._replace(rows=result.columns, columns=result.rows)
                    _run(
                        w, left, x, right, y, result, taps, cut, (-1, 1), cut.start,
                        own, None, activation,
                    )  # fmt: skip

    def spread(self, dy, w, b, dx):
        """Do `conv2d_input_grad`."""
        cut, short = self.cut(spread=True), self.short
        for group in range(self.groups):
            own = b[group * self.inputs :][: self.inputs]
            own = np.repeat(own, self.long.stride * short.stride)
            for strips in self.strips(cut, self.outputs, dy.itemsize):
                slopes = self.y(self.y_positions(strips, cut), self.y_channels(group), cut)
                filters = self.w(self.w_outputs(group), self.w_inputs())
                result = self.x(self.x_positions(strips, cut), self.x_channels(group), cut)
                positions = _before(slopes.rows, short.taps - 1)
                taps = self.w_taps()[::-1]
                if self.columns_are_channels(len(filters.columns), dy):
                    left = slopes._replace(rows=positions)
                    right = filters._replace(rows=_by(filters.rows, taps))
                    taps = Taps(short.taps, left_rows=1, right_rows=1, per_term=short.taps)
                    _run(
                        dy, left, w, right, dx, result, taps, cut, (1, 1), cut.start, None, own, 0
                    )
                else:
                    left = filters._replace(rows=_by(taps, filters.columns), columns=filters.rows)
                    right = slopes._replace(rows=slopes.columns, columns=positions)
                    taps = Taps(short.taps, left_rows=len(filters.columns), right_columns=1)
                    result = result._replace(rows=result.columns, columns=result.rows)
                    _run(
                        w, left, dy, right, dx, result, taps, cut, (1, 1), cut.start, own, None, 0
                    )

    def weigh(self, dy, x, dw):
        """Do `conv2d_weight_grad`."""
        cut, short = self.cut(), self.short
        for group in range(self.groups):
            for number, strips in enumerate(self.strips(cut, min(self.lying, self.outputs), x.itemsize)):
                image = self.x(self.x_channels(group), self.x_positions(strips, cut), cut)
                slopes = self.y(self.y_channels(group), self.y_positions(strips, cut), cut)
                positions = _after(image.columns, short.taps - 1)
                result = self.w(self.w_outputs(group), self.w_inputs())
                if len(image.rows) >= len(slopes.rows):
                    right = image._replace(rows=positions, columns=image.rows)
                    taps = Taps(short.taps, right_rows=1, apart=True)
                    result = result._replace(rows=_by(self.w_taps(), result.rows))
                    _run(
                        dy, slopes, x, right, dw, result, taps, cut, (-1, 1), cut.start,
                        None, None, 0, number > 0,
                    )  # fmt: skip
                else:
                    left = image._replace(columns=positions)
                    right = slopes._replace(rows=slopes.columns, columns=slopes.rows)
                    taps = Taps(short.taps, left_columns=1, apart=True)
                    result = result._replace(
                        rows=_by(self.w_taps(), result.columns), columns=result.rows
                    )
                    _run(
                        x, left, dy, right, dw, result, taps, cut, (1, -1), cut.start,
                        None, None, 0, number > 0,
                    )  # fmt: skip

    def columns_are_channels(self, channels, array):
        """Return whether channels are the columns of the product, not the columns of images.

        They must fill vectors. Where samples are apart, those of neighbouring columns are together.
        """
        return channels >= REGISTERS.size // array.itemsize and (
            not self.upright or self.short.outputs < 8
        )

    def cut(self, spread=False):
        """Return how signals are cut into blocks, for outputs or to spread slopes over inputs."""
        long, first, taps = self.long, self.first, self.taps
        begin, data = long.begin, long.end - long.begin
        whole = max(long.end - first, long.outputs + first + taps - 1 - begin, data, long.outputs)
        if whole <= LONGEST:
            length = smooth_length(max(whole, taps))
            x, y = Piece(first, 0, long.end - first), Piece(0, 0, long.outputs)
            return Cut(length, 1, x, y, 0)
        results = data if spread else long.outputs
        blocks = -(-results // (max(BLOCK, 4 * taps) - taps + 1))
        step = -(-results // blocks)
        length = smooth_length(step + taps - 1)
        if spread:
            y = Piece(begin - first - taps + 1, step, step + taps - 1)
            return Cut(length, blocks, Piece(begin, step, step), y, taps - 1)
        x = Piece(first, step, step + taps - 1)
        return Cut(length, blocks, x, Piece(0, step, step), 0)

    def strips(self, cut, channels, itemsize):
        """Return blocks of images, as many at a time as there is room for their spectra."""
        channels = max(channels, REGISTERS.vectors * REGISTERS.size // itemsize)
        size = (cut.length // 2 + 1) * 3 * self.width * channels * itemsize
        some = max(SHARED // size, 1)
        count = self.n * cut.blocks
        parts = -(-count // some)
        cuts = [part * count // parts for part in range(parts + 1)]
        return [np.arange(a, z) for a, z in zip(cuts[:-1], cuts[1:], strict=True)]

    def x(self, rows, columns, cut):
        """Return the signals of the input."""
        return Signals(rows, columns, *self.steps(*self._sizes("size")), self.long.stride, cut.x.count)

    def y(self, rows, columns, cut):
        """Return the signals of the output."""
        return Signals(rows, columns, *self.steps(*self._sizes("outputs")), 1, cut.y.count)

    def w(self, rows, columns):
        """Return the signals of the filters."""
        sizes = self.steps(*self._sizes("kernel"))
        return Signals(rows, columns, *sizes, self.long.stride, self.taps)

    def _sizes(self, name):
        return getattr(self.long, name), getattr(self.short, name)

    def steps(self, long, short):
        """Return sizes and steps across and along the axis of the transform."""
        return (short, 1, long, short) if self.upright else (short, long, long, 1)

    def x_positions(self, strips, cut):
        """Return the places of the columns of images of the input."""
        area = self.c * self.long.size * self.short.size
        return self._positions(strips, cut.blocks, area, cut.x, self.long.stride, self.short.stride)

    def y_positions(self, strips, cut):
        """Return the places of the columns of images of the output."""
        area = self.o * self.long.outputs * self.short.outputs
        return self._positions(strips, cut.blocks, area, cut.y, 1, 1)

    def _positions(self, strips, blocks, area, piece, long_stride, short_stride):
        images, parts = strips // blocks, strips % blocks
        along = (piece.first + parts * piece.step) * long_stride
        return _by(_places(images * area, 0, along), _places(0, np.arange(self.width) * short_stride))

    def x_channels(self, group):
        """Return the places of the channels of the input and of the phases of its stride."""
        long, short = self.long, self.short
        first = group * self.inputs
        channels = _places(np.arange(first, first + self.inputs) * (long.size * short.size))
        origin = _places(0, -short.before, -long.before)
        return _by(_by(channels, self._phases()), origin)

    def y_channels(self, group):
        """Return the places of the channels of the output."""
        first = group * self.outputs
        area = self.long.outputs * self.short.outputs
        return _places(np.arange(first, first + self.outputs) * area)

    def w_inputs(self):
        """Return the places of the channels of a filter and of the phases of its stride."""
        channels = _places(np.arange(self.inputs) * (self.long.kernel * self.short.kernel))
        return _by(_by(channels, self._phases()), _places(0, 0, self.first * self.long.stride))

    def w_outputs(self, group):
        """Return the places of the filters."""
        first = group * self.outputs
        size = self.inputs * self.long.kernel * self.short.kernel
        return _places(np.arange(first, first + self.outputs) * size)

    def w_taps(self):
        """Return the places of the taps of the shorter axis."""
        return _places(0, np.arange(self.short.taps) * self.short.stride)

    def _phases(self):
        long, short = np.arange(self.long.stride), np.arange(self.short.stride)
        return _by(_places(0, 0, long), _places(0, short))


def _is_upright(vertical, horizontal):
    """Return whether the transform goes along the height: the longer side of the filter."""
    return (vertical.kernel, vertical.size) >= (horizontal.kernel, horizontal.size)


def _places(offset, across=0, along=0):
    return np.stack(np.broadcast_arrays(*map(np.atleast_1d, (offset, across, along))), 1)


def _by(one, other):
    """Return the sum of each of these places and each of those, those of the latter together."""
    return (one[:, None] + other).reshape(-1, 3)


def _nowhere(count):
    return _places(np.zeros(count, np.int64), NOWHERE)


def _after(places, count):
    return np.concatenate([places, _nowhere(count)])


def _before(places, count):
    return np.concatenate([_nowhere(count), places])


def _run(
    left_array, left, right_array, right, target, result, taps, cut, signs, start,
    row_bias, column_bias, activation, add=False,
):  # fmt: skip
    """Multiply spectra: rows of signals on the left by columns on the right, summed over terms."""
    dtype = target.dtype
    lanes = REGISTERS.size // dtype.itemsize
    plan = transform(cut.length, dtype)
    frequencies = cut.length // 2 + 1
    outer = taps.count if taps.apart else 1
    rows, width = len(result.rows) // outer, len(result.columns)
    halo = taps.count - 1
    halo_rows = taps.right_rows * halo if taps.per_term == 1 else 0
    terms = len(right.rows) // taps.per_term - halo_rows
    block = _block(width, lanes)
    b_row = _in_vectors(block + taps.right_columns * halo, lanes)
    room = BLOCKED // (frequencies * 3 * b_row * dtype.itemsize * taps.per_term)
    some = terms if taps.apart else min(max(room // lanes, 1) * lanes, terms)
    b_plane = _odd((some * taps.per_term + halo_rows) * b_row, lanes)
    a_row = _in_vectors(some + taps.left_columns * halo, lanes)
    a_plane = _odd(len(left.rows) * a_row, lanes)
    a_block = frequencies * 3 * a_plane
    a = np.empty(-(-terms // some) * a_block, dtype)
    source, kernel = left_array.reshape(-1), right_array.reshape(-1)

    def analyse(start, stop):
        for number, term in enumerate(range(0, terms, some)):
            columns = left.columns[term : min(term + some, terms) + taps.left_columns * halo]
            signals = left._replace(rows=left.rows[start:stop], columns=_filled(columns, lanes))
            at = number * a_block + start * a_row
            _analyse(source, signals, plan, False, signs[0], a, at, a_row, a_plane)

    work = len(left.rows) * len(left.columns) * cut.length * 24 // WORK
    in_parts(analyse, len(left.rows), work)
    a_tap = taps.left_rows * a_row + taps.left_columns
    row_room = -(-rows // ROWS) * ROWS
    c_plane = _odd(outer * row_room * block, lanes)
    row_bias = np.zeros(rows * outer, dtype) if row_bias is None else row_bias
    column_bias = np.zeros(width, dtype) if column_bias is None else column_bias
    row_bias, column_bias = row_bias * cut.length, column_bias * cut.length
    flat = target.reshape(-1)

    def part(first, last):
        b = np.zeros(frequencies * 3 * b_plane + b_row, dtype)
        c = np.empty(frequencies * 3 * c_plane + ROWS * block, dtype)
        for at in range(first * block, min(last * block, width), block):
            count = min(block, width - at)
            columns = right.columns[at : at + count + taps.right_columns * halo]
            columns = _filled(columns, lanes)
            for number, term in enumerate(range(0, terms, some)):
                stop = min(term + some, terms)
                chosen = right.rows[term * taps.per_term : stop * taps.per_term + halo_rows]
                signals = right._replace(rows=chosen, columns=columns)
                _analyse(kernel, signals, plan, True, signs[1], b, 0, b_row, b_plane)
                _products(
                    a, number * a_block, a_row, a_plane, a_tap, rows,
                    b, b_row * taps.per_term, b_plane,
                    taps.right_rows * b_row + taps.right_columns,
                    taps.count, stop - term, frequencies,
                    c, block, c_plane, row_room * block if taps.apart else 0, count, term == 0,
                )  # fmt: skip
            columns = _filled(result.columns[at : at + count], lanes)
            # A constant has nothing but a first frequency.
            constant = c[: row_room * block].reshape(row_room, block)
            constant[:rows, :count] += row_bias[:rows, None] + column_bias[at : at + count]
            for tap in range(outer):
                signals = result._replace(
                    rows=result.rows[tap * rows : (tap + 1) * rows], columns=columns
                )
                _synthesise(
                    c, tap * row_room * block, block, c_plane, plan, start, flat, signals,
                    activation, add,
                )  # fmt: skip

    work = frequencies * taps.count * rows * terms * width * 3 // WORK
    in_parts(part, -(-width // block), work)


def _in_vectors(count, lanes):
    return -(-count // lanes) * lanes


def _filled(places, lanes):
    """Return places enough for whole vectors."""
    return _after(places, -len(places) % lanes)


def _odd(size, lanes):
    """Return a size of an odd number of vectors: powers of two would share lines of the cache."""
    return (size // lanes | 1) * lanes


def _block(width, lanes):
    """Return how many columns are worked on at once: a tile, or two thirds of one if that fits."""
    full, middle = REGISTERS.vectors * lanes, (REGISTERS.vectors - 1) * lanes
    if width <= middle or -(-width // middle) * middle < -(-width // full) * full * 0.95:
        return min(middle, _in_vectors(width, lanes))
    return full


@compiled()
def _analyse(source, signals, plan, right, sign, target, first, row_step, plane):
    """Write the spectra of signals as one factor of a product, a matrix per frequency."""
    lanes = REGISTERS.size // target.itemsize
    work, staged = _workspace(plan.length, target)
    for i in range(len(signals.rows)):
        for j in range(0, len(signals.columns), lanes):
            _fetch(source, signals, i, j, work, staged, plan.length)
            spectrum(
                work, plan, right, sign, target, first + i * row_step + j, 3 * plane, plane
            )  # fmt: skip


@compiled()
def _workspace(length, like):
    """Return room for two copies of a vector of signals, and for one that is transposed."""
    lanes = REGISTERS.size // like.itemsize
    room = in_vectors(length, like) * lanes
    # Squares are read whole, also where signals end within.
    return np.zeros(2 * room + lanes * lanes, like.dtype), np.zeros(room, like.dtype)


@compiled()
def _fetch(source, signals, i, j, work, staged, length):
    """Copy signals from row i, columns j and following, each to one lane of vectors."""
    lanes = REGISTERS.size // work.itemsize
    step = signals.stride * signals.along_step
    filled = in_vectors(signals.count, work)
    lane = np.int64(0)  # a bare 0 would be compiled apart
    if step > 1:
        work[: length * lanes] = 0
        while lane < lanes:
            origin, first, stop, run = _run_of_lanes(signals, i, j, lane, lanes)
            for t in range(first, stop):
                if run > 1:
                    copy(work, t * lanes + lane, source, origin + t * step, run)
                else:
                    work[t * lanes + lane] = source[origin + t * step]
            lane += run
        return
    for lane in range(lanes):
        origin, first, stop = _extent(signals, i, j + lane)
        place = lane * filled
        for t in range(first):
            staged[place + t] = 0
        copy(staged, place + first, source, origin + first, stop - first)
        for t in range(stop, filled):
            staged[place + t] = 0
    for t in range(0, filled, lanes):
        transpose(staged, t, filled, work, t * lanes, lanes)
    work[filled * lanes : length * lanes] = 0


@compiled()
def _run_of_lanes(signals, i, j, lane, lanes):
    """Return the extent of a signal, and how many lanes from it on have their signals beside it."""
    origin, first, stop = _extent(signals, i, j + lane)
    run = 1
    while lane + run < lanes:
        other, begin, end = _extent(signals, i, j + lane + run)
        if other != origin + run or begin != first or end != stop:
            break
        run += 1
    return origin, first, stop, run


@compiled()
def _extent(signals, i, j):
    """Return where a signal would begin, and which of its samples are inside the image."""
    row, column = signals.rows[i], signals.columns[j]
    across, along = row[1] + column[1], row[2] + column[2]
    if across < 0 or across >= signals.across:
        return 0, 0, 0
    stride = signals.stride
    first, stop = -along, signals.along - along
    if stride > 1:
        first, stop = (first + stride - 1) // stride, (stop + stride - 1) // stride
    first, stop = max(first, 0), min(stop, signals.count)
    origin = row[0] + column[0] + across * signals.across_step + along * signals.along_step
    return origin, first, max(first, stop)


@compiled()
def _products(
    a, first, a_row, a_plane, a_tap, rows, b, b_row, b_plane, b_tap, taps, terms, frequencies,
    c, c_row, c_plane, c_tap, width, fresh,
):  # fmt: skip
    """Add the products of two matrices per frequency to c: three real ones for a complex one."""
    for f in range(frequencies):
        # The first and the last frequency have no imaginary part.
        planes = 1 if f == 0 or f == frequencies - 1 else 3
        for plane in range(planes):
            at = first + (3 * f + plane) * a_plane
            # a + b meets c, a meets d - c, b meets -(c + d).
            right = b[(3 * f + plane) * b_plane :]
            sums = c[(3 * f + plane) * c_plane :]
            for tap in range(taps):
                multiply(
                    a, at + tap * a_tap, a_row, rows, right[tap * b_tap :], b_row, terms,
                    sums[tap * c_tap :], c_row, width, fresh and (tap == 0 or c_tap > 0),
                )  # fmt: skip


@compiled()
def _synthesise(source, first, row_step, plane, plan, start, target, signals, activation, add):
    """Put signals whose spectra are products where they belong, from sample `start` on."""
    lanes = REGISTERS.size // source.itemsize
    work, staged = _workspace(plan.length, source)
    for i in range(len(signals.rows)):
        for j in range(0, len(signals.columns), lanes):
            at = samples(work, plan, source, first + i * row_step + j, 3 * plane, plane)
            if activation == 1:
                for t in range(at, at + plan.length * lanes):
                    value = work[t]
                    work[t] = 0 if value < 0 else value  # NaN stays
            _put(work, at, staged, start, target, signals, i, j, add)


@compiled()
def _put(work, at, staged, start, target, signals, i, j, add):
    """Copy the lanes of vectors to the signals of row i, columns j and following."""
    lanes = REGISTERS.size // work.itemsize
    step = signals.stride * signals.along_step
    if step > 1 or add:
        lane = np.int64(0)
        while lane < lanes:
            origin, first, stop, run = _run_of_lanes(signals, i, j, lane, lanes)
            for t in range(first, stop):
                place = origin + t * step
                index = at + (start + t) * lanes + lane
                if add:
                    for k in range(run):
                        target[place + k] += work[index + k]
                elif run > 1:
                    copy(target, place, work, index, run)
                else:
                    target[place] = work[index]
            lane += run
        return
    room = in_vectors(signals.count, work)
    at += start * lanes
    for t in range(0, room, lanes):
        transpose(work, at + t * lanes, lanes, staged, t, room)
    for lane in range(lanes):
        origin, first, stop = _extent(signals, i, j + lane)
        copy(target, origin + first, staged, lane * room + first, stop - first)

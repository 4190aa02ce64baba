"""Matrices of signals, taken from arrays as spectra, multiplied, and put back as samples.

There is a matrix per frequency. So the product of two matrices of signals, in which to multiply is
to convolve in a circle, is a product of plain matrices for each frequency, which `tile.py` does. A
complex product takes three real ones (Gauss), which lie in three planes.
"""

from typing import NamedTuple

import numpy as np

from .. import memory
from ..threads import get_num_threads
from .compiled import linked
from .fft import samples, spectrum, transform
from .parallel import WORK, parallel
from .tile import ROWS, multiply
from .vectors import REGISTERS, copy, in_vectors, transpose_square

# Spectra of a block of terms by a block of columns [bytes].
BLOCKED = 2 << 20
# A place of a signal that is 0.
NOWHERE = -(1 << 40)


class Signals(NamedTuple):
    """Where the signals of a matrix lie in an array.

    The place of one is the sum of those of its row and its column: an offset, and where it begins
    across and along the axis of the transform. What lies outside the image is 0.
    """

    rows: np.ndarray
    columns: np.ndarray
    across: int  # size of the image, and the step in the array
    across_step: int
    along: int
    along_step: int
    stride: int
    size: int  # samples


class Matrix(NamedTuple):
    """Signals of an array; their spectra are conjugated where the sign is -1."""

    array: np.ndarray
    signals: Signals
    sign: int = 1

    def place(self, rows, columns):
        """Return the matrix with these rows and columns."""
        return self._replace(signals=self.signals._replace(rows=rows, columns=columns))

    @property
    def rows(self):
        """Return the places of the rows."""
        return self.signals.rows

    @property
    def columns(self):
        """Return the places of the columns."""
        return self.signals.columns

    @property
    def turned(self):
        """Return the matrix with rows and columns exchanged."""
        return self.place(self.columns, self.rows)


class Taps(NamedTuple):
    """How far each tap across the axis moves within the factors, [rows] and [columns].

    The products of taps are added up, or lie apart as matrices one below the other.
    """

    number: int
    left_rows: int = 0
    left_columns: int = 0
    right_rows: int = 0
    right_columns: int = 0
    rows_per_term: int = 1  # of the right factor
    apart: bool = False


def places(offset, across=0, along=0):
    """Return places of signals, one a row."""
    rows = np.empty((np.broadcast(offset, across, along).size, 3), np.int64)
    rows[:, 0], rows[:, 1], rows[:, 2] = offset, across, along
    return rows


def by(one, other):
    """Return the sum of each of these places and each of those, by the former first."""
    return (one[:, None] + other).reshape(-1, 3)


def after(some, count):
    """Return these places and so many that are 0."""
    return np.concatenate([some, places(np.zeros(count, np.int64), NOWHERE)])


def before(some, count):
    """Return so many places that are 0, and these."""
    return np.concatenate([places(np.zeros(count, np.int64), NOWHERE), some])


class Layout(NamedTuple):
    """How the spectra of a product lie in memory: a of the left factor, b of the right one, c.

    Those of the left factor lie there all at once, in blocks of terms; those of the right one and
    of the products for a block of columns, which is work for one thread.
    """

    frequencies: int
    matrices: int
    rows: int  # of a matrix of the result
    width: int
    block: int  # columns at once
    terms: int
    some: int  # terms at once
    left_halo: int  # what taps reach over
    right_halo_rows: int
    right_halo: int
    a_row: int
    a_plane: int
    b_row: int
    b_plane: int
    c_matrix: int
    c_plane: int

    @property
    def planes(self):
        """Return the number of planes: three real products for each frequency."""
        return 3 * self.frequencies

    @property
    def blocks(self):
        """Return the number of blocks of terms."""
        return -(-self.terms // self.some)


def multiply_signals(left, right, result, taps, length, *, start, bias=None, slope=1.0, add=False):
    """Put the products, plus bias (rows, columns), where they belong, from sample `start` on.

    Returns whether one of them is not finite: then all samples of its signal are.
    """
    dtype, workers = result.array.dtype, get_num_threads()
    plan, layout = transform(length, dtype), _layout(left, right, result, taps, length)
    a = memory.empty((layout.blocks * layout.planes * layout.a_plane,), dtype)
    # Squares are read whole, also where signals end within.
    lanes = REGISTERS.size // dtype.itemsize
    room = -(-length // lanes) * lanes * lanes
    works = memory.zeros((workers, 3 * room + lanes * lanes), dtype)
    size = len(left.rows) * len(left.columns) * length * 24
    _analyse_left(
        left.array.reshape(-1), left.signals, left.sign, plan, layout, a, works,
        count=len(left.rows), elements=size // WORK, workers=workers,
    )  # fmt: skip
    bias = dtype.type(0) if bias is None else bias * dtype.type(length)
    spoilt = np.zeros(1, np.int64)
    _columns(
        a, right.array.reshape(-1), right.signals, right.sign, result.array.reshape(-1),
        result.signals, taps, plan, layout, start,
        np.broadcast_to(bias, (layout.rows, layout.width)), dtype.type(slope), add,
        memory.empty((workers, layout.planes * layout.b_plane + lanes), dtype),
        memory.empty((workers, layout.planes * layout.c_plane), dtype), works, spoilt,
        count=-(-layout.width // layout.block), workers=workers,
        elements=layout.planes * layout.rows * layout.terms * taps.number * layout.width // WORK,
    )  # fmt: skip
    return bool(spoilt[0])


def _layout(left, right, result, taps, length):
    itemsize, frequencies = result.array.itemsize, length // 2 + 1
    lanes = REGISTERS.size // itemsize

    def in_vectors(count):
        return -(-count // lanes) * lanes

    def odd(size):  # a number of vectors: powers of two would share few lines of the cache
        return (size // lanes | 1) * lanes

    matrices = taps.number if taps.apart else 1
    rows, width = len(result.rows) // matrices, len(result.columns)
    block, halo = _block(width, lanes), taps.number - 1
    halo_rows = halo * taps.right_rows if taps.rows_per_term == 1 else 0
    terms = len(right.rows) // taps.rows_per_term - halo_rows
    b_row = in_vectors(block + halo * taps.right_columns)
    room = BLOCKED // (3 * frequencies * b_row * itemsize * taps.rows_per_term)
    some = terms if taps.apart else min(max(room // lanes, 1) * lanes, terms)
    a_row = in_vectors(some + halo * taps.left_columns)
    c_matrix = -(-rows // ROWS) * ROWS * block
    return Layout(
        frequencies, matrices, rows, width, block, terms, some,
        halo * taps.left_columns, halo_rows, halo * taps.right_columns,
        a_row, odd(len(left.rows) * a_row),
        b_row, odd((some * taps.rows_per_term + halo_rows) * b_row),
        c_matrix, odd(matrices * c_matrix),
    )  # fmt: skip


def _block(width, lanes):
    """Return how many columns are worked on at once: a tile, or two thirds of one if that fits."""
    full, middle = REGISTERS.vectors * lanes, (REGISTERS.vectors - 1) * lanes
    if width <= middle or -(-width // middle) * middle < -(-width // full) * full * 0.95:
        return min(middle, -(-width // lanes) * lanes)
    return full


@linked()
def _part(signals, row0, row1, column0, column1):
    """Return some rows and columns of signals."""
    return Signals(
        signals.rows[row0:row1], signals.columns[column0:column1], signals.across,
        signals.across_step, signals.along, signals.along_step, signals.stride, signals.size,
    )  # fmt: skip


@parallel()
def _analyse_left(source, signals, sign, plan, layout, a, works, worker, start, stop):
    """Transform some rows of the left factor."""
    planes = 3 * layout.frequencies
    for number, first in enumerate(range(0, layout.terms, layout.some)):
        last = min(first + layout.some, layout.terms) + layout.left_halo
        some = _part(signals, start, stop, first, last)
        at = planes * layout.a_plane * number + start * layout.a_row
        analyse(
            source, some, plan, False, sign, a, at, layout.a_row, layout.a_plane, works[worker]
        )  # fmt: skip


@parallel()
def _columns(
    a, source, right, sign, target, result, taps, plan, layout, first_sample, bias, slope,
    add, b_rooms, c_rooms, works, spoilt, worker, start, stop,
):  # fmt: skip
    """Make the products of some blocks of columns."""
    b, c, work = b_rooms[worker], c_rooms[worker], works[worker]
    for at in range(start * layout.block, min(stop * layout.block, layout.width), layout.block):
        end = min(at + layout.block, layout.width)
        for number, term in enumerate(range(0, layout.terms, layout.some)):
            last = min(term + layout.some, layout.terms)
            _multiply(
                a, number, term, last, source, right, sign, at, end, taps, plan, layout, b, c, work
            )  # fmt: skip
        for row in range(layout.rows):  # a constant has nothing but a first frequency
            for column in range(at, end):
                c[row * layout.block + column - at] += bias[row, column]
        for i in range(layout.matrices):
            some = _part(result, i * layout.rows, (i + 1) * layout.rows, at, end)
            synthesise(
                c, i * layout.c_matrix, layout.block, layout.c_plane, plan, first_sample, target,
                some, slope, add, work, spoilt,
            )  # fmt: skip


@linked()
def _multiply(
    a, number, term, last, source, right, sign, at, end, taps, plan, layout, b, c, work
):  # fmt: skip
    """Add the products of a block of terms for a block of columns."""
    per_term = taps.rows_per_term
    some = _part(
        right, term * per_term, last * per_term + layout.right_halo_rows, at,
        end + layout.right_halo,
    )  # fmt: skip
    analyse(source, some, plan, True, sign, b, 0, layout.b_row, layout.b_plane, work)
    products(
        a, number * 3 * layout.frequencies * layout.a_plane, layout.a_row, layout.a_plane,
        taps.left_rows * layout.a_row + taps.left_columns, layout.rows,
        b, layout.b_row * per_term, layout.b_plane,
        taps.right_rows * layout.b_row + taps.right_columns, taps.number, last - term,
        layout.frequencies, c, layout.block, layout.c_plane,
        layout.c_matrix if taps.apart else 0, end - at, term == 0,
    )  # fmt: skip


@linked()
def analyse(source, signals, plan, right, sign, target, first, row_step, plane, room):
    """Write the spectra of signals as one factor of a product, a matrix per frequency."""
    lanes = REGISTERS.size // target.itemsize
    work, staged = _workspace(plan.length, room)
    for i in range(len(signals.rows)):
        for j in range(0, len(signals.columns), lanes):
            _fetch(source, signals, i, j, work, staged, plan.length)
            place = first + i * row_step + j
            spectrum(work, plan, right, sign, target, place, 3 * plane, plane)


@linked()
def _workspace(length, room):
    """Cut a room for one that is transposed, and for two copies of a vector of signals."""
    size = in_vectors(length, room) * in_vectors(1, room)
    return room[size:], room[:size]


@linked()
def _fetch(source, signals, i, j, work, staged, length):
    """Copy signals from row i, columns j and following, each to one lane of vectors."""
    lanes = REGISTERS.size // work.itemsize
    step = signals.stride * signals.along_step
    filled = in_vectors(signals.size, work)
    lane = 0
    if step > 1:
        work[: length * lanes] = 0
        while lane < lanes:
            origin, first, stop, run = _run_of_lanes(signals, i, j + lane, j + lanes)
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
        transpose_square(staged, t, filled, work, t * lanes, lanes)
    work[filled * lanes : length * lanes] = 0


@linked()
def _run_of_lanes(signals, i, j, end):
    """Return the extent of a signal, and how many columns from it on hold neighbours in memory."""
    origin, first, stop = _extent(signals, i, j)
    run = 1
    while j + run < end and _extent(signals, i, j + run) == (origin + run, first, stop):
        run += 1
    return origin, first, stop, run


@linked()
def _extent(signals, i, j):
    """Return where a signal would begin, and which of its samples are inside the image."""
    if j >= len(signals.columns):  # the last vector may be wider
        return 0, 0, 0
    row, column = signals.rows[i], signals.columns[j]
    across, along = row[1] + column[1], row[2] + column[2]
    if across < 0 or across >= signals.across:
        return 0, 0, 0
    stride = signals.stride
    first, stop = -along, signals.along - along
    if stride > 1:
        first, stop = (first + stride - 1) // stride, (stop + stride - 1) // stride
    first, stop = min(max(first, 0), signals.size), min(stop, signals.size)
    origin = row[0] + column[0] + across * signals.across_step + along * signals.along_step
    return origin, first, max(first, stop)


@linked()
def products(
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


@linked()
def synthesise(
    source, first, row_step, plane, plan, start, target, signals, slope, add, room, spoilt
):  # fmt: skip
    """Put signals whose spectra are products where they belong, from sample `start` on.

    `spoilt` becomes 1 where one is not finite.
    """
    lanes = REGISTERS.size // source.itemsize
    work, staged = _workspace(plan.length, room)
    for i in range(len(signals.rows)):
        for j in range(0, len(signals.columns), lanes):
            at = samples(work, plan, source, first + i * row_step + j, 3 * plane, plane)
            # The first two samples are sums of all real, and of all imaginary parts. Lanes without
            # a column have no meaning.
            for t in range(at, at + min(lanes, len(signals.columns) - j)):
                if not (np.isfinite(work[t]) and np.isfinite(work[t + lanes])):
                    spoilt[0] = 1
            if slope != 1:
                for t in range(at, at + plan.length * lanes):
                    value = work[t]
                    low = value * slope if slope else slope  # an infinity times 0 would be NaN
                    work[t] = low if value < 0 else value  # NaN stays
            _put(work, at, staged, start, target, signals, i, j, add)


@linked()
def _put(work, at, staged, start, target, signals, i, j, add):
    """Copy the lanes of vectors to the signals of row i, columns j and following."""
    lanes = REGISTERS.size // work.itemsize
    step = signals.stride * signals.along_step
    if step > 1 or add:
        lane = 0
        while lane < lanes:
            origin, first, stop, run = _run_of_lanes(signals, i, j + lane, j + lanes)
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
    room = in_vectors(signals.size, work)
    at += start * lanes
    for t in range(0, room, lanes):
        transpose_square(work, at + t * lanes, lanes, staged, t, room)
    for lane in range(lanes):
        origin, first, stop = _extent(signals, i, j + lane)
        copy(target, origin + first, staged, lane * room + first, stop - first)

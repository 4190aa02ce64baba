"""Matrices of signals, taken from arrays as spectra, multiplied, and put back as samples.

There is a matrix per frequency. So the product of two matrices of signals, in which to multiply is
to convolve in a circle, is a product of plain matrices for each frequency, which `tile.py` does. A
complex product takes three real ones (Gauss), which lie in three planes.
"""

from typing import NamedTuple

import numpy as np

from .. import memory
from .compiled import compiled
from .fft import samples, spectrum, transform
from .parallel import WORK, in_parts
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
    return np.stack(np.broadcast_arrays(*map(np.atleast_1d, (offset, across, along))), 1)


def by(one, other):
    """Return the sum of each of these places and each of those, by the former first."""
    return (one[:, None] + other).reshape(-1, 3)


def after(some, count):
    """Return these places and so many that are 0."""
    return np.concatenate([some, places(np.zeros(count, np.int64), NOWHERE)])


def before(some, count):
    """Return so many places that are 0, and these."""
    return np.concatenate([places(np.zeros(count, np.int64), NOWHERE), some])


class Product:
    """A product of two matrices of signals: what is read, and how its spectra lie in memory.

    The spectra of the left factor lie there all at once, in blocks of terms; those of the right one
    and of the products for a block of columns, which is work for one thread.
    """

    def __init__(self, left, right, result, taps, length):
        self.left, self.right, self.result, self.taps = left, right, result, taps
        self.dtype = result.array.dtype
        self.lanes = REGISTERS.size // self.dtype.itemsize
        self.plan = transform(length, self.dtype)
        self.frequencies = length // 2 + 1
        self.matrices = taps.number if taps.apart else 1
        self.rows, self.width = len(result.rows) // self.matrices, len(result.columns)
        self.block = _block(self.width, self.lanes)

        planes, halo = 3 * self.frequencies, taps.number - 1
        halo_rows = halo * taps.right_rows if taps.rows_per_term == 1 else 0
        self.halo = halo * taps.left_columns, halo_rows, halo * taps.right_columns
        self.terms = len(right.rows) // taps.rows_per_term - halo_rows
        self.b_row = self.in_vectors(self.block + self.halo[2])
        room = BLOCKED // (planes * self.b_row * self.dtype.itemsize * taps.rows_per_term)
        some = max(room // self.lanes, 1) * self.lanes
        self.some = self.terms if taps.apart else min(some, self.terms)
        self.b_plane = self.odd((self.some * taps.rows_per_term + halo_rows) * self.b_row)
        self.a_row = self.in_vectors(self.some + self.halo[0])
        self.a_plane = self.odd(len(left.rows) * self.a_row)
        self.c_matrix = -(-self.rows // ROWS) * ROWS * self.block
        self.c_plane = self.odd(self.matrices * self.c_matrix)
        size = -(-self.terms // self.some) * planes * self.a_plane
        self.a = memory.empty((size,), self.dtype)

    def in_vectors(self, count):
        """Return how many numbers whole vectors have that hold so many."""
        return -(-count // self.lanes) * self.lanes

    def odd(self, size):
        """Return an odd number of vectors: powers of two would share few lines of the cache."""
        return (size // self.lanes | 1) * self.lanes

    def run(self, start, bias=None, activation=0, add=False):
        """Put the products, plus bias (rows, columns), where they belong, from `start` on."""
        left = self.left
        size = len(left.rows) * len(left.columns) * self.plan.length * 24
        in_parts(self.analyse_left, len(left.rows), size // WORK)
        if bias is not None:
            bias = np.broadcast_to(bias * self.plan.length, (self.rows, self.width))
        terms = self.terms * self.taps.number
        in_parts(
            lambda first, last: self.columns(first, last, start, bias, activation, add),
            -(-self.width // self.block),
            3 * self.frequencies * self.rows * terms * self.width // WORK,
        )

    def blocks(self):
        """Return the blocks of terms: their number, the first term, and one more than the last."""
        firsts = range(0, self.terms, self.some)
        return [(i, first, min(first + self.some, self.terms)) for i, first in enumerate(firsts)]

    def analyse_left(self, start, stop):
        """Transform some rows of the left factor."""
        array = self.left.array.reshape(-1)
        for number, first, last in self.blocks():
            columns = self.filled(self.left.columns[first : last + self.halo[0]])
            signals = self.left.place(self.left.rows[start:stop], columns).signals
            at = 3 * self.frequencies * self.a_plane * number + start * self.a_row
            analyse(
                array, signals, self.plan, False, self.left.sign, self.a, at, self.a_row,
                self.a_plane,
            )  # fmt: skip

    def columns(self, first, last, start, bias, activation, add):
        """Make the products of some blocks of columns."""
        planes = 3 * self.frequencies
        b = memory.empty((planes * self.b_plane + self.lanes,), self.dtype)
        c = memory.empty((planes * self.c_plane,), self.dtype)
        for at in range(first * self.block, min(last * self.block, self.width), self.block):
            stop = min(at + self.block, self.width)
            for number, term, end in self.blocks():
                self.multiply(number, term, end, at, stop, b, c)
            if bias is not None:  # a constant has nothing but a first frequency
                sums = c[: self.c_matrix].reshape(-1, self.block)[: self.rows, : stop - at]
                sums += bias[:, at:stop]
            self.put(at, stop, c, start, activation, add)

    def multiply(self, number, term, end, at, stop, b, c):
        """Add the products of a block of terms for a block of columns."""
        taps = self.taps
        per_term, halo = taps.rows_per_term, self.halo
        rows = self.right.rows[term * per_term : end * per_term + halo[1]]
        columns = self.filled(self.right.columns[at : stop + halo[2]])
        signals, array = self.right.place(rows, columns).signals, self.right.array.reshape(-1)
        analyse(
            array, signals, self.plan, True, self.right.sign, b, 0, self.b_row, self.b_plane
        )  # fmt: skip
        products(
            self.a, number * 3 * self.frequencies * self.a_plane, self.a_row, self.a_plane,
            taps.left_rows * self.a_row + taps.left_columns, self.rows,
            b, self.b_row * per_term, self.b_plane,
            taps.right_rows * self.b_row + taps.right_columns, taps.number, end - term,
            self.frequencies, c, self.block, self.c_plane, self.c_matrix if taps.apart else 0,
            stop - at, term == 0,
        )  # fmt: skip

    def put(self, at, stop, c, start, activation, add):
        """Put the products of a block of columns where they belong."""
        columns = self.filled(self.result.columns[at:stop])
        target = self.result.array.reshape(-1)
        for i in range(self.matrices):
            rows = self.result.rows[i * self.rows : (i + 1) * self.rows]
            synthesise(
                c, i * self.c_matrix, self.block, self.c_plane, self.plan, start, target,
                self.result.place(rows, columns).signals, activation, add,
            )  # fmt: skip

    def filled(self, some):
        """Return places enough for whole vectors."""
        return after(some, -len(some) % self.lanes)


def _block(width, lanes):
    """Return how many columns are worked on at once: a tile, or two thirds of one if that fits."""
    full, middle = REGISTERS.vectors * lanes, (REGISTERS.vectors - 1) * lanes
    if width <= middle or -(-width // middle) * middle < -(-width // full) * full * 0.95:
        return min(middle, -(-width // lanes) * lanes)
    return full


@compiled()
def analyse(source, signals, plan, right, sign, target, first, row_step, plane):
    """Write the spectra of signals as one factor of a product, a matrix per frequency."""
    lanes = REGISTERS.size // target.itemsize
    work, staged = _workspace(plan.length, target)
    for i in range(len(signals.rows)):
        for j in range(0, len(signals.columns), lanes):
            _fetch(source, signals, i, j, work, staged, plan.length)
            place = first + i * row_step + j
            spectrum(work, plan, right, sign, target, place, 3 * plane, plane)


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


@compiled()
def _run_of_lanes(signals, i, j, end):
    """Return the extent of a signal, and how many columns from it on hold neighbours in memory."""
    origin, first, stop = _extent(signals, i, j)
    run = 1
    while j + run < end and _extent(signals, i, j + run) == (origin + run, first, stop):
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
    first, stop = min(max(first, 0), signals.size), min(stop, signals.size)
    origin = row[0] + column[0] + across * signals.across_step + along * signals.along_step
    return origin, first, max(first, stop)


@compiled()
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


@compiled()
def synthesise(source, first, row_step, plane, plan, start, target, signals, activation, add):
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

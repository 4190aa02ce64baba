"""Convolution through the Fourier transform, for signals and filters of one axis.

There the sum over taps becomes one product per frequency, whose terms are channels and the phases
of a stride. So the number of multiplications hardly depends on the length of the filters. All three
passes are the same product of inputs, filters and outputs, of which the one that is missing is the
result. cuFFT transforms, and cuBLAS multiplies complex matrices, one for each frequency.

Taps that meet nothing but padding are left out. Between the ends of a signal stand only as many
zeros as the taps reach over at one end: both ends share them. Long signals are cut into blocks.

A number that is not finite spoils more than the samples whose windows see it, and of what cuFFT
transforms at once perhaps all. So `join_signals` notes on the GPU whether there is any, and
`conv_direct` is launched in any case, to do the pass by its definition if so: the CPU waits for
nothing. Results have the same bits each time on the same GPU and versions (NVIDIA, "cuFFT",
accuracy and performance).

Mathieu, Henaff & LeCun, "Fast training of convolutional networks through FFTs", 2014.
"""

from functools import lru_cache
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from . import blas, conv_direct
from .launch import Launcher, contiguous, empty, engine, zeros
from .product import strides

_launch = Launcher("conv_fft.cu")
# Signals longer than this are cut into blocks of this length, or of 4 times their taps [samples].
# So many find room in the shared memory of a multiprocessor.
LONGEST = 4096
WORKSPACE = 1 << 28  # for signals and spectra, unless one position takes more [bytes]
TILE, BLOCK = 32, 256  # as in conv_fft.cu
# What the choice counts with: of an H200, expected from its data sheet and published measurements
# and not measured here. A multiplication of complex matrices reaches half of what cuBLAS does for
# large real ones, since they are small; copies of which one side is apart in memory, 70 % of its
# bandwidth.
FLOPS = 24e12
BANDWIDTH = 3e12  # [bytes / s]
LAUNCH = 5e-6  # [s]
LAUNCHES = 13  # of a group
# Numbers are written and read as signals, as spectra, and as spectra frequency by frequency; all
# three are in memory for a while.
VISITS, FORMS = 6, 3


class Cut(NamedTuple):
    """How signals are cut: the length of their transform, and their blocks.

    Of a phase of the inputs, counted with the padding before them, block i has samples from
    `x + i * step` on; of the outputs from `y + i * step` on. Of each phase of a filter there are so
    many taps, from `first` on. In results `start` samples stand before those of the block.
    """

    length: int
    blocks: int
    step: int
    x: int
    y: int
    start: int
    first: int
    taps: int


def is_there():
    """Return whether cuFFT and cuBLAS may be called."""
    return bool(engine().cublas() and engine().fourier())


def seconds(layer, dtype):
    """Return about how long each pass takes, infinity where it cannot be done so."""
    axis = _axis_of(layer)
    if axis is None or layer.dilation[axis] > 1 or layer.multiply_adds < 1:
        return inf
    work = Work(layer, dtype)
    if work.cut.taps < 1:
        return inf
    length, positions = work.cut.length, layer.n * work.cut.blocks
    signals = positions * (work.inputs + work.outputs) + work.inputs * work.outputs
    moved = VISITS * signals * length * dtype.itemsize
    products = 8 * (length // 2 + 1) * positions * work.inputs * work.outputs
    each = moved / BANDWIDTH + products / FLOPS + LAUNCHES * LAUNCH
    return layer.groups * each


def convolve(x, w, b, layer, slope):
    """Convolve x with w, add b or None, and multiply what is then below 0 by the slope."""
    x, w, work = contiguous(x), contiguous(w), Work(layer, x.dtype)
    y, spoilt = empty(x, (layer.n, layer.o, *layer.windows)), _nothing_spoilt(x)
    for group, filters in work.filters():
        of_filters = work.spectra(w, work.w(filters), sign=-1)
        for some in work.strips(filters):
            found = _product(work.spectra(x, work.x(group, some)), of_filters.turned)
            work.join(found, b, y, spoilt, work.y(filters, some), slope)
    return conv_direct.convolve(x, w, b, layer, slope, y, spoilt)


def convolve_back(dy, w, b, layer):
    """Return the adjoint of a convolution, plus b or None."""
    dy, w, work = contiguous(dy), contiguous(w), Work(layer, dy.dtype, is_back=True)
    dx, spoilt = empty(dy, (layer.n, layer.c, *layer.size)), _nothing_spoilt(dy)
    for group, parts in groupby(work.filters(), itemgetter(0)):
        filters = [some for _, some in parts]
        for strip in work.strips(filters[0]):
            found = None
            for some in filters:
                slopes = work.spectra(dy, work.y(some, strip, work.cut.length))
                found = _product(slopes, work.spectra(w, work.w(some)), found)
            work.join(found, b, dx, spoilt, work.x(group, strip, work.cut.step))
    return conv_direct.convolve_back(dy, w, b, layer, dx, spoilt)


def correlate(dy, x, layer):
    """Return the gradient (o, c/groups, ...) of the filters of a convolution."""
    dy, x, work = contiguous(dy), contiguous(x), Work(layer, x.dtype)
    # Taps that meet nothing but padding are in no signal.
    dw = zeros(x, (layer.o, layer.c // layer.groups, *layer.kernel_size))
    spoilt = _nothing_spoilt(x)
    for group, filters in work.filters():
        found = None
        for strip in work.strips(filters):
            slopes = work.spectra(dy, work.y(filters, strip), sign=-1)
            found = _product(slopes.turned, work.spectra(x, work.x(group, strip)), found)
        work.join(found, None, dw, spoilt, work.w(filters))
    return conv_direct.correlate(dy, x, layer, dw, spoilt)


def _axis_of(layer):
    """Return the axis with more than one sample, None where both have."""
    for axis in (1, 0):
        other = 1 - axis
        is_one = layer.size[other] == layer.kernel_size[other] == layer.windows[other] == 1
        if is_one and layer.padding[other][0] == 0:
            return axis
    return None


class Spectra(NamedTuple):
    """A complex matrix (rows, columns) for each frequency."""

    numbers: Any
    rows: int
    columns: int
    is_turned: bool = False

    @property
    def turned(self):
        """The transposed matrices, in the same memory."""
        return Spectra(self.numbers, self.columns, self.rows, not self.is_turned)

    @property
    def strides(self):
        """How far apart neighbours lie in memory."""
        size = self.rows * self.columns
        if self.is_turned:
            return strides(batch=size, row=1, column=self.rows)
        return strides(batch=size, row=self.columns, column=1)


class Work:
    """A pass over a layer: where its signals lie, and what becomes of them.

    Positions are the blocks of all images. `inputs` and `outputs` are the signals of a group at one
    position: channels, and of inputs their phases.
    """

    def __init__(self, layer, dtype, is_back=False):
        self.layer, self.dtype, axis = layer, dtype, _axis_of(layer)
        self.size, self.windows = layer.size[axis], layer.windows[axis]
        self.taps, self.stride = layer.kernel_size[axis], layer.stride[axis]
        self.before = layer.padding[axis][0]
        self.cut = cut_of(self.size, self.taps, self.stride, self.before, self.windows, is_back)
        self.inputs = layer.c // layer.groups * self.stride
        self.outputs = layer.o // layer.groups

    def filters(self):
        """Yield groups, and as many of their filters at a time as there is room for."""
        for group in range(self.layer.groups):
            every = range(group * self.outputs, (group + 1) * self.outputs)
            yield from ((group, some) for some in self._fitting(every, self.inputs))

    def strips(self, filters):
        """Return as many positions at a time as there is room for beside the filters."""
        every = range(self.layer.n * self.cut.blocks)
        return self._fitting(every, self.inputs + len(filters))

    def _fitting(self, numbers, signals):
        """Cut numbers into pieces, for each of which so many signals have room."""
        bytes_of_one = FORMS * signals * self.cut.length * self.dtype.itemsize
        count = max(WORKSPACE // 2 // bytes_of_one, 1)
        return [numbers[first : first + count] for first in range(0, len(numbers), count)]

    def x(self, group, positions, window=None):
        """Return the signals of a group's inputs, of all samples or of those of a result."""
        channels = self.layer.c // self.layer.groups
        return self._signals(
            positions, range(group * channels, (group + 1) * channels), self.layer.c,
            size=self.size, stride=self.stride, before=self.before,
            first=self.cut.x, window=window or self.cut.length,
        )  # fmt: skip

    def y(self, filters, positions, window=None):
        """Return the signals of outputs, of those of a result or of so many samples."""
        return self._signals(
            positions, filters, self.layer.o, size=self.windows,
            first=self.cut.y, window=window or self.cut.step,
        )  # fmt: skip

    def w(self, filters):
        """Return the signals of filters, phase by phase."""
        channels = range(self.layer.c // self.layer.groups)
        return self._signals(
            filters, channels, len(channels), size=self.taps, stride=self.stride,
            blocks=1, first=self.cut.first, window=self.cut.taps, start=0,
        )  # fmt: skip

    def _signals(self, positions, channels, all_channels, **others):
        whole = dict(stride=1, before=0, blocks=self.cut.blocks, start=self.cut.start)
        return whole | others | dict(
            position=positions.start, positions=len(positions), channel=channels.start,
            channels=len(channels), all_channels=all_channels, step=self.cut.step,
            length=self.cut.length,
        )  # fmt: skip

    def spectra(self, array, signals, sign=1):
        """Return the spectra of signals, conjugated where the sign is -1."""
        rows, columns = signals["positions"], signals["channels"] * signals["stride"]
        samples = empty(array, (rows * columns, self.cut.length))
        _launch("cut_signals", array, samples, signals, threads=samples.size)
        spectra = engine().fourier().rfft(samples)
        return Spectra(_turned(spectra, sign), rows, columns)

    def join(self, spectra, bias, array, spoilt, signals, slope=1.0):
        """Write what has these spectra into an array."""
        # The transform may overwrite what it is given, and leaves a factor to `join_signals`.
        options = dict(n=self.cut.length, norm="forward", overwrite_x=True)
        samples = engine().fourier().irfft(_turned(spectra.numbers), **options)
        bias = bias if bias is None else contiguous(bias)
        threads = len(samples) * signals["window"]
        _launch("join_signals", samples, bias, array, spoilt, signals, slope, threads=threads)


@lru_cache(maxsize=1024)
def cut_of(size, kernel, stride, before, windows, is_back):
    """Return how the signals of a convolution along one axis are cut.

    To go back is to spread outputs over inputs: results are blocks of the inputs then.
    """
    taps, begin, end = -(-kernel // stride), before // stride, (size - 1 + before) // stride + 1
    first = max(0, begin - windows + 1)
    taps = min(taps, end) - first
    whole = max(end - first, windows + first + taps - 1 - begin, windows, taps)
    if whole <= LONGEST:
        length = _smooth(whole)
        return Cut(length, 1, length, first, 0, 0, first, taps)
    results = end - begin if is_back else windows
    blocks = -(-results // (max(LONGEST, 4 * taps) - taps + 1))
    step = -(-results // blocks)
    length = _smooth(step + taps - 1)
    if is_back:
        return Cut(length, blocks, step, begin, begin - first - taps + 1, taps - 1, first, taps)
    return Cut(length, blocks, step, first, 0, 0, first, taps)


def _smooth(least):
    """Return the least even number from here on that has no factor above 7, for cuFFT's sake."""
    number = least + least % 2
    while True:
        rest = number
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return number
        number += 2


def _turned(spectra, sign=1):
    """Return the transposed array (rows, columns), conjugated where the sign is -1."""
    rows, columns = spectra.shape
    turned = empty(spectra, (columns, rows))
    reals = spectra.real.dtype
    tiles = -(-rows // TILE) * -(-columns // TILE)
    arguments = spectra.view(reals), turned.view(reals), rows, columns, sign
    _launch("turn_spectra", *arguments, threads=tiles * BLOCK)
    return turned


def _product(a, b, found=None):
    """Return the products of matrices, frequency by frequency, added to what was found."""
    is_added = found is not None
    if not is_added:
        found = Spectra(empty(a.numbers, (len(a.numbers), a.rows * b.columns)), a.rows, b.columns)
    product = dict(
        rows=a.rows, columns=b.columns, inner=a.columns, batches=len(a.numbers), groups=1, terms=1,
        a=a.strides, b=b.strides, c=found.strides,
    )  # fmt: skip
    arrays = a.numbers, b.numbers, found.numbers
    calls = blas.calls_for(*arrays, product)
    blas.multiply(engine().cublas(), calls, *arrays, product, is_added)
    return found


def _nothing_spoilt(like):
    """Return a note on the device that no number has come to where it does not belong."""
    return zeros(like, (1,), np.int32)

"""Convolution of stride 1 with fewer multiplications: Winograd's minimal filtering.

Images are cut into tiles that overlap, tiles and filters are taken to the frequencies of F(m, r),
multiplied there, one matrix product of channels per frequency, and taken back. F(4x4, 3x3) takes 4
times fewer multiplications than the definition, F(2x2, 3x3) 2.25 times, F(4, 3) on one axis twice.

All steps work on vectors of channels, as if images were stored pixel by pixel: so a tile at an
edge, or an image smaller than a tile, costs what any other does.

It rounds more than the definition, and one NaN or infinity spoils the whole tile that it lies in.

Lavin & Gray, "Fast algorithms for convolutional neural networks", 2016.
"""

from math import ceil
from typing import NamedTuple

import numpy as np

from .compiled import compiled
from .parallel import in_parts
from .tile import REGISTERS, ROWS, aligned, columns, in_vectors, multiply, multiply_across
from .winograd_transforms import load_pixels, matrix, store_pixels, transform

# Tiles that are multiplied at once: their frequencies lie in the cache beside some filters.
BLOCK = 48
# Channels that are summed up before they are added to the others: half the rounding for 512, and
# no slower.
CHANNELS = 128
# Tiles over which a weight gradient sums up before it adds to what it has.
TERMS = 64
# Filters and panels of channels whose gradient is summed up at once.
MOST_ROWS, MOST_PANELS = 128, 3
# Frequencies of filters that are kept at once, in the third cache [elements]. More, and the system
# would map fresh memory for them in every call, which takes longer than the transform.
KEPT = 1 << 21
# Pixels of a row that are turned into vectors at once.
PIXELS = 64
# What rows and planes are longer than they need be: the powers of two apart, they would drive each
# other out of the cache.
SPARE = 16
# Filters whose transforms are computed side by side.
SIDE = 8
# As many multiply-adds take as long as `in_parts` takes for one number.
WORK = 32


class Tiles(NamedTuple):
    """Where tiles lie in images of (h, w): their number, size, distance and first corner."""

    h: int
    w: int
    rows: int
    columns: int
    height: int
    width: int
    step_h: int
    step_w: int
    top: int
    left: int


class Bank(NamedTuple):
    """The filters of one group as they lie in w [elements], and what takes them to frequencies."""

    terms: int
    outputs: int
    term_step: int
    output_step: int
    size: int
    kh: int
    kw: int
    flipped: bool
    h: int
    w: int
    samples_h: int
    samples_w: int


class Matrices(NamedTuple):
    """The matrices that take both axes to frequencies or back, and the number of frequencies."""

    h: int
    w: int
    samples_h: int
    samples_w: int


def conv2d(x, w, b, y, activation, *, m, padding, groups, filters=None):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow).

    m is the size of a tile of y. `transform_filters` makes filters that serve several calls.
    """
    (top, _), (left, _) = padding
    _convolve(x, w, filters, False, b, y, activation, m, (top, left), groups)


def conv2d_input_grad(dy, w, b, dx, *, m, padding, groups):
    """Return in dx (n, c, h, w) what filters w (o, c/groups, kh, kw) make of dy, plus b (c,)."""
    (top, _), (left, _) = padding
    first = w.shape[2] - 1 - top, w.shape[3] - 1 - left
    _convolve(dy, w, None, True, b, dx, 0, m, first, groups)


def transform_filters(w, *, m, groups):
    """Return the frequencies of w (o, c/groups, kh, kw) for tiles of size m, in turns."""
    bank = _bank(w, m, groups, False)
    turns = _turns(bank, w)
    filters = np.empty((groups, turns, _size(bank, turns, w)), w.dtype)
    for group in range(groups):
        for turn in range(turns):
            j0, j1 = _cut(turn, turns, bank.outputs, w.dtype)
            _transform(w, bank, group, j0, j1, filters[group, turn])
    return filters


def conv2d_weight_grad(dy, x, dw, *, m, padding, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    n, o, oh, ow = dy.shape
    _, c, kh, kw = dw.shape
    o //= groups
    (top, _), (left, _) = padding
    rows, cols = -(-oh // m[0]), -(-ow // m[1])
    roles = "input", "slopes", "filters_grad"
    of_x, of_dy, back = (_matrices(role, m, (kh, kw)) for role in roles)
    inputs = Tiles(*x.shape[2:], rows, cols, of_x.samples_h, of_x.samples_w, *m, top, left)
    slopes = Tiles(oh, ow, rows, cols, *m, *m, 0, 0)
    tiles = n * rows * cols
    if not tiles:
        dw.fill(0)
        return
    flat_x, flat_dy = x.reshape(-1), dy.reshape(-1)
    o_parts, c_parts = -(-o // MOST_ROWS), -(-c // (MOST_PANELS * columns(x.dtype)))
    # A small gradient is summed up in several parts of the tiles, for several threads to do.
    # Their number depends on the sizes alone, and so does the result.
    parts = max(1, min(8 // (o_parts * c_parts), tiles // (2 * TERMS)))
    partial = dw[None] if parts == 1 else np.empty((parts, *dw.shape), dw.dtype)

    def some(start, stop):
        for task in range(start, stop):
            rest, part = divmod(task, parts)
            rest, i = divmod(rest, o_parts)
            group, j = divmod(rest, c_parts)
            _weight_grad(
                flat_dy, flat_x, partial[part].reshape(-1), slopes, inputs, of_dy, of_x, back,
                kh, kw, group, groups, o, c,
                i * o // o_parts, (i + 1) * o // o_parts, *_cut(j, c_parts, c, x.dtype),
                part * tiles // parts, (part + 1) * tiles // parts,
            )  # fmt: skip

    work = tiles * of_x.samples_h * of_x.samples_w * groups * o * c // WORK
    in_parts(some, groups * o_parts * c_parts * parts, work)
    if parts > 1:
        np.sum(partial, axis=0, out=dw)


def _matrices(role, m, r):
    (mh, mw), (rh, rw) = m, r
    return Matrices(matrix(role, mh, rh), matrix(role, mw, rw), mh + rh - 1, mw + rw - 1)


def _cut(part, parts, count, dtype):
    """Return where one of the parts of so many channels begins and ends: between panels."""
    panel = columns(dtype)
    panels = -(-count // panel)
    return part * panels // parts * panel, min((part + 1) * panels // parts * panel, count)


def _bank(w, m, groups, flipped):
    """Describe the filters of one group: for the input gradient, inputs and outputs swap roles."""
    o, c, kh, kw = w.shape
    o //= groups
    sizes = (o, c, c * kh * kw, kh * kw) if flipped else (c, o, kh * kw, c * kh * kw)
    return Bank(*sizes, o * c * kh * kw, kh, kw, flipped, *_matrices("filters", m, (kh, kw)))


def _turns(bank, w):
    """Return in how many turns the filters are done: their frequencies stay in the third cache."""
    panel = bank.samples_h * bank.samples_w * bank.terms * columns(w.dtype)
    return ceil(ceil(bank.outputs / columns(w.dtype)) / max(KEPT // panel, 1))


def _size(bank, turns, w):
    """Return how many frequencies the largest turn has."""
    panels = ceil(ceil(bank.outputs / columns(w.dtype)) / turns)
    plane = min(panels * columns(w.dtype), in_vectors(bank.outputs, w)) * bank.terms
    return bank.samples_h * bank.samples_w * (plane + SPARE)


def _transform(w, bank, group, j0, j1, u):
    """Take filters j0 to j1 of a group to the frequencies, u."""
    lanes = REGISTERS.size // w.itemsize
    flat = w.reshape(-1)
    in_parts(
        lambda start, stop: _filters(
            flat, bank, group, u, j0, j0 + start * lanes, min(j0 + stop * lanes, j1), j1
        ),
        -(-(j1 - j0) // lanes), u.size,
    )  # fmt: skip


def _convolve(x, w, filters, flipped, b, y, activation, m, first, groups):
    n, _, height, width = x.shape
    _, _, oh, ow = y.shape
    bank, r = _bank(w, m, groups, flipped), w.shape[2:]
    to, back = _matrices("input", m, r), _matrices("output", m, r)
    rows, cols = -(-oh // m[0]), -(-ow // m[1])
    inputs = Tiles(height, width, rows, cols, to.samples_h, to.samples_w, *m, *first)
    results = Tiles(oh, ow, rows, cols, *m, *m, 0, 0)
    tiles = n * rows * cols
    if not tiles:
        return
    bias = np.zeros(in_vectors(groups * bank.outputs, x) + SPARE, x.dtype)
    if b is not None:
        bias[: len(b)] = b
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    turns, blocks = _turns(bank, w), -(-tiles // BLOCK)
    if filters is None:
        u = aligned(_size(bank, turns, w), w)
    for group in range(groups):
        for turn in range(turns):
            j0, j1 = _cut(turn, turns, bank.outputs, w.dtype)
            if filters is None:
                _transform(w, bank, group, j0, j1, u)
            else:
                u = filters[group, turn]
            # Few tiles are done by several pieces of the filters, for several threads.
            pieces = max(1, min(-(-8 // blocks), (j1 - j0) // (2 * columns(w.dtype))))

            def part(start, stop, group=group, u=u, j0=j0, j1=j1, pieces=pieces):
                while start < stop:
                    piece, block = divmod(start, blocks)
                    count = min(stop - start, blocks - block)
                    k0, k1 = _cut(piece, pieces, j1 - j0, w.dtype)
                    _products(
                        flat_x, u, bias, flat_y, activation, inputs, results, to, back,
                        group, groups, bank.terms, bank.outputs, j0, j0 + k0, j0 + k1, j1,
                        block * tiles // blocks, (block + count) * tiles // blocks, count,
                    )  # fmt: skip
                    start += count

            work = tiles * to.samples_h * to.samples_w * (j1 - j0) * bank.terms // WORK
            in_parts(part, blocks * pieces, work)


@compiled()
def _products(
    x, u, bias, y, activation, inputs, results, to, back, group, groups, c, outputs, j0, k0, k1, j1,
    t0, t1, blocks,
):  # fmt: skip
    """Make the results of filters k0 to k1, of j0 to j1 in u, on tiles t0 to t1, in blocks."""
    lanes = REGISTERS.size // x.itemsize
    panel, frequencies = REGISTERS.vectors * lanes, to.samples_h * to.samples_w
    room = (t1 - t0 + blocks - 1) // blocks + ROWS
    u_plane = in_vectors(j1 - j0, x) * c + SPARE
    v_row, s_row = in_vectors(c, x) + SPARE, in_vectors(k1 - k0, x) + SPARE
    v_plane, s_plane = room * v_row, room * s_row
    v = aligned(frequencies * v_plane, x)
    sums = aligned(frequencies * s_plane, x)
    for block in range(blocks):
        start = t0 + block * (t1 - t0) // blocks
        stop = t0 + (block + 1) * (t1 - t0) // blocks
        _enter(x, group * c, groups * c, c, inputs, to, start, stop, v, v_row, v_plane)
        for f in range(frequencies):
            for k in range(k0, k1, panel):
                # The last panel is as wide as it needs to be.
                width = in_vectors(min(panel, k1 - k), x)
                for term in range(0, c, CHANNELS):
                    multiply(
                        v, f * v_plane + term, v_row, stop - start,
                        u[f * u_plane + (k - j0) * c + term * width :], width,
                        min(CHANNELS, c - term), sums[f * s_plane + k - k0 :], s_row, width,
                        term == 0,
                    )  # fmt: skip
        _leave(
            sums, s_row, s_plane, results, back, start, stop, bias, activation, y,
            group * outputs + k0, groups * outputs, k1 - k0,
        )  # fmt: skip


@compiled()
def _enter(x, channel, planes, channels, tiles, to, t0, t1, v, v_row, v_plane):
    """Take some channels of tiles t0 to t1 to the frequencies, rows of v."""
    lanes = REGISTERS.size // x.itemsize
    row = (PIXELS + SPARE) * lanes
    pixels = aligned(tiles.height * row, x)
    half = aligned(to.samples_h * row, x)
    longest = max((PIXELS - tiles.width) // tiles.step_w + 1, 1)
    for c in range(0, channels, lanes):
        tile = t0
        while tile < t1:
            image, rest = divmod(tile, tiles.rows * tiles.columns)
            i, j = divmod(rest, tiles.columns)
            run = min(tiles.columns - j, t1 - tile, longest)
            width = (run - 1) * tiles.step_w + tiles.width
            origin = (image * planes + channel + c) * tiles.h * tiles.w
            i, j = i * tiles.step_h - tiles.top, j * tiles.step_w - tiles.left
            _load_tiles(x, origin, min(lanes, channels - c), tiles, i, j, width, pixels)
            transform(to.h, pixels, 0, row, lanes, half, 0, row, lanes, width)
            for a in range(to.samples_h):
                place = a * to.samples_w * v_plane + (tile - t0) * v_row + c
                transform(
                    to.w, half, a * row, lanes, tiles.step_w * lanes, v, place, v_plane, v_row, run
                )
            tile += run


@compiled()
def _load_tiles(x, origin, channels, tiles, i, j, width, pixels):
    """Copy pixels of a run of tiles, which begins at (i, j), as vectors of channels."""
    lanes = REGISTERS.size // x.itemsize
    for k in range(tiles.height):
        inside = 0 <= i + k < tiles.h
        source = origin + (i + k) * tiles.w if inside else origin
        for a in range(0, width, lanes):
            last = tiles.w - j - a if inside else 0
            load_pixels(
                pixels, (k * (PIXELS + SPARE) + a) * lanes, x, source + j + a, tiles.h * tiles.w,
                channels, -j - a, last,
            )  # fmt: skip


@compiled()
def _leave(
    sums, s_row, s_plane, tiles, back, t0, t1, bias, activation, y, channel, planes, channels
):
    """Take the frequencies of some channels of tiles t0 to t1 back to pixels of y."""
    lanes = REGISTERS.size // y.itemsize
    row = (PIXELS + SPARE) * lanes
    half = aligned(back.samples_h * row, y)
    pixels = aligned(tiles.height * row, y)
    longest = PIXELS // tiles.width
    for c in range(0, channels, lanes):
        tile = t0
        while tile < t1:
            image, rest = divmod(tile, tiles.rows * tiles.columns)
            i, j = divmod(rest, tiles.columns)
            run = min(tiles.columns - j, t1 - tile, longest)
            i, j = i * tiles.height, j * tiles.width
            for a in range(back.samples_h):
                place = a * back.samples_w * s_plane + (tile - t0) * s_row + c
                transform(
                    back.w, sums, place, s_plane, s_row,
                    half, a * row, lanes, tiles.width * lanes, run,
                )  # fmt: skip
            transform(back.h, half, 0, row, lanes, pixels, 0, row, lanes, run * tiles.width)
            plane = tiles.h * tiles.w
            origin = (image * planes + channel + c) * plane + i * tiles.w + j
            width = min(run * tiles.width, tiles.w - j)
            for k in range(min(tiles.height, tiles.h - i)):
                for a in range(0, width, lanes):
                    store_pixels(
                        y, origin + k * tiles.w + a, plane, min(lanes, channels - c),
                        width - a, pixels, (k * (PIXELS + SPARE) + a) * lanes,
                        bias, channel + c, activation,
                    )  # fmt: skip
            tile += run


@compiled()
def _filters(w, bank, group, u, j0, first, last, j1):
    """Take filters first to last, of j0 to j1 in u, to the frequencies."""
    lanes = REGISTERS.size // w.itemsize
    panel, kw, taps = REGISTERS.vectors * lanes, bank.kw, bank.kh * bank.kw
    plane = in_vectors(j1 - j0, w) * bank.terms + SPARE
    loaded = aligned((SIDE * taps + lanes) * lanes, w)
    column = SIDE * lanes
    row = bank.samples_w * column
    half = aligned(bank.kh * row, w)
    start, sign = (taps - 1, -1) if bank.flipped else (0, 1)
    for j in range(first, last, lanes):
        k0 = j0 + (j - j0) // panel * panel
        width = in_vectors(min(panel, j1 - k0), w)
        for k in range(0, bank.terms, SIDE):
            count = min(SIDE, bank.terms - k)
            origin = group * bank.size + j * bank.output_step + k * bank.term_step
            # The taps of several terms are one run where the terms follow one another.
            run = count * taps if bank.term_step == taps else taps
            for a in range(0, count * taps, run):
                for tap in range(0, run, lanes):
                    load_pixels(
                        loaded, (a + tap) * lanes, w, origin + a // taps * bank.term_step + tap,
                        bank.output_step, min(lanes, last - j), 0, run - tap,
                    )  # fmt: skip
            for a in range(bank.kh):
                transform(
                    bank.w, loaded, (start + sign * a * kw) * lanes, sign * lanes, taps * lanes,
                    half, a * row, column, lanes, count,
                )  # fmt: skip
            place = (k0 - j0) * bank.terms + k * width + j - k0
            for b in range(bank.samples_w):
                transform(
                    bank.h, half, b * column, row, lanes,
                    u, b * plane + place, bank.samples_w * plane, width, count,
                )  # fmt: skip


@compiled()
def _weight_grad(
    dy, x, dw, slopes, inputs, of_dy, of_x, back, kh, kw, group, groups, outputs, channels,
    o0, o1, c0, c1, t0, t1,
):  # fmt: skip
    """Sum up over tiles t0 to t1 the gradient of filters o0 to o1 for channels c0 to c1."""
    frequencies = of_x.samples_h * of_x.samples_w
    v_row, d_row = in_vectors(c1 - c0, x) + SPARE, in_vectors(o1 - o0, x) + SPARE
    v = aligned(frequencies * TERMS * v_row, x)
    d = aligned(frequencies * TERMS * d_row, x)
    plane = (o1 - o0 + ROWS) * v_row
    sums = aligned(frequencies * plane, x)
    for start in range(t0, t1, TERMS):
        stop = min(t1, start + TERMS)
        _enter(
            x, group * channels + c0, groups * channels, c1 - c0, inputs, of_x, start, stop,
            v, v_row, TERMS * v_row,
        )  # fmt: skip
        _enter(
            dy, group * outputs + o0, groups * outputs, o1 - o0, slopes, of_dy, start, stop,
            d, d_row, TERMS * d_row,
        )  # fmt: skip
        for f in range(frequencies):
            multiply_across(
                d, f * TERMS * d_row, d_row, o1 - o0, v[f * TERMS * v_row :], v_row, stop - start,
                sums[f * plane :], v_row, c1 - c0, start == t0,
            )  # fmt: skip
    first = (group * outputs + o0) * channels + c0
    _filters_grad(sums, v_row, plane, back, kh, kw, o1 - o0, c1 - c0, dw, first, channels)


@compiled()
def _filters_grad(sums, s_row, s_plane, back, kh, kw, outputs, channels, dw, first, dw_row):
    """Take frequencies (f, outputs, channels) back to the taps of filters."""
    lanes = REGISTERS.size // dw.itemsize
    taps, step = kh * kw, back.samples_w * lanes
    half = aligned(kh * SIDE * step, dw)
    made = aligned((SIDE * taps + lanes) * lanes, dw)
    bias = np.zeros(lanes, dw.dtype)
    for o in range(0, outputs, SIDE):
        count = min(SIDE, outputs - o)
        for c in range(0, channels, lanes):
            for b in range(back.samples_w):
                transform(
                    back.h, sums, b * s_plane + o * s_row + c, back.samples_w * s_plane, s_row,
                    half, b * lanes, SIDE * step, step, count,
                )  # fmt: skip
            for a in range(kh):
                transform(
                    back.w, half, a * SIDE * step, lanes, step,
                    made, a * kw * lanes, lanes, taps * lanes, count,
                )  # fmt: skip
            for a in range(count):
                target = (first + (o + a) * dw_row + c) * taps
                for tap in range(0, taps, lanes):
                    store_pixels(
                        dw, target + tap, taps, min(lanes, channels - c), taps - tap,
                        made, (a * taps + tap) * lanes, bias, 0, 0,
                    )  # fmt: skip

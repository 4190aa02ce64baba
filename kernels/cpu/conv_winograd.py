"""Convolution of stride 1 with fewer multiplications: Winograd's minimal filtering.

Images are cut into tiles that overlap, tiles and filters are taken to the frequencies of F(m, r),
multiplied there, one matrix product of channels per frequency, and taken back. F(4x4, 3x3) takes 4
times fewer multiplications than the definition, F(2x2, 3x3) 2.25 times, F(4, 3) on one axis twice.

All steps work on vectors of channels, as if images were stored pixel by pixel: so a tile at an
edge, or an image smaller than a tile, costs what any other does.

It rounds more than the definition: relative L2 errors in float32, at 64 and at 512 channels, are
    definition      2.7e-7  2.9e-7        F(2, 3) on one axis   2.0e-7  2.8e-7
    F(2x2, 3x3)     2.6e-7  3.6e-7        F(4, 3)               3.5e-7  4.7e-7
    F(4x4, 3x3)     7.8e-7  1.1e-6        F(6, 3)               7.2e-7  9.9e-7
    F(6x6, 3x3)     3.3e-6  4.4e-6        F(2x2, 5x5)           8.6e-7  1.2e-6
and the largest error, relative to the largest result, is up to 3 times that. One NaN or infinity
spoils all the tiles that see it.

Lavin & Gray, "Fast algorithms for convolutional neural networks", 2016.
"""

from functools import lru_cache
from itertools import product
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from .. import memory
from .compiled import compiled
from .parallel import WORK, in_parts
from .tile import ROWS, columns, multiply, multiply_across
from .vectors import REGISTERS, aligned, in_vectors
from .winograd_filters import (
    SPARE,
    bank_of,
    cut,
    filters_grad,
    size_of,
    transform_turn,
    turns_of,
)
from .winograd_transforms import load_pixels, matrices_of, store_pixels, transform

# Tiles that are multiplied at once: their frequencies lie in the cache beside some filters.
BLOCK = 48
# Channels that are summed up before they are added to the others: half the rounding for 512, and
# no slower.
CHANNELS = 128
# Tiles over which a weight gradient sums up before it adds to what it has.
TERMS = 64
# Filters and panels of channels whose gradient is summed up at once.
MOST_ROWS, MOST_PANELS = 128, 3
# Pixels of a row that are turned into vectors at once.
PIXELS = 64


# Tiles that are chosen from for so many taps. On both axes the larger ones would round too much.
ONE_AXIS = {1: (1,), 3: (2, 4, 6), 4: (3,), 5: (2, 4)}
BOTH_AXES = {3: (2, 4), 5: (2,)}
# To transform a number takes as long as so many multiply-adds, of images and of filters.
TRANSFORM, FILTER = 12, 20


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


def options(shape, work):
    """Return the options with which the functions here do a pass: the tiles that cost least."""
    _, m = _cheapest(shape, work)
    return dict(m=m, padding=shape.padding, groups=shape.groups)


def cost(shape, work):
    """Return how many multiply-adds take as long as a pass, None where no tiles are made for it."""
    return _cheapest(shape, work)[0]


def is_worth_preparing(shape):
    """Return whether to transform the filters is a tenth of the whole or more."""
    cost, m = _cheapest(shape, "output")
    samples = prod(tile + taps - 1 for tile, taps in zip(m, shape.taps, strict=True))
    return 10 * samples * FILTER * shape.o * shape.c // shape.groups > cost


@lru_cache(maxsize=1024)
def _cheapest(shape, work):
    """Return the lowest cost and its tiles."""
    if shape.stride != (1, 1) or shape.dilation != (1, 1) or shape.taps == (1, 1):
        return None, None
    sizes = shape.size if work == "input_grad" else shape.windows
    tiles = ONE_AXIS if 1 in shape.taps else BOTH_AXES
    choices = product(*(tiles.get(taps, ()) for taps in shape.taps))
    costs = [(_cost(shape, sizes, m), m) for m in choices]
    return min(costs, default=(None, None))


def _cost(shape, sizes, m):
    """Return the products of frequencies, and what it takes to get there and back."""
    c, o = (-(-channels // shape.groups // 16) * 16 for channels in (shape.c, shape.o))
    samples = prod(tile + taps - 1 for tile, taps in zip(m, shape.taps, strict=True))
    tiles = shape.n * prod(-(-size // tile) for size, tile in zip(sizes, m, strict=True))
    moved = tiles * (c + o) * TRANSFORM + c * o * FILTER
    return shape.groups * samples * (tiles * c * o + moved)


def conv2d(x, w, b, y, activation, *, m, padding, groups, filters=None):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow).

    m is the size of a tile of y (h, w). `winograd_filters.transform_filters` makes filters that
    serve several calls.
    """
    (top, _), (left, _) = padding
    _convolve(x, w, filters, False, b, y, activation, m, (top, left), groups)


def conv2d_input_grad(dy, w, b, dx, *, m, padding, groups):
    """Return in dx (n, c, h, w) what filters w (o, c/groups, kh, kw) make of dy, plus b (c,)."""
    (top, _), (left, _) = padding
    first = w.shape[2] - 1 - top, w.shape[3] - 1 - left
    _convolve(dy, w, None, True, b, dx, 0, m, first, groups)


def conv2d_weight_grad(dy, x, dw, *, m, padding, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    o, (_, c, *r) = len(dw) // groups, dw.shape
    (top, _), (left, _) = padding
    of_x, of_dy, back = (matrices_of(role, m, r) for role in ("input", "slopes", "filters_grad"))
    inputs, slopes, tiles = _tiles(x, dy, m, of_x, (top, left))
    if not tiles:
        dw.fill(0)
        return
    flat_x, flat_dy = x.reshape(-1), dy.reshape(-1)
    o_parts, c_parts = -(-o // MOST_ROWS), -(-c // (MOST_PANELS * columns(x.dtype)))
    # A small gradient is summed up in several parts of the tiles, for several threads to do.
    # Their number depends on the sizes alone, and so does the result.
    parts = max(1, min(8 // (o_parts * c_parts), tiles // (2 * TERMS)))
    partial = dw[None] if parts == 1 else memory.empty((parts, *dw.shape), dw.dtype)

    def some(start, stop):
        for task in range(start, stop):
            rest, part = divmod(task, parts)
            rest, i = divmod(rest, o_parts)
            group, j = divmod(rest, c_parts)
            (o0, o1), (c0, c1) = (
                (i * o // o_parts, (i + 1) * o // o_parts), cut(j, c_parts, c, x.dtype)
            )  # fmt: skip
            rooms = [
                _frequencies(of_x, TERMS, c1 - c0, x.dtype),
                _frequencies(of_x, TERMS, o1 - o0, x.dtype),
                _frequencies(of_x, o1 - o0 + ROWS, c1 - c0, x.dtype),
            ]
            _weight_grad(
                flat_dy, flat_x, partial[part].reshape(-1), slopes, inputs, of_dy, of_x, back,
                *r, group, groups, o, c, o0, o1, c0, c1,
                part * tiles // parts, (part + 1) * tiles // parts, *rooms,
            )  # fmt: skip

    work = tiles * of_x.samples_h * of_x.samples_w * groups * o * c // WORK
    in_parts(some, groups * o_parts * c_parts * parts, work)
    if parts > 1:
        np.sum(partial, axis=0, out=dw)


def _tiles(x, y, m, to, first):
    """Return what the tiles see of x (n, c, h, w), how they lie in y (n, o, oh, ow), their number.

    The first corner of what they see may lie outside of x.
    """
    oh, ow = y.shape[2:]
    rows, cols = -(-oh // m[0]), -(-ow // m[1])
    seen = Tiles(*x.shape[2:], rows, cols, to.samples_h, to.samples_w, *m, *first)
    return seen, Tiles(oh, ow, rows, cols, *m, *m, 0, 0), len(x) * rows * cols


def _convolve(x, w, filters, flipped, b, y, activation, m, first, groups):
    bank, r = bank_of(w, m, groups, flipped), w.shape[2:]
    to, back = matrices_of("input", m, r), matrices_of("output", m, r)
    inputs, results, tiles = _tiles(x, y, m, to, first)
    if not tiles:
        return
    bias = np.zeros(in_vectors(groups * bank.outputs, x) + SPARE, x.dtype)
    if b is not None:
        bias[: len(b)] = b
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    turns, blocks = turns_of(bank, w), max((tiles + BLOCK // 2) // BLOCK, 1)
    # Blocks are cut between strips of tiles that fill a tile of registers.
    strips = -(-tiles // ROWS)
    if filters is None:
        u = memory.empty((size_of(bank, turns, w),), w.dtype)
    for group in range(groups):
        v = _entered(flat_x, group, groups, bank.terms, inputs, to, tiles if blocks == 1 else 0)
        for turn in range(turns):
            j0, j1 = cut(turn, turns, bank.outputs, w.dtype)
            if filters is None:
                transform_turn(w, bank, group, j0, j1, u)
            else:
                u = filters[group, turn]
            # Few tiles are done by several pieces of the filters, for several threads.
            pieces = min(-(-8 // blocks), -(-(j1 - j0) // (min(blocks, 2) * columns(w.dtype))))

            def some(start, stop, group=group, v=v, u=u, j0=j0, j1=j1, pieces=pieces):
                while start < stop:
                    piece, block = divmod(start, blocks)
                    count = min(stop - start, blocks - block)
                    k0, k1 = cut(piece, pieces, j1 - j0, w.dtype)
                    t0 = block * strips // blocks * ROWS
                    t1 = min((block + count) * strips // blocks * ROWS, tiles)
                    room = ceil(ceil((t1 - t0) / ROWS) / count) * ROWS
                    rooms = [
                        _frequencies(to, room, channels, x.dtype)
                        for channels in (0 if v.size else bank.terms, k1 - k0)
                    ]
                    _products(
                        flat_x, v, u, bias, flat_y, activation, inputs, results, to, back,
                        group, groups, bank.terms, bank.outputs, j0, j0 + k0, j0 + k1, j1,
                        t0, t1, count, *rooms,
                    )  # fmt: skip
                    start += count

            work = tiles * to.samples_h * to.samples_w * (j1 - j0) * bank.terms // WORK
            in_parts(some, blocks * pieces, work)


def _lanes(dtype):
    return REGISTERS.size // dtype.itemsize


def _frequencies(to, tiles, channels, dtype):
    """Return room for the frequencies of so many tiles of so many channels, or none at all."""
    row = -(-channels // _lanes(dtype)) * _lanes(dtype) + SPARE
    return memory.empty((to.samples_h * to.samples_w * tiles * row if channels else 0,), dtype)


def _entered(x, group, groups, c, inputs, to, tiles):
    """Return the frequencies of so many tiles, which all filters of a group share."""
    lanes, row = REGISTERS.size // x.itemsize, in_vectors(c, x) + SPARE
    plane = -(-tiles // ROWS) * ROWS * row
    v = memory.empty((to.samples_h * to.samples_w * plane if tiles else 0,), x.dtype)

    def some(start, stop):
        first, last = start * lanes, min(stop * lanes, c)
        _enter(
            x, group * c + first, groups * c, last - first, inputs, to, 0, tiles, v[first:], row,
            plane,
        )  # fmt: skip

    if tiles:
        in_parts(some, -(-c // lanes), v.size)
    return v


@compiled()
def _products(
    x, v, u, bias, y, activation, inputs, results, to, back, group, groups, c, outputs,
    j0, k0, k1, j1, t0, t1, blocks, own, sums,
):  # fmt: skip
    """Make the results of filters k0 to k1, of j0 to j1 in u, on tiles t0 to t1, in blocks.

    The frequencies of the tiles are in v, or v is empty, and they take the room `own`.
    """
    lanes = REGISTERS.size // x.itemsize
    panel, frequencies = REGISTERS.vectors * lanes, to.samples_h * to.samples_w
    strips = -(-(t1 - t0) // ROWS)
    room = -(-strips // blocks) * ROWS
    u_plane = in_vectors(j1 - j0, x) * c + SPARE
    v_row, s_row = in_vectors(c, x) + SPARE, in_vectors(k1 - k0, x) + SPARE
    v_plane, s_plane = room * v_row, room * s_row
    entered = v.size > 0
    if not entered:
        v = own
    for block in range(blocks):
        start = t0 + block * strips // blocks * ROWS
        stop = min(t0 + (block + 1) * strips // blocks * ROWS, t1)
        if not entered:
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
def _weight_grad(
    dy, x, dw, slopes, inputs, of_dy, of_x, back, kh, kw, group, groups, outputs, channels,
    o0, o1, c0, c1, t0, t1, v, d, sums,
):  # fmt: skip
    """Sum up over tiles t0 to t1 the gradient of filters o0 to o1 for channels c0 to c1."""
    frequencies = of_x.samples_h * of_x.samples_w
    v_row, d_row = in_vectors(c1 - c0, x) + SPARE, in_vectors(o1 - o0, x) + SPARE
    plane = (o1 - o0 + ROWS) * v_row
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
    filters_grad(sums, v_row, plane, back, kh, kw, o1 - o0, c1 - c0, dw, first, channels)

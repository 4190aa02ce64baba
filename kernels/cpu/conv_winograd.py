"""Convolution of stride 1 with fewer multiplications: Winograd's minimal filtering.

Images are cut into tiles that overlap, tiles and filters are taken to the frequencies of F(m, r),
multiplied there, one matrix product of channels per frequency, and taken back. F(4x4, 3x3) takes 4
times fewer multiplications than the definition, F(2x2, 3x3) 2.25 times, F(4, 3) on one axis twice.

All steps work on vectors of channels, as if images were stored pixel by pixel: so a tile at an edge,
or an image smaller than a tile, costs what any other does.

It rounds more than the definition, and one NaN or infinity spoils the whole tile that it lies in.

Lavin & Gray, "Fast algorithms for convolutional neural networks", 2016.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled
from .parallel import in_parts
from .tile import REGISTERS, ROWS, columns, in_vectors, multiply
from .winograd_transforms import load_pixels, matrix, store_pixels, transform

# Tiles that are multiplied at once: their frequencies lie in the cache beside some filters.
BLOCK = 48
# Pixels of a row that are turned into vectors at once, and the room for them: not a power of two,
# since rows a power of two apart drive each other out of the cache.
PIXELS = 64
ROOM = PIXELS + 1
# Filters, or products, whose transforms are computed side by side.
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
    if filters is None:
        filters = transform_filters(w, m=m, groups=groups)
    (top, _), (left, _) = padding
    _convolve(x, filters, b, y, activation, m, w.shape[2:], (top, left), groups)


def conv2d_input_grad(dy, w, b, dx, *, m, padding, groups):
    """Return in dx (n, c, h, w) what the filters w (o, c/groups, kh, kw) make of dy, plus b (c,)."""
    kh, kw = w.shape[2:]
    (top, _), (left, _) = padding
    filters = transform_filters(w, m=m, groups=groups, flipped=True)
    _convolve(dy, filters, b, dx, 0, m, (kh, kw), (kh - 1 - top, kw - 1 - left), groups)


def transform_filters(w, *, m, groups, flipped=False):
    """Return the frequencies of w (o, c/groups, kh, kw) for `conv2d`, or flipped for its gradient.

    They are (groups, frequencies, size): panels of filters as wide as a tile of registers.
    """
    o, c, kh, kw = w.shape
    o //= groups
    terms, outputs = (o, c) if flipped else (c, o)
    steps = (kh * kw, c * kh * kw)
    term_step, lane_step = steps[::-1] if flipped else steps
    to = _matrices("filters", m, (kh, kw))
    lanes = REGISTERS.size // w.itemsize
    plane = in_vectors(outputs, w) * terms + lanes
    u = np.empty((groups, to.samples_h * to.samples_w, plane), w.dtype)
    flat = w.reshape(-1)
    for group in range(groups):
        base = group * o * c * kh * kw
        chunks = -(-outputs // lanes)
        in_parts(
            lambda start, stop, base=base, to_u=u[group].reshape(-1): _filters(
                flat, base, term_step, lane_step, kh, kw, flipped, terms, outputs, to, to_u, plane,
                columns(w.dtype), start, stop,
            ),
            chunks, u[group].size,
        )  # fmt: skip
    return u


def _matrices(role, m, r):
    (mh, mw), (rh, rw) = m, r
    return Matrices(matrix(role, mh, rh), matrix(role, mw, rw), mh + rh - 1, mw + rw - 1)


def _convolve(x, filters, b, y, activation, m, r, first, groups):
    n, c, h, w = x.shape
    _, o, oh, ow = y.shape
    c, o = c // groups, o // groups
    to, back = _matrices("input", m, r), _matrices("output", m, r)
    rows, cols = -(-oh // m[0]), -(-ow // m[1])
    inputs = Tiles(h, w, rows, cols, to.samples_h, to.samples_w, *m, *first)
    results = Tiles(oh, ow, rows, cols, *m, *m, 0, 0)
    tiles = n * rows * cols
    if not tiles * o:
        return
    bias = np.zeros(in_vectors(groups * o, x) + columns(x.dtype), x.dtype)
    if b is not None:
        bias[: groups * o] = b
    flat_x, flat_y, flat_u = x.reshape(-1), y.reshape(-1), filters.reshape(-1)
    blocks = -(-tiles // BLOCK)
    # Few tiles are shared by several turns of filters, for several threads to do.
    panels = -(-o // columns(x.dtype))
    turns = 1 if blocks >= 8 else min(-(-8 // blocks), max(panels // 2, 1))

    def part(start, stop):
        # Tasks are blocks of tiles, for every turn of filters and every group.
        while start < stop:
            group, rest = divmod(start, blocks * turns)
            turn, block = divmod(rest, blocks)
            count = min(stop - start, blocks - block)
            j0, j1 = (k * panels // turns * columns(x.dtype) for k in (turn, turn + 1))
            _products(
                flat_x, flat_u, bias, flat_y, activation, inputs, results, to, back, group, groups,
                c, o, j0, min(j1, o), filters.shape[2],
                block * tiles // blocks, (block + count) * tiles // blocks, count,
            )  # fmt: skip
            start += count

    work = tiles * to.samples_h * to.samples_w * groups * o * c // WORK
    in_parts(part, blocks * turns * groups, work)


@compiled()
def _products(
    x, u, bias, y, activation, inputs, results, to, back, group, groups, c, outputs, j0, j1,
    u_plane, t0, t1, blocks,
):  # fmt: skip
    """Make the results of filters j0 to j1 of a group on tiles t0 to t1, a block at a time."""
    lanes = REGISTERS.size // x.itemsize
    panel, frequencies = REGISTERS.vectors * lanes, to.samples_h * to.samples_w
    room = (t1 - t0 + blocks - 1) // blocks + ROWS
    v_row, s_row = in_vectors(c, x), in_vectors(j1 - j0, x)
    v_plane, s_plane = room * v_row + lanes, room * s_row + lanes
    v = np.empty(frequencies * v_plane, x.dtype)
    sums = np.empty(frequencies * s_plane, x.dtype)
    for block in range(blocks):
        start = t0 + block * (t1 - t0) // blocks
        stop = t0 + (block + 1) * (t1 - t0) // blocks
        _enter(x, group * c, groups * c, c, inputs, to, start, stop, v, v_row, v_plane)
        for f in range(frequencies):
            origin = (group * frequencies + f) * u_plane
            for j in range(j0, j1, panel):
                # The last panel is as wide as it needs to be.
                width = in_vectors(min(panel, outputs - j), x)
                multiply(
                    v, f * v_plane, v_row, stop - start, u[origin + j * c :], width, c,
                    sums[f * s_plane + j - j0 :], s_row, width, True,
                )  # fmt: skip
        _leave(
            sums, s_row, s_plane, results, back, start, stop, bias, activation, y,
            group * outputs + j0, groups * outputs, j1 - j0,
        )  # fmt: skip


@compiled()
def _enter(x, channel, planes, channels, tiles, to, t0, t1, v, v_row, v_plane):
    """Take some channels of tiles t0 to t1 to the frequencies, rows of v."""
    lanes = REGISTERS.size // x.itemsize
    row = ROOM * lanes
    pixels = np.empty(tiles.height * row, x.dtype)
    half = np.empty(to.samples_h * row, x.dtype)
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
                pixels, (k * ROOM + a) * lanes, x, source + j + a, tiles.h * tiles.w, channels,
                -j - a, last,
            )  # fmt: skip


@compiled()
def _leave(
    sums, s_row, s_plane, tiles, back, t0, t1, bias, activation, y, channel, planes, channels
):
    """Take the frequencies of some channels of tiles t0 to t1 back to pixels of y."""
    lanes = REGISTERS.size // y.itemsize
    row = ROOM * lanes
    half = np.empty(back.samples_h * row, y.dtype)
    pixels = np.empty(tiles.height * row, y.dtype)
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
                        width - a, pixels, (k * ROOM + a) * lanes,
                        bias, channel + c, activation,
                    )  # fmt: skip
            tile += run


@compiled()
def _filters(
    w, base, term_step, lane_step, kh, kw, flipped, terms, outputs, to, u, plane, panel, first, last
):
    """Take chunks of filters, as many as a vector has lanes, to the frequencies."""
    lanes = REGISTERS.size // w.itemsize
    taps = kh * kw
    loaded = np.empty((SIDE * taps + lanes) * lanes, w.dtype)
    half = np.empty(kh * to.samples_w * SIDE * lanes, w.dtype)
    start, sign = (taps - 1, -1) if flipped else (0, 1)
    for o in range(first * lanes, min(last * lanes, outputs), lanes):
        j = o // panel * panel
        width = in_vectors(min(panel, outputs - j), w)
        for k in range(0, terms, SIDE):
            count = min(SIDE, terms - k)
            for a in range(count):
                source = base + o * lane_step + (k + a) * term_step
                for tap in range(0, taps, lanes):
                    load_pixels(
                        loaded, (a * taps + tap) * lanes, w, source + tap, lane_step,
                        min(lanes, outputs - o), 0, taps - tap,
                    )  # fmt: skip
            for a in range(kh):
                transform(
                    to.w, loaded, (start + sign * a * kw) * lanes, sign * lanes, taps * lanes,
                    half, a * to.samples_w * SIDE * lanes, SIDE * lanes, lanes, count,
                )  # fmt: skip
            for b in range(to.samples_w):
                transform(
                    to.h, half, b * SIDE * lanes, to.samples_w * SIDE * lanes, lanes,
                    u, b * plane + j * terms + k * width + o - j, to.samples_w * plane, width,
                    count,
                )  # fmt: skip

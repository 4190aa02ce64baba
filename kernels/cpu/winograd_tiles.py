"""Tiles of images: how Winograd's convolution reads them as vectors of channels and puts them back.

A run of tiles in a row of an image is turned into vectors at once, pixels that they share but once.
"""

from typing import NamedTuple

import numpy as np

from .. import memory
from .compiled import linked
from .parallel import parallel
from .tile import ROWS
from .vectors import REGISTERS, aligned, in_vectors
from .winograd_filters import SPARE
from .winograd_transforms import load_pixels, store_pixels, transform

# Pixels of a row that are turned into vectors at once.
PIXELS = 64


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


def tiles_of(x, y, m, to, first):
    """Return what the tiles see of x (n, c, h, w), how they lie in y (n, o, oh, ow), their number.

    The first corner of what they see may lie outside of x.
    """
    oh, ow = y.shape[2:]
    rows, cols = -(-oh // m[0]), -(-ow // m[1])
    seen = Tiles(*x.shape[2:], rows, cols, to.samples_h, to.samples_w, *m, *first)
    return seen, Tiles(oh, ow, rows, cols, *m, *m, 0, 0), len(x) * rows * cols


def rooms(workers, to, tiles, channels, dtype):
    """Return room for the frequencies of so many tiles of so many channels, for each worker."""
    lanes = REGISTERS.size // dtype.itemsize
    row = -(-channels // lanes) * lanes + SPARE
    return memory.empty((workers, to.samples_h * to.samples_w * (tiles * row + SPARE)), dtype)


def entered(x, groups, channels, tiles, to, count):
    """Return the frequencies of so many tiles of all channels, a group after the other."""
    row = in_vectors(channels, x) + SPARE
    plane = -(-count // ROWS) * ROWS * row + SPARE
    v = memory.empty((groups if count else 0, to.samples_h * to.samples_w * plane), x.dtype)
    if count:
        items = groups * (in_vectors(channels, x) // in_vectors(1, x))
        _enter_channels(x, channels, tiles, to, count, v, count=items, elements=v.size)
    return v


@parallel()
def _enter_channels(x, channels, tiles, to, count, v, start, stop):
    """Take some vectors of channels of all tiles to the frequencies."""
    lanes, row = in_vectors(1, x), in_vectors(channels, x) + SPARE
    vectors = in_vectors(channels, x) // lanes
    plane = v.shape[1] // (to.samples_h * to.samples_w)
    for item in range(start, stop):
        group, c = item // vectors, item % vectors * lanes
        enter(
            x, group * channels + c, len(v) * channels, min(lanes, channels - c), tiles, to, 0,
            count, v[group, c:], row, plane,
        )  # fmt: skip


@linked()
def enter(x, channel, planes, channels, tiles, to, t0, t1, v, v_row, v_plane):
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


@linked()
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


@linked()
def leave(
    sums, s_row, s_plane, tiles, back, t0, t1, bias, slope, y, channel, planes, channels,
    spoilt,
):  # fmt: skip
    """Take the frequencies of some channels of tiles t0 to t1 back to pixels of y.

    `spoilt` becomes 1 where one of them is not finite.
    """
    lanes = REGISTERS.size // y.itemsize
    row = (PIXELS + SPARE) * lanes
    half = aligned(back.samples_h * row, y)
    pixels = aligned(tiles.height * row, y)
    pixels[:] = 0  # vectors end behind the pixels that are made
    seen = np.zeros(lanes, y.dtype)
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
                        bias, channel + c, slope, seen,
                    )  # fmt: skip
            tile += run
    if seen.any():
        spoilt[0] = 1

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
and the largest error, relative to the largest result, is up to 3 times that.

One NaN or infinity spoils all the results of the tiles that see it. Each pass returns whether that
may have happened, which costs next to nothing to notice while results are put in their place.

Lavin & Gray, "Fast algorithms for convolutional neural networks", 2016.
"""

from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from .. import memory
from ..threads import get_num_threads
from .compiled import linked
from .parallel import WORK, parallel
from .tile import ROWS, columns, multiply, multiply_across
from .vectors import REGISTERS, in_vectors
from .winograd_filters import (
    SPARE,
    Bank,
    bank_of,
    cut,
    edges_of,
    filters_grad,
    size_of,
    to_frequencies,
    transform_turn,
    turns_of,
    widest,
)
from .winograd_tiles import Tiles, enter, entered, leave, rooms, tiles_of
from .winograd_transforms import Matrices, matrices_of

# Tiles that are multiplied at once: their frequencies lie in the cache beside some filters.
BLOCK = 48
# Channels that are summed up before they are added to the others: half the rounding for 512, and
# no slower.
CHANNELS = 128
# Tiles over which a weight gradient sums up before it adds to what it has.
TERMS = 64
# Filters and panels of channels whose gradient is summed up at once.
MOST_ROWS, MOST_PANELS = 128, 3
# So few tiles are all filtered at once by each panel of filters, where those are transformed, a few
# terms at a time: in the second cache. Of 512 filters of as many channels, at 16 tiles, to write
# all frequencies to memory and read them again took 3 ms more than the rest, which takes 5 ms.
FEW = 71
FEW_TERMS = 64
# Filters whose gradient is summed up at once over few tiles, for one panel of channels.
FEW_ROWS = 64


# Tiles that are chosen from for so many taps. On both axes the larger ones would round too much.
ONE_AXIS = {1: (1,), 3: (2, 4, 6), 4: (3,), 5: (2, 4)}
BOTH_AXES = {3: (2, 4), 5: (2,)}
# To transform a number takes as long as so many multiply-adds, of images and of filters; the latter
# where it is kept in memory for many tiles, and where few tiles use it at once.
TRANSFORM, FILTER, FEW_FILTER = 12, 20, 8


class Job(NamedTuple):
    """Images that are filtered: tiles of x and of y, what takes them to frequencies and back."""

    groups: int
    bank: Bank
    tiles: int
    x: Tiles
    y: Tiles
    to: Matrices
    back: Matrices


class Slopes(NamedTuple):
    """Filters whose gradient is summed up: in parts of the tiles, of outputs and of channels."""

    groups: int
    outputs: int
    channels: int
    kh: int
    kw: int
    tiles: int
    parts: int
    x: Tiles
    y: Tiles
    of_x: Matrices
    of_y: Matrices
    back: Matrices


def options(shape, work):
    """Return the options with which the functions here do a pass: the tiles that cost least."""
    _, m = _cheapest(shape, work)
    return dict(m=m, padding=shape.padding, groups=shape.groups)


def cost(shape, work):
    """Return how many multiply-adds take as long as a pass, None where no tiles are made for it."""
    return _cheapest(shape, work)[0]


def is_worth_preparing(shape):
    """Return whether to transform the filters is a tenth of the whole or more.

    For few tiles it never is: to read them from memory would take longer than to make them.
    """
    cost, m = _cheapest(shape, "output")
    samples = prod(tile + taps - 1 for tile, taps in zip(m, shape.taps, strict=True))
    expensive = 10 * samples * FILTER * shape.o * shape.c // shape.groups > cost
    return expensive and _count(shape, shape.windows, m) > FEW


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
    tiles = -(-_count(shape, sizes, m) // ROWS) * ROWS
    moved = tiles * (c + o) * TRANSFORM + c * o * (FEW_FILTER if tiles <= FEW else FILTER)
    return shape.groups * samples * (tiles * c * o + moved)


def _count(shape, sizes, m):
    """Return how many tiles images of these sizes (h, w) have."""
    return shape.n * prod(-(-size // tile) for size, tile in zip(sizes, m, strict=True))


def conv2d(x, w, b, y, slope, *, m, padding, groups, filters=None):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow).

    m is the size of a tile of y (h, w). `winograd_filters.transform_filters` makes filters that
    serve several calls. Returns whether what is not finite may have spread over tiles.
    """
    (top, _), (left, _) = padding
    return _convolve(x, w, filters, False, b, y, slope, m, (top, left), groups)


def conv2d_input_grad(dy, w, b, dx, *, m, padding, groups):
    """Return in dx (n, c, h, w) what filters w (o, c/groups, kh, kw) make of dy, plus b (c,)."""
    (top, _), (left, _) = padding
    first = w.shape[2] - 1 - top, w.shape[3] - 1 - left
    return _convolve(dy, w, None, True, b, dx, 1.0, m, first, groups)


def conv2d_weight_grad(dy, x, dw, *, m, padding, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    o, c, r = len(dw) // groups, dw.shape[1], dw.shape[2:]
    (top, _), (left, _) = padding
    of_x, of_y, back = (matrices_of(role, m, r) for role in ("input", "slopes", "filters_grad"))
    inputs, slopes, tiles = tiles_of(x, dy, m, of_x, (top, left))
    if not tiles:
        dw.fill(0)
        return False
    few, flat_x, flat_dy = tiles <= FEW, x.reshape(-1), dy.reshape(-1)
    rows, panels = (FEW_ROWS, 1) if few else (MOST_ROWS, MOST_PANELS)
    o_parts, c_parts = -(-o // rows), -(-c // (panels * columns(x.dtype)))
    o_edges = [part * o // o_parts for part in range(o_parts + 1)]
    c_edges = edges_of(c, c_parts, x.dtype)
    blocks = o_parts * c_parts
    # A small gradient is summed up in several parts of the tiles, for several threads to do.
    # Their number depends on the sizes alone, and so does the result.
    parts = max(1, min(8 // blocks, tiles // (2 * TERMS)))
    job = Slopes(groups, o, c, *r, tiles, parts, inputs, slopes, of_x, of_y, back)
    partial = dw[None] if parts == 1 else memory.empty((parts, *dw.shape), dw.dtype)
    outputs, channels = widest(o_edges), widest(c_edges)
    v = entered(flat_x, groups, c, inputs, of_x, tiles if few else 0)
    d = entered(flat_dy, groups, o, slopes, of_y, tiles if few else 0)
    workers = get_num_threads()
    _weight_grads(
        flat_dy, flat_x, d, v, partial.reshape(-1), job, np.array(o_edges), np.array(c_edges),
        rooms(workers, of_x, 0 if few else TERMS, channels, x.dtype),
        rooms(workers, of_x, 0 if few else TERMS, outputs, x.dtype),
        rooms(workers, of_x, outputs + ROWS, channels, x.dtype), spoilt := np.zeros(1, np.int64),
        count=groups * blocks * parts, workers=workers,
        elements=tiles * of_x.samples_h * of_x.samples_w * groups * o * c // WORK,
    )  # fmt: skip
    if parts > 1:
        np.sum(partial, axis=0, out=dw)
    return bool(spoilt[0])


def _convolve(x, w, filters, flipped, b, y, slope, m, first, groups):
    bank, r = bank_of(w, m, groups, flipped), w.shape[2:]
    to, back = matrices_of("input", m, r), matrices_of("output", m, r)
    inputs, results, tiles = tiles_of(x, y, m, to, first)
    if not tiles:
        return False
    bias = memory.zeros((in_vectors(groups * bank.outputs, x) + SPARE,), x.dtype)
    if b is not None:
        bias[: len(b)] = b
    job = Job(groups, bank, tiles, inputs, results, to, back)
    spoilt = np.zeros(1, np.int64)
    images = x.reshape(-1), bias, y.reshape(-1), y.dtype.type(slope), job, spoilt
    if filters is None and tiles <= FEW:
        _filter_few(w, *images)
    else:
        _filter_many(w, filters, *images)
    return bool(spoilt[0])


def _filter_few(w, x, bias, y, slope, job, spoilt):
    """Filter so few tiles that filters are used where they are transformed, once."""
    bank, workers = job.bank, get_num_threads()
    v = entered(x, job.groups, bank.terms, job.x, job.to, job.tiles)
    width = columns(x.dtype)
    edges = np.array(edges_of(bank.outputs, -(-bank.outputs // width), x.dtype))
    _panels(
        v, w.reshape(-1), bias, y, slope, job, edges,
        rooms(workers, job.to, min(FEW_TERMS, bank.terms), min(width, bank.outputs), x.dtype),
        rooms(workers, job.to, -(-job.tiles // ROWS) * ROWS, min(width, bank.outputs), x.dtype),
        spoilt, count=job.groups * (len(edges) - 1), workers=workers,
        elements=_work(job, bank.outputs) * job.groups + w.size,
    )  # fmt: skip


def _filter_many(w, filters, x, bias, y, slope, job, spoilt):
    """Filter blocks of tiles, which share the filters; many of these take turns."""
    bank, workers, turns = job.bank, get_num_threads(), turns_of(job.bank, w)
    # Blocks are cut between strips of tiles that fill a tile of registers.
    strips, blocks = -(-job.tiles // ROWS), max((job.tiles + BLOCK // 2) // BLOCK, 1)
    block_edges = np.arange(blocks + 1) * strips // blocks * ROWS
    block_edges[-1] = job.tiles
    room = -(-strips // blocks) * ROWS
    own = rooms(workers, job.to, room, bank.terms, x.dtype)
    if filters is None:
        u = memory.empty((size_of(bank, turns, w),), w.dtype)
    for group in range(job.groups):
        for turn in range(turns):
            j0, j1 = cut(turn, turns, bank.outputs, w.dtype)
            if filters is None:
                transform_turn(w, bank, group, j0, j1, u)
            else:
                u = filters[group, turn]
            # Few blocks are done by several pieces of the filters, for several threads.
            pieces = min(-(-8 // blocks), -(-(j1 - j0) // (2 * columns(w.dtype))))
            edges = edges_of(j1 - j0, pieces, w.dtype)
            sums = rooms(workers, job.to, room, widest(edges), x.dtype)
            _products(
                x, u, bias, y, slope, job, group, j0 + np.array(edges), block_edges, own, sums,
                spoilt,
                count=blocks * pieces, elements=_work(job, j1 - j0), workers=workers,
            )  # fmt: skip


def _work(job, outputs):
    """Return as how many elements the products of a group of so many outputs count."""
    samples = job.to.samples_h * job.to.samples_w
    return job.tiles * samples * outputs * job.bank.terms // WORK


@parallel()
def _panels(v, w, bias, y, slope, job, edges, filters, sums, spoilt, worker, start, stop):
    """Filter all tiles by some panels of filters, a few terms at a time."""
    bank, frequencies, panels = job.bank, job.to.samples_h * job.to.samples_w, len(edges) - 1
    v_row = in_vectors(bank.terms, w) + SPARE
    v_plane, u, s = v.shape[1] // frequencies, filters[worker], sums[worker]
    for item in range(start, stop):
        group, panel = divmod(item, panels)
        k0, k1 = edges[panel], edges[panel + 1]
        width = in_vectors(k1 - k0, w)
        s_row = width + SPARE
        s_plane = (job.tiles + ROWS - 1) // ROWS * ROWS * s_row + SPARE
        for term in range(0, bank.terms, FEW_TERMS):
            last = min(term + FEW_TERMS, bank.terms)
            to_frequencies(w, bank, group, u, k0, k0, k1, k1, term, last)
            u_plane = width * (last - term) + SPARE
            for f in range(frequencies):
                multiply(
                    v[group], f * v_plane + term, v_row, job.tiles, u[f * u_plane :], width,
                    last - term, s[f * s_plane :], s_row, width, term == 0,
                )  # fmt: skip
        leave(
            s, s_row, s_plane, job.y, job.back, 0, job.tiles, bias, slope, y,
            group * bank.outputs + k0, job.groups * bank.outputs, k1 - k0, spoilt,
        )  # fmt: skip


@parallel()
def _products(
    x, u, bias, y, slope, job, group, edges, blocks, own, sums, spoilt, worker, start, stop
):
    """Make the results of some pieces of the filters in u on some blocks of tiles."""
    c, outputs, panel = job.bank.terms, job.bank.outputs, REGISTERS.vectors * in_vectors(1, x)
    v, s, j0 = own[worker], sums[worker], edges[0]
    u_plane = in_vectors(edges[-1] - j0, x) * c + SPARE
    for item in range(start, stop):
        piece, block = divmod(item, len(blocks) - 1)
        k0, k1, t0, t1 = edges[piece], edges[piece + 1], blocks[block], blocks[block + 1]
        v_row, s_row = in_vectors(c, x) + SPARE, in_vectors(k1 - k0, x) + SPARE
        room = (t1 - t0 + ROWS - 1) // ROWS * ROWS
        v_plane, s_plane = room * v_row + SPARE, room * s_row + SPARE
        enter(x, group * c, job.groups * c, c, job.x, job.to, t0, t1, v, v_row, v_plane)
        for f in range(job.to.samples_h * job.to.samples_w):
            for k in range(k0, k1, panel):
                # The last panel is as wide as it needs to be.
                width = in_vectors(min(panel, k1 - k), x)
                for term in range(0, c, CHANNELS):
                    multiply(
                        v, f * v_plane + term, v_row, t1 - t0,
                        u[f * u_plane + (k - j0) * c + term * width :], width,
                        min(CHANNELS, c - term), s[f * s_plane + k - k0 :], s_row, width,
                        term == 0,
                    )  # fmt: skip
        leave(
            s, s_row, s_plane, job.y, job.back, t0, t1, bias, slope, y,
            group * outputs + k0, job.groups * outputs, k1 - k0, spoilt,
        )  # fmt: skip


@parallel()
def _weight_grads(
    dy, x, d, v, dw, job, o_edges, c_edges, own_v, own_d, sums, spoilt, worker, start, stop
):
    """Sum up some blocks of filters and channels over their part of the tiles."""
    o_parts, size = len(o_edges) - 1, job.groups * job.outputs * job.channels * job.kh * job.kw
    for item in range(start, stop):
        rest, part = divmod(item, job.parts)
        rest, i = divmod(rest, o_parts)
        group, j = divmod(rest, len(c_edges) - 1)
        block = o_edges[i], o_edges[i + 1], c_edges[j], c_edges[j + 1]
        target = dw[part * size : (part + 1) * size]
        if v.size:
            _sum_few(d[group], v[group], target, job, group, block, sums[worker], spoilt)
        else:
            t0, t1 = part * job.tiles // job.parts, (part + 1) * job.tiles // job.parts
            _sum_many(
                dy, x, target, job, group, block, t0, t1, own_d[worker], own_v[worker],
                sums[worker], spoilt,
            )  # fmt: skip


@linked()
def _sum_few(d, v, dw, job, group, block, sums, spoilt):
    """Sum up over all tiles, whose frequencies are there."""
    o0, o1, c0, c1 = block
    frequencies = job.of_x.samples_h * job.of_x.samples_w
    d_row, v_row = in_vectors(job.outputs, v) + SPARE, in_vectors(job.channels, v) + SPARE
    d_plane, v_plane = d.size // frequencies, v.size // frequencies
    row = in_vectors(c1 - c0, v) + SPARE
    plane = (o1 - o0 + ROWS) * row + SPARE
    for f in range(frequencies):
        multiply_across(
            d, f * d_plane + o0, d_row, o1 - o0, v[f * v_plane + c0 :], v_row, job.tiles,
            sums[f * plane :], row, c1 - c0, True,
        )  # fmt: skip
    _add_filters(sums, row, plane, dw, job, group, block, spoilt)


@linked()
def _sum_many(dy, x, dw, job, group, block, t0, t1, d, v, sums, spoilt):
    """Sum up over tiles t0 to t1, some at a time."""
    o0, o1, c0, c1 = block
    channels, outputs = job.channels, job.outputs
    v_row, d_row = in_vectors(c1 - c0, x) + SPARE, in_vectors(o1 - o0, x) + SPARE
    plane = (o1 - o0 + ROWS) * v_row + SPARE
    v_plane, d_plane = TERMS * v_row + SPARE, TERMS * d_row + SPARE
    for start in range(t0, t1, TERMS):
        stop = min(t1, start + TERMS)
        enter(
            x, group * channels + c0, job.groups * channels, c1 - c0, job.x, job.of_x, start,
            stop, v, v_row, v_plane,
        )  # fmt: skip
        enter(
            dy, group * outputs + o0, job.groups * outputs, o1 - o0, job.y, job.of_y, start,
            stop, d, d_row, d_plane,
        )  # fmt: skip
        for f in range(job.of_x.samples_h * job.of_x.samples_w):
            multiply_across(
                d, f * d_plane, d_row, o1 - o0, v[f * v_plane :], v_row, stop - start,
                sums[f * plane :], v_row, c1 - c0, start == t0,
            )  # fmt: skip
    _add_filters(sums, v_row, plane, dw, job, group, block, spoilt)


@linked()
def _add_filters(sums, row, plane, dw, job, group, block, spoilt):
    """Take the sums of a block back to the taps of its filters."""
    o0, o1, c0, c1 = block
    first = (group * job.outputs + o0) * job.channels + c0
    filters_grad(
        sums, row, plane, job.back, job.kh, job.kw, o1 - o0, c1 - c0, dw, first, job.channels,
        spoilt,
    )  # fmt: skip

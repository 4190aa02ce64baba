"""Convolution as the product of the filters with columns that are nowhere in memory.

The lecture's matrix of columns (im2col) is kh * kw times as large as the image. But each of its
rows, what one tap of a filter meets window after window, is already there: in an image with its
padding around it, whose pixels are dealt out by the stride, the row is a run of pixels. So the
product takes its rows from the image, through a table of where they begin. The few pixels between
the end of one row of windows and the start of the next are computed in vain.

In small images those are too many. There a panel of columns that stays in the cache is gathered
first, multiplied by all filters, and forgotten: the implicit im2col of Chetlur et al.,
"cuDNN: efficient primitives for deep learning", 2014, section 3.1.
"""

from functools import lru_cache
from math import gcd
from typing import NamedTuple

import numpy as np

from .. import memory
from ..reference.activation import sloped
from ..threads import get_num_threads
from .columns import (
    GATHERED,
    Windows,
    chunks,
    flattened,
    gather,
    is_copied,
    laid_out,
    layout_of,
    starts_of,
    steps,
    windows_of,
)
from .compiled import linked
from .parallel import WORK, parallel
from .product import multiply_flat, multiply_upright
from .tile import ROWS, columns, multiply_rows
from .vectors import REGISTERS, copy, in_vectors, transpose

# A block of terms, so many columns of them, and their sums lie in the second cache [elements].
TERMS = 256
PANEL = 192
CACHED = 160_000
# Positions whose products a weight gradient sums up before it adds them to what it has.
POSITIONS = 256
# So many parts are done by several threads, or strips of so many terms at most.
PARTS = 8
STRIP = 16 * ROWS


class Places(NamedTuple):
    """Where results lie in the images of y: the first, and the steps to its neighbours."""

    channels: int
    plane: int
    first: int
    row: int
    column: int


class Filters(NamedTuple):
    """Where the weights are: weight k of filter f at rows[f] + terms[k]."""

    rows: np.ndarray
    terms: np.ndarray


def options(shape, work):
    """Return the options with which the functions here do a pass."""
    return dict(
        stride=shape.stride, padding=shape.padding, dilation=shape.dilation, groups=shape.groups
    )


def cost(shape, work):
    """Return the multiply-adds of a pass, those in vain included."""
    (top, _), (left, _) = shape.padding
    windows = Windows(
        shape.groups, shape.c // shape.groups, *shape.size, *shape.taps, *shape.windows,
        *shape.stride, top, left, *shape.dilation,
    )  # fmt: skip
    outputs = shape.o // shape.groups
    layout = layout_of(windows, outputs)
    return shape.n * shape.groups * steps(windows, layout, outputs)


def conv2d(x, w, b, y, slope, *, stride, padding, dilation, groups):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow)."""
    if _is_linear(x, w, y):
        multiply_upright(x[..., 0, 0], w[..., 0, 0], b, y[..., 0, 0])
        y[:] = sloped(y, slope)
        return
    windows = windows_of(x, w.shape, y.shape[2:], stride, padding, dilation, groups)
    windows = flattened(windows)
    places = Places(len(w), windows.oh * windows.ow, 0, windows.ow, 1)
    filters = Filters(multiples(len(w), w[0].size), multiples(w[0].size, 1))
    _convolve(x, w, filters, b, y, slope, windows, places)


def conv2d_input_grad(dy, w, b, dx, *, stride, padding, dilation, groups):
    """Return in dx (n, c, h, w) what the filters w (o, c/groups, kh, kw) make of dy, plus b (c,).

    The pixels of dx that are a stride apart see the same taps of the filters. So dx is made of as
    many images as a stride has pixels, each of them a convolution of dy with some of the taps.
    """
    if b is None and _is_linear(dx, w, dy):
        multiply_flat(dy[..., 0, 0], w[..., 0, 0], dx[..., 0, 0])
        return
    (_, c, *size), (_, _, *kernel_size) = dx.shape, w.shape
    axes = [
        [_taps(phase, *axis) for phase in range(min(axis[0], axis[2]))]
        for axis in zip(size, kernel_size, stride, padding, dilation, strict=True)
    ]
    for i, (rows, m, top, dilation_h) in enumerate(axes[0]):
        for j, (cols, k, left, dilation_w) in enumerate(axes[1]):
            if not (rows and cols):
                dx[:, :, i :: stride[0], j :: stride[1]] = 0 if b is None else b[:, None, None]
            elif m > 0 and k > 0:
                taps = c, w.shape[0] // groups, len(rows), len(cols)
                before, spread = ((top, 0), (left, 0)), (dilation_h, dilation_w)
                windows = windows_of(dy, taps, (m, k), (1, 1), before, spread, groups)
                if stride == (1, 1):
                    windows = flattened(windows)
                first, row = i * size[1] + j, stride[0] * size[1]
                places = Places(c, size[0] * size[1], first, row, stride[1])
                filters = _turned(w.shape, groups, rows, cols)
                _convolve(dy, w, filters, b, dx, 1.0, windows, places)


def conv2d_weight_grad(dy, x, dw, *, stride, padding, dilation, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    if _is_linear(x, dw, dy):
        multiply_flat(np.ascontiguousarray(dy[..., 0, 0].T), x[..., 0, 0], dw[..., 0, 0])
        return
    windows = flattened(windows_of(x, dw.shape, dy.shape[2:], stride, padding, dilation, groups))
    layout = layout_of(windows, len(dw) // groups)
    _sum_up(dy, x, dw, windows, layout)
    if layout.phases_h and layout.pitch > windows.ow:
        with np.errstate(invalid="ignore", over="ignore"):
            total = dw.sum()
        if not np.isfinite(total):
            # Between the rows of windows, slopes of 0 may have met what is not finite.
            _sum_up(dy, x, dw, windows, GATHERED._replace(pitch=windows.ow))


def _sum_up(dy, x, dw, windows, layout):
    """Sum up the gradient of the filters over all images, laid out in this way."""
    dw.fill(0)
    groups = windows.groups
    outputs, terms = len(dw) // groups, dw[0].size
    lanes = REGISTERS.size // dw.itemsize
    room = -(-outputs // lanes) * lanes
    # A small gradient is summed up in parts of the batch, a large one in strips of its terms, for
    # several threads. How many depends on the sizes alone, and so does the result.
    blocks = _blocks(windows, layout, len(x), POSITIONS)[0]
    parts = PARTS if blocks >= 2 * PARTS and terms * room <= CACHED else 1
    strip = terms if parts > 1 else max(-(-terms // (PARTS * ROWS)), 1) * ROWS
    strip = min(strip, STRIP) if parts == 1 else strip
    partial = dw[None] if parts == 1 else memory.zeros((parts, *dw.shape), dw.dtype)
    workers = get_num_threads()
    rooms = [
        memory.empty((workers, 0 if layout.phases_h else strip * POSITIONS), dw.dtype),
        memory.empty((workers, POSITIONS * room if parts > 1 else 0), dw.dtype),
        memory.empty((workers, strip * room), dw.dtype),
    ]
    for x_some, dy_some in chunks(windows, layout, x, dy):
        source, flat = laid_out(x_some, windows, layout), dy_some.reshape(-1)
        count, *blocks = _blocks(windows, layout, len(x_some), POSITIONS)
        # Strips of terms share the slopes, turned once; parts of the batch turn their own.
        size = groups * count * POSITIONS * room if parts == 1 else 0
        upright, where = memory.empty((size,), dw.dtype), (windows, layout, outputs)
        if parts == 1:
            _stand_upright(
                flat, *where, upright, room, count, *blocks, count=groups * count,
                elements=dy_some.size,
            )  # fmt: skip
        strips = -(-terms // strip)
        _weight_grad(
            source, starts_of(windows, layout), flat, upright, partial.reshape(-1), *where, parts,
            strip, strips, room, count, *blocks, *rooms, count=groups * parts * strips,
            elements=dy_some.size * terms // WORK, workers=workers,
        )  # fmt: skip
    if parts > 1:
        np.sum(partial, axis=0, out=dw)


def _is_linear(x, w, y):
    """Return whether this is a linear layer: images of one pixel, and one group."""
    pixels = {extent for array in (x, w, y) for extent in array.shape[2:]}
    return pixels == {1} and w.shape[1] == x.shape[1]


def _convolve(x, w, filters, b, y, slope, windows, places):
    channels, terms = len(filters.rows), len(filters.terms)
    outputs = channels // windows.groups
    layout = layout_of(windows, outputs)
    # The sums of all filters lie in the cache beside the columns; more filters take turns, and so
    # do those of few columns, for several threads.
    rows, tile = min(outputs, 1024), columns(x.dtype)
    panel = max(min(CACHED // (rows + min(terms, TERMS)), PANEL) // tile, 1) * tile
    panel = _even(_blocks(windows, layout, len(x), panel), tile)
    blocks = _blocks(windows, layout, len(x), panel)[0] * windows.groups
    workers = get_num_threads()
    turns = max(-(-outputs // rows), min(-(-2 * workers // blocks), outputs // 32))
    rows = -(-outputs // turns // ROWS) * ROWS
    turns = -(-outputs // rows)
    bias = memory.zeros((channels,), x.dtype) if b is None else np.ascontiguousarray(b)
    in_place = _are_in_place(windows, layout, places, len(x))
    rooms = [
        memory.empty((workers, 0 if in_place else rows * panel), x.dtype),
        memory.empty(
            (workers, 0 if is_copied(windows, layout) else min(terms, TERMS) * panel), x.dtype
        ),
    ]
    for x_some, y_some in chunks(windows, layout, x, y):
        source = laid_out(x_some, windows, layout)
        count, *blocks = _blocks(windows, layout, len(x_some), panel)
        _products(
            source, starts_of(windows, layout), w.reshape(-1), *filters, bias, y_some.reshape(-1),
            y.dtype.type(slope), windows, layout, places, in_place, outputs, rows, turns, panel,
            count, *blocks, *rooms, count=count * turns * windows.groups,
            elements=len(x_some) * channels * windows.oh * windows.ow * terms // WORK,
            workers=workers,
        )  # fmt: skip


def _are_in_place(windows, layout, places, n):
    """Return whether positions that are neighbours have results that are."""
    in_rows = windows.oh == 1 or (layout.pitch == windows.ow == places.row)
    return places.column == 1 and in_rows and (layout.phases_h > 0 or n == 1)


@lru_cache(maxsize=1024)
def multiples(count, step):
    """Return the first multiples of a number, from 0 on."""
    return np.arange(count) * step


@lru_cache(maxsize=1024)
def _turned(shape, groups, rows, cols):
    """Return where filters (o, c/groups, kh, kw) are as those of their outputs: c, of terms o."""
    o, c, kh, kw = shape
    first = multiples(groups, o // groups * c * kh * kw)[:, None] + multiples(c, kh * kw)
    taps = np.array(rows)[:, None] * kw + np.array(cols)
    terms = multiples(o // groups, c * kh * kw)[:, None] + taps.reshape(-1)
    return Filters(first.reshape(-1), terms.reshape(-1))


def _taps(phase, size, kernel, stride, padding, dilation):
    """Return the taps that meet every stride-th pixel of an axis, and how they lie.

    They are the numbers of the taps in reverse order, that of the pixels, the padding before them
    (also negative), and the dilation.
    """
    pixels = -(-(size - phase) // stride)
    step, before = stride // gcd(stride, dilation), padding[0]
    first = next((r for r in range(step) if (phase + before - r * dilation) % stride == 0), kernel)
    if first >= kernel:
        return range(0), pixels, 0, 1
    last = first + (kernel - 1 - first) // step * step
    before = (last * dilation - phase - before) // stride
    return range(last, -1, -step), pixels, before, step * dilation // stride


def _blocks(windows, layout, n, width):
    """Return how positions are cut into blocks: how many, how many to a run, its length and gap.

    A run is what lies in one piece: an image, up to the gap at its end; or, gathered, all of them.
    """
    extent, gap, runs = windows.oh * layout.pitch, layout.pitch - windows.ow, n
    if not layout.phases_h:
        extent, runs = n * extent, 1
    in_a_run = -(-(extent - gap) // width)
    return runs * in_a_run, in_a_run, extent, gap


def _even(blocks, tile):
    """Return the width, in whole tiles, at which as many blocks are about equal."""
    _, in_a_run, extent, gap = blocks
    return -(-(extent - gap) // in_a_run // tile) * tile


@parallel()
def _products(
    source, starts, w, w_rows, w_terms, bias, y, slope, windows, layout, places, in_place,
    outputs, rows, turns, panel, blocks, in_a_run, extent, gap, sums, gathered, worker, start, stop,
):  # fmt: skip
    """Make the results of some filters at some blocks of positions."""
    terms = windows.c * windows.kh * windows.kw
    plane = layout.phases_h * layout.phases_w * layout.rows * layout.pitch
    panel_starts = np.arange(TERMS) * panel
    sums, gathered = sums[worker], gathered[worker]
    to, to_row = (y, places.plane) if in_place else (sums, panel)
    for item in range(start, stop):
        turn, block = item // blocks, item % blocks
        group, first = turn // turns, turn % turns * rows
        count, filter0 = min(rows, outputs - first), group * outputs + first
        run, p0 = block // in_a_run, block % in_a_run * panel
        p1 = min(p0 + panel, extent - gap)
        to0 = (run * places.channels + filter0) * places.plane + places.first + p0
        for k in range(0, terms, TERMS):
            some = min(TERMS, terms - k)
            now = slope if k + some == terms else y.dtype.type(1)
            origin = (run * windows.groups + group) * windows.c * plane + p0
            # The last vectors of the last image of the user's own would end behind it.
            end = origin + starts[k + some - 1] + in_vectors(p1 - p0, y) if plane else 0
            if plane and end <= source.size:
                multiply_rows(
                    w, 0, w_rows, filter0, count, w_terms, k, source, origin, starts, k, some,
                    to, to0 if in_place else 0, to_row, p1 - p0, k == 0, bias, now,
                )  # fmt: skip
            else:
                gather(
                    source, windows, layout.pitch, group, k, k + some, run * extent + p0,
                    run * extent + p1, gathered, panel,
                )  # fmt: skip
                multiply_rows(
                    w, 0, w_rows, filter0, count, w_terms, k, gathered, 0, panel_starts, 0, some,
                    to, to0 if in_place else 0, to_row, p1 - p0, k == 0, bias, now,
                )  # fmt: skip
        if not in_place:
            positions = run * extent + p0, run * extent + p1
            _place(sums, panel, filter0, count, y, windows, layout, places, positions)


@linked()
def _place(sums, panel, filter0, rows, y, windows, layout, places, positions):
    """Put results where they belong."""
    ow, pitch = windows.ow, layout.pitch
    packed = places.column == 1 and places.row == pitch and pitch == ow
    run = windows.oh * pitch if packed else pitch
    wanted = run if packed else ow
    position = positions[0]
    while position < positions[1]:
        image, pixel = position // (windows.oh * pitch), position % (windows.oh * pitch)
        count = min(run - pixel % run, positions[1] - position)
        valid = min(count, wanted - pixel % run)
        to = (image * places.channels + filter0) * places.plane + places.first
        to += pixel // pitch * places.row + pixel % pitch * places.column
        for o in range(rows):
            place, source = to + o * places.plane, o * panel + position - positions[0]
            if places.column == 1:
                copy(y, place, sums, source, valid)
            else:
                for t in range(valid):
                    y[place + t * places.column] = sums[source + t]
        position += count


@parallel()
def _weight_grad(
    source, starts, dy, upright, dw, windows, layout, outputs, parts, strip, strips, room, blocks,
    in_a_run, extent, gap, gathered, slopes, sums, worker, start, stop,
):  # fmt: skip
    """Add what parts of the batch give to strips of terms of the filters.

    The rows of columns are multiplied by the slopes, which stand upright: (positions, outputs).
    """
    terms = windows.c * windows.kh * windows.kw
    plane = layout.phases_h * layout.phases_w * layout.rows * layout.pitch
    slope_starts, panel_starts = np.arange(POSITIONS) * room, np.arange(strip) * POSITIONS
    steps, bias, slope = np.arange(POSITIONS), np.zeros(terms, dw.dtype), dw.dtype.type(1)
    gathered, slopes, sums = gathered[worker], slopes[worker], sums[worker]
    for item in range(start, stop):
        k0, rest = item % strips * strip, item // strips
        part, group = rest // windows.groups, rest % windows.groups
        rows = min(strip, terms - k0)
        first, last = part * blocks // parts, (part + 1) * blocks // parts
        for block in range(first, last):
            run, p0 = block // in_a_run, block % in_a_run * POSITIONS
            p1 = min(p0 + POSITIONS, extent - gap)
            b, b0 = upright, (group * blocks + block) * POSITIONS * room
            if parts > 1:
                positions = run * extent + p0, run * extent + p1
                _upright(dy, windows, layout, group, outputs, positions, slopes, room)
                b, b0 = slopes, 0
            if layout.phases_h:
                origin = (run * windows.groups + group) * windows.c * plane + p0
                multiply_rows(
                    source, origin, starts, k0, rows, steps, 0, b, b0, slope_starts, 0, p1 - p0,
                    sums, 0, room, outputs, block == first, bias, slope,
                )  # fmt: skip
            else:
                gather(
                    source, windows, layout.pitch, group, k0, k0 + rows, p0, p1, gathered,
                    POSITIONS,
                )  # fmt: skip
                multiply_rows(
                    gathered, 0, panel_starts, 0, rows, steps, 0, b, b0, slope_starts, 0, p1 - p0,
                    sums, 0, room, outputs, block == first, bias, slope,
                )  # fmt: skip
        if last > first:
            to = (part * windows.groups + group) * outputs * terms + k0
            _add_upright(sums, room, rows, dw, to, terms, outputs)


@parallel()
def _stand_upright(
    dy, windows, layout, outputs, upright, room, blocks, in_a_run, extent, gap, start, stop
):
    """Copy blocks of the slopes of each group as (positions, outputs); 0 in the gaps."""
    for item in range(start, stop):
        group, block = item // blocks, item % blocks
        run, p0 = block // in_a_run, block % in_a_run * POSITIONS
        positions = run * extent + p0, run * extent + min(p0 + POSITIONS, extent - gap)
        to = upright[item * POSITIONS * room :]
        _upright(dy, windows, layout, group, outputs, positions, to, room)


@linked()
def _upright(dy, windows, layout, group, outputs, positions, slopes, room):
    """Copy the slopes of a group (outputs, positions) as (positions, outputs); 0 in the gaps."""
    ow, pitch, size = windows.ow, layout.pitch, windows.oh * windows.ow
    run = windows.oh * pitch if pitch == ow else pitch
    wanted = run if pitch == ow else ow
    lanes = in_vectors(1, dy)
    position = positions[0]
    while position < positions[1]:
        image, pixel = position // (windows.oh * pitch), position % (windows.oh * pitch)
        count = min(run - pixel % run, positions[1] - position)
        valid = max(0, min(count, wanted - pixel % run))
        source = (
            (image * windows.groups + group) * outputs * size + pixel // pitch * ow + pixel % pitch
        )
        to = (position - positions[0]) * room
        for o in range(0, outputs, lanes):
            for t in range(0, valid, lanes):
                transpose(
                    slopes, to + t * room + o, room, dy, source + o * size + t, size,
                    min(lanes, outputs - o), min(lanes, valid - t),
                )  # fmt: skip
        slopes[to + valid * room : to + count * room] = 0
        position += count


@linked()
def _add_upright(sums, room, rows, dw, first, terms, outputs):
    """Add sums (rows, outputs) to the gradient (outputs, terms)."""
    lanes = in_vectors(1, sums)
    block = np.empty(lanes * lanes, sums.dtype)
    for k in range(0, rows, lanes):
        for o in range(0, outputs, lanes):
            high, wide = min(lanes, rows - k), min(lanes, outputs - o)
            transpose(block, 0, lanes, sums, k * room + o, room, high, wide)
            for i in range(wide):
                to = first + (o + i) * terms + k
                for t in range(high):
                    dw[to + t] += block[i * lanes + t]

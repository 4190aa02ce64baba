"""Convolution as the product of the filters with columns that are nowhere in memory.

The lecture's matrix of columns (im2col) is kh * kw times as large as the image. But each of its rows,
what one tap of a filter meets window after window, is already there: in an image with its padding
around it, whose pixels are dealt out by the stride, the row is a run of pixels. So the product takes
its rows from the image, through a table of where they begin. The few pixels between the end of one
row of windows and the start of the next are computed in vain.

In small images those are too many. There a panel of columns that stays in the cache is gathered
first, multiplied by all filters, and forgotten (`gathered`): the implicit im2col of Chetlur et al.,
"cuDNN: efficient primitives for deep learning", 2014, section 3.1.
"""

from functools import lru_cache
from math import gcd
from typing import NamedTuple

import numpy as np

from .. import memory
from .compiled import compiled
from .parallel import in_parts
from .product import multiply_flat, multiply_upright
from .tile import ROWS, columns, copy, in_vectors, multiply_rows, transpose

# A block of terms, so many columns of them, and their sums lie in the second cache [elements].
TERMS = 256
PANEL = 192
CACHED = 160_000
# Positions whose products a weight gradient sums up before it adds them to what it has.
POSITIONS = 256
# So many padded images are laid out at once, or a single one [elements].
IMAGES = 1 << 22
# As many multiply-adds take as long as what `in_parts` takes for one number.
WORK = 32


class Windows(NamedTuple):
    """Where the windows of a convolution lie in the images (n, c, h, w) of each group."""

    groups: int
    c: int
    h: int
    w: int
    kh: int
    kw: int
    oh: int
    ow: int
    stride_h: int
    stride_w: int
    top: int
    left: int
    dilation_h: int
    dilation_w: int


class Layout(NamedTuple):
    """How the images lie that the columns are read from: padded, their pixels dealt out by the stride.

    As (c, phases_h, phases_w, rows, pitch); with no phases, columns are gathered from the image.
    """

    phases_h: int
    phases_w: int
    rows: int
    pitch: int

    def size(self, windows):
        """Return how many elements the images of one sample and group take."""
        return windows.c * self.phases_h * self.phases_w * self.rows * self.pitch


GATHERED = Layout(0, 0, 0, 0)


class Places(NamedTuple):
    """Where results lie in the images of y: the first, and the steps to its neighbours."""

    channels: int
    plane: int
    first: int
    row: int
    column: int


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
    layout = _layout(windows, outputs)
    return shape.n * shape.groups * _steps(windows, layout, outputs)


def conv2d(x, w, b, y, activation, *, stride, padding, dilation, groups):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow)."""
    if _is_linear(x, w, y):
        multiply_upright(x[..., 0, 0], w[..., 0, 0], b, y[..., 0, 0])
        if activation:
            np.maximum(y, 0, out=y)
        return
    windows = _windows(x, w.shape, y.shape[2:], stride, padding, dilation, groups)
    windows = _flattened(windows)
    places = Places(len(w), windows.oh * windows.ow, 0, windows.ow, 1)
    _convolve(x, w, b, y, activation, windows, places)


def conv2d_input_grad(dy, w, b, dx, *, stride, padding, dilation, groups):
    """Return in dx (n, c, h, w) what the filters w (o, c/groups, kh, kw) make of dy, plus b (c,).

    The pixels of dx that are a stride apart see the same taps of the filters. So dx is made of as
    many images as a stride has pixels, each of them a convolution of dy with some of the taps.
    """
    if b is None and _is_linear(dx, w, dy):
        multiply_flat(dy[..., 0, 0], w[..., 0, 0], dx[..., 0, 0])
        return
    _, c, *size = dx.shape
    o, _, *kernel_size = w.shape
    by_group = w.reshape(groups, o // groups, c // groups, *kernel_size).swapaxes(1, 2)
    axes = [
        [_taps(phase, *axis) for phase in range(axis[2])]
        for axis in zip(size, kernel_size, stride, padding, dilation, strict=True)
    ]
    for i, (rows, m, top, dilation_h) in enumerate(axes[0]):
        for j, (cols, k, left, dilation_w) in enumerate(axes[1]):
            taps = by_group[..., rows, :][..., cols]
            if taps.size == 0:
                dx[:, :, i :: stride[0], j :: stride[1]] = 0 if b is None else b[:, None, None]
            elif m > 0 and k > 0:
                taps = np.ascontiguousarray(taps).reshape(c, o // groups, *taps.shape[-2:])
                before, spread = ((top, 0), (left, 0)), (dilation_h, dilation_w)
                windows = _windows(dy, taps.shape, (m, k), (1, 1), before, spread, groups)
                if stride == (1, 1):
                    windows = _flattened(windows)
                first, row = i * size[1] + j, stride[0] * size[1]
                places = Places(c, size[0] * size[1], first, row, stride[1])
                _convolve(dy, taps, b, dx, False, windows, places)


def conv2d_weight_grad(dy, x, dw, *, stride, padding, dilation, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    if _is_linear(x, dw, dy):
        multiply_flat(np.ascontiguousarray(dy[..., 0, 0].T), x[..., 0, 0], dw[..., 0, 0])
        return
    dw.fill(0)
    windows = _windows(x, dw.shape, dy.shape[2:], stride, padding, dilation, groups)
    windows = _flattened(windows)
    outputs, terms, tiles = len(dw) // groups, dw[0].size, -(-dw[0].size // ROWS)
    layout = _layout(windows, outputs)
    # A small gradient is summed up in several parts of the batch, for several threads to do.
    # Their number depends on the sizes alone, and so does the result.
    parts = 1 if tiles >= 8 else max(1, min(8, dy[:, 0].size // (4 * POSITIONS)))
    partial = dw[None] if parts == 1 else memory.zeros((parts, *dw.shape), dw.dtype)
    for x_some, dy_some in _chunks(windows, layout, x, dy):
        source = _laid_out(x_some, windows, layout)
        arrays = dy_some.reshape(-1), source, partial.reshape(-1), _starts(windows, layout)
        blocks = _blocks(windows, layout, len(x_some), POSITIONS)

        def some(start, stop, arrays=arrays, blocks=blocks):
            rows = min(terms, (stop - start) * ROWS) if parts == 1 else terms
            room = -(-outputs // columns(dw.dtype)) * columns(dw.dtype)
            rooms = [
                memory.zeros((0 if layout.phases_h else rows * POSITIONS,), dw.dtype),
                memory.zeros((POSITIONS * room,), dw.dtype),
                memory.empty(((rows + ROWS) * room,), dw.dtype),
            ]
            if parts == 1:
                for group, k, last in _cut(start, stop, tiles):
                    terms_of = k * ROWS, min(last * ROWS, terms)
                    _weight_grad(
                        *arrays, windows, layout, group, outputs, 0, *terms_of, 0, *blocks, *rooms
                    )
                return
            for item in range(start, stop):
                part, group = divmod(item, groups)
                count = blocks[0]
                between = part * count // parts, (part + 1) * count // parts
                _weight_grad(
                    *arrays, windows, layout, group, outputs, part * dw.size, 0, terms, *between,
                    *blocks[1:], *rooms,
                )  # fmt: skip

        work = dy_some.size * terms // WORK
        in_parts(some, groups * (tiles if parts == 1 else parts), work)
    if parts > 1:
        np.sum(partial, axis=0, out=dw)


def _is_linear(x, w, y):
    """Return whether this is a linear layer: images of one pixel, and one group."""
    pixels = {extent for array in (x, w, y) for extent in array.shape[2:]}
    return pixels == {1} and w.shape[1] == x.shape[1]


def _convolve(x, w, b, y, activation, windows, places):
    outputs, terms = len(w) // windows.groups, w[0].size
    layout = _layout(windows, outputs)
    # The sums of all filters lie in the cache beside the columns; more filters take turns, and so do
    # those of few columns, for several threads.
    rows, tile = min(outputs, 1024), columns(x.dtype)
    panel = max(min(CACHED // (rows + min(terms, TERMS)), PANEL) // tile, 1) * tile
    panel = _even(_blocks(windows, layout, len(x), panel), tile)
    blocks = _blocks(windows, layout, len(x), panel)[0] * windows.groups
    turns = max(-(-outputs // rows), min(-(-8 // blocks), outputs // 32))
    rows = -(-outputs // turns // ROWS) * ROWS
    turns = -(-outputs // rows)
    bias = np.zeros(len(w), x.dtype) if b is None else np.ascontiguousarray(b)
    filters = w.reshape(-1), np.arange(len(w)) * terms, bias
    for x_some, y_some in _chunks(windows, layout, x, y):
        source = _laid_out(x_some, windows, layout)
        arrays = source, _starts(windows, layout), *filters, y_some.reshape(-1)
        count, *blocks = _blocks(windows, layout, len(x_some), panel)

        def some(start, stop, arrays=arrays, count=count, blocks=blocks):
            sums = memory.empty(((rows + ROWS) * panel,), x.dtype)
            gathered = memory.empty((min(terms, TERMS) * panel,), x.dtype)
            for turn, first, last in _cut(start, stop, count):
                group, turn = divmod(turn, turns)
                row = turn * rows
                filters = group * outputs + row, min(rows, outputs - row)
                _products(
                    *arrays, activation, windows, layout, places, group, *filters, sums, gathered,
                    panel, first, last, *blocks,
                )  # fmt: skip

        work = len(x_some) * windows.oh * windows.ow * len(w) * terms // WORK
        in_parts(some, count * turns * windows.groups, work)


def _windows(x, shape, size, stride, padding, dilation, groups):
    _, c, *kernel_size = shape
    (top, _), (left, _) = padding
    return Windows(groups, c, *x.shape[2:], *kernel_size, *size, *stride, top, left, *dilation)


def _flattened(windows):
    """Return windows of one pixel as a single row of them: longer runs are faster."""
    height = windows.h, windows.kh, windows.oh, windows.stride_h, windows.top
    width = windows.w, windows.kw, windows.ow, windows.stride_w, windows.left
    if all(axis == (axis[0], 1, axis[0], 1, 0) for axis in (height, width)):
        size = windows.h * windows.w
        return windows._replace(h=1, w=size, oh=1, ow=size)
    return windows


def _taps(phase, size, kernel, stride, padding, dilation):
    """Return the taps that meet every stride-th pixel of an axis, and how they lie.

    They are the slice of the filter in reverse order, the number of pixels, the padding before them
    (also negative), and the dilation.
    """
    pixels = -(-(size - phase) // stride)
    step, before = stride // gcd(stride, dilation), padding[0]
    first = next((r for r in range(step) if (phase + before - r * dilation) % stride == 0), kernel)
    if first >= kernel:
        return slice(0, 0), pixels, 0, 1
    last = first + (kernel - 1 - first) // step * step
    taps = slice(last, first - step if first >= step else None, -step)
    return taps, pixels, (last * dilation - phase - before) // stride, step * dilation // stride


@lru_cache(maxsize=1024)
def _layout(windows, outputs):
    """Return how images are laid out, or that columns are gathered, whichever takes less time."""
    laid_out = _phases(windows)
    if _steps(windows, laid_out, outputs) < _steps(windows, GATHERED, outputs):
        return laid_out
    return GATHERED._replace(pitch=windows.ow)


def _phases(windows):
    """Return the layout from which rows of columns can be read."""
    phases, extents = [], []
    for taps, dilation, stride, count in (
        (windows.kh, windows.dilation_h, windows.stride_h, windows.oh),
        (windows.kw, windows.dilation_w, windows.stride_w, windows.ow),
    ):
        phases.append(1 + max(tap * dilation % stride for tap in range(min(taps, stride))))
        extents.append(count + (taps - 1) * dilation // stride)
    return Layout(*phases, *extents)


def _steps(windows, layout, outputs):
    """Return how many vectors the product of an image takes, with what it costs to get them.

    What laying out and gathering cost beside a multiply-add was measured.
    """
    half = ROWS // 2
    product = -(-outputs // half) * half * windows.c * windows.kh * windows.kw * windows.oh
    if layout.phases_h:
        return product * layout.pitch + 8 * layout.size(windows)
    gather = 190 / windows.ow + (3 if windows.stride_w == 1 else 16)
    return product * windows.ow * (1 + gather / outputs)


@lru_cache(maxsize=1024)
def _starts(windows, layout):
    """Return where the row of each term begins, from the first pixel of an image."""
    if not layout.phases_h:
        return np.zeros(0, np.int64)
    row, phase_h = np.divmod(np.arange(windows.kh) * windows.dilation_h, windows.stride_h)
    column, phase_w = np.divmod(np.arange(windows.kw) * windows.dilation_w, windows.stride_w)
    plane = layout.rows * layout.pitch
    down = phase_h * layout.phases_w * plane + row * layout.pitch
    channels = np.arange(windows.c) * (layout.phases_h * layout.phases_w * plane)
    starts = channels[:, None, None] + down[:, None] + phase_w * plane + column
    return starts.reshape(-1)


def _chunks(windows, layout, *arrays):
    """Yield the arrays (n, ...) for as many images at a time as are laid out at once."""
    count = len(arrays[0])
    if layout.phases_h:
        count = max(1, IMAGES // (windows.groups * layout.size(windows)))
    for start in range(0, len(arrays[0]), max(count, 1)):
        yield [array[start : start + count] for array in arrays]


def _laid_out(x, windows, layout):
    """Return the images in this layout, flat, with room for the last vectors."""
    if not layout.phases_h:
        return x.reshape(-1)
    planes = len(x) * windows.groups * windows.c
    size = planes * layout.phases_h * layout.phases_w * layout.rows * layout.pitch
    source, flat = memory.empty((size + columns(x.dtype),), x.dtype), x.reshape(-1)
    source[size:] = 0
    in_parts(lambda start, stop: _lay_out(flat, source, windows, layout, start, stop), planes, size)
    return source


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


def _cut(start, stop, length):
    """Yield (which, first, last) of the pieces of a range in a sequence of pieces."""
    while start < stop:
        which, first = divmod(start, length)
        last = min(length, first + stop - start)
        yield which, first, last
        start += last - first


@compiled()
def _lay_out(x, target, windows, layout, start, stop):
    """Copy some planes, with their padding, their pixels dealt out by the stride."""
    stride_h, stride_w = windows.stride_h, windows.stride_w
    to = start * layout.phases_h * layout.phases_w * layout.rows * layout.pitch
    for plane in range(start, stop):
        for phase_h in range(layout.phases_h):
            for phase_w in range(layout.phases_w):
                first = phase_w - windows.left
                t0 = 0 if first >= 0 else (stride_w - 1 - first) // stride_w
                t0 = min(t0, layout.pitch)
                t1 = min(max((windows.w - 1 - first) // stride_w + 1, t0), layout.pitch)
                for i in range(layout.rows):
                    row = i * stride_h + phase_h - windows.top
                    if row < 0 or row >= windows.h:
                        target[to : to + layout.pitch] = 0
                    else:
                        source = (plane * windows.h + row) * windows.w + first
                        target[to : to + t0] = 0
                        if stride_w == 1:
                            copy(target, to + t0, x, source + t0, t1 - t0)
                        else:
                            for t in range(t0, t1):
                                target[to + t] = x[source + t * stride_w]
                        target[to + t1 : to + layout.pitch] = 0
                    to += layout.pitch


@compiled()
def _gather(x, windows, group, k0, k1, p0, p1, panel, width):
    """Copy what terms k0 to k1 see at positions p0 to p1 into the rows of a panel."""
    h, w, kh, kw, ow = windows.h, windows.w, windows.kh, windows.kw, windows.ow
    stride = windows.stride_w
    size = windows.oh * ow
    position = p0
    while position < p1:
        image, pixel = position // size, position % size
        i, j = pixel // ow, pixel % ow
        count = min(ow - j, p1 - position)
        top, left = i * windows.stride_h - windows.top, j * stride - windows.left
        channel, tap = k0 // (kh * kw), k0 % (kh * kw)
        r, s = tap // kw, tap % kw
        plane = ((image * windows.groups + group) * windows.c + channel) * h * w
        to = position - p0
        for _ in range(k0, k1):
            row, first = top + r * windows.dilation_h, left + s * windows.dilation_w
            t0, t1 = 0, count
            if row < 0 or row >= h:
                t0 = count
            elif first < 0:
                t0 = min((stride - 1 - first) // stride, count)
            if first + (count - 1) * stride >= w:
                t1 = max((w - 1 - first) // stride + 1, t0)
            source = plane + row * w + first
            for t in range(t0):
                panel[to + t] = 0
            if stride == 1:
                copy(panel, to + t0, x, source + t0, t1 - t0)
            else:
                for t in range(t0, t1):
                    panel[to + t] = x[source + t * stride]
            for t in range(t1, count):
                panel[to + t] = 0
            to += width
            s += 1
            if s == kw:
                s, r = 0, r + 1
                if r == kh:
                    r, plane = 0, plane + h * w
        position += count


@compiled()
def _products(
    source, starts, w, w_starts, bias, y, activation, windows, layout, places, group, filter0, rows,
    sums, gathered, panel, block0, block1, in_a_run, extent, gap,
):  # fmt: skip
    """Make the results of some filters at some blocks of positions."""
    terms = windows.c * windows.kh * windows.kw
    plane = layout.phases_h * layout.phases_w * layout.rows * layout.pitch
    panel_starts = np.arange(TERMS) * panel
    if not layout.phases_h:
        gathered[:] = 0
    for block in range(block0, block1):
        run, start = block // in_a_run, block % in_a_run * panel
        stop = min(start + panel, extent - gap)
        for k in range(0, terms, TERMS):
            count = min(TERMS, terms - k)
            if layout.phases_h:
                first = (run * windows.groups + group) * windows.c * plane + start
                multiply_rows(
                    w, k, w_starts, filter0, rows, source, first, starts, k, count, sums, panel,
                    stop - start, k == 0,
                )  # fmt: skip
            else:
                _gather(source, windows, group, k, k + count, start, stop, gathered, panel)
                multiply_rows(
                    w, k, w_starts, filter0, rows, gathered, 0, panel_starts, 0, count, sums, panel,
                    stop - start, k == 0,
                )  # fmt: skip
        positions = run * extent + start, run * extent + stop
        _place(sums, panel, filter0, rows, bias, y, activation, windows, layout, places, positions)


@compiled()
def _place(sums, panel, filter0, rows, bias, y, activation, windows, layout, places, positions):
    """Put sums where they belong, with their bias, through the activation."""
    ow, pitch = windows.ow, layout.pitch
    packed = places.column == 1 and places.row == pitch and pitch == ow
    run = windows.oh * pitch if packed else pitch
    wanted = run if packed else ow
    position = positions[0]
    while position < positions[1]:
        image, pixel = position // (windows.oh * pitch), position % (windows.oh * pitch)
        count = min(run - pixel % run, positions[1] - position)
        valid = min(count, wanted - pixel % run)
        to = image * places.channels * places.plane + places.first
        to += pixel // pitch * places.row + pixel % pitch * places.column
        to += filter0 * places.plane
        for o in range(rows):
            place, source = to + o * places.plane, o * panel + position - positions[0]
            add = bias[filter0 + o]
            if not activation:
                for t in range(valid):
                    y[place + t * places.column] = sums[source + t] + add
            else:
                for t in range(valid):
                    value = sums[source + t] + add
                    y[place + t * places.column] = 0 if value < 0 else value  # NaN stays
        position += count


@compiled()
def _weight_grad(
    dy, source, dw, starts, windows, layout, group, outputs, dw0, k0, k1, block0, block1, in_a_run,
    extent, gap, gathered, slopes, sums,
):  # fmt: skip
    """Add what some blocks of positions give to terms k0 to k1 of the filters of a group.

    The rows of columns are multiplied by the slopes, which stand upright: (positions, outputs).
    """
    terms, rows = windows.c * windows.kh * windows.kw, k1 - k0
    plane = layout.phases_h * layout.phases_w * layout.rows * layout.pitch
    room = in_vectors(outputs, dy)
    slope_starts, panel_starts = np.arange(POSITIONS) * room, np.arange(rows) * POSITIONS
    for block in range(block0, block1):
        run, start = block // in_a_run, block % in_a_run * POSITIONS
        stop = min(start + POSITIONS, extent - gap)
        positions = run * extent + start, run * extent + stop
        _upright(dy, windows, layout, group, outputs, positions, slopes, room)
        fresh = block == block0
        if layout.phases_h:
            first = (run * windows.groups + group) * windows.c * plane + start
            multiply_rows(
                source, first, starts, k0, rows, slopes, 0, slope_starts, 0, stop - start, sums, room,
                outputs, fresh,
            )  # fmt: skip
        else:
            _gather(source, windows, group, k0, k1, start, stop, gathered, POSITIONS)
            multiply_rows(
                gathered, 0, panel_starts, 0, rows, slopes, 0, slope_starts, 0, stop - start, sums,
                room, outputs, fresh,
            )  # fmt: skip
    if block1 > block0:
        _add_upright(sums, room, rows, dw, dw0 + group * outputs * terms + k0, terms, outputs)


@compiled()
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


@compiled()
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

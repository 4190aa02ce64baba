"""Convolution as a product with columns that exist only where they are needed (implicit im2col).

The lecture's matrix of columns is kh * kw times as large as the image. Here a block of it is
gathered into a panel that stays in the cache, is multiplied by all filters, and is forgotten. One
routine gathers for all three passes, with any stride, padding, dilation and group.

Chetlur et al., "cuDNN: efficient primitives for deep learning", 2014, section 3.1.
"""

from math import gcd
from typing import NamedTuple

import numpy as np

from .compiled import compiled
from .parallel import in_parts
from .tile import ROWS, columns, copy, in_vectors, multiply

# A block of terms by a panel of columns lies in the second cache beside the sums [elements].
TERMS = 256
PANEL = 192
CACHED = 160_000
# Positions whose products a weight gradient sums up before it adds them to what it has.
POSITIONS = 256
# As many multiply-adds take as long as `in_parts` takes for one number.
WORK = 32


class Windows(NamedTuple):
    """Where the windows of a convolution lie in an image of (c, h, w)."""

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


class Places(NamedTuple):
    """Where results lie in their images: the first, and the steps to its neighbours."""

    channels: int
    plane: int
    first: int
    row: int
    column: int


def conv2d(x, w, b, y, activation, *, stride, padding, dilation, groups):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw) into y (n, o, oh, ow)."""
    _, _, h, width = x.shape
    o, c, kh, kw = w.shape
    oh, ow = y.shape[2:]
    (top, _), (left, _) = padding
    windows = Windows(c, h, width, kh, kw, oh, ow, *stride, top, left, *dilation)
    places = Places(o, oh * ow, 0, ow, 1)
    _convolve(x, w, b, y, activation, _flattened(windows), places, groups)


def conv2d_input_grad(dy, w, b, dx, *, stride, padding, dilation, groups):
    """Return in dx (n, c, h, w) what the filters w (o, c/groups, kh, kw) make of dy, plus b (c,).

    The pixels of dx that are a stride apart see the same taps of the filters. So dx is made of as
    many images as a stride has pixels, each of them a convolution of dy with some of the taps.
    """
    _, c, h, width = dx.shape
    o, _, kh, kw = w.shape
    rows = [
        _taps(phase, h, kh, stride[0], padding[0][0], dilation[0]) for phase in range(stride[0])
    ]
    cols = [
        _taps(phase, width, kw, stride[1], padding[1][0], dilation[1]) for phase in range(stride[1])
    ]
    by_group = w.reshape(groups, o // groups, c // groups, kh, kw).swapaxes(1, 2)
    for i, (some_rows, m, top, dilation_h) in enumerate(rows):
        for j, (some_cols, k, left, dilation_w) in enumerate(cols):
            if m < 1 or k < 1:
                continue
            taps = by_group[..., some_rows, :][..., some_cols]
            places = Places(c, h * width, i * width + j, stride[0] * width, stride[1])
            if taps.size == 0:
                dx[:, :, i :: stride[0], j :: stride[1]] = 0 if b is None else b[:, None, None]
                continue
            taps = np.ascontiguousarray(taps).reshape(c, o // groups, *taps.shape[-2:])
            windows = Windows(
                o // groups, *dy.shape[2:], *taps.shape[2:], m, k, 1, 1, top, left,
                dilation_h, dilation_w,
            )  # fmt: skip
            if stride == (1, 1):
                windows = _flattened(windows)
            _convolve(dy, taps, b, dx, 0, windows, places, groups)


def conv2d_weight_grad(dy, x, dw, *, stride, padding, dilation, groups):
    """Return in dw (o, c/groups, kh, kw) the gradient of the filters."""
    n, o, oh, ow = dy.shape
    _, c, kh, kw = dw.shape
    if not dy.size:
        dw.fill(0)
        return
    (top, _), (left, _) = padding
    windows = Windows(c, *x.shape[2:], kh, kw, oh, ow, *stride, top, left, *dilation)
    windows = _flattened(windows)
    terms, outputs, positions = c * kh * kw, o // groups, n * oh * ow
    # A small gradient is summed up in several parts of the batch, for several threads to do.
    # Their number depends on the sizes alone, and so does the result.
    parts = 1 if terms >= 8 * ROWS else max(1, min(8, positions // (4 * POSITIONS)))
    partial = dw if parts == 1 else np.empty((parts, *dw.shape), dw.dtype)
    flat_x, flat_dy, flat = x.reshape(-1), dy.reshape(-1), partial.reshape(-1)
    tiles = -(-terms // ROWS)
    work = n * oh * ow * o * terms // WORK
    for group in range(groups):
        if parts == 1:
            in_parts(
                lambda a, z, group=group: _weight_grad(
                    flat_dy, flat_x, flat, group * outputs * terms, windows, group, groups, outputs,
                    min(a * ROWS, terms), min(z * ROWS, terms), 0, positions,
                ),
                tiles, work // groups,
            )  # fmt: skip
            continue

        def some(start, stop, group=group):
            for part in range(start, stop):
                _weight_grad(
                    flat_dy, flat_x, flat, part * dw.size + group * outputs * terms, windows, group,
                    groups, outputs, 0, terms,
                    part * positions // parts, (part + 1) * positions // parts,
                )  # fmt: skip

        in_parts(some, parts, work // groups)
    if parts > 1:
        np.sum(partial, axis=0, out=dw)


def _flattened(windows):
    """Return windows of one pixel as a single row of them: longer runs are faster."""
    plain = windows[3:5] == (1, 1) and windows[7:11] == (1, 1, 0, 0)
    if plain and windows[1:3] == windows[5:7]:
        size = windows.h * windows.w
        return windows._replace(h=1, w=size, oh=1, ow=size)
    return windows


def _taps(phase, size, kernel, stride, before, dilation):
    """Return the taps that meet every stride-th pixel of an axis, and how they lie.

    They are the slice of the filter in reverse order, the number of pixels, the padding before them
    (also negative), and the dilation.
    """
    pixels = -(-(size - phase) // stride)
    step = stride // gcd(stride, dilation)
    first = next((r for r in range(step) if (phase + before - r * dilation) % stride == 0), kernel)
    count = max(-(-(kernel - first) // step), 0)
    spread = step * dilation // stride
    last = first + (count - 1) * step
    padding = (last * dilation - phase - before) // stride if count else 0
    stop = first - step
    taps = slice(last, stop if stop >= 0 else None, -step) if count else slice(0, 0)
    return taps, pixels, padding, spread


def _convolve(x, w, b, y, activation, windows, places, groups):
    n, outputs = len(x), len(w) // groups
    terms, positions = w[0].size, n * windows.oh * windows.ow
    # The sums of all filters lie in the cache beside the panel; more filters take turns.
    rows = min(outputs, 1024)
    tile = columns(x.dtype)
    room = CACHED // (rows + min(terms, TERMS))
    panel = max(min(room, PANEL) // tile, 1) * tile
    flat_x, flat_w, flat_y = x.reshape(-1), w.reshape(-1), y.reshape(-1)
    bias = np.zeros(len(w), x.dtype) if b is None else np.ascontiguousarray(b)
    blocks, turns = -(-positions // panel), -(-outputs // rows)

    def part(start, stop):
        # Tasks are blocks of columns, for every turn of filters and every group.
        while start < stop:
            group, rest = divmod(start, blocks * turns)
            turn, block = divmod(rest, blocks)
            count = min(stop - start, blocks - block)
            first = turn * rows
            _products(
                flat_x, flat_w, bias, flat_y, activation, windows, places, group, groups, outputs,
                first, min(outputs, first + rows), panel,
                block * panel, min(positions, (block + count) * panel),
            )  # fmt: skip
            start += count

    in_parts(part, blocks * turns * groups, positions * len(w) * terms // WORK)


@compiled()
def _products(
    x, w, bias, y, activation, windows, places, group, groups, outputs, row0, row1, panel, p0, p1
):
    """Make the results of some filters at some positions, a panel of columns at a time."""
    rows, terms = row1 - row0, windows.c * windows.kh * windows.kw
    block = min(terms, TERMS)
    gathered = np.zeros(block * panel, x.dtype)
    sums = np.empty((rows + ROWS) * panel, x.dtype)
    first = group * outputs + row0
    for start in range(p0, p1, panel):
        stop = min(p1, start + panel)
        for k in range(0, terms, block):
            count = min(block, terms - k)
            gather(x, windows, group, groups, k, k + count, start, stop, gathered, panel)
            multiply(
                w, first * terms + k, terms, rows, gathered, panel, count, sums, panel,
                stop - start, k == 0,
            )  # fmt: skip
        _place(sums, panel, rows, bias, y, activation, windows, places, first, start, stop)


@compiled()
def _place(sums, panel, rows, bias, y, activation, windows, places, first, start, stop):
    """Put sums where they belong, with their bias, through the activation."""
    size = windows.oh * windows.ow
    packed = places.column == 1 and places.row == windows.ow
    run = size if packed else windows.ow
    position = start
    while position < stop:
        image, pixel = position // size, position % size
        count = min(run - pixel % run, stop - position)
        origin = image * places.channels * places.plane + places.first
        origin += pixel // windows.ow * places.row + pixel % windows.ow * places.column
        for o in range(rows):
            to = origin + (first + o) * places.plane
            source = o * panel + position - start
            add = bias[first + o]
            if activation == 0:
                for t in range(count):
                    y[to + t * places.column] = sums[source + t] + add
            else:
                for t in range(count):
                    value = sums[source + t] + add
                    y[to + t * places.column] = 0 if value < 0 else value  # NaN stays
        position += count


@compiled()
def gather(x, windows, group, groups, k0, k1, p0, p1, panel, width):
    """Copy what terms k0 to k1 see at positions p0 to p1 into the rows of a panel."""
    c, h, w, kh, kw, oh, ow, stride_h, stride_w, top, left, dilation_h, dilation_w = windows
    position = p0
    while position < p1:
        image, pixel = position // (oh * ow), position % (oh * ow)
        i, j = pixel // ow, pixel % ow
        count = min(ow - j, p1 - position)
        column0 = j * stride_w - left
        channel, tap = k0 // (kh * kw), k0 % (kh * kw)
        r, s = tap // kw, tap % kw
        plane = (image * c * groups + group * c + channel) * h * w
        to = position - p0
        for _ in range(k0, k1):
            row = i * stride_h + r * dilation_h - top
            first = column0 + s * dilation_w
            if row < 0 or row >= h:
                panel[to : to + count] = 0
            else:
                t0, t1 = 0, count
                if first < 0:
                    t0 = min((stride_w - 1 - first) // stride_w, count)
                if first + (count - 1) * stride_w >= w:
                    t1 = max((w - 1 - first + stride_w) // stride_w, t0)
                source = plane + row * w + first
                for t in range(t0):
                    panel[to + t] = 0
                if stride_w == 1:
                    copy(panel, to + t0, x, source + t0, t1 - t0)
                else:
                    for t in range(t0, t1):
                        panel[to + t] = x[source + t * stride_w]
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
def _weight_grad(dy, x, dw, dw0, windows, group, groups, outputs, k0, k1, p0, p1):
    """Sum up the gradient of terms k0 to k1 of a group's filters over positions p0 to p1.

    The panel of columns stands upright here: its rows are multiplied by the slopes of all filters.
    """
    terms, rows = windows.c * windows.kh * windows.kw, k1 - k0
    room = in_vectors(outputs, dy)
    gathered = np.zeros(rows * POSITIONS, x.dtype)
    slopes = np.zeros(POSITIONS * room, x.dtype)
    sums = np.empty((rows + ROWS) * room, x.dtype)
    for start in range(p0, p1, POSITIONS):
        stop = min(p1, start + POSITIONS)
        gather(x, windows, group, groups, k0, k1, start, stop, gathered, POSITIONS)
        _transpose(dy, windows.oh * windows.ow, group, groups, outputs, start, stop, slopes, room)
        multiply(
            gathered, 0, POSITIONS, rows, slopes, room, stop - start, sums, room, outputs,
            start == p0,
        )  # fmt: skip
    for o in range(outputs):
        for k in range(rows):
            dw[dw0 + o * terms + k0 + k] = sums[k * room + o]


@compiled()
def _transpose(dy, size, group, groups, outputs, p0, p1, slopes, room):
    """Copy the slopes (outputs, positions) of a group as (positions, outputs)."""
    position = p0
    while position < p1:
        image, pixel = position // size, position % size
        count = min(size - pixel, p1 - position)
        origin = (image * groups + group) * outputs * size + pixel
        for o in range(outputs):
            for t in range(count):
                slopes[(position - p0 + t) * room + o] = dy[origin + o * size + t]
        position += count

"""Where the columns of a convolution are: in images that are laid out for it, or gathered.

A row of the lecture's matrix of columns is what one tap of a filter meets, window after window. In
an image with its padding around it, whose pixels are dealt out by the stride, that is a run of
pixels.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import memory
from .compiled import linked
from .parallel import parallel
from .tile import ROWS, columns
from .vectors import REGISTERS, clear, copy, in_vectors

# So many padded images are laid out at once, or a single one [elements].
IMAGES = 1 << 22
LANES = REGISTERS.size // 4


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
    """How the images lie that columns are read from: padded, their pixels dealt out by the stride.

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


def windows_of(x, shape, size, stride, padding, dilation, groups):
    """Return the windows that filters of this shape have on x (n, c, h, w), `size` of them."""
    _, c, *kernel_size = shape
    (top, _), (left, _) = padding
    return Windows(groups, c, *x.shape[2:], *kernel_size, *size, *stride, top, left, *dilation)


def flattened(windows):
    """Return windows of one pixel as a single row of them: longer runs are faster."""
    height = windows.h, windows.kh, windows.oh, windows.stride_h, windows.top
    width = windows.w, windows.kw, windows.ow, windows.stride_w, windows.left
    if all(axis == (axis[0], 1, axis[0], 1, 0) for axis in (height, width)):
        size = windows.h * windows.w
        return windows._replace(h=1, w=size, oh=1, ow=size)
    return windows


@lru_cache(maxsize=1024)
def layout_of(windows, outputs):
    """Return how images are laid out, or that columns are gathered, whichever takes less time."""
    laid_out = _phases(windows)
    if steps(windows, laid_out, outputs) < steps(windows, GATHERED, outputs):
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


def steps(windows, layout, outputs):
    """Return how many vectors the product of an image takes, with what it costs to get them.

    What laying out and gathering cost beside a multiply-add was measured.
    """
    half = ROWS // 2
    product = -(-outputs // half) * half * windows.c * windows.kh * windows.kw
    if layout.phases_h:
        run = windows.oh * layout.pitch - (layout.pitch - windows.ow)
        copied = 8 * layout.size(windows) if is_copied(windows, layout) else 0
        return product * -(-run // LANES) * LANES + copied
    gather = 600 / windows.ow + (3 if windows.stride_w == 1 else 16)
    return product * windows.oh * windows.ow * (1 + gather / outputs)


def is_copied(windows, layout):
    """Return whether images are laid out in memory of their own, and do not lie so already."""
    steps = windows.stride_h, windows.stride_w
    padding = windows.top, windows.left
    same = (windows.h, windows.w) == (layout.rows, layout.pitch)
    return layout.phases_h > 0 and not (same and steps == (1, 1) and padding == (0, 0))


@lru_cache(maxsize=1024)
def starts_of(windows, layout):
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


def chunks(windows, layout, *arrays):
    """Yield the arrays (n, ...) for as many images at a time as are laid out at once."""
    count = len(arrays[0])
    if is_copied(windows, layout):
        count = max(1, IMAGES // (windows.groups * layout.size(windows)))
    for start in range(0, len(arrays[0]), max(count, 1)):
        yield [array[start : start + count] for array in arrays]


def laid_out(x, windows, layout):
    """Return the images in this layout, flat; copied ones with room for the last vectors."""
    if not is_copied(windows, layout):
        return x.reshape(-1)
    planes = len(x) * windows.groups * windows.c
    size = planes * layout.phases_h * layout.phases_w * layout.rows * layout.pitch
    source, flat = memory.empty((size + columns(x.dtype),), x.dtype), x.reshape(-1)
    source[size:] = 0
    _lay_out(flat, source, windows, layout, count=planes, elements=size)
    return source


@parallel()
def _lay_out(x, target, windows, layout, start, stop):
    """Copy some planes, with their padding, their pixels dealt out by the stride."""
    h, w, stride = windows.h, windows.w, windows.stride_w
    pitch, phases = layout.pitch, layout.phases_w
    # A row with its padding, or as much of it as windows see, at any time the same zeros around.
    padded = np.zeros(pitch * stride, x.dtype)
    first, skipped = min(max(windows.left, 0), padded.size), max(-windows.left, 0)
    count = max(0, min(w - skipped, padded.size - first))
    to = start * layout.phases_h * phases * layout.rows * pitch
    for plane in range(start, stop):
        for phase_h in range(layout.phases_h):
            for i in range(layout.rows):
                row = i * windows.stride_h + phase_h - windows.top
                here = to + i * pitch
                if row < 0 or row >= h:
                    for phase in range(phases):
                        clear(target, here + phase * layout.rows * pitch, pitch)
                    continue
                source = (plane * h + row) * w + skipped
                if stride == 1:
                    clear(target, here, first)
                    copy(target, here + first, x, source, count)
                    clear(target, here + first + count, pitch - first - count)
                    continue
                copy(padded, first, x, source, count)
                _deal(padded, stride, phases, target, here, layout.rows * pitch, pitch)
            to += phases * layout.rows * pitch


@linked()
def _deal(padded, stride, phases, target, first, step, pitch):
    """Put the samples of a row that are a stride apart side by side, each phase a step on."""
    if stride == 2 and phases == 2:  # a loop is in vectors only if it uses all samples
        for t in range(pitch):
            target[first + t] = padded[2 * t]
            target[first + step + t] = padded[2 * t + 1]
        return
    for phase in range(phases):
        for t in range(pitch):
            target[first + phase * step + t] = padded[phase + t * stride]


@linked()
def gather(x, windows, pitch, group, k0, k1, p0, p1, panel, width):
    """Copy what terms k0 to k1 see at positions p0 to p1 into the rows of a panel.

    A row of windows has `pitch` positions. In whole vectors, what comes after p1 is 0.
    """
    h, w, kh, kw = windows.h, windows.w, windows.kh, windows.kw
    stride, size = windows.stride_w, windows.oh * pitch
    if (p1 - p0) % in_vectors(1, x):
        for to in range(0, (k1 - k0) * width, width):
            clear(panel, to + p1 - p0, in_vectors(p1 - p0, x) - (p1 - p0))
    position = p0
    while position < p1:
        image, pixel = position // size, position % size
        i, j = pixel // pitch, pixel % pitch
        count = min(pitch - j, p1 - position)
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
            clear(panel, to, t0)
            if stride == 1:
                copy(panel, to + t0, x, source + t0, t1 - t0)
            else:
                for t in range(t0, t1):
                    panel[to + t] = x[source + t * stride]
            clear(panel, to + t1, count - t1)
            to += width
            s += 1
            if s == kw:
                s, r = 0, r + 1
                if r == kh:
                    r, plane = 0, plane + h * w
        position += count

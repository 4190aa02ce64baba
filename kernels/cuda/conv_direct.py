"""Convolutions whose columns are nowhere in memory, in the precision that is chosen.

`set_matmul_precision` says whether factors go through tensor cores. Terms are added in a fixed
order, and the parts of a sum one after the other, so results have the same bits each time.
"""

import math

from .. import precision
from .channels import add_pieces
from .launch import Launcher, contiguous, empty

_launch = Launcher("conv_direct.cu")
THREADS, ROWS, COLUMNS = 128, 64, 128  # as in conv_direct.cu
BLOCKS = 264  # two for each multiprocessor of a large GPU
TERMS = 512  # of a part, at least
MOST_MEMBERS = 65535  # along a grid's second axis
FACTORS = {"float32": "strict", "tf32": "tf32", "bfloat16": "bfloat16"}


def convolve(x, w, b, layer, slope):
    """Convolve x with w, add b or None, and multiply what is then below 0 by the slope."""
    y, outputs = empty(x, (layer.n, layer.o, *layer.windows)), layer.o // layer.groups
    product = dict(
        rows=outputs, columns=layer.n * layer.pixels, inner=layer.depth, terms=layer.depth, parts=1,
        a=_of_filters(layer), c=_of_images(y, outputs), slope=slope,
    )  # fmt: skip
    _multiply("convolve", w, x, b, y, product, layer.groups, _axes(layer))
    return y


def convolve_back(dy, w, b, layer):
    """Return the adjoint of a convolution whose windows are one sample apart, plus b or None.

    It is a convolution, too: a sample sees the windows that have it, the taps in reverse order.
    """
    dx = empty(dy, (layer.n, layer.c, *layer.size))
    outputs, inputs, taps = layer.o // layer.groups, w.shape[1], math.prod(layer.kernel_size)
    axes = []
    for axis in _axes(layer):
        windows, size = axis["size"], axis["windows"]
        turned = dict(dilation=-axis["dilation"], before=-axis["before"])
        axes.append(axis | turned | dict(windows=windows, size=size))
    product = dict(
        rows=inputs, columns=layer.n * math.prod(layer.size), inner=outputs * taps,
        terms=outputs * taps, parts=1,
        a=_of_filters(layer) | dict(row=taps, period=taps, step=layer.depth),
        c=_of_images(dx, inputs), slope=1.0,
    )  # fmt: skip
    _multiply("convolve", w, dy, b, dx, product, layer.groups, axes)
    return dx


def correlate(dy, x, layer):
    """Return the gradient (o, c/groups, ...) of the filters of a convolution."""
    outputs, inner = layer.o // layer.groups, layer.n * layer.pixels
    tiles = layer.groups * -(-outputs // ROWS) * -(-layer.depth // COLUMNS)
    # Sums over windows are cut into parts where that makes more blocks.
    parts = max(min(-(-BLOCKS // max(tiles, 1)), inner // TERMS), 1)
    terms = -(-inner // parts)
    found = empty(x, (parts, layer.o * layer.depth))
    product = dict(
        rows=outputs, columns=layer.depth, inner=inner, terms=terms, parts=parts,
        a=_of_images(dy, outputs), c=_of_filters(layer), slope=1.0,
    )  # fmt: skip
    _multiply("correlate", dy, x, None, found, product, layer.groups, _axes(layer))
    pieces = dict(outer=1, count=layer.o * layer.depth, inner=1, pieces=parts)
    total = add_pieces(found, pieces) if parts > 1 else found
    return total.reshape(layer.o, layer.c // layer.groups, *layer.kernel_size)


def _multiply(how, a, x, bias, c, product, groups, axes):
    vertical, horizontal = axes
    product |= dict(groups=groups, channels=x.shape[1], vertical=vertical, horizontal=horizontal)
    tiles = -(-product["rows"] // ROWS) * -(-product["columns"] // COLUMNS)
    grid = tiles, min(groups * product["parts"], MOST_MEMBERS)
    kernel = f"{how}_{FACTORS[precision.get_matmul_precision()]}"
    bias = bias if bias is None else contiguous(bias)
    _launch(kernel, contiguous(a), contiguous(x), bias, c, product, grid=grid, block=THREADS)


def _axes(layer):
    """Return where taps of windows lie, vertically and horizontally."""
    names = "windows", "taps", "size", "stride", "dilation", "before"
    before = [sides[0] for sides in layer.padding]
    values = layer.windows, layer.kernel_size, layer.size, layer.stride, layer.dilation, before
    return [dict(zip(names, axis, strict=True)) for axis in zip(*values, strict=True)]


def _of_filters(layer):
    """Return where the filters of a group lie, each in one piece."""
    outputs = layer.o // layer.groups
    return dict(group=outputs * layer.depth, row=layer.depth, period=layer.depth, step=0)


def _of_images(images, channels):
    """Return where the channels of a group lie, whose pixels are in one piece for each image."""
    pixels = math.prod(images.shape[2:])
    step = images.shape[1] * pixels
    return dict(group=channels * pixels, row=pixels, period=pixels, step=step)

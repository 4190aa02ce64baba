"""Convolutions whose columns are nowhere in memory, in the precision that is chosen.

`set_matmul_precision` says whether factors go through tensor cores. Terms are added in a fixed
order, and the parts of a sum one after the other, so results have the same bits each time.
"""

import itertools
from math import gcd
from typing import NamedTuple

from .. import precision
from .channels import add_pieces
from .launch import Launcher, contiguous, empty

_launch = Launcher("conv_direct.cu")
THREADS, ROWS, COLUMNS = 128, 64, 128  # as in conv_direct.cu
DEPTH = 16  # terms of a step, in float32
BLOCKS = 396  # three for each multiprocessor of a large GPU
TERMS = 512  # of a part, at least
MOST_MEMBERS = 65535  # along a grid's second axis
# What the choice of an algorithm counts with: of an H200, and not measured. What bounds the kernels
# is how many instructions are issued: for a step each of a block's four warps has so many, counted
# in the machine code of `convolve` for sm_90a, and goes to a scheduler of its own. Schedulers issue
# one in a cycle, at 1.755 GHz on 132 multiprocessors; expected is that they have one in three of
# four. In float64 the bound is a multiplication every other cycle.
INSTRUCTIONS = {"float32": 1357, "tf32": 430, "bfloat16": 341}
STEPS = 0.75 * 132 * 1.755e9  # of one instruction, in a second
FLOPS = {"float64": 20e12} | {
    name: 2 * ROWS * COLUMNS * DEPTH * STEPS / count for name, count in INSTRUCTIONS.items()
}
FACTORS = {"float32": "strict", "tf32": "tf32", "bfloat16": "bfloat16"}


def seconds(layer, dtype):
    """Return about how long each pass takes, if all of the GPU has work."""
    rate = FLOPS["float64" if dtype == "float64" else precision.get_matmul_precision()]
    return 2 * layer.multiply_adds / rate


def convolve(x, w, b, layer, slope, y=None, spoilt=None):
    """Convolve x with w, add b or None, and multiply what is then below 0 by the slope.

    Where results are there already, they are only made again if `spoilt`, a number on the GPU, is
    not 0. The same holds for the gradients.
    """
    outputs = layer.o // layer.groups
    y = empty(x, (layer.n, layer.o, *layer.windows)) if y is None else y
    product = dict(
        rows=outputs, columns=layer.n * layer.pixels, inner=layer.depth, terms=layer.depth, parts=1,
        a=_of_filters(layer), c=_of_images(y, outputs), slope=slope,
    )  # fmt: skip
    _multiply("convolve", w, x, b, y, product, layer.groups, _axes(layer), spoilt)
    return y


def convolve_back(dy, w, b, layer, dx=None, spoilt=None):
    """Return the adjoint of a convolution, plus b or None.

    It is a convolution, too, for each phase of the samples: a sample sees the windows that have it,
    the taps in reverse order, and none is multiplied by the zeros between strides. Each phase is a
    launch: to tell phases apart in the kernel would take registers from all three passes.
    """
    dx = empty(dy, (layer.n, layer.c, *layer.size)) if dx is None else dx
    outputs, inputs = layer.o // layer.groups, w.shape[1]
    filters, images = _of_filters(layer), _of_images(dx, inputs)
    for vertical, horizontal in itertools.product(*map(phases, _axes(layer))):
        terms = outputs * vertical.axis["taps"] * horizontal.axis["taps"]
        pixels = vertical.axis["windows"] * horizontal.axis["windows"]
        product = dict(
            rows=inputs, columns=layer.n * pixels, inner=terms, terms=terms, parts=1, slope=1.0,
            a=_part(filters, vertical.taps, horizontal.taps)
            | dict(row=filters["plane"], plane=filters["row"]),
            c=_part(images, vertical.samples, horizontal.samples),
        )  # fmt: skip
        axes = vertical.axis, horizontal.axis
        _multiply("convolve", w, dy, b, dx, product, layer.groups, axes, spoilt)
    return dx


class Phase(NamedTuple):
    """The samples of an axis that see the same taps, and the convolution that makes them.

    Its windows are these samples, and its samples the windows of the layer.
    """

    axis: dict[str, int]
    taps: slice
    samples: slice


def phases(axis):
    """Return all phases of an axis, of which some may have no taps, and some no samples.

    Tap t of window i has sample i * stride + t * dilation - before. Where the sample is given, tap
    t + stride / divisor is that of window i - dilation / divisor: taps as far apart are of one
    phase, whose samples are a stride apart. The `rest` samples behind them are reached by no tap.
    """
    stride, dilation = axis["stride"], axis["dilation"]
    divisor = gcd(stride, dilation)
    step = stride // divisor
    found = []
    for tap, rest in itertools.product(range(step), range(divisor)):
        window, sample = divmod(tap * dilation - axis["before"] + rest, stride)
        taps = len(range(tap, axis["taps"], step)) if rest == 0 else 0
        turned = dict(
            windows=len(range(sample, axis["size"], stride)), taps=taps, size=axis["windows"],
            stride=1, dilation=-dilation // divisor, before=window,
        )  # fmt: skip
        found.append(Phase(turned, slice(tap, None, step), slice(sample, None, stride)))
    return found


def correlate(dy, x, layer, dw=None, spoilt=None):
    """Return the gradient (o, c/groups, ...) of the filters of a convolution."""
    outputs, inner = layer.o // layer.groups, layer.n * layer.pixels
    tiles = layer.groups * -(-outputs // ROWS) * -(-layer.depth // COLUMNS)
    # Sums over windows are cut into parts where that makes more blocks; what is made again is rare.
    parts = max(min(-(-BLOCKS // max(tiles, 1)), inner // TERMS), 1) if dw is None else 1
    # Each begins with a step of its own, so that vectors stay whole.
    terms = -(-inner // (parts * DEPTH)) * DEPTH
    parts = max(-(-inner // max(terms, 1)), 1)
    found = empty(x, (parts, layer.o * layer.depth)) if dw is None else dw
    product = dict(
        rows=outputs, columns=layer.depth, inner=inner, terms=terms, parts=parts,
        a=_of_images(dy, outputs), c=_of_filters(layer), slope=1.0,
    )  # fmt: skip
    _multiply("correlate", dy, x, None, found, product, layer.groups, _axes(layer), spoilt)
    pieces = dict(outer=1, count=layer.o * layer.depth, inner=1, pieces=parts)
    total = add_pieces(found, pieces) if parts > 1 else found
    return total.reshape(layer.o, layer.c // layer.groups, *layer.kernel_size)


def _multiply(how, a, x, bias, c, product, groups, axes, spoilt):
    vertical, horizontal = axes
    product |= dict(groups=groups, channels=x.shape[1], vertical=vertical, horizontal=horizontal)
    tiles = -(-product["rows"] // ROWS) * -(-product["columns"] // COLUMNS)
    grid = tiles, min(groups * product["parts"], MOST_MEMBERS)
    kernel = f"{how}_{FACTORS[precision.get_matmul_precision()]}"
    bias = bias if bias is None else contiguous(bias)
    arguments = contiguous(a), contiguous(x), bias, c, product, spoilt
    _launch(kernel, *arguments, grid=grid, block=THREADS)


def _axes(layer):
    """Return where taps of windows lie, vertically and horizontally."""
    names = "windows", "taps", "size", "stride", "dilation", "before"
    before = [sides[0] for sides in layer.padding]
    values = layer.windows, layer.kernel_size, layer.size, layer.stride, layer.dilation, before
    return [dict(zip(names, axis, strict=True)) for axis in zip(*values, strict=True)]


def _of_filters(layer):
    """Return where the taps of a group's filters lie, which have a channel for each input."""
    outputs, (height, width) = layer.o // layer.groups, layer.kernel_size
    return dict(
        first=0, group=outputs * layer.depth, row=layer.depth, plane=height * width, line=width,
        sample=1,
    )  # fmt: skip


def _of_images(images, channels):
    """Return where the pixels of a group's channels lie, which have a plane for each image."""
    _, of_all, height, width = images.shape
    pixels = height * width
    return dict(
        first=0, group=channels * pixels, row=pixels, plane=of_all * pixels, line=width, sample=1
    )


def _part(matrix, lines, samples):
    """Return where these lines and samples of a matrix lie."""
    first = lines.start * matrix["line"] + samples.start * matrix["sample"]
    return matrix | dict(
        first=first, line=lines.step * matrix["line"], sample=samples.step * matrix["sample"]
    )

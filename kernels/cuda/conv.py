"""Convolution and its gradients, by whichever algorithm should take the least time for a layer.

A filter of one sample has the image itself for its columns, and goes to the matrix product. Others
go to `conv_direct` or `conv_fft`, which have the same functions. Sums over images are cut into
parts where that makes more blocks, and the parts added in their order: gradients have the same bits
each time.
"""

import math
from typing import NamedTuple

from ..geometry import output_size
from . import conv_direct, conv_fft
from .channels import add_pieces, sums
from .launch import contiguous, empty, made_for_reals
from .product import TILE, multiply, strides

BLOCKS = 264  # two for each multiprocessor of a large GPU


class Layer(NamedTuple):
    """The sizes of a convolution, whichever of its three passes is wanted."""

    n: int
    c: int
    o: int
    groups: int
    size: tuple[int, ...]
    windows: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, ...], ...]
    dilation: tuple[int, ...]

    @property
    def depth(self):
        """How many products a result sums up."""
        return self.c // self.groups * math.prod(self.kernel_size)

    @property
    def pixels(self):
        """How many results an image has in each channel."""
        return math.prod(self.windows)

    @property
    def multiply_adds(self):
        """How many products a pass sums up."""
        return self.n * self.o * self.pixels * self.depth

    @property
    def is_pointwise(self):
        """Whether the image itself is its columns."""
        is_one_sample = self.kernel_size == self.stride == (1, 1)
        begins_inside = self.padding[0][0] == self.padding[1][0] == 0
        return is_one_sample and begins_inside and self.size == self.windows

    def strides_of(self, what):
        """Return how far apart the elements of filters "w", of "x" or of "y" lie in memory."""
        inputs, outputs = self.c // self.groups, self.o // self.groups
        if what == "w":
            return strides(group=outputs * inputs, row=inputs, column=1)
        group = (inputs if what == "x" else outputs) * self.pixels
        return strides(batch=self.groups * group, group=group, row=self.pixels, column=1)


def largest_divisor(number, most):
    """Return the largest divisor of a number that is at most this, and at least 1."""
    return max((d for d in range(1, min(number, most) + 1) if number % d == 0), default=1)


@made_for_reals
def conv2d(x, w, b, *, stride, padding, dilation, groups, slope=1.0):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw), add b (o,) or None: (n, o, oh, ow).

    Results below 0 are multiplied by `slope`: 1 leaves them as they are, 0 is ReLU.
    """
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _convolve(x, w, b, _layer(x.shape, w.shape, **options), slope)


@made_for_reals
def conv2d_input_grad(dy, w, size, *, stride, padding, dilation, groups):
    """Return the gradient (n, c, h, w) of `conv2d` for an input of this size (h, w)."""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _spread(dy, w, None, size, **options)


@made_for_reals
def conv2d_weight_grad(dy, x, kernel_size, *, stride, padding, dilation, groups):
    """Return the gradient (o, c/groups, kh, kw) of `conv2d` for filters of this size (kh, kw)."""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    shape = dy.shape[1], x.shape[1] // groups, *kernel_size
    return _correlate(dy, x, _layer(x.shape, shape, **options))


@made_for_reals
def conv2d_bias_grad(dy):
    """Return the gradient (o,) of the bias of `conv2d` and of `conv_transpose2d`."""
    return sums(dy)


@made_for_reals
def conv_transpose2d(x, w, b, *, size, stride, padding, dilation, groups):
    """Spread x (n, c, h, w) with w (c, o/groups, kh, kw) over images of this size, add b (o,).

    It is the input gradient of the convolution that takes `size` to (h, w).
    """
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _spread(x, w, b, size, **options)


@made_for_reals
def conv_transpose2d_input_grad(dy, w, size, *, stride, padding, dilation, groups):
    """Return the gradient (n, c, h, w) of an input of this size (h, w): a plain convolution."""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _convolve(dy, w, None, _layer(dy.shape, w.shape, size, **options))


@made_for_reals
def conv_transpose2d_weight_grad(dy, x, kernel_size, *, stride, padding, dilation, groups):
    """Return the gradient (c, o/groups, kh, kw) of `conv_transpose2d` for filters of this size."""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    shape = x.shape[1], dy.shape[1] // groups, *kernel_size
    return _correlate(x, dy, _layer(dy.shape, shape, x.shape[2:], **options))


def _layer(x_shape, w_shape, windows=None, *, stride, padding, dilation, groups):
    """Return the layer; fewer windows than fit leave a rest of the image to none of them."""
    (n, c, *size), (o, _, *kernel_size) = x_shape, w_shape
    if windows is None:
        windows = map(output_size, size, kernel_size, stride, padding, dilation)
    sizes = n, c, o, groups, tuple(size), tuple(windows), tuple(kernel_size)
    return Layer(*sizes, tuple(stride), tuple(map(tuple, padding)), tuple(dilation))


def _algorithm(layer, dtype):
    """Return what does a pass over a layer in less time, as far as its sizes tell."""
    is_long = conv_fft.seconds(layer, dtype) < conv_direct.seconds(layer, dtype)
    return conv_fft if is_long and conv_fft.is_there() else conv_direct


def _convolve(x, w, b, layer, slope=1.0):
    if not layer.is_pointwise:
        return _algorithm(layer, x.dtype).convolve(x, w, b, layer, slope)
    y, outputs = empty(x, (layer.n, layer.o, *layer.windows)), layer.o // layer.groups
    multiply(
        contiguous(w), contiguous(x), y, sizes=(outputs, layer.pixels, layer.depth),
        a_strides=layer.strides_of("w"), b_strides=layer.strides_of("x"),
        c_strides=layer.strides_of("y"), bias=b if b is None else contiguous(b),
        bias_strides=strides(group=outputs, row=1), batches=layer.n, groups=layer.groups,
        slope=slope,
    )  # fmt: skip
    return y


def _spread(dy, w, b, size, **options):
    """Return the adjoint of a convolution of images of this size, plus a bias (c,)."""
    channels = w.shape[1] * options["groups"]
    layer = _layer((len(dy), channels, *size), w.shape, dy.shape[2:], **options)
    if not layer.is_pointwise:
        return _algorithm(layer, dy.dtype).convolve_back(dy, w, b, layer)
    dx, inputs = empty(dy, (layer.n, layer.c, *size)), w.shape[1]
    turned = layer.strides_of("w")
    turned["row"], turned["column"] = turned["column"], turned["row"]
    multiply(
        contiguous(w), contiguous(dy), dx, sizes=(inputs, layer.pixels, layer.o // layer.groups),
        a_strides=turned, b_strides=layer.strides_of("y"), c_strides=layer.strides_of("x"),
        bias=b if b is None else contiguous(b), bias_strides=strides(group=inputs, row=1),
        batches=layer.n, groups=layer.groups,
    )  # fmt: skip
    return dx


def _correlate(dy, x, layer):
    """Return the gradient of the filters of a convolution."""
    if not layer.is_pointwise:
        return _algorithm(layer, x.dtype).correlate(dy, x, layer)
    outputs = layer.o // layer.groups
    tiles = layer.groups * -(-outputs // TILE) * -(-layer.depth // TILE)
    parts = largest_divisor(layer.n, -(-BLOCKS // max(tiles, 1)))
    found, terms = empty(x, (parts, layer.o, layer.depth)), layer.n // parts
    a, b = layer.strides_of("y"), layer.strides_of("x")
    b["row"], b["column"] = b["column"], b["row"]
    multiply(
        contiguous(dy), contiguous(x), found, sizes=(outputs, layer.depth, layer.pixels),
        a_strides=dict(a, batch=terms * a["batch"], term=a["batch"]),
        b_strides=dict(b, batch=terms * b["batch"], term=b["batch"]),
        c_strides=dict(layer.strides_of("w"), batch=layer.o * layer.depth),
        terms=terms, batches=parts, groups=layer.groups,
    )  # fmt: skip
    pieces = dict(outer=1, count=layer.o * layer.depth, inner=1, pieces=parts)
    return add_pieces(found, pieces).reshape(layer.o, layer.c // layer.groups, *layer.kernel_size)

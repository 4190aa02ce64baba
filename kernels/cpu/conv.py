"""Convolution and its gradients."""

import numpy as np

from .. import memory, reference
from ..geometry import output_size
from . import conv_direct


def conv2d(x, w, b, *, stride, padding, dilation, groups):
    """Convolve x (n, c, h, w) with w (o, c/groups, kh, kw), add b (o,) or None: (n, o, oh, ow)."""
    size = map(output_size, x.shape[2:], w.shape[2:], stride, padding, dilation)
    return _forward(x, w, b, size, stride, padding, dilation, groups)


def conv2d_input_grad(dy, w, size, *, stride, padding, dilation, groups):
    """Return the gradient (n, c, h, w) of `conv2d` for an input of this size (h, w)."""
    return conv_transpose2d(
        dy, w, None, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def conv2d_weight_grad(dy, x, kernel_size, *, stride, padding, dilation, groups):
    """Return the gradient (o, c/groups, kh, kw) of `conv2d` for filters of this size (kh, kw)."""
    dw = memory.empty((dy.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    conv_direct.conv2d_weight_grad(
        dy, x, dw, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return dw


def conv_transpose2d(x, w, b, *, size, stride, padding, dilation, groups):
    """Spread x (n, c, h, w) with w (c, o/groups, kh, kw) over images of this size, add b (o,)."""
    y = memory.empty((len(x), w.shape[1] * groups, *size), x.dtype)
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    conv_direct.conv2d_input_grad(
        x, w, b, y, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return y


def conv_transpose2d_input_grad(dy, w, size, *, stride, padding, dilation, groups):
    """Return the gradient (n, c, h, w) of an input of this size (h, w): a plain convolution."""
    return _forward(dy, w, None, size, stride, padding, dilation, groups)


def conv_transpose2d_weight_grad(dy, x, kernel_size, *, stride, padding, dilation, groups):
    """Return the gradient (c, o/groups, kh, kw) of `conv_transpose2d` for filters of this size."""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return conv2d_weight_grad(x, dy, kernel_size, **options)


def conv2d_bias_grad(dy):
    """Return the gradient (o,) of the bias of `conv2d` and of `conv_transpose2d`."""
    return reference.conv2d_bias_grad(dy)


def _forward(x, w, b, size, stride, padding, dilation, groups):
    """Convolve to `size` windows (oh, ow) per image; more may fit."""
    y = memory.empty((len(x), len(w), *size), x.dtype)
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    conv_direct.conv2d(
        x, w, b, y, 0, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return y

"""The fully connected layer."""

from .. import memory, reference
from .elementwise import compilable
from .product import multiply_flat, multiply_upright


def linear(x, w, b):
    """Return x (n, i) times the transpose of w (o, i), plus b (o,) or None: (n, o)."""
    if not _compilable(x, w) or not w.size:
        return reference.linear(x, w, b)
    y = memory.empty((len(x), len(w)), x.dtype)
    multiply_upright(memory.contiguous(x), memory.contiguous(w), b, y)
    return y


def linear_input_grad(dy, w):
    """Return the gradient (n, i) of the input."""
    if not _compilable(dy, w):
        return reference.linear_input_grad(dy, w)
    dx = memory.empty((len(dy), w.shape[1]), dy.dtype)
    multiply_flat(memory.contiguous(dy), memory.contiguous(w), dx)
    return dx


def linear_weight_grad(dy, x):
    """Return the gradient (o, i) of the weight."""
    if not _compilable(dy, x):
        return reference.linear_weight_grad(dy, x)
    dw = memory.empty((dy.shape[1], x.shape[1]), dy.dtype)
    multiply_flat(memory.contiguous(dy.T), memory.contiguous(x), dw)
    return dw


def linear_bias_grad(dy):
    """Return the gradient (o,) of the bias."""
    return reference.linear_bias_grad(dy)


def _compilable(*arrays):
    return all(a.ndim == 2 and a.size for a in arrays) and compilable(*(a[0, :1] for a in arrays))

"""The fully connected layer: a matrix product and a bias in one kernel."""

from .. import reference
from .channels import sums
from .launch import contiguous, empty, takes
from .product import multiply, strides


def linear(x, w, b):
    """Return x (n, i) times the transpose of w (o, i), plus b (o,) or None: (n, o)."""
    if not takes(x, w, *([] if b is None else [b])):
        return reference.linear(x, w, b)
    (n, i), o = x.shape, len(w)
    y = empty(x, (n, o))
    multiply(
        contiguous(x), contiguous(w), y, sizes=(n, o, i),
        a_strides=strides(row=i, column=1),
        b_strides=strides(row=1, column=i),
        c_strides=strides(row=o, column=1),
        bias=None if b is None else contiguous(b), bias_strides=strides(column=1),
    )  # fmt: skip
    return y


def linear_input_grad(dy, w):
    """Return the gradient (n, i) of the input."""
    if not takes(dy, w):
        return reference.linear_input_grad(dy, w)
    n, (o, i) = len(dy), w.shape
    dx = empty(dy, (n, i))
    multiply(
        contiguous(dy), contiguous(w), dx, sizes=(n, i, o),
        a_strides=strides(row=o, column=1),
        b_strides=strides(row=i, column=1),
        c_strides=strides(row=i, column=1),
    )  # fmt: skip
    return dx


def linear_weight_grad(dy, x):
    """Return the gradient (o, i) of the weight."""
    if not takes(dy, x):
        return reference.linear_weight_grad(dy, x)
    (n, o), i = dy.shape, x.shape[1]
    dw = empty(dy, (o, i))
    multiply(
        contiguous(dy), contiguous(x), dw, sizes=(o, i, n),
        a_strides=strides(row=1, column=o),
        b_strides=strides(row=i, column=1),
        c_strides=strides(row=i, column=1),
    )  # fmt: skip
    return dw


def linear_bias_grad(dy):
    """Return the gradient (o,) of the bias."""
    return sums(dy) if takes(dy) else reference.linear_bias_grad(dy)

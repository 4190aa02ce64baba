"""The fully connected layer: a matrix product and a bias."""

from .channels import sums
from .launch import contiguous, empty, made_for_reals
from .product import multiply, strides


@made_for_reals
def linear(x, w, b):
    """Return x (n, i) times the transpose of w (o, i), plus b (o,) or None: (n, o)."""
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


@made_for_reals
def linear_input_grad(dy, w):
    """Return the gradient (n, i) of the input."""
    n, (o, i) = len(dy), w.shape
    dx = empty(dy, (n, i))
    multiply(
        contiguous(dy), contiguous(w), dx, sizes=(n, i, o),
        a_strides=strides(row=o, column=1),
        b_strides=strides(row=i, column=1),
        c_strides=strides(row=i, column=1),
    )  # fmt: skip
    return dx


@made_for_reals
def linear_weight_grad(dy, x):
    """Return the gradient (o, i) of the weight."""
    (n, o), i = dy.shape, x.shape[1]
    dw = empty(dy, (o, i))
    multiply(
        contiguous(dy), contiguous(x), dw, sizes=(o, i, n),
        a_strides=strides(row=1, column=o),
        b_strides=strides(row=i, column=1),
        c_strides=strides(row=i, column=1),
    )  # fmt: skip
    return dw


@made_for_reals
def linear_bias_grad(dy):
    """Return the gradient (o,) of the bias."""
    return sums(dy)

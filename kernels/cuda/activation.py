"""Nonlinearities on the GPU: one thread for each element, a warp or a thread for each softmax."""

import math

from .launch import Launcher, contiguous, empty, made_for_equals, made_for_reals

_launch = Launcher("activation.cu")
WARP = 32


@made_for_reals
def relu(x):
    """Return max(x, 0)."""
    return _map("relu", x)


@made_for_equals
def relu_grad(dy, y):
    """Return the gradient of `relu`; 0 at x = 0."""
    return _map_grad("relu_grad", dy, y)


@made_for_reals
def leaky_relu(x, slope):
    """Return x where it is positive and slope * x elsewhere."""
    return _map("leaky_relu", x, slope)


@made_for_equals
def leaky_relu_grad(dy, x, slope):
    """Return the gradient of `leaky_relu`; the slope at x = 0."""
    return _map_grad("leaky_relu_grad", dy, x, slope)


@made_for_reals
def elu(x, alpha):
    """Return x where it is positive and alpha * (exp(x) - 1) elsewhere."""
    return _map("elu", x, alpha)


@made_for_equals
def elu_grad(dy, x, alpha):
    """Return the gradient of `elu`; alpha at x = 0."""
    return _map_grad("elu_grad", dy, x, alpha)


@made_for_reals
def sigmoid(x):
    """Return 1 / (1 + exp(-x)), without overflow for large negative x."""
    return _map("sigmoid", x)


@made_for_equals
def sigmoid_grad(dy, y):
    """Return the gradient of `sigmoid`."""
    return _map_grad("sigmoid_grad", dy, y)


@made_for_reals
def tanh(x):
    """Return the hyperbolic tangent."""
    return _map("scaled_tanh", x, 1, 1)


@made_for_equals
def tanh_grad(dy, y):
    """Return the gradient of `tanh`."""
    return _map_grad("scaled_tanh_grad", dy, y, 1, 1)


@made_for_reals
def scaled_tanh(x, amplitude, slope):
    """Return amplitude * tanh(slope * x)."""
    return _map("scaled_tanh", x, amplitude, slope)


@made_for_equals
def scaled_tanh_grad(dy, y, amplitude, slope):
    """Return the gradient of `scaled_tanh`."""
    return _map_grad("scaled_tanh_grad", dy, y, amplitude, slope)


@made_for_reals
def softplus(x, beta):
    """Return log(1 + exp(beta * x)) / beta, without overflow for large x."""
    return _map("softplus", x, beta)


@made_for_equals
def softplus_grad(dy, x, beta):
    """Return the gradient of `softplus`."""
    return _map_grad("softplus_grad", dy, x, beta)


@made_for_reals
def softmax(x, axis):
    """Return exp(x) divided by its sum along the axis."""
    return _map_rows("softmax", axis, x)


@made_for_equals
def softmax_grad(dy, y, axis):
    """Return the gradient of `softmax`."""
    return _map_rows("softmax_grad", axis, dy, y)


@made_for_reals
def log_softmax(x, axis):
    """Return the logarithm of the softmax along the axis."""
    return _map_rows("log_softmax", axis, x)


@made_for_equals
def log_softmax_grad(dy, y, axis):
    """Return the gradient of `log_softmax`."""
    return _map_rows("log_softmax_grad", axis, dy, y)


def rows_along(shape, axis):
    """Return the rows of an array along an axis, and how many threads take them."""
    axis %= len(shape)
    inner = math.prod(shape[axis + 1 :])
    count = math.prod(shape[:axis]) * inner
    lanes = WARP if inner == 1 else 1
    return dict(count=count, length=shape[axis], inner=inner, lanes=lanes), count * lanes


def _map(kernel, x, *constants):
    y = empty(x)
    _launch(kernel, contiguous(x), *constants, y, x.size, threads=x.size)
    return y


def _map_grad(kernel, dy, known, *constants):
    dx = empty(dy)
    arrays = contiguous(dy), contiguous(known)
    _launch(kernel, *arrays, *constants, dx, dy.size, threads=dy.size)
    return dx


def _map_rows(kernel, axis, *arrays):
    y = empty(arrays[0])
    rows, threads = rows_along(y.shape, axis)
    _launch(kernel, *map(contiguous, arrays), y, rows, threads=threads)
    return y

"""Nonlinearities in one pass over the memory, where NumPy takes one for every operator."""

import math

import numpy as np

from .. import memory, reference
from .compiled import linked
from .elementwise import compilable, elements, over_elements
from .exponential import exp, expm1, largest, log1p
from .parallel import parallel


def relu(x):
    """Return max(x, 0)."""
    return over_elements(_relu, reference.relu, (x,))


def relu_grad(dy, y):
    """Return the gradient of `relu`; 0 at x = 0."""
    return over_elements(_relu_grad, reference.relu_grad, (dy, y))


def leaky_relu(x, slope):
    """Return x where it is positive and slope * x elsewhere."""
    return over_elements(_leaky_relu, reference.leaky_relu, (x,), slope)


def leaky_relu_grad(dy, x, slope):
    """Return the gradient of `leaky_relu`; the slope at x = 0."""
    return over_elements(_leaky_relu_grad, reference.leaky_relu_grad, (dy, x), slope)


def elu(x, alpha):
    """Return x where it is positive and alpha * (exp(x) - 1) elsewhere."""
    return over_elements(_elu, reference.elu, (x,), alpha)


def elu_grad(dy, x, alpha):
    """Return the gradient of `elu`; alpha at x = 0."""
    return over_elements(_elu_grad, reference.elu_grad, (dy, x), alpha)


def sigmoid(x):
    """Return 1 / (1 + exp(-x)), without overflow for large negative x."""
    return over_elements(_sigmoid, reference.sigmoid, (x,))


def sigmoid_grad(dy, y):
    """Return the gradient of `sigmoid`."""
    return over_elements(_sigmoid_grad, reference.sigmoid_grad, (dy, y))


def tanh(x):
    """Return the hyperbolic tangent."""
    return over_elements(_tanh, reference.tanh, (x,))


def tanh_grad(dy, y):
    """Return the gradient of `tanh`."""
    return over_elements(_tanh_grad, reference.tanh_grad, (dy, y))


def scaled_tanh(x, amplitude, slope):
    """Return amplitude * tanh(slope * x)."""
    return over_elements(_scaled_tanh, reference.scaled_tanh, (x,), amplitude, slope)


def scaled_tanh_grad(dy, y, amplitude, slope):
    """Return the gradient of `scaled_tanh`."""
    definition = reference.scaled_tanh_grad
    return over_elements(_scaled_tanh_grad, definition, (dy, y), amplitude, slope)


def softplus(x, beta):
    """Return log(1 + exp(beta * x)) / beta, without overflow for large x."""
    return over_elements(_softplus, reference.softplus, (x,), beta)


def softplus_grad(dy, x, beta):
    """Return the gradient of `softplus`."""
    return over_elements(_softplus_grad, reference.softplus_grad, (dy, x), beta)


def softmax(x, axis):
    """Return exp(x) divided by its sum along the axis."""
    return over_rows(_softmax, reference.softmax, (x,), axis)


def softmax_grad(dy, y, axis):
    """Return the gradient of `softmax`."""
    return over_rows(_softmax_grad, reference.softmax_grad, (dy, y), axis)


def log_softmax(x, axis):
    """Return the logarithm of the softmax along the axis."""
    return over_rows(_log_softmax, reference.log_softmax, (x,), axis)


def log_softmax_grad(dy, y, axis):
    """Return the gradient of `log_softmax`."""
    return over_rows(_log_softmax_grad, reference.log_softmax_grad, (dy, y), axis)


def over_rows(kernel, definition, arrays, axis):
    """Return what a parallel kernel makes of arrays, row by row.

    Rows are the last axis; along another one the reference steps through memory as well as any.
    """
    x = arrays[0]
    if not compilable(*arrays) or axis not in (-1, x.ndim - 1) or not x.size:
        return definition(*arrays, axis)
    y = memory.empty(x.shape, x.dtype)
    rows = [memory.contiguous(array).reshape(-1, x.shape[-1]) for array in (*arrays, y)]
    kernel(*rows, count=len(rows[0]), elements=x.size)
    return y


@parallel()
def _relu(x, y, start, stop):
    for i in elements(x, start, stop):
        y[i] = x.dtype.type(0) if x[i] <= 0 else x[i]  # NaN is not: it goes through


@parallel()
def _relu_grad(dy, y, dx, start, stop):
    for i in elements(y, start, stop):
        dx[i] = y.dtype.type(0) if y[i] <= 0 else dy[i]


@parallel()
def _leaky_relu(x, y, slope, start, stop):
    for i in elements(x, start, stop):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


@parallel()
def _leaky_relu_grad(dy, x, dx, slope, start, stop):
    for i in elements(x, start, stop):
        dx[i] = dy[i] if x[i] > 0 else slope * dy[i]


@parallel()
def _elu(x, y, alpha, start, stop):
    for i in elements(x, start, stop):
        y[i] = x[i] if x[i] > 0 else alpha * expm1(x[i])


@parallel()
def _elu_grad(dy, x, dx, alpha, start, stop):
    for i in elements(x, start, stop):
        dx[i] = dy[i] if x[i] > 0 else dy[i] * alpha * exp(x[i])


@linked(inline="always")
def logistic(x):
    """Return 1 / (1 + exp(-x)), without overflow."""
    small = exp(-abs(x))
    one = type(small)(1)
    return (one if x >= 0 else small) / (one + small)


@parallel(error_model="numpy")
def _sigmoid(x, y, start, stop):
    for i in elements(x, start, stop):
        y[i] = logistic(x[i])


@parallel()
def _sigmoid_grad(dy, y, dx, start, stop):
    for i in elements(y, start, stop):
        dx[i] = dy[i] * y[i] * (y.dtype.type(1) - y[i])


@linked(inline="always")
def tangent(x):
    """Return the hyperbolic tangent."""
    rest = expm1(type(x)(-2) * abs(x))
    return math.copysign(rest / (type(x)(2) + rest), x)


@parallel(error_model="numpy")
def _tanh(x, y, start, stop):
    for i in elements(x, start, stop):
        y[i] = tangent(x[i])


@parallel()
def _tanh_grad(dy, y, dx, start, stop):
    for i in elements(y, start, stop):
        dx[i] = dy[i] * (y.dtype.type(1) - y[i] * y[i])


@parallel(error_model="numpy")
def _scaled_tanh(x, y, amplitude, slope, start, stop):
    for i in elements(x, start, stop):
        y[i] = amplitude * tangent(slope * x[i])


@parallel(error_model="numpy")
def _scaled_tanh_grad(dy, y, dx, amplitude, slope, start, stop):
    for i in elements(y, start, stop):
        dx[i] = dy[i] * slope * (amplitude - y[i] * y[i] / amplitude)


@linked(inline="always")
def soft_positive(x):
    """Return log(1 + exp(x)) less the positive part of x."""
    return log1p(exp(-abs(x)))


@parallel(error_model="numpy")
def _softplus(x, y, beta, start, stop):
    for i in elements(x, start, stop):
        scaled = beta * x[i]
        linear = x[i] if scaled > 0 else x.dtype.type(0)
        y[i] = linear + soft_positive(scaled) / beta


@parallel(error_model="numpy")
def _softplus_grad(dy, x, dx, beta, start, stop):
    for i in elements(x, start, stop):
        dx[i] = dy[i] * logistic(beta * x[i])


@linked(fastmath={"reassoc"})
def _exp_below(x, top, y):
    """Set y to exp(x - top) and return its sum."""
    total = x.dtype.type(0)
    for i in range(x.size):
        y[i] = exp(x[i] - top)
        total += y[i]
    return total


@linked(fastmath={"reassoc"})
def _sum_of_exp(x, top):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += exp(x[i] - top)
    return total


@linked(fastmath={"reassoc"})
def _sum_of_products(x, y):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@parallel(error_model="numpy")
def _softmax(x, y, start, stop):
    for r in range(start, stop):
        total = _exp_below(x[r], largest(x[r]), y[r])
        for i in range(x.shape[1]):
            y[r, i] /= total


@parallel()
def _softmax_grad(dy, y, dx, start, stop):
    for r in range(start, stop):
        mean = _sum_of_products(dy[r], y[r])
        for i in range(y.shape[1]):
            dx[r, i] = y[r, i] * (dy[r, i] - mean)


@linked()
def log_softmax_of(x, y):
    """Set a row y to the logarithm of the softmax of x."""
    top = largest(x)
    rest = np.log(_sum_of_exp(x, top))
    for i in range(x.size):
        y[i] = (x[i] - top) - rest


@parallel()
def _log_softmax(x, y, start, stop):
    for r in range(start, stop):
        log_softmax_of(x[r], y[r])


@parallel()
def _log_softmax_grad(dy, y, dx, start, stop):
    for r in range(start, stop):
        total = dy[r].sum()
        for i in range(y.shape[1]):
            dx[r, i] = dy[r, i] - exp(y[r, i]) * total

"""Batch normalisation in two passes over the memory forward, and two backward."""

import numpy as np

from .. import memory
from .compiled import compiled
from .parallel import in_parts


def batch_norm(x, w, b, eps):
    """Normalise x (n, c, ...) by the statistics of the batch: y, their mean (c,) and variance (c,).

    They are sums in float64, so the order of their terms does not show in float32, and y is rounded
    once: over a few values that lie close together, batch norm magnifies every rounding before it.
    """
    rows, y = _rows(x), memory.empty(x.shape, x.dtype)
    mean, variance, results = np.empty(x.shape[1]), np.empty(x.shape[1]), _rows(y)
    in_parts(lambda a, o: _moments(rows, mean, variance, a, o), x.shape[1], x.size)
    scale = w / np.sqrt(variance + eps)
    in_parts(lambda a, o: _affine(rows, results, mean, scale, b, a, o), x.shape[1], x.size)
    return y, mean.astype(x.dtype), variance.astype(x.dtype)


def batch_norm_inference(x, w, b, mean, variance, eps):
    """Normalise x (n, c, ...) by given statistics (c,), which stay constant."""
    rows, y = _rows(x), memory.empty(x.shape, x.dtype)
    scale, results = w / np.sqrt(variance + eps), _rows(y)
    in_parts(lambda a, o: _affine(rows, results, mean, scale, b, a, o), x.shape[1], x.size)
    return y


def batch_norm_grad(dy, x, w, mean, variance, eps):
    """Return the gradients of x, w and b, where mean and variance came from x itself."""
    rows, slopes, dx = _rows(x), _rows(dy), memory.empty(x.shape, x.dtype)
    results, count = _rows(dx), x.size // x.shape[1]
    deviation = np.sqrt(variance + eps)
    dw, db = _parameter_gradients(slopes, rows, mean, deviation)
    scale = w / deviation
    shift = (scale * db / count).astype(x.dtype)
    tilt = (scale * dw / count / deviation).astype(x.dtype)

    def some(start, stop):
        _input_gradient(slopes, rows, results, mean, scale, shift, tilt, start, stop)

    in_parts(some, x.shape[1], 3 * x.size)
    return dx, dw.astype(x.dtype), db.astype(x.dtype)


def batch_norm_inference_grad(dy, x, w, mean, variance, eps):
    """Return the gradients of x, w and b, where mean and variance are constants."""
    slopes, dx = _rows(dy), memory.empty(x.shape, x.dtype)
    results, deviation = _rows(dx), np.sqrt(variance + eps)
    dw, db = _parameter_gradients(slopes, _rows(x), mean, deviation)
    scale, nothing = w / deviation, np.zeros_like(mean)
    in_parts(
        lambda a, o: _affine(slopes, results, nothing, scale, nothing, a, o), x.shape[1], 2 * x.size
    )
    return dx, dw.astype(x.dtype), db.astype(x.dtype)


def _parameter_gradients(dy, x, mean, deviation):
    """Return the gradients of w and b in float64, from rows."""
    dw, db = np.empty(len(mean)), np.empty(len(mean))
    in_parts(lambda a, o: _sums(dy, x, mean, dw, db, a, o), len(mean), 2 * x.size)
    return dw / deviation, db


def _rows(x):
    """Return x (n, c, ...) as (n, c, values), without gaps."""
    return np.ascontiguousarray(x).reshape(*x.shape[:2], x[:1, :1].size if x.size else 0)


@compiled(fastmath={"reassoc"}, error_model="numpy")
def _moments(x, mean, variance, start, stop):
    n, _, size = x.shape
    for c in range(start, stop):
        total = 0.0
        for i in range(n):
            for j in range(size):
                total += np.float64(x[i, c, j])
        centre = total / (n * size)
        total = 0.0
        for i in range(n):
            for j in range(size):
                distance = np.float64(x[i, c, j]) - centre
                total += distance * distance
        mean[c], variance[c] = centre, total / (n * size)


@compiled()
def _affine(x, y, mean, scale, b, start, stop):
    n, _, size = x.shape
    for i in range(n):
        for c in range(start, stop):
            for j in range(size):
                y[i, c, j] = (x[i, c, j] - mean[c]) * scale[c] + b[c]


@compiled(fastmath={"reassoc"})
def _sums(dy, x, mean, weighted, plain, start, stop):
    n, _, size = x.shape
    for c in range(start, stop):
        along, total = 0.0, 0.0
        for i in range(n):
            for j in range(size):
                slope = np.float64(dy[i, c, j])
                total += slope
                along += slope * (np.float64(x[i, c, j]) - np.float64(mean[c]))
        weighted[c], plain[c] = along, total


@compiled()
def _input_gradient(dy, x, dx, mean, scale, shift, tilt, start, stop):
    n, _, size = x.shape
    for i in range(n):
        for c in range(start, stop):
            for j in range(size):
                distance = x[i, c, j] - mean[c]
                dx[i, c, j] = dy[i, c, j] * scale[c] - shift[c] - distance * tilt[c]

"""Batch normalisation in two passes over the memory forward, and two backward.

Local response normalisation in one each: positions are taken in pieces whose channels the cache
holds all together.
"""

import numpy as np

from .. import memory, reference
from .compiled import compiled
from .elementwise import compilable
from .parallel import in_parts

_PIECE = 256  # positions, of which 200 channels and more fit into the second-level cache


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


def local_response_norm(x, size, alpha, beta, k):
    """Divide x (n, c, ...) by (k + alpha * s) ** beta, s the sum of squares of `size` channels."""
    if not compilable(x) or not x.size:
        return reference.local_response_norm(x, size, alpha, beta, k)
    images, y = _rows(x), memory.empty(x.shape, x.dtype)
    results, before = _rows(y), size // 2
    constants = map(x.dtype.type, (alpha, beta, k))
    arguments = (size, before, *constants)
    _in_pieces(lambda a, o: _respond(images, results, *arguments, a, o), images)
    return y


def local_response_norm_grad(dy, x, size, alpha, beta, k):
    """Return the gradient of x."""
    if not compilable(x, dy) or not x.size:
        return reference.local_response_norm_grad(dy, x, size, alpha, beta, k)
    images, slopes, dx = _rows(x), _rows(dy), memory.empty(x.shape, x.dtype)
    results, before = _rows(dx), size // 2
    constants = map(x.dtype.type, (alpha, beta, k))
    arguments = (size, before, *constants)
    _in_pieces(lambda a, o: _response_grad(slopes, images, results, *arguments, a, o), images)
    return dx


def _in_pieces(function, images):
    """Call a function for all pieces of all images, on several threads if it pays."""
    in_parts(function, len(images) * -(-images.shape[2] // _PIECE), 4 * images.size)


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
        # In one pass, as distances from some value of the channel: of larger numbers, the squares
        # would lose what their mean loses.
        origin, total, squares = np.float64(x[0, c, 0]), 0.0, 0.0
        for i in range(n):
            for j in range(size):
                distance = np.float64(x[i, c, j]) - origin
                total += distance
                squares += distance * distance
        total /= n * size
        spread = squares / (n * size) - total * total
        mean[c], variance[c] = origin + total, 0.0 if spread < 0 else spread  # NaN stays


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


@compiled(error_model="numpy")
def _inverse_powers(x, y, beta):
    """Set y to x ** -beta; two square roots, the paper's exponent, are vectors and others not."""
    one = x.dtype.type(1)
    if beta == 0.75:
        for j in range(x.size):
            root = np.sqrt(x[j])
            y[j] = one / (root * np.sqrt(root))
    else:
        for j in range(x.size):
            y[j] = one / x[j] ** beta


@compiled()
def _add_neighbours(x, weight, total, channel, size, before):
    """Set total to the sum of the products of x and weight over the channels around one."""
    total[:] = 0
    for c in range(max(0, channel - before), min(len(x), channel - before + size)):
        _add_products(x[c], weight[c], total)


@compiled()
def _add_products(x, weight, total):
    for j in range(total.size):
        total[j] += x[j] * weight[j]


@compiled()
def _take(x, first, piece):
    """Copy some positions of an image (c, positions): its own are too far apart for vectors."""
    for c in range(len(x)):
        row = x[c, first:]
        for j in range(piece.shape[1]):
            piece[c, j] = row[j]


@compiled()
def _bases(image, base, c, size, before, alpha, k):
    _add_neighbours(image, image, base, c, size, before)
    for j in range(base.size):
        base[j] = k + alpha * base[j]


@compiled(error_model="numpy")
def _respond(x, y, size, before, alpha, beta, k, start, stop):
    channels, positions = x.shape[1:]
    pieces = (positions + _PIECE - 1) // _PIECE
    for part in range(start, stop):
        i, first = part // pieces, part % pieces * _PIECE
        image = np.empty((channels, min(_PIECE, positions - first)), x.dtype)
        base, scale = np.empty(image.shape[1], x.dtype), np.empty(image.shape[1], x.dtype)
        _take(x[i], first, image)
        for c in range(channels):
            _bases(image, base, c, size, before, alpha, k)
            _inverse_powers(base, scale, beta)
            result = y[i, c, first:]
            for j in range(base.size):
                result[j] = image[c, j] * scale[j]


@compiled(error_model="numpy")
def _response_grad(dy, x, dx, size, before, alpha, beta, k, start, stop):
    channels, positions = x.shape[1:]
    pieces, slope = (positions + _PIECE - 1) // _PIECE, x.dtype.type(2) * alpha * beta
    for part in range(start, stop):
        i, first = part // pieces, part % pieces * _PIECE
        image = np.empty((channels, min(_PIECE, positions - first)), x.dtype)
        across = np.empty_like(image)
        base, scale = np.empty(image.shape[1], x.dtype), np.empty(image.shape[1], x.dtype)
        _take(x[i], first, image)
        for c in range(channels):
            _bases(image, base, c, size, before, alpha, k)
            _inverse_powers(base, scale, beta)
            given, result = dy[i, c, first:], dx[i, c, first:]
            for j in range(base.size):
                result[j] = given[j] * scale[j]
                across[c, j] = result[j] / base[j]
        # A channel belongs to the windows of the same channels reversed.
        for c in range(channels):
            _add_neighbours(image, across, base, c, size, size - 1 - before)
            result = dx[i, c, first:]
            for j in range(base.size):
                result[j] -= slope * image[c, j] * base[j]

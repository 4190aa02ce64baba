"""Batch normalisation in two passes over the memory forward, and two backward.

Local response normalisation in one each: positions are taken in pieces whose channels the cache
holds all together.
"""

import numpy as np

from .. import memory, reference
from ..threads import get_num_threads
from .compiled import compiled
from .elementwise import compilable
from .parallel import parallel

_PIECE = 256  # positions, of which 200 channels and more fit into the second-level cache


def batch_norm(x, w, b, eps):
    """Normalise x (n, c, ...) by the statistics of the batch: y, their mean (c,) and variance (c,).

    They are sums in float64, so the order of their terms does not show in float32, and y is rounded
    once: over a few values that lie close together, batch norm magnifies every rounding before it.
    """
    rows, mean, variance = _rows(x), np.empty(x.shape[1]), np.empty(x.shape[1])
    _moments(rows, mean, variance, count=len(mean), elements=x.size)
    y = _scaled(rows, mean, w / np.sqrt(variance + eps), b).reshape(x.shape)
    return y, mean.astype(x.dtype), variance.astype(x.dtype)


def batch_norm_inference(x, w, b, mean, variance, eps):
    """Normalise x (n, c, ...) by given statistics (c,), which stay constant."""
    return _scaled(_rows(x), mean, w / np.sqrt(variance + eps), b).reshape(x.shape)


def batch_norm_grad(dy, x, w, mean, variance, eps):
    """Return the gradients of x, w and b, where mean and variance came from x itself."""
    rows, slopes, dx = _rows(x), _rows(dy), memory.empty(x.shape, x.dtype)
    deviation, count = np.sqrt(variance + eps), x.size // x.shape[1]
    dw, db = _parameter_gradients(slopes, rows, mean, deviation)
    scale = w / deviation
    shift = (scale * db / count).astype(x.dtype)
    tilt = (scale * dw / count / deviation).astype(x.dtype)
    _input_gradient(
        slopes, rows, _rows(dx), mean, scale, shift, tilt, count=_lines(rows), elements=3 * x.size
    )
    return dx, dw.astype(x.dtype), db.astype(x.dtype)


def batch_norm_inference_grad(dy, x, w, mean, variance, eps):
    """Return the gradients of x, w and b, where mean and variance are constants."""
    slopes, deviation, nothing = _rows(dy), np.sqrt(variance + eps), np.zeros_like(mean)
    dw, db = _parameter_gradients(slopes, _rows(x), mean, deviation)
    dx = _scaled(slopes, nothing, w / deviation, nothing).reshape(x.shape)
    return dx, dw.astype(x.dtype), db.astype(x.dtype)


def local_response_norm(x, size, alpha, beta, k):
    """Divide x (n, c, ...) by (k + alpha * s) ** beta, s the sum of squares of `size` channels."""
    if not compilable(x) or not x.size:
        return reference.local_response_norm(x, size, alpha, beta, k)
    images, y = _rows(x), memory.empty(x.shape, x.dtype)
    constants = size, size // 2, *map(x.dtype.type, (alpha, beta, k))
    _in_pieces(_respond, images, _rows(y), *constants, arrays=1)
    return y


def local_response_norm_grad(dy, x, size, alpha, beta, k):
    """Return the gradient of x."""
    if not compilable(x, dy) or not x.size:
        return reference.local_response_norm_grad(dy, x, size, alpha, beta, k)
    images, dx = _rows(x), memory.empty(x.shape, x.dtype)
    constants = size, size // 2, *map(x.dtype.type, (alpha, beta, k))
    _in_pieces(_response_grad, images, _rows(dy), _rows(dx), *constants, arrays=2)
    return dx


def _in_pieces(kernel, images, *others, arrays):
    """Run a kernel over all pieces of all images, with room for so many arrays of one piece."""
    n, channels, positions = images.shape
    rooms = memory.empty((get_num_threads(), arrays, channels * _PIECE), images.dtype)
    count = n * -(-positions // _PIECE)
    kernel(images, *others, rooms, count=count, elements=4 * images.size, workers=len(rooms))


def _scaled(x, mean, scale, b):
    """Return (x - mean) * scale + b for each channel of rows."""
    y = memory.empty(x.shape, x.dtype)
    _affine(x, y, mean, scale, b, count=_lines(x), elements=x.size)
    return y


def _parameter_gradients(dy, x, mean, deviation):
    """Return the gradients of w and b in float64, from rows."""
    dw, db = np.empty(len(mean)), np.empty(len(mean))
    _sums(dy, x, mean, dw, db, count=len(mean), elements=2 * x.size)
    return dw / deviation, db


def _lines(rows):
    """Return how many lines there are, one a channel and an image."""
    return rows.shape[0] * rows.shape[1]


def _rows(x):
    """Return x (n, c, ...) as (n, c, values), without gaps."""
    return np.ascontiguousarray(x).reshape(*x.shape[:2], x[:1, :1].size if x.size else 0)


@parallel(fastmath={"reassoc"}, error_model="numpy")
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


@parallel()
def _affine(x, y, mean, scale, b, start, stop):
    _, channels, size = x.shape
    for line in range(start, stop):
        i, c = line // channels, line % channels
        for j in range(size):
            y[i, c, j] = (x[i, c, j] - mean[c]) * scale[c] + b[c]


@parallel(fastmath={"reassoc"})
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


@parallel()
def _input_gradient(dy, x, dx, mean, scale, shift, tilt, start, stop):
    _, channels, size = x.shape
    for line in range(start, stop):
        i, c = line // channels, line % channels
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
def _room(room, channels, positions):
    """Return an array without gaps in a room for the largest."""
    return room[: channels * positions].reshape(channels, positions)


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


@parallel(error_model="numpy")
def _respond(x, y, size, before, alpha, beta, k, rooms, worker, start, stop):
    channels, positions = x.shape[1:]
    pieces = (positions + _PIECE - 1) // _PIECE
    for part in range(start, stop):
        i, first = part // pieces, part % pieces * _PIECE
        image = _room(rooms[worker, 0], channels, min(_PIECE, positions - first))
        base, scale = np.empty(image.shape[1], x.dtype), np.empty(image.shape[1], x.dtype)
        _take(x[i], first, image)
        for c in range(channels):
            _bases(image, base, c, size, before, alpha, k)
            _inverse_powers(base, scale, beta)
            result = y[i, c, first:]
            for j in range(base.size):
                result[j] = image[c, j] * scale[j]


@parallel(error_model="numpy")
def _response_grad(x, dy, dx, size, before, alpha, beta, k, rooms, worker, start, stop):
    channels, positions = x.shape[1:]
    pieces, slope = (positions + _PIECE - 1) // _PIECE, x.dtype.type(2) * alpha * beta
    for part in range(start, stop):
        i, first = part // pieces, part % pieces * _PIECE
        image = _room(rooms[worker, 0], channels, min(_PIECE, positions - first))
        across = _room(rooms[worker, 1], channels, image.shape[1])
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

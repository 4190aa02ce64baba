"""Normalisation in one pass over the memory: what is needed again is still in the cache.

Batch normalisation takes one channel after the other; local response normalisation takes pieces of
positions, with all their channels.
"""

import numpy as np

from .. import memory, reference
from ..threads import get_num_threads
from .compiled import linked
from .elementwise import compilable, elements, over_elements, sloped
from .parallel import parallel

# So many are added up in the type of x: more would be rounded visibly.
_BLOCK = 4096
_PIECE = 256  # positions, of which 200 channels and more fit into the second-level cache


def batch_norm(x, w, b, eps, residual=None, slope=1.0):
    """Normalise x (n, c, ...) by the statistics of the batch: y, their mean (c,) and variance (c,).

    A residual is added, and what is then below 0 is multiplied by the slope, in the same pass.
    Neither the order of sums nor what is rounded on the way shows in float32, however close to each
    other the values of a channel lie: batch norm would magnify it.
    """
    y, channels = memory.empty(x.shape, x.dtype), x.shape[1]
    mean, variance = memory.empty((channels,), x.dtype), memory.empty((channels,), x.dtype)
    added = _rows(x[:0] if residual is None else residual)
    arguments = _rows(x), added, _rows(y), w, b, eps, x.dtype.type(slope), mean, variance
    _normalise(*arguments, count=channels, elements=2 * x.size)
    return y, mean, variance


def batch_norm_inference(x, w, b, mean, variance, eps):
    """Normalise x (n, c, ...) by given statistics (c,), which stay constant."""
    y, scale = memory.empty(x.shape, x.dtype), w / np.sqrt(variance + eps)
    arguments = _rows(x), _rows(y), mean, scale, b
    _normalise_by(*arguments, count=x.shape[0] * x.shape[1], elements=x.size)
    return y


def batch_norm_grad(dy, x, w, mean, variance, eps, y=None, slope=1.0):
    """Return the gradients of x, w and b, where mean and variance came from x itself."""
    return _gradients(dy, x, w, mean, variance, eps, False, y, slope)


def batch_norm_inference_grad(dy, x, w, mean, variance, eps):
    """Return the gradients of x, w and b, where mean and variance are constants."""
    return _gradients(dy, x, w, mean, variance, eps, True)


def _gradients(dy, x, w, mean, variance, eps, constant, y=None, slope=1.0):
    dx, channels = memory.empty(x.shape, x.dtype), x.shape[1]
    dw, db = memory.empty((channels,), x.dtype), memory.empty((channels,), x.dtype)
    # Times 1, slopes are what they are, whatever the signs: their own will do.
    y, slope = (dy, 1.0) if y is None else (y, slope)
    arrays = *map(_rows, (dy, y, x, dx)), dw, db, w, mean, variance
    _slopes(*arrays, eps, x.dtype.type(slope), constant, count=channels, elements=3 * x.size)
    return dx, dw, db


def add_residual(x, residual, slope):
    """Return x + residual, multiplied by `slope` where it is below 0: 1 leaves it, 0 is ReLU."""
    return over_elements(_add_residual, reference.add_residual, (x, residual), slope)


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


def _rows(x):
    """Return x (n, c, ...) as (n, c, values), without gaps."""
    return memory.contiguous(x).reshape(*x.shape[:2], x[:1, :1].size if x.size else 0)


@linked(fastmath={"reassoc", "contract"})
def _sum(x, c, origin):
    """Return the sum, over a channel, of the distances from a number."""
    n, _, size = x.shape
    total = 0.0
    for i in range(n):
        for first in range(0, size, _BLOCK):
            some, part = x.dtype.type(0), x[i, c, first : first + _BLOCK]
            for j in range(part.size):
                some += part[j] - origin
            total += some
    return total


@linked(fastmath={"reassoc", "contract"})
def _sums_about(x, c, centre):
    """Return the sum, over a channel, of the distances from a number, and that of their squares."""
    n, _, size = x.shape
    total, squares = 0.0, 0.0
    for i in range(n):
        for first in range(0, size, _BLOCK):
            some = square = x.dtype.type(0)
            part = x[i, c, first : first + _BLOCK]
            for j in range(part.size):
                distance = part[j] - centre
                some += distance
                square += distance * distance
            total += some
            squares += square
    return total, squares


@linked(fastmath={"reassoc", "contract"})
def _sums_of_slopes(dy, y, slope, x, c, mean):
    """Return the sum of a channel's slopes, and that of their products with distances."""
    n, _, size = x.shape
    total, along = 0.0, 0.0
    for i in range(n):
        for first in range(0, size, _BLOCK):
            some = product = x.dtype.type(0)
            slopes, part = dy[i, c, first : first + _BLOCK], x[i, c, first : first + _BLOCK]
            signs = y[i, c, first : first + _BLOCK]
            for j in range(part.size):
                now = sloped(slopes[j], signs[j], slope)
                some += now
                product += now * (part[j] - mean)
            total += some
            along += product
    return total, along


@linked(error_model="numpy")
def _moments(x, c):
    """Return mean and variance of a channel in float64.

    What is summed up are distances from some value, and then from the mean that they give: sums of
    larger numbers would be rounded to more than what the values differ by.
    """
    count = x.shape[0] * x.shape[2]
    origin = x[0, c, 0] if count else x.dtype.type(0)
    centre = x.dtype.type(origin + _sum(x, c, origin) / count)
    total, squares = _sums_about(x, c, centre)
    return centre + total / count, squares / count - (total / count) ** 2


@linked(inline="always")
def _affine(x, residual, y, i, c, mean, rest, scale, b, slope):
    if residual.size:
        for j in range(x.shape[2]):
            value = ((x[i, c, j] - mean) - rest) * scale + b + residual[i, c, j]
            y[i, c, j] = sloped(value, value, slope)
    else:
        for j in range(x.shape[2]):
            value = ((x[i, c, j] - mean) - rest) * scale + b
            y[i, c, j] = sloped(value, value, slope)


@parallel(error_model="numpy")
def _normalise(x, residual, y, w, b, eps, slope, mean, variance, start, stop):
    """Do all of a channel while the cache holds it."""
    number = x.dtype.type
    for c in range(start, stop):
        exact, spread = _moments(x, c)
        mean[c], variance[c] = exact, spread
        rest, scale = number(exact - mean[c]), number(w[c] / np.sqrt(spread + eps))
        for i in range(len(x)):
            _affine(x, residual, y, i, c, mean[c], rest, scale, b[c], slope)


@parallel(error_model="numpy")
def _normalise_by(x, y, mean, scale, b, start, stop):
    channels = x.shape[1]
    for line in range(start, stop):
        i, c = line // channels, line % channels
        center, factor, shift = mean[c], scale[c], b[c]
        for j in range(x.shape[2]):
            y[i, c, j] = (x[i, c, j] - center) * factor + shift


@parallel()
def _add_residual(x, residual, y, slope, start, stop):
    for i in elements(x, start, stop):
        value = x[i] + residual[i]
        y[i] = sloped(value, value, slope)


@parallel(error_model="numpy")
def _slopes(dy, y, x, dx, dw, db, w, mean, variance, eps, slope, constant, start, stop):
    """Do all of a channel while the cache holds it."""
    number, (n, _, size) = x.dtype.type, x.shape
    for c in range(start, stop):
        total, along = _sums_of_slopes(dy, y, slope, x, c, mean[c])
        deviation = np.sqrt(variance[c] + eps)
        scale = w[c] / deviation
        db[c], dw[c], factor = total, along / deviation, number(scale)
        # Where the statistics are constants, other values do not matter, not even infinite ones.
        shift = number(scale * total / (n * size))
        tilt = number(scale * along / (n * size) / deviation**2)
        for i in range(n):
            if constant:
                for j in range(size):
                    dx[i, c, j] = dy[i, c, j] * factor
            else:
                for j in range(size):
                    now, distance = sloped(dy[i, c, j], y[i, c, j], slope), x[i, c, j] - mean[c]
                    dx[i, c, j] = now * factor - shift - distance * tilt


@linked(error_model="numpy")
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


@linked()
def _add_neighbours(x, weight, total, channel, size, before):
    """Set total to the sum of the products of x and weight over the channels around one."""
    total[:] = 0
    for c in range(max(0, channel - before), min(len(x), channel - before + size)):
        _add_products(x[c], weight[c], total)


@linked()
def _add_products(x, weight, total):
    for j in range(total.size):
        total[j] += x[j] * weight[j]


@linked()
def _room(room, channels, positions):
    """Return an array without gaps in a room for the largest."""
    return room[: channels * positions].reshape(channels, positions)


@linked()
def _take(x, first, piece):
    """Copy some positions of an image (c, positions): its own are too far apart for vectors."""
    for c in range(len(x)):
        row = x[c, first:]
        for j in range(piece.shape[1]):
            piece[c, j] = row[j]


@linked()
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

"""Dropout and noise in one pass: the random numbers are made where they are used, and not kept.

They are the reference's, bit for bit: four 32-bit words for each counter.
"""

import numpy as np

from .. import memory, reference
from ..reference.philox import LOW, MULTIPLIERS, WEYL
from .compiled import linked
from .elementwise import CHUNK, compilable, elements, flat, in_chunks
from .parallel import parallel

_FIRST, _SECOND = map(np.uint64, MULTIPLIERS)
_WEYL = tuple(map(np.uint32, WEYL))


def dropout(x, p, seed):
    """Set each element to 0 with probability p and scale the others by 1 / (1 - p)."""
    if not compilable(x):
        return reference.dropout(x, p, seed)
    number, y = x.dtype.type, memory.empty(x.shape, x.dtype)
    threshold = np.uint32(np.ceil(number(p) * 2.0**24))  # of the words' upper 24 bits
    in_chunks(_drop, flat(x), flat(y), threshold, number(1) / number(1 - p), *_key(seed))
    return y


def dropout_grad(dy, p, seed):
    """Return the gradient of `dropout` for the same seed."""
    return dropout(dy, p, seed)


def spatial_dropout(x, p, seed):
    """Set each channel of x (n, c, ...) to 0 with probability p, as `dropout` its elements."""
    if not compilable(x):
        return reference.spatial_dropout(x, p, seed)
    factors = dropout(np.ones(x.shape[:2], x.dtype), p, seed).reshape(-1)
    y = memory.empty(x.shape, x.dtype)
    shape = (len(factors), x.size // max(len(factors), 1))
    channels, results = memory.contiguous(x).reshape(shape), y.reshape(shape)
    _scale(channels, factors, results, count=len(factors), elements=x.size)
    return y


def spatial_dropout_grad(dy, p, seed):
    """Return the gradient of `spatial_dropout` for the same seed."""
    return spatial_dropout(dy, p, seed)


def gaussian_noise(x, std, seed):
    """Add normal noise of this standard deviation; the gradient goes through unchanged."""
    if not compilable(x):
        return reference.gaussian_noise(x, std, seed)
    y = memory.empty(x.shape, x.dtype)
    radius, angle = memory.empty((2, x.size), x.dtype)
    in_chunks(_uniform_pairs, radius, angle, *_key(seed))
    given, results = flat(x), flat(y)
    for first in range(0, x.size, CHUNK):  # pieces that the cache holds
        here = slice(first, first + CHUNK)
        _add_noise(given[here], results[here], radius[here], angle[here], std)
    return y


def _add_noise(x, y, radius, angle, std):
    """Set y to x and noise, by NumPy's logarithm and cosine, so that it is the reference's."""
    np.subtract(1, radius, out=radius)
    np.log(radius, out=radius)
    np.sqrt(np.multiply(radius, -2, out=radius), out=radius)
    np.cos(np.multiply(angle, 2 * np.pi, out=angle), out=angle)
    np.multiply(radius, angle, out=radius)
    np.add(x, np.multiply(radius, std, out=radius), out=y)


def _key(seed):
    """Return the two words of a seed."""
    return np.uint32(seed & LOW), np.uint32(seed >> 32)


@linked(inline="always")
def _words(counter, key0, key1):
    """Return the four words of a 64-bit counter under a key: ten rounds of Philox."""
    a, b = np.uint32(counter), np.uint32(counter >> np.uint64(32))
    c, d = np.uint32(0), np.uint32(0)
    for _ in range(10):
        first, second = np.uint64(a) * _FIRST, np.uint64(c) * _SECOND
        a = np.uint32(np.uint32(second >> np.uint64(32)) ^ b ^ key0)
        c = np.uint32(np.uint32(first >> np.uint64(32)) ^ d ^ key1)
        b, d = np.uint32(second), np.uint32(first)
        key0, key1 = np.uint32(key0 + _WEYL[0]), np.uint32(key1 + _WEYL[1])
    return a, b, c, d


@parallel()
def _drop(x, y, threshold, scale, key0, key1, start, stop):
    x, y = x[start * CHUNK : stop * CHUNK], y[start * CHUNK : stop * CHUNK]
    zero, whole, counter = x.dtype.type(0), x.size // 4, start * (CHUNK // 4)
    for i in range(whole):
        words = _words(np.uint64(counter + i), key0, key1)
        for j in range(4):
            kept = words[j] >> np.uint32(8) >= threshold
            y[4 * i + j] = x[4 * i + j] * (scale if kept else zero)  # 0 * NaN stays NaN
    words = _words(np.uint64(counter + whole), key0, key1)
    for j in range(x.size - 4 * whole):
        kept = words[j] >> np.uint32(8) >= threshold
        y[4 * whole + j] = x[4 * whole + j] * (scale if kept else zero)


@parallel()
def _uniform_pairs(radius, angle, key0, key1, start, stop):
    """Set both to numbers in [0, 1): the words of a counter, two by two."""
    unit = radius.dtype.type(2.0**-24)
    for i in elements(radius, start, stop):
        words = _words(i // np.uint64(2), key0, key1)
        odd = 2 * (i % 2)
        radius[i] = (words[odd] >> np.uint32(8)) * unit
        angle[i] = (words[odd + 1] >> np.uint32(8)) * unit


@parallel()
def _scale(x, factors, y, start, stop):
    for r in range(start, stop):
        for i in range(x.shape[1]):
            y[r, i] = x[r, i] * factors[r]

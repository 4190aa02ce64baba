"""Random numbers by position: element i of a seed's stream, in any order and on any device.

Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011: ten rounds of
two multiplications and exclusive-ors turn a counter and a key into four 32-bit words.
"""

import numpy as np

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF


def philox(counters, key):
    """Return the four words (4, n) of each 64-bit counter (n,) under a 64-bit key."""
    a, b = counters & LOW, counters >> 32
    c = d = np.zeros_like(a)
    k0, k1 = key & LOW, key >> 32
    for _ in range(10):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (second >> 32) ^ b ^ k0, second & LOW, (first >> 32) ^ d ^ k1, first & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return np.stack([a, b, c, d])


def uniform(like, shape, seed):
    """Return numbers in [0, 1) of 24 random bits; element i is word i % 4 of counter i // 4."""
    size = int(np.prod(shape))
    counters = np.arange((size + 3) // 4, dtype=np.uint64, like=like)
    words = philox(counters, seed).T.reshape(-1)[:size]
    return ((words >> 8).astype(like.dtype) * 2.0**-24).reshape(shape)


def normal(like, shape, seed):
    """Return numbers of the standard normal distribution, by Box and Muller's transform.

    Element i takes the uniform numbers 2i and 2i + 1; the first is moved to (0, 1] for its log.
    """
    radius, angle = uniform(like, (int(np.prod(shape)), 2), seed).T
    radius = np.sqrt(-2 * np.log(1 - radius))
    return (radius * np.cos(2 * np.pi * angle)).reshape(shape)

"""Where weights begin: functions from a shape to a float32 array of random numbers.

The fan-in of a weight (O, I, ...) is I times the size of its window, the fan-out O times it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minicnn.kernels.threads import get_num_threads
from minicnn.rng import generator

# VGG-19 has 143 million weights. Blocks of this size are drawn on all cores, each from a generator
# of its own, so the numbers do not depend on how many cores there are.
_BLOCK = 1 << 20


def draw(how: Callable | float, shape, *, rng=None) -> np.ndarray:
    """Return `how(shape, rng=rng)`, or the number everywhere where `how` is one.

    Raises
    ------
    TypeError
        If `how` is neither a function nor a number.
    ValueError
        If the function returns another shape.
    """
    if not callable(how):
        if not isinstance(how, (int, float, np.number)):
            raise TypeError(f"init: {how!r} is neither a function of a shape nor a number")
        return constant(shape, how)
    # Kernels read weights as they lie in memory; others they would have to copy in every step.
    values = np.ascontiguousarray(how(shape, rng=rng), np.float32)
    if values.shape != tuple(shape):
        raise ValueError(f"init: {how!r} returns {values.shape} where {tuple(shape)} is asked for")
    return values


def constant(shape, value: float) -> np.ndarray:
    """Return the same number everywhere."""
    return np.full(shape, value, np.float32)


def uniform(shape, bound: float | np.ndarray, *, rng=None) -> np.ndarray:
    """Draw from the uniform distribution on [-bound, bound]; bounds are broadcast."""
    values = _drawn("random", shape, rng)
    bound = np.asarray(bound, np.float32)
    values *= 2 * bound
    values -= bound
    return values


def normal(shape, std: float, *, mean: float = 0.0, rng=None) -> np.ndarray:
    """Draw from the normal distribution."""
    values = _drawn("standard_normal", shape, rng)
    values *= np.float32(std)
    if mean:
        values += np.float32(mean)
    return values


def fans(shape) -> tuple[int, int]:
    """Return the fan-in and fan-out of a weight of this shape (O, I, ...).

    Raises
    ------
    ValueError
        If there are fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(f"init: a weight of shape {tuple(shape)} has no fan; it takes (O, I, ...)")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def gain(nonlinearity: str, slope: float = 0.01) -> float:
    """Return the factor that keeps the variance of activations from layer to layer.

    Parameters
    ----------
    nonlinearity : "linear", "sigmoid", "tanh", "relu" or "leaky_relu"
    slope : float
        Of the negative side of "leaky_relu".

    Raises
    ------
    ValueError
        If the nonlinearity is another.
    """
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
    }
    if nonlinearity not in gains:
        raise ValueError(f"init: nonlinearity {nonlinearity!r} is not one of {', '.join(gains)}")
    return gains[nonlinearity]


def kaiming_normal(
    shape, *, mode="fan_in", nonlinearity="relu", slope=0.01, rng=None
) -> np.ndarray:
    """Draw from N(0, gain^2 / fan), of "fan_in" or "fan_out". He et al., 2015, equation 10."""
    return normal(shape, gain(nonlinearity, slope) / math.sqrt(_fan(shape, mode)), rng=rng)


def kaiming_uniform(
    shape, *, mode="fan_in", nonlinearity="relu", slope=0.01, rng=None
) -> np.ndarray:
    """Draw from the uniform distribution with the variance of `kaiming_normal`."""
    bound = gain(nonlinearity, slope) * math.sqrt(3 / _fan(shape, mode))
    return uniform(shape, bound, rng=rng)


def xavier_normal(shape, *, gain=1.0, rng=None) -> np.ndarray:
    """Draw from N(0, 2 gain^2 / (fan-in + fan-out)). Glorot & Bengio, 2010, equation 12."""
    return normal(shape, gain * math.sqrt(2 / sum(fans(shape))), rng=rng)


def xavier_uniform(shape, *, gain=1.0, rng=None) -> np.ndarray:
    """Draw from the uniform distribution with the variance of `xavier_normal`; equation 16."""
    return uniform(shape, gain * math.sqrt(6 / sum(fans(shape))), rng=rng)


def lecun_normal(shape, *, rng=None) -> np.ndarray:
    """Draw from N(0, 1 / fan-in). LeCun et al., "Efficient backprop", 1998, section 4.6."""
    return normal(shape, 1 / math.sqrt(fans(shape)[0]), rng=rng)


def lecun_uniform(shape, *, rng=None) -> np.ndarray:
    """Draw from the uniform distribution with the variance of `lecun_normal`."""
    return uniform(shape, math.sqrt(3 / fans(shape)[0]), rng=rng)


def orthogonal(shape, *, gain=1.0, rng=None) -> np.ndarray:
    """Draw a weight whose rows (or columns, if there are fewer) are orthonormal, times the gain.

    Saxe, McClelland & Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", 2014.
    """
    fans(shape)
    rows, columns = shape[0], math.prod(shape[1:])
    tall = generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))  # without it the distribution depends on the QR algorithm
    q = q if rows >= columns else q.T
    return (gain * q).reshape(shape).astype(np.float32)


def _drawn(distribution, shape, rng):
    """Return an array filled by a method of `Generator`."""
    rng, values = generator(rng), np.empty(shape, np.float32)
    blocks = [values.reshape(-1)[i : i + _BLOCK] for i in range(0, values.size, _BLOCK)]
    if len(blocks) == 1:
        getattr(rng, distribution)(out=blocks[0], dtype=np.float32)
        return values

    def fill(block, seed):
        # The quickest of NumPy's bit generators, by a seventh.
        source = np.random.Generator(np.random.SFC64(seed))
        getattr(source, distribution)(out=block, dtype=np.float32)

    with ThreadPoolExecutor(get_num_threads()) as pool:
        list(pool.map(fill, blocks, rng.integers(2**63, size=len(blocks))))
    return values


def _fan(shape, mode):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode is {mode!r}; it takes 'fan_in' or 'fan_out'")
    return fans(shape)[mode == "fan_out"]

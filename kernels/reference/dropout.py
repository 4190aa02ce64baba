"""Dropout and noise, from a counter-based generator: the gradient draws the same mask again.

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, in the
inverted form that scales while training; Tompson et al., "Efficient object localization using
convolutional networks", 2015, section 3.2, drops whole channels.
"""

from .philox import normal, uniform


def dropout(x, p, seed):
    """Set each element to 0 with probability p and scale the others by 1 / (1 - p)."""
    return x * _mask(x, x.shape, p, seed)


def dropout_grad(dy, p, seed):
    """Return the gradient of `dropout` for the same seed."""
    return dy * _mask(dy, dy.shape, p, seed)


def spatial_dropout(x, p, seed):
    """Set each channel of x (n, c, ...) to 0 with probability p, as `dropout` its elements."""
    return x * _mask(x, (*x.shape[:2], *[1] * (x.ndim - 2)), p, seed)


def spatial_dropout_grad(dy, p, seed):
    """Return the gradient of `spatial_dropout` for the same seed."""
    return spatial_dropout(dy, p, seed)


def gaussian_noise(x, std, seed):
    """Add normal noise of this standard deviation; the gradient goes through unchanged."""
    return x + std * normal(x, x.shape, seed)


def _mask(like, shape, p, seed):
    """Return 0 with probability p and 1 / (1 - p) otherwise."""
    kept = uniform(like, shape, seed) >= p
    return kept.astype(like.dtype) / (1 - p)

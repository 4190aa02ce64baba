"""Dropout and noise in one pass: the random numbers are the reference's, and are not kept."""

import math

from ..capture import parted
from .launch import Launcher, contiguous, empty, made_for_reals

_launch = Launcher("dropout.cu")


@made_for_reals
def dropout(x, p, seed):
    """Set each element to 0 with probability p and scale the others by 1 / (1 - p)."""
    y = empty(x)
    arguments = contiguous(x), y, x.size, *_share(x.dtype, p), *parted(seed)
    _launch("dropout", *arguments, threads=-(-x.size // 4))
    return y


def dropout_grad(dy, p, seed):
    """Return the gradient of `dropout` for the same seed."""
    return dropout(dy, p, seed)


@made_for_reals
def spatial_dropout(x, p, seed):
    """Set each channel of x (n, c, ...) to 0 with probability p, as `dropout` its elements."""
    y, size = empty(x), math.prod(x.shape[2:])
    arguments = contiguous(x), y, x.size, size, *_share(x.dtype, p), *parted(seed)
    _launch("spatial_dropout", *arguments, threads=x.size)
    return y


def spatial_dropout_grad(dy, p, seed):
    """Return the gradient of `spatial_dropout` for the same seed."""
    return spatial_dropout(dy, p, seed)


@made_for_reals
def gaussian_noise(x, std, seed):
    """Add normal noise of this standard deviation; the gradient goes through unchanged."""
    y = empty(x)
    _launch("gaussian_noise", contiguous(x), y, x.size, std, *parted(seed), threads=-(-x.size // 2))
    return y


def _share(dtype, p):
    """Return which random numbers of 24 bits are dropped, and the scale of what is kept."""
    number = dtype.type
    return math.ceil(number(p) * 2.0**24), number(1) / number(1 - p)

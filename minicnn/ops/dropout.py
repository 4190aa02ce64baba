"""Dropout and noise: what is random while training."""

from __future__ import annotations

from minicnn import kernels
from minicnn.autograd import Tensor, primitive
from minicnn.ops import arguments
from minicnn.rng import generator


def dropout(x, p: float = 0.5, *, training: bool = True, rng=None) -> Tensor:
    """Set each element to 0 with probability p and scale the others by 1 / (1 - p).

    Parameters
    ----------
    x : Tensor, any shape
    p : float, in [0, 1)
    training : bool
        Whether to do anything at all.
    rng : int, Generator or None
        Where the seed of the mask is drawn from.

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    ValueError
        If p lies outside [0, 1).
    TypeError
        If x is not floating point.

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
    """
    return _drop("dropout", _dropout, x, p, training, rng)


def spatial_dropout(x, p: float = 0.5, *, training: bool = True, rng=None) -> Tensor:
    """Set whole channels of x, shape (N, C, ...), to 0: neighbours in one would give it away.

    Parameters, errors and scaling are those of `dropout`. Tompson et al., "Efficient object
    localization using convolutional networks", 2015, section 3.2.
    """
    return _drop("spatial_dropout", _spatial_dropout, x, p, training, rng)


def gaussian_noise(x, std: float, *, training: bool = True, rng=None) -> Tensor:
    """Add normal noise of this standard deviation, in the units of x, of any shape.

    Parameters
    ----------
    x : Tensor, any shape
    std : float, >= 0
    training : bool
        Whether to do anything at all.
    rng : int, Generator or None
        Where the seed of the noise is drawn from.

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    ValueError
        If std is negative.
    TypeError
        If x is not floating point.
    """
    (x,) = arguments.floats("gaussian_noise", x=x)
    if not std >= 0:
        raise ValueError(f"gaussian_noise: std is {std}; it must be 0 or more")
    return _gaussian_noise(x, std=std, seed=_seed(rng)) if training and std else x


@primitive
def _dropout(x, *, p, seed):
    k = kernels.of(x)
    return k.dropout(x, p, seed), (lambda dy: k.dropout_grad(dy, p, seed),)


@primitive
def _spatial_dropout(x, *, p, seed):
    k = kernels.of(x)
    return k.spatial_dropout(x, p, seed), (lambda dy: k.spatial_dropout_grad(dy, p, seed),)


@primitive
def _gaussian_noise(x, *, std, seed):
    return kernels.of(x).gaussian_noise(x, std, seed), (lambda dy: dy,)


def _drop(operation, drop, x, p, training, rng):
    (x,) = arguments.floats(operation, x=x)
    if not 0 <= p < 1:
        raise ValueError(f"{operation}: p is {p}; it lies in [0, 1)")
    if operation == "spatial_dropout" and x.ndim < 2:
        raise ValueError(f"{operation}: x has shape {x.shape}; it takes (N, C, ...)")
    return drop(x, p=p, seed=_seed(rng)) if training and p else x


def _seed(rng):
    """Return the seed of a mask; a captured step draws one for each replay."""
    source = generator(rng)
    return kernels.changing(lambda: int(source.integers(2**63)))

"""Batch normalisation and local response normalisation."""

from __future__ import annotations

from numbers import Real

import numpy as np

from minicnn import kernels
from minicnn.autograd import Tensor, joint, primitive
from minicnn.ops import arguments
from minicnn.ops.activation import leaky_relu, relu


def batch_norm(
    x,
    running_mean=None,
    running_variance=None,
    weight=None,
    bias=None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual=None,
    slope: float = 1.0,
) -> Tensor:
    """Give each channel mean 0 and variance 1, then a trained scale and shift.

    What networks do to the result may be asked for here: while training it is done in the same pass
    over the memory.

    Parameters
    ----------
    x : Tensor, shape (N, C, ...)
    running_mean, running_variance : Tensor, shape (C,), optional
        Statistics of earlier batches. While training they are moved in place towards this batch's.
    weight, bias : Tensor, shape (C,), optional
    training : bool
        Whether to normalise by the statistics of this batch, or by the running ones.
    momentum : float
        The share of this batch in the running statistics.
    eps : float
        Added to the variance before its root.
    residual : Tensor, shape of x, optional
        Added to the result.
    slope : float
        What is then below 0 is multiplied by it: 1 leaves it as it is, 0 is `relu`, others are
        `leaky_relu`.

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    ValueError
        If shapes do not agree, if a channel has fewer than two values to train on, if there are
        no running statistics to evaluate with, or if the slope is below 0.
    TypeError
        If the dtypes are not floating point, or differ.

    References
    ----------
    Ioffe & Szegedy, "Batch normalization", 2015, algorithms 1 and 2.
    """
    x, running_mean, running_variance, weight, bias, residual = arguments.floats(
        "batch_norm",
        x=x,
        running_mean=running_mean,
        running_variance=running_variance,
        weight=weight,
        bias=bias,
        residual=residual,
    )
    _check_channels(x, running_mean, running_variance, weight, bias)
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"batch_norm: residual is {residual.shape}; x is {x.shape}")
    if not isinstance(slope, Real) or not slope >= 0:
        raise ValueError(f"batch_norm: slope is {slope!r}; it takes a number >= 0")
    channels = x.shape[1]
    weight = Tensor(_ones(x, channels)) if weight is None else weight
    bias = Tensor(_ones(x, channels) * 0) if bias is None else bias
    if not training:
        if running_mean is None or running_variance is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_variance")
        # Constants, not inputs: nobody trains the statistics.
        mean, variance = running_mean.data, running_variance.data
        y = _batch_norm_inference(x, weight, bias, mean=mean, variance=variance, eps=eps)
        if residual is not None:
            return _add_residual(y, residual, slope=slope)
        if slope == 1:
            return y
        return relu(y) if slope == 0 else leaky_relu(y, slope)
    if (count := x.size // max(channels, 1)) < 2:
        raise ValueError(
            f"batch_norm: {count} value per channel has no variance to train on; x is {x.shape}; "
            "train on larger batches, or predict after model.eval()"
        )
    batch: list = []
    y = _batch_norm(x, weight, bias, residual, eps=eps, slope=slope, statistics=batch)
    if running_mean is not None and running_variance is not None:
        kernels.of(x.data).update_running_statistics(
            running_mean.data, running_variance.data, *batch, count, momentum
        )
    return y


def local_response_norm(
    x, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, average: bool = True
) -> Tensor:
    """Divide each value by a power of the energy in the channels around it.

    Parameters
    ----------
    x : Tensor, shape (N, C, ...)
    size : int [channels]
        How many neighbouring channels count, the value's own in the middle.
    alpha, beta, k : float
        y = x / (k + alpha * s) ** beta.
    average : bool
        Whether s is the average of the squares, as in PyTorch and Caffe, or their sum, as in the
        paper (with size 5, alpha 1e-4, beta 0.75, k 2).

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    ValueError
        If x has no channels, or size is not a whole number >= 1.
    TypeError
        If x is not floating point.

    References
    ----------
    Krizhevsky, Sutskever & Hinton, 2012, section 3.3.
    """
    (x,) = arguments.floats("local_response_norm", x=x)
    if x.ndim < 2:
        raise ValueError(f"local_response_norm: x has shape {x.shape}; it takes (N, C, ...)")
    (size,) = arguments.per_axis("local_response_norm", "size", size, 1)
    alpha = alpha / size if average else alpha
    return _local_response_norm(x, size=size, alpha=alpha, beta=beta, k=k)


@primitive
def _batch_norm(x, w, b, residual, *, eps, slope, statistics):
    k = kernels.of(x, w, b, residual)
    y, mean, variance = k.batch_norm(x, w, b, eps, residual, slope)
    statistics.extend((mean, variance))
    # The tape keeps what gradients need, and of a residual only that there is one.
    signs, is_added = None if slope == 1 else y, residual is not None

    def gradients(dy):
        if not is_added:
            return *k.batch_norm_grad(dy, x, w, mean, variance, eps, signs, slope), None
        dy = _before_slope(k, dy, signs, slope)
        return *k.batch_norm_grad(dy, x, w, mean, variance, eps), dy

    return y, joint(gradients, 4)


@primitive
def _batch_norm_inference(x, w, b, *, mean, variance, eps):
    k = kernels.of(x, w, b)
    y = k.batch_norm_inference(x, w, b, mean, variance, eps)
    return y, joint(lambda dy: k.batch_norm_inference_grad(dy, x, w, mean, variance, eps), 3)


@primitive
def _add_residual(x, residual, *, slope):
    k = kernels.of(x, residual)
    y = k.add_residual(x, residual, slope)
    signs = None if slope == 1 else y

    def gradients(dy):
        dx = _before_slope(k, dy, signs, slope)
        return dx, dx[...]  # a view: who adopts the one must not change the other

    return y, joint(gradients, 2)


def _before_slope(k, dy, y, slope):
    """Return the gradient of what became y, which is above 0 where that was."""
    if slope == 1:
        return dy
    return k.relu_grad(dy, y) if slope == 0 else k.leaky_relu_grad(dy, y, slope)


@primitive
def _local_response_norm(x, **options):
    kernel = kernels.of(x)
    y = kernel.local_response_norm(x, **options)
    return y, (lambda dy: kernel.local_response_norm_grad(dy, x, **options),)


def _ones(x, channels):
    return np.ones_like(x.data, shape=(channels,))


def _check_channels(x, running_mean, running_variance, weight, bias):
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x has shape {x.shape}; it takes (N, C, ...)")
    channels = x.shape[1]
    named = dict(
        running_mean=running_mean, running_variance=running_variance, weight=weight, bias=bias
    )
    for name, value in named.items():
        if value is not None and value.shape != (channels,):
            raise ValueError(
                f"batch_norm: {name} is {value.shape}; x has {channels} channels {x.shape}"
            )

"""Batch normalisation over every axis but the channels, and local response normalisation.

Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal
covariate shift", 2015, algorithm 1; Krizhevsky, Sutskever & Hinton, "ImageNet classification with
deep convolutional neural networks", 2012, section 3.3.
"""

import numpy as np

from .activation import sloped, sloped_grad


def batch_norm(x, w, b, eps, residual=None, slope=1.0):
    """Normalise x (n, c, ...) by the statistics of the batch: y, their mean (c,) and variance (c,).

    The variance is the biased one; w and b are (c,). A residual of the shape of x is added, and
    what is then below 0 is multiplied by `slope`: 1 leaves it as it is, 0 is ReLU.
    """
    axes = _all_but_channels(x)
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    y = batch_norm_inference(x, w, b, mean, variance, eps)
    return sloped(y if residual is None else y + residual, slope), mean, variance


def batch_norm_grad(dy, x, w, mean, variance, eps, y=None, slope=1.0):
    """Return the gradients of x, w and b, where mean and variance came from x itself.

    Where there was a slope, the output y says which results were below 0.
    """
    dy = dy if y is None else sloped_grad(dy, y, slope)
    dx, dw, db = batch_norm_inference_grad(dy, x, w, mean, variance, eps)
    count = x.size // x.shape[1]
    scale = _along_channels(w / np.sqrt(variance + eps), x)
    normalised = _normalise(x, mean, variance, eps)
    dx = dx - scale * (_along_channels(db, x) + normalised * _along_channels(dw, x)) / count
    return dx, dw, db


def batch_norm_inference(x, w, b, mean, variance, eps):
    """Normalise x (n, c, ...) by given statistics (c,), which stay constant."""
    scale = w / np.sqrt(variance + eps)
    return (x - _along_channels(mean, x)) * _along_channels(scale, x) + _along_channels(b, x)


def batch_norm_inference_grad(dy, x, w, mean, variance, eps):
    """Return the gradients of x, w and b, where mean and variance are constants."""
    axes = _all_but_channels(x)
    dw = (dy * _normalise(x, mean, variance, eps)).sum(axis=axes)
    return dy * _along_channels(w / np.sqrt(variance + eps), x), dw, dy.sum(axis=axes)


def add_residual(x, residual, slope):
    """Return x + residual, multiplied by `slope` where it is below 0: 1 leaves it, 0 is ReLU."""
    return sloped(x + residual, slope)


def update_running_statistics(running_mean, running_variance, mean, variance, count, momentum):
    """Move the running statistics (c,) in place towards a batch's, from `count` values a channel.

    The running variance is the unbiased one, as in PyTorch.
    """
    running_mean += momentum * (mean - running_mean)
    running_variance += momentum * (variance * (count / (count - 1)) - running_variance)


def local_response_norm(x, size, alpha, beta, k):
    """Divide x (n, c, ...) by (k + alpha * s) ** beta, s the sum of squares of `size` channels."""
    return x / (k + alpha * _sum_over_channels(x * x, size, size // 2)) ** beta


def local_response_norm_grad(dy, x, size, alpha, beta, k):
    """Return the gradient of x."""
    base = k + alpha * _sum_over_channels(x * x, size, size // 2)
    # A channel belongs to the windows of the same channels reversed: the even size's odd one moves.
    across = _sum_over_channels(dy * x * base ** (-beta - 1), size, size - 1 - size // 2)
    return dy * base**-beta - 2 * alpha * beta * x * across


def _all_but_channels(x):
    return (0, *range(2, x.ndim))


def _along_channels(values, x):
    """Return values (c,) so that they broadcast over x (n, c, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def _normalise(x, mean, variance, eps):
    return (x - _along_channels(mean, x)) / np.sqrt(_along_channels(variance, x) + eps)


def _sum_over_channels(x, size, before):
    """Return for each channel the sum over `size` of them, the first one `before` it."""
    c = x.shape[1]
    total = np.zeros_like(x)
    for shift in range(-before, size - before):
        first, last = max(0, -shift), min(c, c - shift)
        if first < last:
            total[:, first:last] += x[:, first + shift : last + shift]
    return total

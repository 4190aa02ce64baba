"""The shapes of the answers without the answers: to ask of a model what it is made of.

Every kernel of `reference` that computes a result is here by its name and takes the same arguments,
but returns zeros of the shape and dtype of the result, all of them one number in memory. So a
network of 20 billion multiply-adds runs in milliseconds. There are no gradients and no optimisers.
"""

import numpy as np

from .geometry import output_size


def zeros(like, shape, dtype=None):
    """Return zeros that take no memory, on the device and by default in the dtype of an array."""
    return np.broadcast_to(np.zeros_like(like, dtype=dtype, shape=()), shape)


def _unchanged(x, *arguments, **options):
    return zeros(x, x.shape)


add_residual = elu = leaky_relu = relu = scaled_tanh = sigmoid = softplus = tanh = _unchanged
log_softmax = softmax = _unchanged
dropout = gaussian_noise = spatial_dropout = _unchanged
batch_norm_inference = local_response_norm = _unchanged
huber = sigmoid_cross_entropy = squared_error = _unchanged


def conv2d(x, w, b, *, stride, padding, dilation, groups, slope=1.0):
    """Return the shape (n, o, oh, ow) of a convolution."""
    size = map(output_size, x.shape[2:], w.shape[2:], stride, padding, dilation)
    return zeros(x, (x.shape[0], w.shape[0], *size))


def conv_transpose2d(x, w, b, *, size, stride, padding, dilation, groups):
    """Return the shape (n, o, *size) of a transposed convolution."""
    return zeros(x, (x.shape[0], w.shape[1] * groups, *size))


def linear(x, w, b):
    """Return the shape (n, o) of a fully connected layer."""
    return zeros(x, (x.shape[0], w.shape[0]))


def batch_norm(x, w, b, eps, residual=None, slope=1.0):
    """Return the shapes of the normalised batch, its mean (c,) and its variance (c,)."""
    channels = x.shape[1:2]
    return zeros(x, x.shape), zeros(x, channels), zeros(x, channels)


def update_running_statistics(running_mean, running_variance, mean, variance, count, momentum):
    """Leave the statistics as they are: a batch without values has none."""


def softmax_cross_entropy(x, target, label_smoothing):
    """Return the shapes of the loss (n, ...) and of the log-probabilities (n, c, ...)."""
    return zeros(x, (x.shape[0], *x.shape[2:])), zeros(x, x.shape)


def _strided(x, *, kernel_size, stride, padding, dilation=(1, 1), **options):
    size = map(output_size, x.shape[2:], kernel_size, stride, padding, dilation)
    return zeros(x, (*x.shape[:2], *size))


def _adaptive(x, windows, *options):
    return zeros(x, (*x.shape[:2], *windows))


avg_pool2d = lp_pool2d = std_pool2d = _strided
adaptive_avg_pool2d = adaptive_lp_pool2d = adaptive_std_pool2d = _adaptive


def max_pool2d(x, *, with_index=True, **windows):
    """Return the shapes of the maxima and of their indices."""
    y = _strided(x, **windows)
    return y, zeros(x, y.shape, np.int64) if with_index else None


def adaptive_max_pool2d(x, windows, with_index=True):
    """Return the shapes of the maxima and of their indices."""
    y = _adaptive(x, windows)
    return y, zeros(x, y.shape, np.int64) if with_index else None

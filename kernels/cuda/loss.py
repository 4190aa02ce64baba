"""Losses on the GPU. The softmax and its cross entropy are one kernel, as are their gradients."""

import numpy as np

from .. import reference
from .activation import rows_along
from .launch import Launcher, alike, contiguous, empty, made_for_equals, takes

_launch = Launcher("loss.cu")


def softmax_cross_entropy(x, target, label_smoothing):
    """Return the loss (n, ...) of logits x (n, c, ...) and the log-probabilities for its gradient.

    The target is class indices (n, ...) or probabilities (n, c, ...).
    """
    if not _is_target(target, x):
        return reference.softmax_cross_entropy(x, target, label_smoothing)
    loss, log_probability = empty(x, (x.shape[0], *x.shape[2:])), empty(x)
    rows, threads = rows_along(x.shape, 1)
    targets = _classes_or_numbers(target, x.ndim)
    arguments = contiguous(x), *targets, label_smoothing, loss, log_probability, rows
    _launch("softmax_cross_entropy", *arguments, threads=threads)
    return loss, log_probability


def softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing):
    """Return the gradient (n, c, ...) of the logits."""
    if not _is_target(target, log_probability) or not takes(dy, log_probability):
        return reference.softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing)
    dx = empty(log_probability)
    rows, threads = rows_along(dx.shape, 1)
    targets = _classes_or_numbers(target, dx.ndim)
    arguments = contiguous(dy), contiguous(log_probability), *targets, label_smoothing, dx, rows
    _launch("softmax_cross_entropy_grad", *arguments, threads=threads)
    return dx


def sigmoid_cross_entropy(x, target, weight, positive_weight):
    """Return weight * -[positive_weight * t * log(s(x)) + (1 - t) * log(1 - s(x))] per element.

    The target lies in [0, 1]; the weights are None or arrays that broadcast to x.
    """
    if not alike(x, target) or not _broadcasts(x, weight, positive_weight):
        return reference.sigmoid_cross_entropy(x, target, weight, positive_weight)
    weights = _broadcast(weight, x), _broadcast(positive_weight, x)
    return _map("sigmoid_cross_entropy", x, target, *weights)


def sigmoid_cross_entropy_grad(dy, x, target, weight, positive_weight):
    """Return the gradient of the logits."""
    if not alike(dy, x, target) or not _broadcasts(x, weight, positive_weight):
        return reference.sigmoid_cross_entropy_grad(dy, x, target, weight, positive_weight)
    weights = _broadcast(weight, x), _broadcast(positive_weight, x)
    return _map("sigmoid_cross_entropy_grad", dy, x, target, *weights)


@made_for_equals
def squared_error(x, target):
    """Return (x - target) ** 2."""
    return _map("squared_error", x, target)


@made_for_equals
def squared_error_grad(dy, x, target):
    """Return the gradient of x; that of the target is its negative."""
    return _map("squared_error_grad", dy, x, target)


@made_for_equals
def huber(x, target, delta):
    """Return a parabola within delta of the target, and straight lines beyond."""
    return _map("huber", x, target, constants=[delta])


@made_for_equals
def huber_grad(dy, x, target, delta):
    """Return the gradient of x; that of the target is its negative."""
    return _map("huber_grad", dy, x, target, constants=[delta])


def _map(kernel, *arrays, constants=()):
    y, count = empty(arrays[0]), arrays[0].size
    arguments = [a if a is None else contiguous(a) for a in arrays]
    _launch(kernel, *arguments, *constants, y, count, threads=count)
    return y


def _is_target(target, x):
    """Return whether kernels take a target, classes or probabilities, for these logits."""
    return alike(x, target) if target.ndim == x.ndim else takes(x) and target.dtype.kind in "iu"


def _classes_or_numbers(target, axes):
    if target.ndim == axes:
        return None, contiguous(target)
    return contiguous(target.astype(np.int64, copy=False)), None


def _broadcasts(x, *weights):
    return takes(x, *(weight for weight in weights if weight is not None))


def _broadcast(weight, x):
    return weight if weight is None else np.broadcast_to(weight, x.shape)

"""Losses in one pass over the memory. They take logits: a probability may round to 0."""

import numpy as np

from .. import memory, reference
from .activation import log_softmax, logistic, soft_positive
from .compiled import compiled
from .elementwise import compilable, over_elements
from .exponential import exp
from .parallel import in_parts


def softmax_cross_entropy(x, target, label_smoothing):
    """Return the loss (n, ...) of logits x (n, c, ...) and the log-probabilities for its gradient.

    The target is class indices (n, ...) or probabilities (n, c, ...).
    """
    if not _in_rows(x, target):
        return reference.softmax_cross_entropy(x, target, label_smoothing)
    log_probability, loss = log_softmax(x, 1), memory.empty((len(x),), x.dtype)
    loop = _class_losses if target.ndim == 1 else _mixture_losses
    _over_samples(loop, x.dtype.type(label_smoothing), log_probability, _aim(target), loss)
    return loss, log_probability


def softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing):
    """Return the gradient (n, c, ...) of the logits."""
    if not _in_rows(log_probability, target) or dy.dtype != log_probability.dtype:
        return reference.softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing)
    dx = memory.empty(log_probability.shape, dy.dtype)
    loop = _class_gradients if target.ndim == 1 else _mixture_gradients
    given = map(np.ascontiguousarray, (log_probability, dy))
    _over_samples(loop, dy.dtype.type(label_smoothing), *given, _aim(target), dx)
    return dx


def sigmoid_cross_entropy(x, target, weight, positive_weight):
    """Return weight * -[positive_weight * t * log(s(x)) + (1 - t) * log(1 - s(x))] per element.

    The target lies in [0, 1]; the weights are None or arrays that broadcast to x.
    """
    positive = _factor(positive_weight, x)
    if positive is None:
        return reference.sigmoid_cross_entropy(x, target, weight, positive_weight)
    loss = over_elements(_sigmoid_cross_entropy, _cross_entropy, (x, target), positive)
    return loss if weight is None else loss * weight


def sigmoid_cross_entropy_grad(dy, x, target, weight, positive_weight):
    """Return the gradient of the logits."""
    positive = _factor(positive_weight, x)
    if positive is None:
        return reference.sigmoid_cross_entropy_grad(dy, x, target, weight, positive_weight)
    dx = over_elements(_sigmoid_gradient, _cross_entropy_grad, (dy, x, target), positive)
    return dx if weight is None else dx * weight


def squared_error(x, target):
    """Return (x - target) ** 2."""
    return over_elements(_squared_error, reference.squared_error, (x, target))


def squared_error_grad(dy, x, target):
    """Return the gradient of x; that of the target is its negative."""
    return over_elements(_squared_error_grad, reference.squared_error_grad, (dy, x, target))


def huber(x, target, delta):
    """Return a parabola within delta of the target, and straight lines beyond."""
    return over_elements(_huber, reference.huber, (x, target), delta)


def huber_grad(dy, x, target, delta):
    """Return the gradient of x; that of the target is its negative."""
    return over_elements(_huber_grad, reference.huber_grad, (dy, x, target), delta)


def _cross_entropy(x, target, positive):
    return reference.sigmoid_cross_entropy(x, target, None, positive)


def _cross_entropy_grad(dy, x, target, positive):
    return reference.sigmoid_cross_entropy_grad(dy, x, target, None, positive)


def _in_rows(x, target):
    """Return whether there is one distribution (c,) a sample, and a target of its kind."""
    if x.ndim != 2 or not x.size:
        return False
    # No index of a class may leave its row: the reference raises, a loop would read on.
    return compilable(x, target) if target.ndim == 2 else _are_classes(target, *x.shape)


def _are_classes(target, n, c):
    return (
        target.shape == (n,) and target.dtype.kind in "iu" and 0 <= target.min() <= target.max() < c
    )


def _aim(target):
    """Return indices of classes or probabilities, without gaps, in one of three types."""
    return np.ascontiguousarray(target, np.int64 if target.ndim == 1 else target.dtype)


def _over_samples(loop, smoothing, *arrays):
    def some(start, stop):
        loop(*(array[start:stop] for array in arrays), smoothing)

    in_parts(some, len(arrays[0]), arrays[0].size)


def _factor(weight, x):
    """Return the number that all elements are multiplied by, or None where it is not one."""
    if weight is None:
        return 1.0
    return weight.item() if weight.size == 1 and weight.dtype == x.dtype else None


@compiled()
def _class_losses(log_probability, target, loss, smoothing):
    for r in range(len(loss)):
        loss[r] = -log_probability[r, target[r]]
        if smoothing:
            mean = log_probability[r].mean()
            loss[r] = (loss.dtype.type(1) - smoothing) * loss[r] - smoothing * mean


@compiled()
def _mixture_losses(log_probability, target, loss, smoothing):
    for r in range(len(loss)):
        total = loss.dtype.type(0)
        for i in range(target.shape[1]):
            total -= target[r, i] * log_probability[r, i]
        loss[r] = total
        if smoothing:
            mean = log_probability[r].mean()
            loss[r] = (loss.dtype.type(1) - smoothing) * total - smoothing * mean


@compiled(error_model="numpy")
def _class_gradients(log_probability, dy, target, dx, smoothing):
    one = dx.dtype.type(1)
    share = smoothing / dx.dtype.type(dx.shape[1])
    for r in range(len(dx)):
        for i in range(dx.shape[1]):
            dx[r, i] = dy[r] * (exp(log_probability[r, i]) - share)
        right = target[r]
        dx[r, right] = dy[r] * (exp(log_probability[r, right]) - share - (one - smoothing))


@compiled(error_model="numpy")
def _mixture_gradients(log_probability, dy, target, dx, smoothing):
    kept = dx.dtype.type(1) - smoothing
    share = smoothing / dx.dtype.type(dx.shape[1])
    for r in range(len(dx)):
        total = dx.dtype.type(0)
        for i in range(dx.shape[1]):
            total += kept * target[r, i] + share
        for i in range(dx.shape[1]):
            wanted = kept * target[r, i] + share
            dx[r, i] = dy[r] * (exp(log_probability[r, i]) * total - wanted)


@compiled(error_model="numpy")
def _sigmoid_cross_entropy(x, target, loss, weight):
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for i in range(x.size):
        rest = soft_positive(x[i])
        positive, negative = max(-x[i], zero) + rest, max(x[i], zero) + rest
        loss[i] = target[i] * (positive * weight) + (one - target[i]) * negative


@compiled(error_model="numpy")
def _sigmoid_gradient(dy, x, target, dx, weight):
    one = x.dtype.type(1)
    for i in range(x.size):
        probability = logistic(x[i])
        positive = target[i] * (probability - one) * weight
        dx[i] = dy[i] * (positive + (one - target[i]) * probability)


@compiled()
def _squared_error(x, target, loss):
    for i in range(x.size):
        loss[i] = (x[i] - target[i]) * (x[i] - target[i])


@compiled()
def _squared_error_grad(dy, x, target, dx):
    for i in range(x.size):
        dx[i] = x.dtype.type(2) * dy[i] * (x[i] - target[i])


@compiled()
def _huber(x, target, loss, delta):
    half = x.dtype.type(0.5)
    for i in range(x.size):
        error = abs(x[i] - target[i])
        loss[i] = half * error * error if error <= delta else delta * (error - half * delta)


@compiled()
def _huber_grad(dy, x, target, dx, delta):
    for i in range(x.size):
        error = x[i] - target[i]
        clipped = -delta if error < -delta else delta if error > delta else error  # NaN stays
        dx[i] = dy[i] * clipped

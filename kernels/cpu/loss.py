"""Losses in one pass over the memory. They take logits: a probability may round to 0."""

import numpy as np

from .. import memory, reference
from .activation import log_softmax_of, logistic, soft_positive
from .compiled import compiled
from .elementwise import compilable, elements, over_elements
from .exponential import exp
from .parallel import parallel


def softmax_cross_entropy(x, target, label_smoothing):
    """Return the loss (n, ...) of logits x (n, c, ...) and the log-probabilities for its gradient.

    The target is class indices (n, ...) or probabilities (n, c, ...).
    """
    if not _in_rows(x, target):
        return reference.softmax_cross_entropy(x, target, label_smoothing)
    log_probability, loss = memory.empty(x.shape, x.dtype), memory.empty((len(x),), x.dtype)
    kernel = _class_losses if target.ndim == 1 else _mixture_losses
    arrays = memory.contiguous(x), _aim(target), log_probability, loss
    kernel(*arrays, x.dtype.type(label_smoothing), count=len(x), elements=x.size)
    return loss, log_probability


def softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing):
    """Return the gradient (n, c, ...) of the logits."""
    if not _in_rows(log_probability, target) or dy.dtype != log_probability.dtype:
        return reference.softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing)
    dx = memory.empty(log_probability.shape, dy.dtype)
    kernel = _class_gradients if target.ndim == 1 else _mixture_gradients
    arrays = *map(np.ascontiguousarray, (log_probability, dy)), _aim(target), dx
    kernel(*arrays, dy.dtype.type(label_smoothing), count=len(dx), elements=dx.size)
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
    if target.ndim == 2:
        return compilable(x, target)
    if target.shape != x.shape[:1] or target.dtype.kind not in "iu" or not compilable(x):
        return False
    return _are_below(_aim(target), x.shape[1])


def _aim(target):
    """Return indices of classes or probabilities, without gaps, in one of three types."""
    return np.ascontiguousarray(target, np.int64 if target.ndim == 1 else target.dtype)


def _factor(weight, x):
    """Return the number that all elements are multiplied by, or None where it is not one."""
    if weight is None:
        return 1.0
    return weight.item() if weight.size == 1 and weight.dtype == x.dtype else None


@compiled()
def _are_below(classes, c):
    """Return whether no index leaves its row: the reference raises, a loop would read on."""
    lowest = highest = 0
    for index in classes:
        lowest, highest = min(lowest, index), max(highest, index)
    return lowest >= 0 and highest < c


@parallel()
def _class_losses(x, target, log_probability, loss, smoothing, start, stop):
    for r in range(start, stop):
        log_softmax_of(x[r], log_probability[r])
        loss[r] = -log_probability[r, target[r]]
        if smoothing:
            mean = log_probability[r].mean()
            loss[r] = (loss.dtype.type(1) - smoothing) * loss[r] - smoothing * mean


@parallel()
def _mixture_losses(x, target, log_probability, loss, smoothing, start, stop):
    for r in range(start, stop):
        log_softmax_of(x[r], log_probability[r])
        total = loss.dtype.type(0)
        for i in range(target.shape[1]):
            total -= target[r, i] * log_probability[r, i]
        loss[r] = total
        if smoothing:
            mean = log_probability[r].mean()
            loss[r] = (loss.dtype.type(1) - smoothing) * total - smoothing * mean


@parallel(error_model="numpy")
def _class_gradients(log_probability, dy, target, dx, smoothing, start, stop):
    one = dx.dtype.type(1)
    share = smoothing / dx.dtype.type(dx.shape[1])
    for r in range(start, stop):
        for i in range(dx.shape[1]):
            dx[r, i] = dy[r] * (exp(log_probability[r, i]) - share)
        right = target[r]
        dx[r, right] = dy[r] * (exp(log_probability[r, right]) - share - (one - smoothing))


@parallel(error_model="numpy")
def _mixture_gradients(log_probability, dy, target, dx, smoothing, start, stop):
    kept = dx.dtype.type(1) - smoothing
    share = smoothing / dx.dtype.type(dx.shape[1])
    for r in range(start, stop):
        total = dx.dtype.type(0)
        for i in range(dx.shape[1]):
            total += kept * target[r, i] + share
        for i in range(dx.shape[1]):
            wanted = kept * target[r, i] + share
            dx[r, i] = dy[r] * (exp(log_probability[r, i]) * total - wanted)


@parallel(error_model="numpy")
def _sigmoid_cross_entropy(x, target, loss, weight, start, stop):
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for i in elements(x, start, stop):
        rest = soft_positive(x[i])
        positive, negative = max(-x[i], zero) + rest, max(x[i], zero) + rest
        loss[i] = target[i] * (positive * weight) + (one - target[i]) * negative


@parallel(error_model="numpy")
def _sigmoid_gradient(dy, x, target, dx, weight, start, stop):
    one = x.dtype.type(1)
    for i in elements(x, start, stop):
        probability = logistic(x[i])
        positive = target[i] * (probability - one) * weight
        dx[i] = dy[i] * (positive + (one - target[i]) * probability)


@parallel()
def _squared_error(x, target, loss, start, stop):
    for i in elements(x, start, stop):
        loss[i] = (x[i] - target[i]) * (x[i] - target[i])


@parallel()
def _squared_error_grad(dy, x, target, dx, start, stop):
    for i in elements(x, start, stop):
        dx[i] = x.dtype.type(2) * dy[i] * (x[i] - target[i])


@parallel()
def _huber(x, target, loss, delta, start, stop):
    half = x.dtype.type(0.5)
    for i in elements(x, start, stop):
        error = abs(x[i] - target[i])
        loss[i] = half * error * error if error <= delta else delta * (error - half * delta)


@parallel()
def _huber_grad(dy, x, target, dx, delta, start, stop):
    for i in elements(x, start, stop):
        error = x[i] - target[i]
        clipped = -delta if error < -delta else delta if error > delta else error  # NaN stays
        dx[i] = dy[i] * clipped

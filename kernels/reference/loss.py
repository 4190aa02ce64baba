"""Losses, one value per sample or element. They take logits: a probability may round to 0."""

import numpy as np

from .activation import log_softmax, sigmoid, softplus


def softmax_cross_entropy(x, target, label_smoothing):
    """Return the loss (n, ...) of logits x (n, c, ...) and the log-probabilities for its gradient.

    The target is class indices (n, ...) or probabilities (n, c, ...). Smoothing mixes it with the
    uniform distribution: Szegedy et al., "Rethinking the Inception architecture", 2016, section 7.
    """
    log_probability = log_softmax(x, axis=1)
    if target.ndim == x.ndim:
        loss = -(target * log_probability).sum(axis=1)
    else:
        loss = -np.take_along_axis(log_probability, target[:, None], axis=1)[:, 0]
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_probability.mean(axis=1)
    return loss, log_probability


def softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing):
    """Return the gradient (n, c, ...) of the logits."""
    c = log_probability.shape[1]
    if target.ndim != log_probability.ndim:
        classes = np.arange(c, like=target).reshape(c, *[1] * (target.ndim - 1))
        target = (classes == target[:, None]).astype(log_probability.dtype)
    wanted = (1 - label_smoothing) * target + label_smoothing / c
    probability = np.exp(log_probability)
    return dy[:, None] * (probability * wanted.sum(axis=1, keepdims=True) - wanted)


def sigmoid_cross_entropy(x, target, weight, positive_weight):
    """Return weight * -[positive_weight * t * log(s(x)) + (1 - t) * log(1 - s(x))] per element.

    The target lies in [0, 1]; the weights are None or arrays that broadcast to x.
    """
    positive, negative = softplus(-x, 1), softplus(x, 1)  # -log s(x) and -log(1 - s(x))
    if positive_weight is not None:
        positive = positive * positive_weight
    loss = target * positive + (1 - target) * negative
    return loss if weight is None else loss * weight


def sigmoid_cross_entropy_grad(dy, x, target, weight, positive_weight):
    """Return the gradient of the logits."""
    probability = sigmoid(x)
    positive = target * (probability - 1)
    if positive_weight is not None:
        positive = positive * positive_weight
    dx = dy * (positive + (1 - target) * probability)
    return dx if weight is None else dx * weight


def squared_error(x, target):
    """Return (x - target) ** 2."""
    return np.square(x - target)


def squared_error_grad(dy, x, target):
    """Return the gradient of x; that of the target is its negative."""
    return 2 * dy * (x - target)


def huber(x, target, delta):
    """Return a parabola within delta of the target, and straight lines beyond.

    Huber, "Robust estimation of a location parameter", 1964.
    """
    error = np.abs(x - target)
    return np.where(error <= delta, 0.5 * error * error, delta * (error - 0.5 * delta))


def huber_grad(dy, x, target, delta):
    """Return the gradient of x; that of the target is its negative."""
    return dy * np.clip(x - target, -delta, delta)

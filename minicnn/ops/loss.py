"""Losses. They take logits: the sigmoid or softmax is theirs, for its rounding and its speed."""

from __future__ import annotations

import numpy as np

from minicnn import kernels, mistake
from minicnn.autograd import Tensor, primitive
from minicnn.ops import arguments


def cross_entropy(
    logits, target, *, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Return -sum of q log p, p the softmax of the logits: for one label among many.

    Parameters
    ----------
    logits : Tensor, shape (N, C, ...)
    target : int array, shape (N, ...), or float array, shape (N, C, ...)
        The index of the right class, or a probability for each.
    label_smoothing : float, in [0, 1]
        How much of the uniform distribution to mix into the target.
    reduction : "mean", "sum" or "none"
        The mean is over samples and positions, not over classes.

    Returns
    -------
    Tensor, shape () or, for "none", (N, ...)

    Raises
    ------
    ValueError
        If shapes do not agree, a label is out of range, the target requires a gradient, or the
        batch is empty.
    TypeError
        If the logits are not floating point.

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016, section 7,
    for label smoothing.
    """
    (logits,) = arguments.floats("cross_entropy", logits=logits)
    _suspect_probabilities("cross_entropy", logits, "softmax", "sigmoid")
    target = _constant(target)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}; it lies in [0, 1]")
    if logits.ndim < 2:
        raise ValueError(f"cross_entropy: logits have shape {logits.shape}; they take (N, C, ...)")
    n, c, *rest = logits.shape
    if target.dtype.kind in "iu":
        if target.shape != (n, *rest):
            one_hot = "; of one-hot rows, target.argmax(1) is the indices"
            raise ValueError(
                f"cross_entropy: class indices have shape {target.shape}; logits {logits.shape} "
                f"take {(n, *rest)}{one_hot if target.shape == logits.shape else ''}"
            )
        lowest, highest = arguments.extremes(target)
        if lowest < 0 or highest >= c:
            raise ValueError(
                f"cross_entropy: labels run from {lowest} to {highest}; "
                f"{c} classes are 0 to {c - 1}"
            )
    elif target.shape != logits.shape:
        raise ValueError(
            f"cross_entropy: a target of {target.dtype} {target.shape} is neither class indices "
            f"{(n, *rest)} nor probabilities {logits.shape}; indices are of an integer dtype"
        )
    else:
        target = target.astype(logits.dtype, copy=False)
    loss = _softmax_cross_entropy(logits, target, label_smoothing=label_smoothing)
    return arguments.reduced("cross_entropy", loss, reduction)


def binary_cross_entropy_with_logits(
    logits, target, *, weight=None, pos_weight=None, reduction: str = "mean"
) -> Tensor:
    """Return -[t log p + (1 - t) log(1 - p)], p the sigmoid of the logits: for many labels at once.

    Parameters
    ----------
    logits : Tensor, any shape
    target : array, shape of the logits
        1 where the label holds, 0 where not, or a probability (the blurred targets of pitch).
    weight : array that broadcasts to the logits, optional
        Multiplies each element's loss.
    pos_weight : array that broadcasts to the logits, optional
        Multiplies the first term only: above 1 for labels that are rare.
    reduction : "mean", "sum" or "none"

    Returns
    -------
    Tensor, shape () or, for "none", of the logits

    Raises
    ------
    ValueError
        If shapes do not agree, a target lies outside [0, 1], a target or weight requires a
        gradient, or the batch is empty.
    TypeError
        If the logits are not floating point.
    """
    name = "binary_cross_entropy_with_logits"
    (logits,) = arguments.floats(name, logits=logits)
    _suspect_probabilities(name, logits, "sigmoid", "softmax")
    target = _same_shape(name, "logits", logits, target)
    lowest, highest = arguments.extremes(target)
    if not (lowest >= 0 and highest <= 1):
        raise ValueError(f"{name}: targets run from {lowest} to {highest}; they lie in [0, 1]")
    weights = dict(
        weight=_broadcastable(name, "weight", weight, logits),
        positive_weight=_broadcastable(name, "pos_weight", pos_weight, logits),
    )
    return arguments.reduced(name, _sigmoid_cross_entropy(logits, target, **weights), reduction)


def mse_loss(x, target, *, reduction: str = "mean") -> Tensor:
    """Return the squared error, by default its mean over all elements.

    Parameters
    ----------
    x : Tensor, any shape
    target : Tensor or array, shape of x
    reduction : "mean", "sum" or "none"

    Returns
    -------
    Tensor, shape () or, for "none", of x

    Raises
    ------
    ValueError
        If the shapes differ (they are not broadcast), or the batch is empty.
    TypeError
        If x is not floating point.
    """
    x, target = _regression("mse_loss", x, target)
    return arguments.reduced("mse_loss", _squared_error(x, target), reduction)


def huber_loss(x, target, *, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Return half the squared error within delta of the target, and a straight line beyond.

    Parameters
    ----------
    x : Tensor, any shape
    target : Tensor or array, shape of x
    delta : float, > 0
        Where the parabola ends.
    reduction : "mean", "sum" or "none"

    Returns
    -------
    Tensor, shape () or, for "none", of x

    Raises
    ------
    ValueError
        If the shapes differ, delta is not positive, or the batch is empty.
    TypeError
        If x is not floating point.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964.
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta}; it must be positive")
    x, target = _regression("huber_loss", x, target)
    return arguments.reduced("huber_loss", _huber(x, target, delta=delta), reduction)


@primitive
def _softmax_cross_entropy(x, target, *, label_smoothing):
    k = kernels.of(x, target)
    loss, log_probability = k.softmax_cross_entropy(x, target, label_smoothing)
    return loss, (
        lambda dy: k.softmax_cross_entropy_grad(dy, log_probability, target, label_smoothing),
        None,
    )


@primitive
def _sigmoid_cross_entropy(x, target, *, weight, positive_weight):
    k = kernels.of(x, target, weight, positive_weight)
    return k.sigmoid_cross_entropy(x, target, weight, positive_weight), (
        lambda dy: k.sigmoid_cross_entropy_grad(dy, x, target, weight, positive_weight),
        None,
    )


@primitive
def _squared_error(x, target):
    k = kernels.of(x, target)
    return k.squared_error(x, target), (
        lambda dy: k.squared_error_grad(dy, x, target),
        lambda dy: k.squared_error_grad(dy, target, x),
    )


@primitive
def _huber(x, target, *, delta):
    k = kernels.of(x, target)
    return k.huber(x, target, delta), (
        lambda dy: k.huber_grad(dy, x, target, delta),
        lambda dy: k.huber_grad(dy, target, x, delta),
    )


def _suspect_probabilities(operation, logits, *activations):
    """Warn where the tape says that logits are what an activation returned.

    The values are not looked at: that would take time in every step, and make a GPU wait.
    """
    node = logits._node
    while node is not None and node.name in ("reshape", "transpose", "getitem"):
        (node,) = node.parents
    if (name := getattr(node, "name", None)) in activations:
        mistake.likely(
            f"{operation}: the logits come from {name}, and the loss has its own {activations[0]}; "
            f"leave {name} out where the loss is computed"
        )


def _constant(values):
    """Return the array behind a target or a weight, which gets no gradient."""
    if isinstance(values, Tensor):
        if values.requires_grad:
            raise ValueError("loss: a target or weight requires a gradient; detach() it")
        return values.data
    return values if hasattr(values, "__array_function__") else np.asarray(values)


def _same_shape(operation, name, x, target):
    target = _constant(target)
    if target.shape != x.shape:
        raise ValueError(f"{operation}: {name} have shape {x.shape}, the target {target.shape}")
    return target.astype(x.dtype, copy=False)


def _broadcastable(operation, name, weight, x):
    if weight is None:
        return None
    weight = np.asarray(_constant(weight), dtype=x.dtype, like=x.data)
    try:
        fits = np.broadcast_shapes(weight.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{operation}: {name} {weight.shape} does not broadcast to {x.shape}")
    return weight


def _regression(operation, x, target):
    """Return prediction and target as tensors of one shape and dtype; both may have gradients."""
    target = target if isinstance(target, Tensor) else Tensor(_constant(target))
    (x,) = arguments.floats(operation, x=x)
    if target.shape != x.shape:
        raise ValueError(f"{operation}: x has shape {x.shape}, the target {target.shape}")
    return x, target if target.dtype == x.dtype else target.astype(x.dtype)

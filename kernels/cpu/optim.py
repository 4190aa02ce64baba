"""Optimiser steps in one pass over the memory, where NumPy takes one for every operator."""

import numpy as np

from .. import reference
from .compiled import compiled
from .parallel import in_parts

_CHUNK = 1 << 16  # [elements], so that arrays of all sizes share the threads evenly


def sgd_step(w, dw, velocity, *, lr, momentum, dampening, weight_decay, nesterov):
    """Move each w down its gradient, as the reference does."""
    options = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)

    def update(number, *arrays):
        constants = map(number, (lr, momentum, 1 - dampening, weight_decay))
        _sgd(*arrays, *constants, velocity is not None, nesterov)

    lists = [w, dw, w if velocity is None else velocity]  # the last is not looked at then
    for rest in _everywhere(update, lists):
        kept = None if velocity is None else rest[2]
        reference.sgd_step(rest[0], rest[1], kept, **options, nesterov=nesterov)


def adam_step(w, dw, m, v, *, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """Move each w by the ratio of mean and root mean square, as the reference does."""
    options = dict(step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    added = 0.0 if decoupled else weight_decay
    rate, scale = lr / (1 - beta1**step), 1 / np.sqrt(1 - beta2**step)

    def update(number, *arrays):
        _adam(*arrays, *map(number, (shrink, added, 1 - beta1, 1 - beta2, rate, scale, eps)))

    for rest in _everywhere(update, [w, dw, m, v]):
        reference.adam_step(*rest, **options, weight_decay=weight_decay, decoupled=decoupled)


def _everywhere(update, lists):
    """Update the arrays at the same place of all lists; yield, as lists, those not of one layout.

    The loops below trust that arrays are as long as each other: others are for the reference, which
    broadcasts them or says what is wrong.
    """
    chunks = []
    for arrays in zip(*lists, strict=True):
        if not all(_of_layout(array, arrays[0]) for array in arrays):
            yield [[array] for array in arrays]
            continue
        flat = [array.reshape(-1) for array in arrays]
        starts = range(0, flat[0].size, _CHUNK)
        chunks += [[array[start : start + _CHUNK] for array in flat] for start in starts]

    def some(start, stop):
        for chunk in chunks[start:stop]:
            update(chunk[0].dtype.type, *chunk)

    in_parts(some, len(chunks), sum(chunk[0].size for chunk in chunks))


def _of_layout(array, first):
    """Return whether an array is without gaps and like the first."""
    same = array.shape == first.shape and array.dtype == first.dtype
    return same and array.flags.c_contiguous and array.dtype.isnative


@compiled(error_model="numpy")
def _sgd(w, dw, velocity, lr, momentum, share, weight_decay, kept, nesterov):
    for i in range(w.size):
        step = dw[i] + weight_decay * w[i] if weight_decay else dw[i]  # 0 * inf is NaN
        if kept:
            velocity[i] = momentum * velocity[i] + share * step
            step = step + momentum * velocity[i] if nesterov else velocity[i]
        w[i] -= lr * step


@compiled(error_model="numpy")
def _adam(w, dw, m, v, shrink, weight_decay, share1, share2, rate, scale, eps):
    for i in range(w.size):
        x = shrink * w[i]
        grad = dw[i] + weight_decay * x if weight_decay else dw[i]
        m[i] += share1 * (grad - m[i])
        v[i] += share2 * (grad * grad - v[i])
        w[i] = x - rate * m[i] / (np.sqrt(v[i]) * scale + eps)

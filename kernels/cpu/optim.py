"""Optimiser steps in one pass over the memory, where NumPy takes one for every operator."""

import numpy as np

from .. import reference
from .elementwise import elements, in_chunks
from .parallel import parallel


def sgd_step(w, dw, velocity, *, lr, momentum, dampening, weight_decay, nesterov):
    """Move each w down its gradient, as the reference does."""
    options = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
    constants, kept = (lr, momentum, 1 - dampening, weight_decay), velocity is not None
    lists = [w, dw, velocity if kept else w]  # the last is not looked at then
    for arrays in zip(*lists, strict=True):
        if _are_alike(arrays):
            _step(_sgd, arrays, constants, kept, nesterov)
        else:
            alone = [[array] for array in arrays]
            reference.sgd_step(*alone[:2], alone[2] if kept else None, **options, nesterov=nesterov)


def adam_step(w, dw, m, v, *, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """Move each w by the ratio of mean and root mean square, as the reference does."""
    options = dict(step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    added = 0.0 if decoupled else weight_decay
    rate, scale = lr / (1 - beta1**step), 1 / np.sqrt(1 - beta2**step)
    constants = shrink, added, 1 - beta1, 1 - beta2, rate, scale, eps
    for arrays in zip(w, dw, m, v, strict=True):
        if _are_alike(arrays):
            _step(_adam, arrays, constants)
        else:
            alone = [[array] for array in arrays]
            reference.adam_step(*alone, **options, weight_decay=weight_decay, decoupled=decoupled)


def _are_alike(arrays):
    """Return whether arrays are without gaps, and of one shape and type.

    The loops below trust that they are: others are for the reference, which broadcasts them or says
    what is wrong.
    """
    shape, dtype = arrays[0].shape, arrays[0].dtype
    return dtype.isnative and all(
        a.shape == shape and a.dtype == dtype and a.flags.c_contiguous for a in arrays
    )


def _step(kernel, arrays, constants, *flags):
    number, flat = arrays[0].dtype.type, [array.reshape(-1) for array in arrays]
    in_chunks(kernel, *flat, *map(number, constants), *flags)


@parallel(error_model="numpy")
def _sgd(w, dw, velocity, lr, momentum, share, weight_decay, kept, nesterov, start, stop):
    for i in elements(w, start, stop):
        step = dw[i] + weight_decay * w[i] if weight_decay else dw[i]  # 0 * inf is NaN
        if kept:
            velocity[i] = momentum * velocity[i] + share * step
            step = step + momentum * velocity[i] if nesterov else velocity[i]
        w[i] -= lr * step


@parallel(error_model="numpy")
def _adam(w, dw, m, v, shrink, weight_decay, share1, share2, rate, scale, eps, start, stop):
    for i in elements(w, start, stop):
        x = shrink * w[i]
        grad = dw[i] + weight_decay * x if weight_decay else dw[i]
        m[i] += share1 * (grad - m[i])
        v[i] += share2 * (grad * grad - v[i])
        w[i] = x - rate * m[i] / (np.sqrt(v[i]) * scale + eps)

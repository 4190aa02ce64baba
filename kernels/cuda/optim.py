"""Optimiser steps in one pass over the memory, for many arrays in one launch."""

import itertools
import math

from .. import reference
from ..capture import derived, parted
from .launch import Launcher, alike, contiguous

_launch = Launcher("optim.cu")
MOST, SHARE = 24, 4096  # arrays in a launch and elements of a block, as in optim.cu


def sgd_step(w, dw, velocity, *, lr, momentum, dampening, weight_decay, nesterov):
    """Move each w down its gradient, as the reference does."""
    kept = velocity is not None
    lists = dict(w=w, dw=dw, **(dict(velocity=velocity) if kept else {}))
    taken, others = _split(lists)
    number, changing = parted(derived(lambda lr: (float(lr),), lr), (0.0,))
    options = dict(
        lr=number[0], momentum=momentum, share=1 - dampening, weight_decay=weight_decay,
        has_momentum=int(kept), nesterov=int(nesterov),
    )  # fmt: skip
    for arrays in _in_launches(taken):
        arrays.setdefault("velocity", [])
        _launch("sgd", arrays, options, changing, grid=(arrays["end"][-1],))
    if others["w"]:
        same = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        reference.sgd_step(
            others["w"], others["dw"], others.get("velocity"), **same, nesterov=nesterov
        )


def adam_step(w, dw, m, v, *, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """Move each w by the ratio of mean and root mean square, as the reference does."""
    taken, others = _split(dict(w=w, dw=dw, m=m, v=v))

    def of_step(step, lr):
        """Return shrink, rate and scale."""
        rate, scale = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
        return 1 - lr * weight_decay if decoupled else 1.0, rate, scale

    numbers, changing = parted(derived(of_step, step, lr), (0.0, 0.0, 0.0))
    options = dict(
        **dict(zip(("shrink", "rate", "scale"), numbers, strict=True)),
        weight_decay=0.0 if decoupled else weight_decay,
        share1=1 - beta1,
        share2=1 - beta2,
        eps=eps,
    )
    for arrays in _in_launches(taken):
        _launch("adam", arrays, options, changing, grid=(arrays["end"][-1],))
    if others["w"]:
        same = dict(step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
        reference.adam_step(**others, **same, weight_decay=weight_decay, decoupled=decoupled)


def _split(lists):
    """Return the lists of the arrays that the kernels take, and those of all others."""
    taken: dict[str, list] = {name: [] for name in lists}
    others: dict[str, list] = {name: [] for name in lists}
    for arrays in zip(*lists.values(), strict=True):
        part = taken if _is_taken(*arrays) else others
        for name, array in zip(lists, arrays, strict=True):
            part[name].append(array)
    return taken, others


def _is_taken(w, dw, *state):
    """Return whether arrays are of one type and shape, and those without gaps that are written."""
    return alike(w, dw, *state) and all(array.flags.c_contiguous for array in (w, *state))


def _in_launches(lists):
    """Yield what a launch takes: some arrays of one type, their sizes, and their last blocks."""
    for dtype in {array.dtype for array in lists["w"]}:
        chosen = [i for i, array in enumerate(lists["w"]) if array.dtype == dtype and array.size]
        for first in range(0, len(chosen), MOST):
            places = chosen[first : first + MOST]
            arrays = {name: [contiguous(part[i]) for i in places] for name, part in lists.items()}
            sizes = [array.size for array in arrays["w"]]
            ends = list(itertools.accumulate(-(-size // SHARE) for size in sizes))
            yield dict(**arrays, size=sizes, end=ends)

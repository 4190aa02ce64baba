"""Dropout, forward and the gradient of the input.

The two libraries draw different masks, so each result is held against the definition instead.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
from torch.nn import functional

from benchmarks.harness import Case, WrongResult, drawn
from benchmarks.layer import Layer, layer_cases
from minicnn import Tensor, ops

P = 0.5

# layer, function here, function there, full, toy
LAYERS = (
    ("AlexNet fc6", ops.dropout, functional.dropout, (64, 4096), (8, 256)),
    ("mel CNN images", ops.dropout, functional.dropout, (8, 128, 92, 48), (1, 8, 23, 12)),
    ("whole channels", ops.spatial_dropout, functional.dropout2d, (32, 256, 56, 56), (8, 64, 4, 4)),
)


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for name, ours, theirs, *shapes in LAYERS:
        build = functools.partial(_build, ours, theirs, shapes[size == "toy"])
        for case in layer_cases("dropout", name, build):
            checked = functools.partial(_checked, case.build, ours, shapes[size == "toy"])
            yield dataclasses.replace(case, build=checked)


def _build(ours, theirs, shape):
    # Drawing a random number counts as one operation, comparing and scaling as two.
    size = math.prod(shape)
    return Layer(
        ours=lambda x: ours(x, P, rng=0),
        theirs=lambda x: theirs(x, P, training=True),
        inputs=drawn(x=shape),
        terms={"y": 1, "dx": 1},
        flop=(3 * size, size),
    )


def _checked(build, dropout, shape):
    return dataclasses.replace(build(), terms={}, check=functools.partial(_check, dropout, shape))


def _check(dropout, shape):
    """Raise unless a share 1 - P is kept and scaled, by the same mask in both directions."""
    x = Tensor(np.ones(shape, np.float32), requires_grad=True)
    y = dropout(x, P, rng=0)
    y.backward(np.full(shape, 2, np.float32))
    kept = y.data != 0
    if not (y.data[kept] == 1 / (1 - P)).all() or not (x.grad == 2 * y.data).all():
        raise WrongResult("what is kept is not scaled by 1 / (1 - p), or not in both passes")
    units = kept.size if dropout is ops.dropout else shape[0] * shape[1]
    error, allowed = abs(kept.mean() - (1 - P)), 5 * math.sqrt(P * (1 - P) / units)
    if not error <= allowed:
        raise WrongResult(f"{kept.mean():.4f} of {units} are kept, not {1 - P} +- {allowed:.4f}")
    return float(error / allowed)

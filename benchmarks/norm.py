"""Batch and local response normalisation, forward and the gradients of input, scale and shift."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.nn import functional

from benchmarks.harness import Case, drawn
from benchmarks.layer import Layer, layer_cases
from minicnn import ops

# layer, full, toy: the inputs of batch norm
BATCH_NORM = (
    ("ResNet stem", (8, 64, 112, 112), (1, 4, 14, 14)),
    ("ResNet last", (8, 512, 7, 7), (2, 16, 7, 7)),
    ("FCN-4 first", (2, 128, 96, 1366), (1, 8, 24, 64)),
    ("SampleCNN first", (8, 128, 19683), (2, 16, 243)),
    ("CREPE first", (32, 1024, 256), (2, 16, 64)),
)
RESPONSE_NORM = (("AlexNet first", (16, 96, 55, 55), (1, 8, 13, 13)),)

# Operations per element, forward and back, where what belongs to a channel is computed once for it
# and a power counts as one: mean 1, variance 3, scale and shift 2; and so on.
FLOP = {"training": (6, 9), "evaluation": (2, 5), "response": (9, 12)}


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for name, *shapes in BATCH_NORM:
        for mode in ("training", "evaluation"):
            build = functools.partial(_batch_norm, shapes[size == "toy"], mode)
            yield from layer_cases("norm", f"batch norm, {name}, {mode}", build)
        for is_added in (False, True):
            build = functools.partial(_activated, shapes[size == "toy"], is_added)
            what = "residual and ReLU" if is_added else "ReLU"
            yield from layer_cases("norm", f"batch norm and {what}, {name}", build)
    for name, *shapes in RESPONSE_NORM:
        build = functools.partial(_response_norm, shapes[size == "toy"])
        yield from layer_cases("norm", f"response norm, {name}", build)


def _batch_norm(shape, mode):
    c = shape[1]
    count, training = math.prod(shape) // c, mode == "training"
    statistics = {"mean": np.zeros(c, np.float32), "variance": np.ones(c, np.float32)}
    return Layer(
        ours=lambda x, w, b, mean, variance: ops.batch_norm(
            x, mean, variance, w, b, training=training
        ),
        theirs=lambda x, w, b, mean, variance: functional.batch_norm(
            x, mean, variance, w, b, training
        ),
        inputs=drawn(x=shape, w=(c,), b=(c,)),
        # Every result depends on sums over the batch; PyTorch's second layout adds up one by one.
        terms=dict.fromkeys(("y", "dx", "dw", "db"), count),
        flop=tuple(operations * math.prod(shape) for operations in FLOP[mode]),
        constants=statistics,
        channels_last=len(shape) == 4,
    )


def _activated(shape, is_added):
    """Return batch norm in training with what follows it in a residual block."""
    c, residual = shape[1], {"residual": shape} if is_added else {}
    count = math.prod(shape) // c

    def ours(x, w, b, residual=None):
        return ops.batch_norm(x, None, None, w, b, training=True, residual=residual, slope=0)

    def theirs(x, w, b, residual=None):
        y = functional.batch_norm(x, None, None, w, b, training=True)
        return functional.relu(y if residual is None else y + residual)

    gradients = "dx", "dw", "db", *(f"d{name}" for name in residual)
    return Layer(
        ours=ours,
        theirs=theirs,
        inputs=drawn(x=shape, w=(c,), b=(c,), **residual),
        terms=dict.fromkeys(("y", *gradients), count),
        flop=tuple(
            (operations + 1 + is_added) * math.prod(shape) for operations in FLOP["training"]
        ),
        channels_last=len(shape) == 4,
    )


def _response_norm(shape):
    options: dict[str, Any] = dict(size=5, alpha=5e-4, beta=0.75, k=2.0)
    return Layer(
        ours=lambda x: ops.local_response_norm(x, **options),
        theirs=lambda x: functional.local_response_norm(x, **options),
        inputs=drawn(x=shape),
        terms={"y": 5, "dx": 5},
        flop=tuple(operations * math.prod(shape) for operations in FLOP["response"]),
        channels_last=True,
    )

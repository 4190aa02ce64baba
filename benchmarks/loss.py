"""Losses, averaged over the batch: forward and the gradient of the logits."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.nn import functional

from benchmarks.harness import Case, drawn
from benchmarks.layer import Layer, layer_cases
from minicnn import ops


@dataclass(frozen=True)
class Loss:
    """A loss: what both libraries call it, its inputs, and the operations per element, both ways.

    An exponential or a logarithm counts as one operation.
    """

    name: str
    function: str
    full: tuple[int, ...]
    toy: tuple[int, ...]
    flop: tuple[int, int]


BINARY = "binary_cross_entropy_with_logits"
LOSSES = (
    Loss("cross entropy, ImageNet", "cross_entropy", (128, 1000), (8, 50), (5, 3)),
    Loss("cross entropy, LeNet-5", "cross_entropy", (64, 10), (8, 10), (5, 3)),
    Loss("binary cross entropy, CREPE", BINARY, (32, 360), (4, 36), (9, 5)),
    Loss("binary cross entropy, salience", BINARY, (4, 1, 360, 50), (1, 1, 36, 12), (9, 5)),
    Loss("squared error, recommender", "mse_loss", (64, 40), (8, 40), (3, 2)),
)


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for loss in LOSSES:
        build = functools.partial(_build, loss, getattr(loss, size))
        yield from layer_cases("loss", loss.name, build)


def _build(loss, shape):
    rng = np.random.default_rng(1)
    if loss.function == "cross_entropy":
        target = rng.integers(shape[1], size=shape[0])
    else:
        target = rng.random(shape, dtype=np.float32)
    return Layer(
        ours=getattr(ops, loss.function),
        theirs=getattr(functional, loss.function),
        inputs=drawn(x=shape),
        terms={"y": math.prod(shape), "dx": shape[1]},
        flop=tuple(operations * math.prod(shape) for operations in loss.flop),
        constants={"target": target},
    )

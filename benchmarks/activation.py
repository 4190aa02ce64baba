"""Nonlinearities and the softmax, forward and the gradient of the input."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from benchmarks.harness import Case, drawn
from benchmarks.layer import Layer, layer_cases
from minicnn import ops

IMAGES = {"full": (2, 64, 224, 224), "toy": (1, 4, 28, 28)}
CLASSES = {"full": (128, 1000), "toy": (8, 50)}


@dataclass(frozen=True)
class Activation:
    """A nonlinearity: both functions, its input, and the operations per element, both ways.

    An exponential, a logarithm or a tangent counts as one operation.
    """

    name: str
    ours: Callable
    theirs: Callable
    shapes: Mapping[str, tuple[int, ...]]
    flop: tuple[int, int]


LAYERS = (
    Activation("ReLU", ops.relu, functional.relu, IMAGES, (1, 1)),
    Activation("leaky ReLU", ops.leaky_relu, functional.leaky_relu, IMAGES, (2, 2)),
    Activation("ELU", ops.elu, functional.elu, IMAGES, (3, 3)),
    Activation("sigmoid", ops.sigmoid, torch.sigmoid, IMAGES, (3, 3)),
    Activation("tanh", ops.tanh, torch.tanh, IMAGES, (1, 3)),
    Activation("softplus", ops.softplus, functional.softplus, IMAGES, (3, 4)),
    Activation(
        "softmax, 1000 classes", ops.softmax, lambda x: functional.softmax(x, -1), CLASSES, (5, 4)
    ),
    Activation(
        "log softmax, 1000 classes",
        ops.log_softmax,
        lambda x: functional.log_softmax(x, -1),
        CLASSES,
        (5, 4),
    ),
)


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for layer in LAYERS:
        build = functools.partial(_build, layer, layer.shapes[size])
        yield from layer_cases("activation", layer.name, build)


def _build(layer, shape):
    summed = shape[-1] if layer.shapes is CLASSES else 1
    return Layer(
        ours=layer.ours,
        theirs=layer.theirs,
        inputs=drawn(x=shape),
        terms={"y": summed, "dx": summed},
        flop=tuple(operations * math.prod(shape) for operations in layer.flop),
    )

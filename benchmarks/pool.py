"""Poolings of the lecture's networks, forward and the gradient of the input."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from torch.nn import functional

from benchmarks.harness import Case, drawn
from benchmarks.layer import Layer, layer_cases
from minicnn import ops


@dataclass(frozen=True)
class Pooling:
    """A pooling: what both libraries call it, its arguments, its samples per window, its input."""

    name: str
    function: str
    arguments: tuple
    taps: int
    full: tuple[int, ...]
    toy: tuple[int, ...]


LAYERS = (
    # layer, function, its arguments (kernel, stride, padding), taps, full, toy
    Pooling("VGG max 2x2", "max_pool2d", (2, 2), 4, (4, 64, 224, 224), (1, 4, 28, 28)),
    Pooling("AlexNet max 3x3/2", "max_pool2d", (3, 2), 9, (16, 96, 55, 55), (1, 4, 27, 27)),
    Pooling("ResNet max 3x3/2", "max_pool2d", (3, 2, 1), 9, (8, 64, 112, 112), (1, 4, 28, 28)),
    Pooling("LeNet-5 average 2x2", "avg_pool2d", (2, 2), 4, (64, 6, 28, 28), (2, 6, 28, 28)),
    Pooling("ResNet global average", "adaptive_avg_pool2d", (1,), 49, (8, 512, 7, 7), (1, 8, 7, 7)),
    Pooling("FCN-4 max 2x4", "max_pool2d", ((2, 4),), 8, (2, 128, 96, 1366), (1, 8, 24, 66)),
    Pooling("voice max 3x3", "max_pool2d", (3,), 9, (32, 32, 76, 111), (1, 8, 20, 29)),
    Pooling("onset max 1x3", "max_pool2d", ((1, 3),), 3, (256, 10, 9, 78), (4, 10, 9, 78)),
    Pooling("SampleCNN max 3", "max_pool1d", (3,), 3, (8, 128, 19683), (1, 16, 729)),
    Pooling("CREPE max 2", "max_pool1d", (2,), 2, (32, 1024, 256), (1, 16, 256)),
    Pooling("recommender L2", "lp_pool1d", (2, 32), 32, (64, 512, 32), (2, 16, 32)),
    Pooling("deviation 8", "std_pool1d", (8,), 8, (64, 512, 128), (2, 16, 64)),
    Pooling("deviation 2x2", "std_pool2d", (2,), 4, (8, 64, 112, 112), (1, 4, 28, 28)),
)
DEVIATION = 4  # operations per tap: the mean, a difference, its square, their sum; as many back


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for layer in LAYERS:
        build = functools.partial(_build, layer, getattr(layer, size))
        yield from layer_cases("pool", layer.name, build)


def _build(layer, shape):
    inputs = drawn(x=shape)
    pool = getattr(ops, layer.function)
    windows = pool(inputs["x"], *layer.arguments).size
    theirs = THEIRS.get(layer.function) or getattr(functional, layer.function)
    # One comparison or addition per tap; back, one addition per window to where its maximum was.
    each = DEVIATION if layer.function in THEIRS else 1
    back = 1 if layer.function.startswith("max") else each * layer.taps
    return Layer(
        ours=lambda x: pool(x, *layer.arguments),
        theirs=lambda x: theirs(x, *layer.arguments),
        inputs=inputs,
        terms={"y": layer.taps, "dx": layer.taps},
        flop=(windows * each * layer.taps, windows * back),
        channels_last=len(shape) == 4,
    )


def _deviation1d(x, size):
    return x.unfold(2, size, size).std(-1, correction=0)


def _deviation2d(x, size):
    return x.unfold(2, size, size).unfold(3, size, size).std((-2, -1), correction=0)


# PyTorch has no layer for this pooling; so do its users write it.
THEIRS = {"std_pool1d": _deviation1d, "std_pool2d": _deviation2d}

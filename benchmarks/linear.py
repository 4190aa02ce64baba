"""Fully connected layers, forward and the gradients of input, weight and bias."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from torch.nn import functional

from benchmarks.harness import Case, drawn
from benchmarks.layer import Layer, layer_cases
from minicnn import ops

# layer, full and toy: (batch, inputs, outputs)
LAYERS = (
    ("AlexNet fc6", (64, 9216, 4096), (4, 96, 64)),
    ("ResNet fc", (8, 512, 1000), (2, 64, 100)),
    ("CREPE classifier", (32, 2048, 360), (4, 128, 36)),
    ("onset dense", (256, 1120, 256), (8, 112, 32)),
    ("LeNet-5 F6", (64, 120, 84), (4, 120, 84)),
)


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for name, *extents in LAYERS:
        build = functools.partial(_build, *extents[size == "toy"])
        yield from layer_cases("linear", name, build)


def _build(n, i, o):
    flop = 2 * n * i * o
    return Layer(
        ours=ops.linear,
        theirs=functional.linear,
        inputs=drawn(x=(n, i), w=(o, i), b=(o,)),
        terms={"y": i, "dx": o, "dw": n, "db": n},
        flop=(flop, 2 * flop),  # the additions of the bias are not counted
    )

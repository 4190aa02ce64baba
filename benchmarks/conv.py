"""Convolutions of the lecture's networks, forward and the gradients of input, filters and bias."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Case, drawn
from benchmarks.layer import Layer, layer_cases
from minicnn import kernels, ops

try:
    from torch.nn import functional
except ImportError:  # `benchmarks.gpu` then measures minicnn alone
    functional = None


@dataclass(frozen=True)
class Convolution:
    """A layer: its input (n, c, ...) and output channels o, in both sizes, and its geometry."""

    name: str
    full: tuple[tuple[int, ...], int]
    toy: tuple[tuple[int, ...], int]
    kernel_size: tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    bias: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """What both libraries call by the same name and take in the same form."""
        return dict(stride=self.stride, dilation=self.dilation, groups=self.groups)


NONE, ONE, TWO, THREE = (((side, side),) * 2 for side in range(4))

# Batches are such that the im2col matrix of the reference and its copies stay below 4 GB.
LAYERS = (
    # name, full and toy size: (input, outputs), kernel, stride, padding
    Convolution("VGG 256@56x56", ((4, 256, 56, 56), 256), ((1, 8, 14, 14), 8), (3, 3), 1, ONE),
    Convolution("AlexNet first", ((16, 3, 227, 227), 96), ((1, 3, 47, 47), 8), (11, 11), 4, NONE),
    Convolution("ResNet stem", ((8, 3, 224, 224), 64), ((1, 3, 32, 32), 8), (7, 7), 2, THREE),
    Convolution("1x1 256 to 64", ((8, 256, 28, 28), 64), ((1, 16, 14, 14), 8), (1, 1), 1, NONE),
    Convolution("LeNet-5 first", ((64, 1, 32, 32), 6), ((2, 1, 32, 32), 6), (5, 5), 1, NONE),
    Convolution("FCN-4 first", ((2, 1, 96, 1366), 128), ((1, 1, 24, 64), 16), (3, 3), 1, ONE),
    Convolution("voice first", ((32, 1, 80, 115), 64), ((1, 1, 80, 15), 8), (3, 3), 1, NONE),
    Convolution("onset first", ((256, 3, 15, 80), 10), ((4, 3, 15, 80), 10), (7, 3), 1, NONE),
    Convolution("SampleCNN first", ((8, 1, 59049), 128), ((1, 1, 729), 16), (3,), 3, ((0, 0),)),
    Convolution("SampleCNN second", ((8, 128, 19683), 128), ((1, 16, 243), 16), (3,), 1, ((1, 1),)),
    Convolution("CREPE first", ((32, 1, 1024), 1024), ((1, 1, 1024), 8), (512,), 4, ((254, 254),)),
    Convolution("CREPE second", ((16, 1024, 128), 128), ((1, 16, 128), 8), (64,), 1, ((31, 32),)),
    Convolution("salience 5x5", ((4, 128, 360, 50), 64), ((1, 8, 36, 12), 8), (5, 5), 1, TWO),
    Convolution(
        "salience 70x3", ((1, 64, 360, 50), 8), ((1, 4, 90, 8), 4), (70, 3), 1, ((34, 35), (1, 1))
    ),
)


# input, output channels and kernel, full and toy: an image of twice the height and width
TRANSPOSED = (
    ("transposed 2x2", ((4, 128, 56, 56), 64, 2), ((1, 8, 7, 7), 4, 2)),
    ("transposed 4x4", ((4, 128, 56, 56), 64, 4), ((1, 8, 7, 7), 4, 4)),
)


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for layer in LAYERS:
        yield from layer_cases("conv", layer.name, functools.partial(built, layer, size))
    for name, *extents in TRANSPOSED:
        build = functools.partial(_transposed, *extents[size == "toy"])
        yield from layer_cases("conv", name, build)


def built(layer: Convolution, size: str, draw: Callable[..., dict[str, Any]] = drawn) -> Layer:
    """Return a convolution with its numbers, at "full" or "toy" size, as `draw` makes them."""
    x, o = getattr(layer, size)
    n, c, *extents = x
    axes = len(extents)
    windows = [
        kernels.geometry.output_size(*axis)
        for axis in zip(
            extents,
            layer.kernel_size,
            _per_axis(layer.stride, axes),
            layer.padding,
            _per_axis(layer.dilation, axes),
            strict=True,
        )
    ]
    positions, taps = n * math.prod(windows), math.prod(layer.kernel_size)
    c //= layer.groups
    flop = 2 * positions * o * c * taps
    convolve = {1: ops.conv1d, 2: ops.conv2d}[axes]
    return Layer(
        ours=functools.partial(convolve, padding=layer.padding, **layer.options),
        theirs=_torch_convolution(layer),
        inputs=draw(x=x, w=(o, c, *layer.kernel_size), **(dict(b=(o,)) if layer.bias else {})),
        terms={"y": c * taps, "dx": o // layer.groups * taps, "dw": positions, "db": positions},
        flop=(flop, 2 * flop),  # the additions of the bias are not counted
        channels_last=axes == 2,
        draw=draw,
    )


def _per_axis(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


def _torch_convolution(layer):
    """Return the layer in PyTorch, which pads both sides alike: an uneven rest is padded before."""
    name = {1: "conv1d", 2: "conv2d"}[len(layer.padding)]
    even = [min(sides) for sides in layer.padding]
    rest = [
        side - both
        for sides, both in zip(reversed(layer.padding), reversed(even), strict=True)
        for side in sides
    ]

    def convolution(x, w, b=None):
        x = functional.pad(x, rest) if any(rest) else x
        return getattr(functional, name)(x, w, b, padding=even, **layer.options)

    return convolution


def _transposed(x, o, kernel_size):
    n, c, height, width = x
    padding, taps = kernel_size // 2 - 1, kernel_size**2
    flop = 2 * n * height * width * c * o * taps
    options = dict(stride=2, padding=padding)
    return Layer(
        ours=functools.partial(ops.conv_transpose2d, **options),
        theirs=functools.partial(functional.conv_transpose2d, **options),
        inputs=drawn(x=x, w=(c, o, kernel_size, kernel_size), b=(o,)),
        terms={
            "y": c * taps // 4,  # every fourth tap meets a pixel
            "dx": o * taps,
            "dw": n * height * width,
            "db": 4 * n * height * width,
        },
        flop=(flop, 2 * flop),
        channels_last=True,
    )

"""Every convolution of the lecture's networks, each shape once: forward, and each gradient alone.

The shapes are what the networks themselves ask for, with the batches of `benchmarks.networks`; a
network that is built in another way changes its cases here. Where a convolution is the first of
its network, nothing needs the gradient of its input.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import minicnn as mc
from benchmarks.conv import Convolution, built
from benchmarks.harness import Case, Problem, drawn
from benchmarks.networks import NETWORKS, Batch, Network
from minicnn import kernels
from minicnn.autograd import observe

SECONDS = 1.0  # [s] for each of some hundreds of cases
CHANNELS, WINDOWS = 4, 3  # of a toy, in each group and along each axis

# The papers' own variants, where the networks that train have others.
VARIANTS = (
    Network("lenet5", "classes", Batch(64), Batch(2), 2, dict(variant="paper")),
    Network("alexnet", "classes", Batch(8), Batch(2), 2, dict(variant="paper")),
    Network("googlenet", "classes", Batch(4), Batch(2), 2, dict(variant="paper")),
)


def cases(size: str) -> Iterator[Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for layer, first in convolutions().items():
        works = ("forward", "weight gradient", *(() if first else ("input gradient",)))
        for work in works:
            build = functools.partial(problem, layer, size, work)
            yield Case("layers", layer.name, work, build, SECONDS)


@functools.cache
def convolutions() -> dict[Convolution, bool]:
    """Return every convolution of all networks once, and whether the input has no gradient."""
    return convolutions_of((*NETWORKS, *VARIANTS))


def convolutions_of(networks: Iterable[Network]) -> dict[Convolution, bool]:
    """Return every convolution of these networks once, and whether the input has no gradient."""
    found: dict[tuple, tuple[Convolution, bool]] = {}
    for network in networks:
        for layer, first in _observed(network):
            same, always_first = found.setdefault(_shape(layer), (layer, first))
            found[_shape(layer)] = same, always_first and first
    return dict(found.values())


def problem(
    layer: Convolution,
    size: str,
    work: str,
    draw: Callable[..., dict[str, Any]] = drawn,
    their_dtype: Any = None,
) -> Problem:
    """Return the problem of one work; nothing but what it computes and reads counts as moved."""
    whole = dataclasses.replace(built(layer, size, draw), their_dtype=their_dtype)
    if work == "forward":
        return whole.forward()
    names = ["x"] if work == "input gradient" else [name for name in whole.inputs if name != "x"]
    alone = whole.only(*names, flop=whole.flop[0]).gradients()
    unread = sum(whole.inputs[name].nbytes for name in names)  # each is read for the other's sake
    return dataclasses.replace(alone, traffic=alone.traffic - unread)


def _shape(layer):
    """Return what makes a layer another one: neither the name of its network nor a bias does."""
    return layer.full, layer.kernel_size, layer.padding, *layer.options.values()


def _observed(network):
    """Yield the convolutions that a network runs, and whether the input of each is the network's.

    With the kernels of `kernels.outline` it computes nothing.
    """
    seen = []

    def observer(name, arguments, options, result, function):
        if name == "conv2d":
            x, w, b = arguments
            seen.append((x.shape, w.shape, b is not None, options, x.requires_grad))

    model = network.build()
    shape = (network.full.size, *(network.full.shape or model.input_shape))
    with kernels.use(kernels.outline), observe(observer):
        model(mc.Tensor(kernels.outline.zeros(next(model.parameters()).data, shape)))
    for x, w, bias, options, needed in seen:
        yield _convolution(network.name, x, w, bias, options), not needed


def _convolution(network, x, w, bias, options):
    """Return a convolution as it was observed; one of height 1 has one axis."""
    axes = slice(1, None) if x[2] == w[2] == 1 else slice(None)
    stride, padding, dilation = (
        tuple(options[name])[axes] for name in ("stride", "padding", "dilation")
    )
    size, kernel_size, groups = x[2:][axes], w[2:][axes], options["groups"]
    toy = tuple(map(_toy_extent, size, kernel_size, stride, padding, dilation))
    channels, filters = (groups * min(width // groups, CHANNELS) for width in (x[1], w[0]))
    shown = [f"{x[1]} to {w[0]}", _times(kernel_size)]
    shown += [f"stride {_times(stride)}"] if set(stride) != {1} else []
    shown += [f"{groups} groups"] if groups > 1 else []
    return Convolution(
        name=f"{network}: {', '.join(shown)} on {_times((x[0], *size))}",
        full=((*x[:2], *size), w[0]),
        toy=((1, channels, *toy), filters),
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )


def _toy_extent(size, kernel_size, stride, padding, dilation):
    """Return the extent of an image that has room for a few windows, or the whole extent."""
    extent = dilation * (kernel_size - 1) + 1 + (WINDOWS - 1) * stride - sum(padding)
    return min(size, max(extent, 1))


def _times(extents):
    return "x".join(map(str, extents))

"""Optimiser steps over the parameters of whole networks."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks import harness
from minicnn import nn, optim

LENET5 = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 16, 5, 5), (120,)]
LENET5 += [(84, 120), (84,), (10, 84), (10,)]
VGG16 = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def _convolutions(widths, channels):
    """Return the shapes of the weights and biases of a stack of 3x3 convolutions."""
    pairs = zip((channels, *widths[:-1]), widths, strict=True)
    return [shape for c, o in pairs for shape in ((o, c, 3, 3), (o,))]


# Parameter lists: the 14.7 million of VGG-16 before its classifier, the 58.6 million of AlexNet's
# classifier, and the 62 thousand of LeNet-5, where the cost of a call counts.
PARAMETERS = {
    "VGG-16 features": {
        "full": _convolutions(VGG16, 3),
        "toy": _convolutions((4, 4, 8, 8), 3),
    },
    "AlexNet classifier": {
        "full": [(4096, 9216), (4096,), (4096, 4096), (4096,), (1000, 4096), (1000,)],
        "toy": [(64, 96), (64,), (10, 64), (10,)],
    },
    "LeNet-5": {"full": LENET5, "toy": LENET5},
}


@dataclass(frozen=True)
class Step:
    """An optimiser: both classes, their options, operations and memory accesses per parameter.

    A division or a root counts as one operation. Adam reads w, dw, m, v and writes w, m, v.
    """

    name: str
    ours: type[optim.Optimizer]
    theirs: type[torch.optim.Optimizer]
    options: dict
    their_options: dict
    flop: int
    accesses: int


MOMENTUM = dict(lr=1e-2, momentum=0.9, weight_decay=5e-4)
STEPS = (
    Step("SGD, momentum", optim.SGD, torch.optim.SGD, MOMENTUM, {}, 6, 5),
    Step("Adam", optim.Adam, torch.optim.Adam, dict(lr=1e-2), {}, 13, 7),
    # Not PyTorch's default, but the best that its users can ask for.
    Step("Adam, fused", optim.Adam, torch.optim.Adam, dict(lr=1e-2), dict(fused=True), 13, 7),
)


def cases(size: str) -> Iterator[harness.Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for name, sizes in PARAMETERS.items():
        for step in STEPS:
            build = functools.partial(_build, step, sizes[size])
            yield harness.Case("optim", f"{step.name}, {name}", "step", build)


def _build(step, shapes):
    rng = np.random.default_rng(0)
    weights = [0.01 * rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    grads = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    ours = [nn.Parameter(w.copy()) for w in weights]
    theirs = [torch.nn.Parameter(torch.from_numpy(w)) for w in weights]
    for parameter, twin, grad in zip(ours, theirs, grads, strict=True):
        parameter.grad, twin.grad = grad.copy(), torch.from_numpy(grad)
    optimizer = step.ours(ours, **step.options)
    their_step = step.theirs(theirs, **step.options, **step.their_options).step

    def our_step():
        # As new as after a backward pass: the same gradient once more would be a likely mistake.
        ours[0].grad = ours[0].grad.view()
        optimizer.step()

    def check():
        # The first steps of both, with gradients that change sign, so that every average counts.
        for factor in (1.0, -0.5, 3.0):
            for parameter, twin in zip(ours, theirs, strict=True):
                parameter.grad *= factor
                twin.grad *= factor
            our_step()
            their_step()
        terms = {f"w[{i}]": 10 for i in range(len(ours))}
        return harness.agree("default", [parameter.data for parameter in ours], theirs, terms)

    count = sum(map(math.prod, shapes))
    return harness.Problem(
        ours=lambda: our_step,
        theirs={"default": lambda: their_step},
        terms={},
        flop=step.flop * count,
        traffic=step.accesses * 4 * count,
        shapes={"parameters": (count,)},
        check=check,
    )

"""The fully connected layer."""

from __future__ import annotations

import math

from minicnn import ops
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.ops import arguments


class Linear(Module):
    """Multiply by a trained matrix and add a bias: (..., I) to (..., O).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : int, Generator or None
        Draws weight and bias from U(-b, b) with b = 1 / sqrt(in_features), as PyTorch does.

    Raises
    ------
    ValueError
        If a number is below 1.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, rng=None):
        arguments.per_axis("Linear", "in_features", in_features, 1)
        arguments.per_axis("Linear", "out_features", out_features, 1)
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(init.uniform((out_features, in_features), bound, rng=rng))
        self.bias = Parameter(init.uniform((out_features,), bound, rng=rng)) if bias else None

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}" + (
            "" if self.bias is not None else ", bias=False"
        )

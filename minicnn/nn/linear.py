"""The fully connected layer."""

from __future__ import annotations

import functools
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
    weight_init, bias_init : callable or float, optional
        As for `Conv2d`; by default U(-b, b) with b = 1 / sqrt(in_features), as in PyTorch.
    rng : int, Generator or None
        Draws weight and bias.

    Raises
    ------
    ValueError
        If a number is below 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init=None,
        bias_init=None,
        rng=None,
    ):
        arguments.per_axis("Linear", "in_features", in_features, 1)
        arguments.per_axis("Linear", "out_features", out_features, 1)
        self.in_features, self.out_features = in_features, out_features
        default = functools.partial(init.uniform, bound=1 / math.sqrt(in_features))
        weight_init = default if weight_init is None else weight_init
        bias_init = default if bias_init is None else bias_init
        self.weight = Parameter(init.draw(weight_init, (out_features, in_features), rng=rng))
        self.bias = Parameter(init.draw(bias_init, (out_features,), rng=rng)) if bias else None

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}" + (
            "" if self.bias is not None else ", bias=False"
        )

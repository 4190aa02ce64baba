"""Layers that only change the shape, or nothing."""

from __future__ import annotations

import math

from minicnn.nn.module import Module


class Identity(Module):
    """Return the input."""

    def forward(self, x):
        return x


class Flatten(Module):
    """Join the axes from start_dim to end_dim into one: (N, C, H, W) to (N, C * H * W).

    Raises
    ------
    ValueError
        When called, if the input does not have these axes in this order.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        start, end = (dim + x.ndim if dim < 0 else dim for dim in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < x.ndim:
            raise ValueError(
                f"Flatten: x of shape {x.shape} has no axes {self.start_dim} to {self.end_dim}"
            )
        joined = math.prod(x.shape[start : end + 1])
        return x.reshape(*x.shape[:start], joined, *x.shape[end + 1 :])

    def extra_repr(self):
        return f"{self.start_dim}, {self.end_dim}"

"""Dropout and noise as layers: active while training, nothing in evaluation."""

from __future__ import annotations

from minicnn import ops
from minicnn.nn.module import Module, suspect_training
from minicnn.rng import generator


class Dropout(Module):
    """Set elements to 0 with probability p while training, as `ops.dropout`.

    Parameters
    ----------
    p : float, in [0, 1)
    rng : int, Generator or None
        The stream of the masks; None takes the one that `manual_seed` sets.

    Raises
    ------
    ValueError
        If p lies outside [0, 1).
    """

    def __init__(self, p: float = 0.5, *, rng=None):
        if not 0 <= p < 1:
            raise ValueError(f"{type(self).__name__}: p is {p}; it lies in [0, 1)")
        self.p = p
        self.rng = None if rng is None else generator(rng)

    def forward(self, x):
        suspect_training(self)
        return ops.dropout(x, self.p, training=self.training, rng=self.rng)

    def extra_repr(self):
        return f"{self.p}"


class Dropout1d(Dropout):
    """Set whole channels of (N, C, L) to 0 with probability p, as `ops.spatial_dropout`."""

    def forward(self, x):
        suspect_training(self)
        return ops.spatial_dropout(x, self.p, training=self.training, rng=self.rng)


class Dropout2d(Dropout1d):
    """Set whole channels of (N, C, H, W) to 0 with probability p, as `ops.spatial_dropout`."""


class GaussianNoise(Module):
    """Add normal noise while training, as `ops.gaussian_noise`.

    Parameters
    ----------
    std : float, >= 0
        In the units of the input.
    rng : int, Generator or None
        The stream of the noise; None takes the one that `manual_seed` sets.

    Raises
    ------
    ValueError
        If std is negative.
    """

    def __init__(self, std: float, *, rng=None):
        if not std >= 0:
            raise ValueError(f"GaussianNoise: std is {std}; it must be 0 or more")
        self.std = std
        self.rng = None if rng is None else generator(rng)

    def forward(self, x):
        return ops.gaussian_noise(x, self.std, training=self.training, rng=self.rng)

    def extra_repr(self):
        return f"{self.std}"

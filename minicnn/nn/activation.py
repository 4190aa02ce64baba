"""Nonlinearities as layers; what they compute stands in `ops.activation`."""

from __future__ import annotations

from minicnn import ops
from minicnn.nn.module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return ops.relu(x)


class LeakyReLU(Module):
    """x where positive, negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, x):
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self):
        return f"{self.negative_slope}"


class ELU(Module):
    """x where positive, alpha * (exp(x) - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def forward(self, x):
        return ops.elu(x, self.alpha)

    def extra_repr(self):
        return f"{self.alpha}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x):
        return ops.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x):
        return ops.tanh(x)


class ScaledTanh(Module):
    """amplitude * tanh(slope * x), by default LeCun's 1.7159 tanh(2x / 3)."""

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3):
        self.amplitude, self.slope = amplitude, slope

    def forward(self, x):
        return ops.scaled_tanh(x, self.amplitude, self.slope)

    def extra_repr(self):
        return f"{self.amplitude:g}, {self.slope:g}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta."""

    def __init__(self, beta: float = 1.0):
        self.beta = beta

    def forward(self, x):
        return ops.softplus(x, self.beta)

    def extra_repr(self):
        return f"{self.beta}"


class Softmax(Module):
    """exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x):
        return ops.softmax(x, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of the softmax along an axis."""

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x):
        return ops.log_softmax(x, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"

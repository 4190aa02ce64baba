"""LeNet-5: LeCun, Bottou, Bengio & Haffner, Proceedings of the IEEE 86(11), 1998."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# Table I: a row for each map of S2, with an X where a map of C3 is connected to it.
CONNECTIONS = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


class LeNet5(nn.Module):
    """The network of 1998; the bitmaps of its output come with the state dict."""

    def __init__(self):
        super().__init__()
        self.C1 = nn.Conv2d(1, 6, 5)
        self.S2 = _Subsampling(6)
        self.C3 = _PartialConv2d(CONNECTIONS.split(), 5)
        self.S4 = _Subsampling(16)
        self.C5 = nn.Conv2d(16, 120, 5)
        self.F6 = nn.Linear(120, 84)
        self.OUT = _EuclideanRBF(84, 10)

    def forward(self, x):
        """Return the negative distances (N, 10) of images (N, 1, 32, 32) to the bitmaps."""
        x = _squash(self.S2(_squash(self.C1(x))))
        x = _squash(self.S4(_squash(self.C3(x))))
        x = _squash(self.C5(x)).flatten(1)
        return -self.OUT(_squash(self.F6(x)))


class ModernLeNet5(nn.Module):
    """LeNet-5 with a full C3, maxima, ReLU and a linear output."""

    def __init__(self):
        super().__init__()
        self.C1 = nn.Conv2d(1, 6, 5)
        self.C3 = nn.Conv2d(6, 16, 5)
        self.C5 = nn.Conv2d(16, 120, 5)
        self.F6 = nn.Linear(120, 84)
        self.OUT = nn.Linear(84, 10)

    def forward(self, x):
        """Return the logits (N, 10) of images (N, 1, 32, 32)."""
        x = functional.max_pool2d(functional.relu(self.C1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.C3(x)), 2)
        x = functional.relu(self.C5(x)).flatten(1)
        return self.OUT(functional.relu(self.F6(x)))


class _Subsampling(nn.Module):
    """Sums of 2x2, scaled and shifted per map."""

    def __init__(self, maps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x):
        sums = functional.avg_pool2d(x, 2, divisor_override=1)
        return sums * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class _PartialConv2d(nn.Module):
    """One kernel for each connection: all of the first output map, then of the second."""

    def __init__(self, rows, kernel_size):
        super().__init__()
        maps = range(len(rows[0]))
        pairs = [(o, i) for o in maps for i in range(len(rows)) if rows[i][o] == "X"]
        self.outputs, self.inputs = map(list, zip(*pairs, strict=True))
        self.shape = (len(maps), len(rows), kernel_size, kernel_size)
        self.weight = nn.Parameter(0.1 * torch.randn(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(len(maps)))

    def forward(self, x):
        weight = self.weight.new_zeros(self.shape)
        weight[self.outputs, self.inputs] = self.weight
        return functional.conv2d(x, weight, self.bias)


class _EuclideanRBF(nn.Module):
    """Squared distances to fixed centres."""

    def __init__(self, features, classes):
        super().__init__()
        self.register_buffer("weight", torch.ones(classes, features))

    def forward(self, x):
        return (x[:, None] - self.weight).square().sum(2)


def _squash(x):
    return 1.7159 * torch.tanh(2 / 3 * x)


def build(variant="paper"):
    """Build the twin of `minicnn.models.lenet5`."""
    return {"paper": LeNet5, "modern": ModernLeNet5}[variant]()


TWINS = {"lenet5": build}

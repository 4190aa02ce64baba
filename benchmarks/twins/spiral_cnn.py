"""Instrument recognition on the pitch spiral: Lostanlen & Cella, ISMIR 2016."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# The streams of each architecture.
ARCHITECTURES = {
    1: ("spiral",),
    2: ("line",),
    3: ("line", "spiral"),
    4: ("plane",),
    5: ("plane", "spiral"),
    6: ("plane", "line"),
    7: ("plane", "line", "spiral"),
    8: ("plane",),
}


class SpiralCNN(nn.Module):
    """Streams of convolutions along both axes, along time, and along time, pitch and octaves."""

    def __init__(self, arch=7, classes=8):
        super().__init__()
        kernels = 48 if arch == 8 else 32
        self.streams = ARCHITECTURES[arch]
        features = 0
        for name in self.streams:
            stream = {"plane": _Plane, "line": _Line, "spiral": _Spiral}[name](kernels)
            setattr(self, name, stream)
            features += kernels * stream.cells
        self.fc1 = nn.Linear(features, 64)
        self.fc2 = nn.Linear(64, classes)

    def forward(self, x):
        """Return the logits (N, classes) of constant-Q spectrograms (N, 1, 96, 128)."""
        x = torch.cat([getattr(self, name)(x).flatten(1) for name in self.streams], 1)
        x = functional.dropout(x, 0.5, self.training)
        x = functional.leaky_relu(self.fc1(x), 0.3)
        return self.fc2(functional.dropout(x, 0.5, self.training))


class _Plane(nn.Module):
    """Convolutions of 5 bins by 5 frames over all octaves."""

    cells = 8 * 4

    def __init__(self, kernels):
        super().__init__()
        self.conv1 = nn.Conv2d(1, kernels, 5)
        self.conv2 = nn.Conv2d(kernels, kernels, 5)

    def forward(self, x):
        x = functional.max_pool2d(functional.leaky_relu(self.conv1(x), 0.3), (3, 5))
        return functional.max_pool2d(functional.leaky_relu(self.conv2(x), 0.3), (3, 5))


class _Line(nn.Module):
    """Convolutions along time over the upper three octaves at once."""

    cells = 4

    def __init__(self, kernels):
        super().__init__()
        self.conv1 = nn.Conv2d(1, kernels, (36, 5))
        self.conv2 = nn.Conv2d(kernels, kernels, (1, 5), padding=(0, 2))

    def forward(self, x):
        x = functional.leaky_relu(self.conv1(x[:, :, 60:96]), 0.3)
        x = functional.max_pool2d(x, (1, 5))
        return functional.max_pool2d(functional.leaky_relu(self.conv2(x), 0.3), (1, 6))


class _Spiral(nn.Module):
    """Convolutions whose kernels lie one octave apart, summed."""

    cells = 4

    def __init__(self, kernels):
        super().__init__()
        self.conv1 = nn.ModuleList(nn.Conv2d(1, kernels, (3, 5)) for _ in range(3))
        self.conv2 = nn.Conv2d(kernels, kernels, 5)

    def forward(self, x):
        low, middle, high = self.conv1
        x = low(x[:, :, 12:36]) + middle(x[:, :, 24:48]) + high(x[:, :, 36:60])
        x = functional.max_pool2d(functional.leaky_relu(x, 0.3), (3, 5))
        return functional.max_pool2d(functional.leaky_relu(self.conv2(x), 0.3), (3, 5))


TWINS = {"spiral_cnn": SpiralCNN}

"""GoogLeNet: Szegedy et al., "Going deeper with convolutions", CVPR 2015, table 1.

The torchvision variant has batch normalisation in place of biases and local response
normalisation, and 3x3 kernels in the branch that the paper gives 5x5.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# 1x1; reduction and 3x3; reduction and 5x5; projection of the pool.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(nn.Module):
    """Nine inceptions, with classifiers after the third and the sixth while it trains."""

    def __init__(self, variant="paper", auxiliary=False, classes=1000):
        super().__init__()
        paper = {"paper": True, "torchvision": False}[variant]
        self.paper, self.auxiliary = paper, auxiliary
        self.conv1 = _Conv(paper, 3, 64, 7, stride=2, padding=3)
        self.conv2 = _Conv(paper, 64, 64, 1)
        self.conv3 = _Conv(paper, 64, 192, 3, padding=1)
        channels = 192
        for name, widths in INCEPTIONS.items():
            setattr(self, f"inception{name}", _Inception(paper, channels, *widths))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        if auxiliary:
            self.aux1 = _Auxiliary(paper, 512, classes)
            self.aux2 = _Auxiliary(paper, 528, classes)
        self.dropout = nn.Dropout(0.4 if paper else 0.2)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Return the logits (N, classes) of images (N, 3, 224, 224), in training three of them."""
        heads = self.auxiliary and self.training
        x = self._normalised(_pool(self.conv1(x)))
        x = _pool(self._normalised(self.conv3(self.conv2(x))))
        x = _pool(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = self.aux1(x) if heads else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if heads else None
        x = _pool(self.inception4e(x), 3 if self.paper else 2)
        x = self.inception5b(self.inception5a(x))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        logits = self.fc(self.dropout(x))
        return (logits, aux1, aux2) if heads else logits

    def _normalised(self, x):
        return functional.local_response_norm(x, 5, alpha=1e-4, k=1) if self.paper else x


class _Conv(nn.Module):
    """A convolution with bias or with batch normalisation, and ReLU."""

    def __init__(self, paper, inputs, outputs, kernel_size, **options):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, bias=paper, **options)
        self.bn = nn.Identity() if paper else nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)))


class _Inception(nn.Module):
    """Four branches, side by side."""

    def __init__(self, paper, inputs, one, reduce3, three, reduce5, five, projection):
        super().__init__()
        size = 5 if paper else 3
        self.branch1 = _Conv(paper, inputs, one, 1)
        self.branch2 = nn.Sequential(
            _Conv(paper, inputs, reduce3, 1),
            _Conv(paper, reduce3, three, 3, padding=1),
        )
        self.branch3 = nn.Sequential(
            _Conv(paper, inputs, reduce5, 1),
            _Conv(paper, reduce5, five, size, padding=size // 2),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1, ceil_mode=True),
            _Conv(paper, inputs, projection, 1),
        )

    def forward(self, x):
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class _Auxiliary(nn.Module):
    """A classifier of its own, on 4x4 averages."""

    def __init__(self, paper, inputs, classes):
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3) if paper else nn.AdaptiveAvgPool2d(4)
        self.conv = _Conv(paper, inputs, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x):
        x = self.conv(self.pool(x)).flatten(1)
        x = functional.dropout(functional.relu(self.fc1(x)), 0.7, self.training)
        return self.fc2(x)


def _pool(x, size=3):
    return functional.max_pool2d(x, size, 2, ceil_mode=True)


TWINS = {"googlenet": GoogLeNet}

"""A VGG-like tagger of mel spectrograms: the baseline of Pons et al., ISMIR 2018."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

# Size and stride (frequency, time) of each pooling, and the dropout after it.
POOLS = (
    ((1, 4), (2, 2), 0.25),
    ((2, 2), (2, 2), 0.25),
    ((2, 2), (2, 2), 0.25),
    ((2, 2), (2, 2), 0.25),
    ((4, 4), (4, 4), 0.5),
)


class MelCNN2d(nn.Module):
    """Five 3x3 convolutions, each of so many filters."""

    def __init__(self, filters=128, classes=50):
        super().__init__()
        self.bn = nn.BatchNorm2d(1, eps=1e-3, momentum=0.01)
        inputs = (1, filters, filters, filters, filters)
        self.layers = nn.ModuleList(
            _Layer(count, filters, *pool) for count, pool in zip(inputs, POOLS, strict=True)
        )
        self.fc = nn.Linear(2 * filters, classes)

    def forward(self, x):
        """Return the logits (N, classes) of mel spectrograms (N, 1, 96, 187)."""
        x = self.bn(x)
        for layer in self.layers:
            x = layer(x)
        return self.fc(x.flatten(1))


class _Layer(nn.Module):
    """Convolution, ReLU, batch normalisation, pooling and dropout."""

    def __init__(self, inputs, filters, size, stride, dropout):
        super().__init__()
        self.size, self.stride, self.dropout = size, stride, dropout
        self.conv = nn.Conv2d(inputs, filters, 3, padding=1)
        self.bn = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01)

    def forward(self, x):
        x = self.bn(functional.relu(self.conv(x)))
        x = functional.max_pool2d(x, self.size, self.stride)
        return functional.dropout(x, self.dropout, self.training)


TWINS = {"mel_cnn_2d": MelCNN2d}

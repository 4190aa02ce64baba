"""FCN-3 to FCN-7, fully convolutional taggers: Choi, Fazekas & Sandler, ISMIR 2016."""

from __future__ import annotations

import functools

from torch import nn
from torch.nn import functional

# Width, kernel and pooling (frequency, time) of each layer.
FCN3 = ((256, 3, (4, 8)), (768, 3, (4, 8)), (2048, 3, (6, 21)))
FCN4 = ((128, 3, (2, 4)), (384, 3, (4, 5)), (768, 3, (3, 8)), (2048, 3, (4, 8)))
# The poolings that yield the shapes printed in the paper's table.
FCN4_LECTURE = ((128, 3, (2, 4)), (384, 3, (2, 4)), (768, 3, (2, 4)), (2048, 3, (12, 21)))
FCN5 = (
    (128, 3, (2, 4)),
    (256, 3, (2, 4)),
    (512, 3, (2, 4)),
    (1024, 3, (3, 5)),
    (2048, 3, (4, 4)),
)
FCN6 = (*FCN5, (1024, 1, None))
FCN7 = (*FCN6, (1024, 1, None))


class FCN(nn.Module):
    """The network of these layers, and a linear layer on their mean."""

    def __init__(self, layers, classes=50):
        super().__init__()
        widths = [width for width, _, _ in layers]
        self.layers = nn.ModuleList(
            _Layer(inputs, *layer) for inputs, layer in zip([1, *widths[:-1]], layers, strict=True)
        )
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x):
        """Return the logits (N, classes) of mel spectrograms (N, 1, 96, 1366)."""
        for layer in self.layers:
            x = layer(x)
        return self.fc(x.mean((2, 3)))


class _Layer(nn.Module):
    """Convolution, batch normalisation, ReLU, and perhaps pooling with dropout."""

    def __init__(self, inputs, width, kernel, pool):
        super().__init__()
        self.pool = pool
        self.conv = nn.Conv2d(inputs, width, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)

    def forward(self, x):
        x = functional.relu(self.bn(self.conv(x)))
        if not self.pool:
            return x
        return functional.dropout(functional.max_pool2d(x, self.pool), 0.5, self.training)


def fcn4(classes=50, variant="paper"):
    """Build the twin of `minicnn.models.fcn4`."""
    return FCN({"paper": FCN4, "lecture": FCN4_LECTURE}[variant], classes)


TWINS = {
    "fcn3": functools.partial(FCN, FCN3),
    "fcn4": fcn4,
    "fcn5": functools.partial(FCN, FCN5),
    "fcn6": functools.partial(FCN, FCN6),
    "fcn7": functools.partial(FCN, FCN7),
}

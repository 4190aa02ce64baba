"""VGG: Simonyan & Zisserman, ICLR 2015, table 1, columns A, B, D and E."""

from __future__ import annotations

import functools

from torch import nn

# How many convolutions come before each pooling.
STAGES = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """The network with so many convolutions in its stages."""

    def __init__(self, stages, batch_norm=False, classes=1000):
        super().__init__()
        layers, inputs = [], 3
        for count, width in zip(stages, WIDTHS, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(inputs, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers.append(nn.ReLU())
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, classes),
        )

    def forward(self, x):
        """Return the logits (N, classes) of images (N, 3, 224, 224)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


TWINS = {name: functools.partial(VGG, stages) for name, stages in STAGES.items()}

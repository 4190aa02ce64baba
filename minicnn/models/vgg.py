"""VGG, four networks of 3x3 filters and nothing else: depth alone makes the difference.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
2015, table 1, columns A, B, D and E. An image goes in, 1000 logits come out.

Where sources disagree: the paper draws weights from a normal distribution of variance 0.01, starts
its deep networks from the trained layers of the shallow one, and notes that Glorot's distribution
makes that needless; torchvision, whose names of parameters these are, draws the filters as He et
al. (2015) have it, and is followed. Batch normalisation is younger than the paper and an option.
Images of other sizes than 224x224 are averaged down or stretched to the 7x7 maps that the
classifier takes, as torchvision does.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise

from minicnn import nn
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator

# Table 1: for each depth, the 3x3 convolutions of the five stages of 64 to 512 channels.
CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Network):
    """The network with this many layers of weights.

    Parameters
    ----------
    depth : 11, 13, 16 or 19
    batch_norm : bool
        Whether each convolution is normalised over the batch before its ReLU.
    classes : int
    width : float
        The share of the paper's channels that every layer has, in sixty-fourths: below 1 for small
        images and little time.
    rng : int, Generator or None
        Draws the filters from He's normal distribution over the fan-out and the dense weights from
        N(0, 0.01^2); biases begin at 0.
    """

    input_shape = (3, 224, 224)
    smallest_shape = (3, 32, 32)

    def __init__(
        self,
        depth: int,
        *,
        batch_norm: bool = False,
        classes: int = 1000,
        width: float = 1,
        rng=None,
    ):
        w = arguments.scaling(f"vgg{depth}", width, 64)
        rng = generator(rng)
        he = functools.partial(init.kaiming_normal, mode="fan_out")
        layers: list[nn.Module] = []
        for (inputs, outputs), count in zip(
            pairwise((3, *map(w, CHANNELS))), CONVOLUTIONS[depth], strict=True
        ):
            for i in range(count):
                channels = outputs if i else inputs
                layers.append(
                    nn.Conv2d(channels, outputs, 3, padding=1, weight_init=he, bias_init=0, rng=rng)
                )
                layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
                layers.append(nn.ReLU())
            layers.append(nn.MaxPool2d(2))  # 224 to 112, 56, 28, 14 and 7
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        linear = functools.partial(
            nn.Linear, weight_init=functools.partial(init.normal, std=0.01), bias_init=0, rng=rng
        )
        self.classifier = nn.Sequential(
            linear(w(512) * 7 * 7, w(4096)),
            nn.ReLU(),
            nn.Dropout(0.5),
            linear(w(4096), w(4096)),
            nn.ReLU(),
            nn.Dropout(0.5),
            linear(w(4096), classes),
        )

    def forward(self, x):  # (N, 3, 224, 224)
        x = self.avgpool(self.features(x))  # (N, 512, 7, 7)
        return self.classifier(x.reshape(len(x), math.prod(x.shape[1:])))  # (N, classes)


MODELS = {f"vgg{depth}": functools.partial(VGG, depth) for depth in CONVOLUTIONS}

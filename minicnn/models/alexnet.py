"""AlexNet, the network that won ImageNet 2012 by more than ten percent.

Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012, section 3 and figure 2. An image goes in, 1000 logits come out.

Where sources disagree: the paper says that its crops are 224x224, but only 227x227 gives the 55x55
maps of its figure without padding, which the Caffe reference model takes, and so is followed here.
The figure's two columns, one per GPU, are the two groups of conv2, conv4 and conv5. The torchvision
variant is Krizhevsky's later network for one GPU ("One weird trick for parallelizing convolutional
neural networks", arXiv:1404.5997): no groups, no response normalisation, 224x224 padded by 2, and
its state dict has torchvision's names.
"""

from __future__ import annotations

import functools
import math

from minicnn import nn
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator


class AlexNet(nn.Network):
    """The network of the paper, with 60,965,224 parameters.

    Parameters
    ----------
    classes : int
    width : float
        The share of the paper's channels that every layer has, in sixteenths.
    rng : int, Generator or None
        Draws every weight from N(0, 0.01^2). The biases of conv2, conv4, conv5 and of the hidden
        dense layers begin at 1, the others at 0 (section 5).
    """

    input_shape = (3, 227, 227)

    def __init__(self, *, classes: int = 1000, width: float = 1, rng=None):
        w = arguments.scaling("alexnet", width, 16)
        normal, rng = functools.partial(init.normal, std=0.01), generator(rng)
        conv = functools.partial(nn.Conv2d, weight_init=normal, rng=rng)
        linear = functools.partial(nn.Linear, weight_init=normal, rng=rng)
        self.conv1 = conv(3, w(96), 11, stride=4, bias_init=0.0)
        self.conv2 = conv(w(96), w(256), 5, padding=2, groups=2, bias_init=1.0)
        self.conv3 = conv(w(256), w(384), 3, padding=1, bias_init=0.0)
        self.conv4 = conv(w(384), w(384), 3, padding=1, groups=2, bias_init=1.0)
        self.conv5 = conv(w(384), w(256), 3, padding=1, groups=2, bias_init=1.0)
        self.fc6 = linear(w(256) * 6 * 6, w(4096), bias_init=1.0)
        self.fc7 = linear(w(4096), w(4096), bias_init=1.0)
        self.fc8 = linear(w(4096), classes, bias_init=0.0)
        self.relu = nn.ReLU()
        # Section 3.3 sums the squares of neighbours; PyTorch and Caffe average them.
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2, average=False)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):  # (N, 3, 227, 227)
        x = self.pool(self.norm(self.relu(self.conv1(x))))  # (N, 96, 27, 27)
        x = self.pool(self.norm(self.relu(self.conv2(x))))  # (N, 256, 13, 13)
        x = self.relu(self.conv3(x))  # (N, 384, 13, 13)
        x = self.relu(self.conv4(x))  # (N, 384, 13, 13)
        x = self.pool(self.relu(self.conv5(x)))  # (N, 256, 6, 6)
        x = x.reshape(len(x), math.prod(x.shape[1:]))
        x = self.dropout(self.relu(self.fc6(x)))  # (N, 4096)
        x = self.dropout(self.relu(self.fc7(x)))  # (N, 4096)
        return self.fc8(x)  # (N, classes)


class TorchvisionAlexNet(nn.Network):
    """The network for one GPU under torchvision's names, with 61,100,840 parameters.

    Parameters
    ----------
    classes : int
    width : float
        The share of the paper's channels that every layer has, in sixteenths.
    rng : int, Generator or None
        Draws the weights as torchvision does: U(-b, b) with b = 1 / sqrt(fan-in).
    """

    input_shape = (3, 224, 224)
    smallest_shape = (3, 63, 63)

    def __init__(self, *, classes: int = 1000, width: float = 1, rng=None):
        w = arguments.scaling("alexnet", width, 16)
        rng = generator(rng)
        conv = functools.partial(nn.Conv2d, rng=rng)
        linear = functools.partial(nn.Linear, rng=rng)
        self.features = nn.Sequential(
            conv(3, w(64), 11, stride=4, padding=2),  # (N, 64, 55, 55)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (N, 64, 27, 27)
            conv(w(64), w(192), 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (N, 192, 13, 13)
            conv(w(192), w(384), 3, padding=1),
            nn.ReLU(),
            conv(w(384), w(256), 3, padding=1),
            nn.ReLU(),
            conv(w(256), w(256), 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            linear(w(256) * 6 * 6, w(4096)),
            nn.ReLU(),
            nn.Dropout(0.5),
            linear(w(4096), w(4096)),
            nn.ReLU(),
            linear(w(4096), classes),
        )

    def forward(self, x):  # (N, 3, 224, 224)
        x = self.avgpool(self.features(x))  # (N, 256, 6, 6)
        return self.classifier(x.reshape(len(x), math.prod(x.shape[1:])))  # (N, classes)


def build(variant: str = "paper", *, classes: int = 1000, width: float = 1, rng=None) -> nn.Network:
    """Build AlexNet.

    Parameters
    ----------
    variant : "paper" or "torchvision"
    classes : int
    width : float
        The share of the paper's channels that every layer has, in sixteenths: below 1 for small
        images and little time.
    rng : int, Generator or None
        Draws the weights.

    Raises
    ------
    ValueError
        If the variant is neither of the two, or the width no multiple of a sixteenth.
    """
    variants = {"paper": AlexNet, "torchvision": TorchvisionAlexNet}
    chosen = arguments.choice("alexnet", "variant", variant, variants)
    return chosen(classes=classes, width=width, rng=rng)


MODELS = {"alexnet": build}

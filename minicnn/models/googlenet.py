"""GoogLeNet: in each Inception module, filters of several sizes look at the same place at once.

Szegedy et al., "Going deeper with convolutions", CVPR 2015, table 1 and figures 2b and 3. An image
goes in, 1000 logits come out; two auxiliary heads help to train the middle of the network.

Where sources disagree: torchvision's third branch has 3x3 filters where the paper has 5x5; its
convolutions have batch normalisation instead of biases; its stem has no response normalisation, its
last max pooling is 2x2, its dropout 0.2. The torchvision variant follows all of that, and both have
torchvision's names of parameters. Its checkpoint holds both auxiliary heads, and was trained on
images in another scale than torchvision's other networks: `googlenet("torchvision", auxiliary=True,
transform_input=True)` takes it. The paper's "12 times fewer parameters than AlexNet" would be 5
million; its table adds up to 6,998,552. How weights begin the paper does not say: its variant takes
the distribution that Caffe calls Xavier's, over the fan-in alone, as Caffe's reference model does,
and biases of 0.2 in the convolutions.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from minicnn import nn, ops
from minicnn.autograd import Tensor
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator


class Convolution(nn.Module):
    """A convolution with bias and its ReLU, as in the paper.

    Parameters
    ----------
    inputs, outputs, kernel_size, stride : int
    rng : int, Generator or None
    """

    def __init__(self, inputs, outputs, kernel_size, *, stride=1, rng=None):
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            weight_init=init.lecun_uniform,
            bias_init=0.2,
            rng=rng,
        )

    def forward(self, x):
        return ops.relu(self.conv(x))


class NormalisedConvolution(nn.Module):
    """A convolution, batch normalisation and its ReLU, as in torchvision; parameters as above."""

    def __init__(self, inputs, outputs, kernel_size, *, stride=1, rng=None):
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            bias=False,
            weight_init=functools.partial(init.normal, std=0.01),
            rng=rng,
        )
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return self.bn(self.conv(x), slope=0)


class Inception(nn.Module):
    """Four branches that see the same input, and whose maps are stacked (figure 2b).

    Parameters
    ----------
    inputs, one : int
        Channels of the input, and of the 1x1 branch.
    three, five : (int, int)
        Channels of the reduction and of the filters behind it.
    projection : int
        Channels of the 1x1 convolution behind the pooling.
    kernel_size : int
        Of the `five` branch: 5, or torchvision's 3.
    convolution : Convolution or NormalisedConvolution
    rng : int, Generator or None
    """

    def __init__(self, inputs, one, three, five, projection, *, kernel_size, convolution, rng=None):
        conv = functools.partial(convolution, rng=generator(rng))
        self.branch1 = conv(inputs, one, 1)
        self.branch2 = nn.Sequential(conv(inputs, three[0], 1), conv(*three, 3))
        self.branch3 = nn.Sequential(conv(inputs, five[0], 1), conv(*five, kernel_size))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv(inputs, projection, 1))

    def forward(self, x):  # (N, inputs, H, W)
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return ops.concatenate([branch(x) for branch in branches], axis=1)


class AuxiliaryHead(nn.Module):
    """Classify from the middle of the network: logits from (N, inputs, 14, 14) (section 5).

    Parameters
    ----------
    inputs, channels, hidden, classes : int
        How many the 1x1 convolution and the dense layer have; the paper's are 128 and 1024.
    pool : Module
        From 14x14 maps to 4x4.
    convolution : Convolution or NormalisedConvolution
    dense : callable
        Makes its `nn.Linear` layers.
    rng : int, Generator or None
    """

    def __init__(self, inputs, channels, hidden, classes, *, pool, convolution, dense, rng=None):
        rng = generator(rng)
        self.pool = pool
        self.conv = convolution(inputs, channels, 1, rng=rng)
        self.fc1 = dense(channels * 4 * 4, hidden, rng=rng)
        self.fc2 = dense(hidden, classes, rng=rng)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x):
        x = self.conv(self.pool(x))  # (N, 128, 4, 4)
        x = ops.relu(self.fc1(x.reshape(len(x), math.prod(x.shape[1:]))))
        return self.fc2(self.dropout(x))


class GoogLeNet(nn.Network):
    """The network of the paper, with 6,998,552 parameters; 13,378,280 with the auxiliary heads.

    With the heads and in training mode, the output is a tuple (logits, logits of the head on 4a,
    logits of the head on 4d), whose loss is `auxiliary_cross_entropy`; otherwise the logits alone.

    Parameters
    ----------
    auxiliary : bool
        Whether the two heads are there.
    classes : int
    width : float
        The share of the paper's channels that every layer has, in eighths: below 1 for small images
        and little time.
    rng : int, Generator or None
        Draws the weights from U(-b, b) with b = sqrt(3 / fan-in).
    """

    input_shape = (3, 224, 224)

    convolution: Any = Convolution
    dense: Any = functools.partial(nn.Linear, weight_init=init.lecun_uniform, bias_init=0)
    kernel_size = 5
    normalisation: Any = functools.partial(nn.LocalResponseNorm, 5)  # Caffe's alpha, beta and k
    last_pool = 3
    head_pool: Any = functools.partial(nn.AvgPool2d, 5, 3)
    dropout_rate = 0.4

    def __init__(self, *, auxiliary: bool = False, classes: int = 1000, width: float = 1, rng=None):
        w, rng = arguments.scaling("googlenet", width, 8), generator(rng)
        options: dict[str, Any] = dict(
            kernel_size=self.kernel_size, convolution=self.convolution, rng=rng
        )

        def inception(inputs, one, three, five, projection):
            three, five = map(w, three), map(w, five)
            return Inception(w(inputs), w(one), (*three,), (*five,), w(projection), **options)

        self.conv1 = self.convolution(3, w(64), 7, stride=2, rng=rng)
        self.conv2 = self.convolution(w(64), w(64), 1, rng=rng)
        self.conv3 = self.convolution(w(64), w(192), 3, rng=rng)
        self.norm = self.normalisation()
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.pool4 = nn.MaxPool2d(self.last_pool, stride=2, ceil_mode=True)
        # Table 1: inputs, 1x1, 3x3 behind its reduction, 5x5 behind its own, pool projection.
        self.inception3a = inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = inception(256, 128, (128, 192), (32, 96), 64)
        self.inception4a = inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = inception(528, 256, (160, 320), (32, 128), 128)
        self.inception5a = inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = inception(832, 384, (192, 384), (48, 128), 128)
        self.aux1 = self.aux2 = None
        if auxiliary:
            head = functools.partial(
                AuxiliaryHead, convolution=self.convolution, dense=self.dense, rng=rng
            )
            self.aux1 = head(w(512), w(128), w(1024), classes, pool=self.head_pool())
            self.aux2 = head(w(528), w(128), w(1024), classes, pool=self.head_pool())
        self.dropout = nn.Dropout(self.dropout_rate)
        self.fc = self.dense(w(1024), classes, rng=rng)

    def forward(self, x):  # (N, 3, 224, 224)
        x = self.norm(self.pool(self.conv1(x)))  # (N, 64, 56, 56)
        x = self.norm(self.conv3(self.conv2(x)))  # (N, 192, 56, 56)
        x = self.inception3a(self.pool(x))  # (N, 256, 28, 28)
        x = self.inception3b(x)  # (N, 480, 28, 28)
        x = self.inception4a(self.pool(x))  # (N, 512, 14, 14)
        heads = [self.aux1(x)] if self.training and self.aux1 else []
        x = self.inception4c(self.inception4b(x))  # (N, 512, 14, 14)
        x = self.inception4d(x)  # (N, 528, 14, 14)
        heads += [self.aux2(x)] if self.training and self.aux2 else []
        x = self.inception4e(x)  # (N, 832, 14, 14)
        x = self.inception5b(self.inception5a(self.pool4(x)))  # (N, 1024, 7, 7)
        logits = self.fc(self.dropout(ops.global_avg_pool(x)))  # (N, classes)
        return (logits, *heads) if heads else logits


class TorchvisionGoogLeNet(GoogLeNet):
    """The network as torchvision builds it: 6,624,904 parameters, 13,004,888 with the heads.

    Parameters
    ----------
    transform_input : bool
        Whether images come normalised by ImageNet's mean and deviation, as torchvision's networks
        take them, and are to be scaled to [-1, 1], as its checkpoint was trained.
    auxiliary, classes, width, rng
        As for `GoogLeNet`; draws the weights from N(0, 0.01^2).
    """

    smallest_shape = (3, 15, 15)

    convolution = NormalisedConvolution
    dense = functools.partial(nn.Linear, weight_init=functools.partial(init.normal, std=0.01))
    kernel_size = 3
    normalisation = nn.Identity
    last_pool = 2
    head_pool = functools.partial(nn.AdaptiveAvgPool2d, 4)
    dropout_rate = 0.2
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]

    def __init__(self, *, transform_input: bool = False, **options):
        super().__init__(**options)
        self.transform_input = transform_input

    def forward(self, x):  # (N, 3, 224, 224)
        if self.transform_input:
            mean, deviation = (
                np.asarray(values, x.dtype, like=x.data).reshape(3, 1, 1)
                for values in (self.mean, self.deviation)
            )
            x = (x * deviation + mean - 0.5) / 0.5
        return super().forward(x)


def auxiliary_cross_entropy(outputs, labels, *, weight: float = 0.3) -> Tensor:
    """Return the cross-entropy of the logits plus 0.3 times that of each head (section 5).

    Parameters
    ----------
    outputs : Tensor, or tuple of Tensors, shape (N, C) each
        What `GoogLeNet` returns; logits alone, as in evaluation, have no auxiliary term.
    labels : int array, shape (N,)
    weight : float

    Returns
    -------
    Tensor, shape ()
    """
    logits, *heads = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = ops.cross_entropy(logits, labels)
    for head in heads:
        loss = loss + weight * ops.cross_entropy(head, labels)
    return loss


def build(variant: str = "paper", **options) -> nn.Network:
    """Build GoogLeNet.

    Parameters
    ----------
    variant : "paper" or "torchvision"
    **options
        What `GoogLeNet` or `TorchvisionGoogLeNet` takes.

    Raises
    ------
    ValueError
        If the variant is neither of the two, or the width no multiple of an eighth.
    """
    variants = {"paper": GoogLeNet, "torchvision": TorchvisionGoogLeNet}
    return arguments.choice("googlenet", "variant", variant, variants)(**options)


MODELS = {"googlenet": build}

"""ResNet: with a path around every block the gradient reaches the first layer of 50.

He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016, table 1 (18, 34 and
50 layers) and figures 2 and 5. An image goes in, 1000 logits come out.

Where sources disagree: the paper puts the stride of a bottleneck on its first 1x1 convolution,
torchvision on the 3x3 one, where it loses nothing; torchvision is followed, so that its weights fit
and their names are these. Where the shape changes, the path around is a projection, the paper's
option B.
"""

from __future__ import annotations

import functools

from minicnn import nn, ops
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator


class ResNet(nn.Network):
    """The network of these blocks.

    The ReLU of a block, a slope of 0 below 0, and the sum before it are its batch norms' work.

    Parameters
    ----------
    block : BasicBlock or Bottleneck
    counts : four int
        The blocks of each stage, of 64, 128, 256 and 512 channels.
    classes : int
    width : float
        The share of the paper's channels that every layer has, in sixty-fourths: below 1 for small
        images and little time.
    rng : int, Generator or None
        Draws the filters from He's normal distribution over the fan-out, and the last layer from
        U(-b, b) with b = 1 / sqrt(fan-in).
    """

    input_shape = (3, 224, 224)
    smallest_shape = (3, 32, 32)

    def __init__(self, block, counts, *, classes: int = 1000, width: float = 1, rng=None):
        w, rng = arguments.scaling("resnet", width, 64), generator(rng)
        self.conv1 = _convolution(3, w(64), 7, stride=2, rng=rng)
        self.bn1 = nn.BatchNorm2d(w(64))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        e = block.expansion
        self.layer1 = _stage(block, counts[0], w(64), w(64), stride=1, rng=rng)
        self.layer2 = _stage(block, counts[1], w(64) * e, w(128), stride=2, rng=rng)
        self.layer3 = _stage(block, counts[2], w(128) * e, w(256), stride=2, rng=rng)
        self.layer4 = _stage(block, counts[3], w(256) * e, w(512), stride=2, rng=rng)
        self.fc = nn.Linear(w(512) * e, classes, rng=rng)

    def forward(self, x):  # (N, 3, 224, 224)
        x = self.bn1(self.conv1(x), slope=0)  # (N, 64, 112, 112)
        x = self.maxpool(x)  # (N, 64, 56, 56)
        x = self.layer1(x)  # (N, 64 e, 56, 56), e the block's expansion
        x = self.layer2(x)  # (N, 128 e, 28, 28)
        x = self.layer3(x)  # (N, 256 e, 14, 14)
        x = self.layer4(x)  # (N, 512 e, 7, 7)
        return self.fc(ops.global_avg_pool(x))  # (N, classes)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, and a path around them.

    Parameters
    ----------
    inputs, channels : int
    stride : int
    rng : int, Generator or None
    """

    expansion = 1

    def __init__(self, inputs: int, channels: int, *, stride: int = 1, rng=None):
        rng = generator(rng)
        self.conv1 = _convolution(inputs, channels, 3, stride=stride, rng=rng)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, 3, rng=rng)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(inputs, channels, stride, rng)

    def forward(self, x):
        y = self.bn1(self.conv1(x), slope=0)
        return self.bn2(self.conv2(y), residual=self.downsample(x), slope=0)


class Bottleneck(nn.Module):
    """A 3x3 convolution between 1x1 ones that narrow and widen, and a path around them.

    Parameters
    ----------
    inputs, channels : int
        The block returns four times `channels`.
    stride : int
    rng : int, Generator or None
    """

    expansion = 4

    def __init__(self, inputs: int, channels: int, *, stride: int = 1, rng=None):
        rng = generator(rng)
        outputs = channels * self.expansion
        self.conv1 = _convolution(inputs, channels, 1, rng=rng)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, 3, stride=stride, rng=rng)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _convolution(channels, outputs, 1, rng=rng)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, rng)

    def forward(self, x):
        y = self.bn1(self.conv1(x), slope=0)
        y = self.bn2(self.conv2(y), slope=0)
        return self.bn3(self.conv3(y), residual=self.downsample(x), slope=0)


def _stage(block, count, inputs, channels, *, stride, rng):
    """Return blocks of so many channels, the first of which has the stride."""
    first = block(inputs, channels, stride=stride, rng=rng)
    others = (block(channels * block.expansion, channels, rng=rng) for _ in range(count - 1))
    return nn.Sequential(first, *others)


def _convolution(inputs, outputs, kernel_size, *, stride=1, rng):
    """Return a convolution without bias, because batch normalisation follows."""
    return nn.Conv2d(
        inputs,
        outputs,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        bias=False,
        weight_init=functools.partial(init.kaiming_normal, mode="fan_out"),
        rng=rng,
    )


def _shortcut(inputs, outputs, stride, rng):
    """Return the path around a block: nothing, or a projection where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    projection = _convolution(inputs, outputs, 1, stride=stride, rng=rng)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs))


MODELS = {
    "resnet18": functools.partial(ResNet, BasicBlock, (2, 2, 2, 2)),
    "resnet34": functools.partial(ResNet, BasicBlock, (3, 4, 6, 3)),
    "resnet50": functools.partial(ResNet, Bottleneck, (3, 4, 6, 3)),
}

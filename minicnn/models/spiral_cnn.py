"""Networks that hear instruments, with filters along the pitch spiral.

Lostanlen & Cella, "Deep convolutional networks on the pitch spiral for musical instrument
recognition", ISMIR 2016, sections 3 to 5 and table 2. A constant-Q transform of 3 s goes in, one
logit per instrument comes out.

The partials of a low note lie octaves apart. On a spiral with one turn per octave they meet, so a
filter there, the "octave-interval" filter of the lecture, sees two bands one or more octaves apart
at once: a sum of convolutions with filters of their own, one per octave. Where partials crowd, from
1.76 kHz on, a one-dimensional filter covers all bands; a two-dimensional filter is the usual patch.
The eight networks have one, two or all three of these streams.

Where sources disagree: the authors' code adds the three convolutions before the nonlinearity, which
is followed. It trains on inputs centred by the mean of the test set, which is no part of the
network.
"""

from __future__ import annotations

import functools

from minicnn import nn, ops
from minicnn.audio.compression import Log1p
from minicnn.axes import ConstantQ, Time
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator

# Table 2: for each network its streams, and the filters in each of their layers.
ARCHITECTURES = {
    1: (("spiral",), 32),
    2: (("line",), 32),
    3: (("line", "spiral"), 32),
    4: (("plane",), 32),
    5: (("plane", "spiral"), 32),
    6: (("plane", "line"), 32),
    7: (("plane", "line", "spiral"), 32),
    8: (("plane",), 48),
}


class Plane(nn.Module):
    """Patches of 5 bins x 5 frames that slide along both axes: the two-dimensional stream.

    Parameters
    ----------
    filters : int
    rng : int, Generator or None
    """

    features = 8 * 4

    def __init__(self, filters: int, *, rng=None):
        conv = functools.partial(_convolution, rng=generator(rng))
        self.conv1 = conv(1, filters, 5)
        self.conv2 = conv(filters, filters, 5)
        self.pool = nn.MaxPool2d((3, 5))
        self.activation = nn.LeakyReLU(0.3)

    def forward(self, x):  # (N, 1, 96, 128)
        x = self.pool(self.activation(self.conv1(x)))  # (N, K, 92, 124), then (N, K, 30, 24)
        return self.pool(self.activation(self.conv2(x)))  # (N, K, 26, 20), then (N, K, 8, 4)


class Line(nn.Module):
    """Filters over the three highest octaves that slide along time: the one-dimensional stream.

    Parameters
    ----------
    filters : int
    rng : int, Generator or None
    """

    features = 1 * 4

    def __init__(self, filters: int, *, rng=None):
        conv = functools.partial(_convolution, rng=generator(rng))
        self.conv1 = conv(1, filters, (36, 5))
        self.conv2 = conv(filters, filters, (1, 5), padding="same")
        self.pool1, self.pool2 = nn.MaxPool2d((1, 5)), nn.MaxPool2d((1, 6))
        self.activation = nn.LeakyReLU(0.3)

    def forward(self, x):  # (N, 1, 96, 128)
        x = x[:, :, 5 * 12 : 8 * 12]  # octaves 5 to 8: 1.76 to 14.08 kHz
        x = self.pool1(self.activation(self.conv1(x)))  # (N, K, 1, 124), then (N, K, 1, 24)
        return self.pool2(self.activation(self.conv2(x)))  # (N, K, 1, 24), then (N, K, 1, 4)


class Spiral(nn.Module):
    """Filters that see the same bins of three octaves at once: the octave-interval stream.

    Parameters
    ----------
    filters : int
    rng : int, Generator or None
    """

    features = 1 * 4

    def __init__(self, filters: int, *, rng=None):
        conv = functools.partial(_convolution, rng=generator(rng))
        self.conv1 = nn.ModuleList(conv(1, filters, (3, 5)) for _ in range(3))
        self.conv2 = conv(filters, filters, 5)
        self.pool = nn.MaxPool2d((3, 5))
        self.activation = nn.LeakyReLU(0.3)

    def forward(self, x):  # (N, 1, 96, 128)
        # Two octaves each, from octave 1, 2 and 3 on: 24 bins that lie one octave apart.
        turns = [x[:, :, 12 * octave : 12 * (octave + 2)] for octave in (1, 2, 3)]
        low, middle, high = (conv(turn) for conv, turn in zip(self.conv1, turns, strict=True))
        x = self.pool(self.activation(low + middle + high))  # (N, K, 22, 124), then (N, K, 7, 24)
        return self.pool(self.activation(self.conv2(x)))  # (N, K, 3, 20), then (N, K, 1, 4)


STREAMS: dict[str, type[Plane | Line | Spiral]] = {
    "plane": Plane,
    "line": Line,
    "spiral": Spiral,
}


class SpiralCNN(nn.Network):
    """One of the eight networks of the paper's table, from 19,720 to 157,784 parameters.

    Parameters
    ----------
    arch : int, from 1 to 8
        1: spiral, 2: 1-D, 3: 1-D and spiral, 4: 2-D, 5: 2-D and spiral, 6: 2-D and 1-D, 7: all
        three, 8: 2-D with 48 filters instead of 32.
    classes : int
    rng : int, Generator or None
        Draws the filters from He's normal distribution and the dense weights from LeCun's uniform
        one; biases begin at 0.

    Raises
    ------
    ValueError
        If there is no such network.
    """

    sample_rate = 44_100
    hop_length = 1024
    n_bins, bins_per_octave, fmin = 96, 12, 55.0
    n_frames = 128
    # As in the authors' code, where powers weight magnitudes.
    weighting = "A"
    compression = Log1p(1000)

    input_shape = (1, n_bins, n_frames)
    axes = (ConstantQ(n_bins, bins_per_octave, fmin), Time(sample_rate, hop_length))

    def __init__(self, arch: int = 7, *, classes: int = 8, rng=None):
        self.streams, filters = arguments.choice("spiral_cnn", "arch", arch, ARCHITECTURES)
        rng = generator(rng)
        for name in self.streams:
            setattr(self, name, STREAMS[name](filters, rng=rng))
        features = filters * sum(STREAMS[name].features for name in self.streams)
        linear = functools.partial(nn.Linear, weight_init=init.lecun_uniform, bias_init=0, rng=rng)
        self.dropout = nn.Dropout(0.5)
        self.fc1 = linear(features, 64)
        self.fc2 = linear(64, classes)
        self.activation = nn.LeakyReLU(0.3)

    def forward(self, x):  # (N, 1, 96, 128)
        maps = [getattr(self, name)(x) for name in self.streams]
        x = ops.concatenate([m.reshape(len(x), m[0].size) for m in maps], axis=1)  # (N, features)
        x = self.activation(self.fc1(self.dropout(x)))  # (N, 64)
        return self.fc2(self.dropout(x))  # (N, classes)


def _convolution(inputs, outputs, kernel_size, *, padding=0, rng):
    """Return a convolution that begins as the authors' do."""
    return nn.Conv2d(
        inputs,
        outputs,
        kernel_size,
        padding=padding,
        weight_init=init.kaiming_normal,
        bias_init=0,
        rng=rng,
    )


MODELS = {"spiral_cnn": SpiralCNN}

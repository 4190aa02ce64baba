"""A network that hears where notes begin: an edge detector for spectrograms.

Schlüter & Böck, "Improved musical onset detection with convolutional neural networks", ICASSP 2014,
section 3 and figure 1. Three log-mel spectrograms of 15 frames, of windows of 46, 23 and 93 ms, go
in as channels; out comes one logit, whether a note begins in the middle frame.

The first filters are wide in time and narrow in frequency, 7 frames x 3 bands: an onset is a change
in time. Nothing is pooled in time, so that the answer stays exact to the frame.

Where sources disagree: slide and paper write time x frequency, (7x3) and (9x78); here as everywhere
in minicnn the frequency comes first. The 289,406 parameters that are published count no biases;
with them there are 289,693. The variant "madmom" has tanh and no dropout, as the authors' earlier
version has, whose weights the package madmom ships. How weights begin is not known; PyTorch's
default is taken.
"""

from __future__ import annotations

from minicnn import nn, ops
from minicnn.audio.compression import LogFloor
from minicnn.autograd import Tensor
from minicnn.axes import MelBands, Time
from minicnn.ops import arguments
from minicnn.rng import generator


class OnsetCNN(nn.Network):
    """The network, with 289,406 weights and 287 biases.

    Parameters
    ----------
    variant : "paper" or "madmom"
        ReLU and dropout, or tanh and none.
    rng : int, Generator or None
        Draws every weight and bias from U(-b, b) with b = 1 / sqrt(fan-in).

    Raises
    ------
    ValueError
        If the variant is neither of the two.
    """

    sample_rate = 44_100
    n_ffts, hop_length = (2048, 1024, 4096), 441
    n_mels, fmin, fmax = 80, 27.5, 16_000.0
    n_frames = 15
    # As in madmom, which adds this floor where we take the larger: a difference below rounding.
    power, mel_filters, periodic_window = 1.0, "madmom", False
    compression = LogFloor(2.0**-52)
    edges = "repeated"  # what the windows of the first and the last frames see beyond the music

    input_shape = (len(n_ffts), n_mels, n_frames)
    axes = (MelBands(n_mels, fmin, fmax, htk=True), Time(sample_rate, hop_length))
    slide_hop = 1

    def __init__(self, variant: str = "paper", *, rng=None):
        variants = {"paper": (ops.relu, 0.5), "madmom": (ops.tanh, 0.0)}
        self.activation, dropout = arguments.choice("onset_cnn", "variant", variant, variants)
        rng = generator(rng)
        self.conv1 = nn.Conv2d(3, 10, (3, 7), rng=rng)
        self.conv2 = nn.Conv2d(10, 20, (3, 3), rng=rng)
        self.pool = nn.MaxPool2d((3, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(20 * 8 * 7, 256, rng=rng)
        self.fc2 = nn.Linear(256, 1, rng=rng)

    def forward(self, x):  # (N, 3, 80, 15)
        x = self.features(x)  # (N, 20, 8, 7)
        x = self.dropout(x.reshape(len(x), 20 * 8 * 7))
        x = self.dropout(ops.sigmoid(self.fc1(x)))  # (N, 256)
        return self.fc2(x)  # (N, 1)

    def features(self, x) -> Tensor:
        """Return the last feature maps (N, 20, 8, T - 8) of spectrograms (N, 3, 80, T)."""
        x = self.pool(self.activation(self.conv1(x)))  # (N, 10, 78, 9), then (N, 10, 26, 9)
        return self.pool(self.activation(self.conv2(x)))  # (N, 20, 24, 7), then (N, 20, 8, 7)

    def slide(self, x) -> Tensor:
        """Return the logits (N, 1, T - 14) of all windows of longer spectrograms (N, 3, 80, T).

        They are those of the windows one by one. Nothing is pooled in time, so neighbours share
        their feature maps, and the dense layer moves along them as a convolution.

        Parameters
        ----------
        x : Tensor or array, shape (N, 3, 80, T), T >= 15

        Raises
        ------
        ValueError, TypeError
            If x has another shape or dtype.
        """
        x = self.features(self.checked(x, sliding=True))  # (N, 20, 8, T - 8)
        x = ops.conv2d(self.dropout(x), self.fc1.weight.reshape(256, 20, 8, 7), self.fc1.bias)
        x = self.dropout(ops.sigmoid(x))  # (N, 256, 1, T - 14)
        x = ops.conv2d(x, self.fc2.weight.reshape(1, 256, 1, 1), self.fc2.bias)
        return x.reshape(len(x), 1, x.shape[3])


MODELS = {"onset_cnn": OnsetCNN}

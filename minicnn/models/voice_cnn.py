"""A network that hears whether somebody sings.

Schlüter & Grill, "Exploring data augmentation for improved singing voice detection with neural
networks", ISMIR 2015, section 4. A log-mel spectrogram of 115 frames, 1.6 s, goes in: it takes a
wide context to hear vibrato. Out comes one logit, whether there is a voice in the middle frame.

Where sources disagree: the authors' code has time first and flips its filters, as convolution in
the strict sense does; here as everywhere in minicnn the frequency comes first, and nothing is
flipped. Neither changes what can be learned.
"""

from __future__ import annotations

import functools

from minicnn import nn, ops
from minicnn.audio.compression import LogFloor
from minicnn.autograd import Tensor
from minicnn.axes import MelBands, Time
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator


class VoiceCNN(nn.Network):
    """The network, with 1,408,225 parameters.

    Parameters
    ----------
    rng : int, Generator or None
        Draws orthogonal weights (Saxe et al., 2014); biases begin at 0.
    """

    sample_rate = 22_050
    n_fft, hop_length = 1024, 315
    n_mels, fmin, fmax = 80, 27.5, 8000.0
    n_frames = 115
    # As in the authors' code.
    power, mel_filters, periodic_window = 1.0, "yaafe", False
    compression = LogFloor(1e-7)
    edges = "silent"  # what the windows of the first and the last frames see beyond the music

    input_shape = (1, n_mels, n_frames)
    axes = (MelBands(n_mels, fmin, fmax, htk=True), Time(sample_rate, hop_length))
    slide_hop = 1

    def __init__(self, *, rng=None):
        rng = generator(rng)
        conv = functools.partial(
            nn.Conv2d, kernel_size=3, weight_init=init.orthogonal, bias_init=0, rng=rng
        )
        linear = functools.partial(nn.Linear, weight_init=init.orthogonal, bias_init=0, rng=rng)
        self.conv1 = conv(1, 64)
        self.conv2 = conv(64, 32)
        self.conv3 = conv(32, 128)
        self.conv4 = conv(128, 64)
        self.pool = nn.MaxPool2d(3)
        self.dropout = nn.Dropout(0.5)
        self.fc1 = linear(64 * 7 * 11, 256)
        self.fc2 = linear(256, 64)
        self.fc3 = linear(64, 1)
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, x):  # (N, 1, 80, 115)
        x = self.activation(self.conv1(x))  # (N, 64, 78, 113)
        x = self.pool(self.activation(self.conv2(x)))  # (N, 32, 76, 111), then (N, 32, 25, 37)
        x = self.activation(self.conv3(x))  # (N, 128, 23, 35)
        x = self.pool(self.activation(self.conv4(x)))  # (N, 64, 21, 33), then (N, 64, 7, 11)
        x = self.dropout(x.reshape(len(x), 64 * 7 * 11))
        x = self.dropout(self.activation(self.fc1(x)))  # (N, 256)
        x = self.dropout(self.activation(self.fc2(x)))  # (N, 64)
        return self.fc3(x)  # (N, 1)

    def slide(self, x, *, hop: int = 1) -> Tensor:
        """Return the logits (N, 1, T - 114) of all windows of longer spectrograms (N, 1, 80, T).

        They are those of the windows one by one. Where `forward` keeps every third frame after a
        pooling, all frames are kept here and the layers behind it skip two of three, so that
        neighbours share what they have in common; the dense layers move along as convolutions.
        Memory grows with T: cut longer recordings into parts that overlap by 114 frames.

        Parameters
        ----------
        x : Tensor or array, shape (N, 1, 80, T), T >= 115
        hop : 1 or 9 [frames]
            From window to window. With 9 there are (N, 1, (T - 106) // 9) logits, which both
            poolings keep anyway: as many answers as that cost least when the network learns.

        Raises
        ------
        ValueError, TypeError
            If x has another shape or dtype, or hop is neither of the two.

        References
        ----------
        Sermanet et al., "OverFeat", ICLR 2014, section 3.5, slides dense layers; Yu & Koltun,
        "Multi-scale context aggregation by dilated convolutions", ICLR 2016, dilates.
        """
        # How far apart frames are kept after a pooling, and those that belong together behind it.
        kept, first, second = arguments.choice("slide", "hop", hop, {1: (1, 3, 9), 9: (3, 1, 1)})
        x = self.activation(self.conv1(self.checked(x, sliding=True)))
        x = self.activation(self.conv2(x))  # with a hop of 1: (N, 32, 76, T - 4)
        x = ops.max_pool2d(x, 3, stride=(3, kept))  # (N, 32, 25, T - 6), every third is forward's
        x = self.activation(_spread(x, self.conv3, first))
        x = self.activation(_spread(x, self.conv4, first))  # (N, 64, 21, T - 18)
        x = ops.max_pool2d(x, 3, stride=(3, kept), dilation=(1, first))  # (N, 64, 7, T - 24)
        weight = self.fc1.weight.reshape(256, 64, 7, 11)
        x = ops.conv2d(self.dropout(x), weight, self.fc1.bias, dilation=(1, second))
        x = self.dropout(self.activation(x))  # (N, 256, 1, T - 114)
        x = ops.conv2d(x, self.fc2.weight.reshape(64, 256, 1, 1), self.fc2.bias)
        x = self.dropout(self.activation(x))
        x = ops.conv2d(x, self.fc3.weight.reshape(1, 64, 1, 1), self.fc3.bias)
        return x.reshape(len(x), 1, x.shape[3])


def _spread(x, conv, dilation):
    """Convolve frames that lie so far apart."""
    return ops.conv2d(x, conv.weight, conv.bias, dilation=(1, dilation))


MODELS = {"voice_cnn": VoiceCNN}

"""Deep salience: for every frame and every pitch, whether some instrument plays it.

Bittner, McFee, Salamon, Li & Bello, "Deep salience representations for F0 estimation in polyphonic
music", ISMIR 2017, sections 3 and 4 and figure 3. Six constant-Q transforms go in as channels, the
harmonic CQT: that of harmonic h begins at h times the lowest pitch, so the partials of a tone lie
on top of each other, and a filter learns their weights. Out comes an image as large as the input,
one logit per frame and pitch. Nothing is pooled.

The 5x5 filters span a semitone, those of 70 bins a little more than an octave.

Where sources disagree: of the 17 variants in the authors' code this is the one that their program
for prediction runs. An even filter needs padding that is not the same on both sides: 34 bins below
and 35 above, as in TensorFlow. Batch normalisation is Keras's, with an epsilon of 1e-3 and 1 % of
each batch in the running statistics; weights begin as Keras's do.
"""

from __future__ import annotations

import functools

from minicnn import nn, ops
from minicnn.audio.compression import Decibels
from minicnn.autograd import Tensor
from minicnn.axes import ConstantQ, Time
from minicnn.nn import init
from minicnn.rng import generator


class DeepSalience(nn.Network):
    """The network, with 406,253 parameters.

    Parameters
    ----------
    rng : int, Generator or None
        Draws the weights from Glorot's uniform distribution; biases begin at 0.
    """

    sample_rate = 22_050
    hop_length = 256
    harmonics = (0.5, 1, 2, 3, 4, 5)
    n_bins, bins_per_octave, fmin = 360, 60, 32.7
    n_frames = 50  # in a training patch
    # As in the authors' code: from 80 dB below the loudest of all harmonics, 0, to that, 1.
    weighting = None
    compression = Decibels(power=False, reference=None, dynamic_range=80.0, unit=True)

    input_shape = (len(harmonics), n_bins, n_frames)
    smallest_shape = (len(harmonics), n_bins, 1)
    axes = (ConstantQ(n_bins, bins_per_octave, fmin), Time(sample_rate, hop_length))
    slide_hop = 1

    def __init__(self, *, rng=None):
        conv = functools.partial(
            nn.Conv2d,
            padding="same",
            weight_init=init.xavier_uniform,
            bias_init=0,
            rng=generator(rng),
        )
        norm = functools.partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        self.bn0 = norm(6)
        self.bendy1, self.bn1 = conv(6, 128, 5), norm(128)
        self.bendy2, self.bn2 = conv(128, 64, 5), norm(64)
        self.smoothy1, self.bn3 = conv(64, 64, 3), norm(64)
        self.smoothy2, self.bn4 = conv(64, 64, 3), norm(64)
        self.distribute, self.bn5 = conv(64, 8, (70, 3)), norm(8)
        self.squishy = conv(8, 1, 1)

    def forward(self, x):  # (N, 6, 360, T)
        x = self.bn0(x)
        x = self.bn1(ops.relu(self.bendy1(x)))  # (N, 128, 360, T)
        x = self.bn2(ops.relu(self.bendy2(x)))  # (N, 64, 360, T)
        x = self.bn3(ops.relu(self.smoothy1(x)))  # (N, 64, 360, T)
        x = self.bn4(ops.relu(self.smoothy2(x)))  # (N, 64, 360, T)
        x = self.bn5(ops.relu(self.distribute(x)))  # (N, 8, 360, T)
        x = self.squishy(x)  # (N, 1, 360, T)
        return x.reshape(len(x), *x.shape[2:])  # (N, 360, T)

    def slide(self, x) -> Tensor:
        """Return the logits (N, 360, T) of music of any length (N, 6, 360, T): the model itself.

        The logits of a frame are those of a window of the 15 frames that it sees, 7 on each side,
        or fewer where the music begins and ends.
        """
        return self(x)


MODELS = {"deep_salience": DeepSalience}

"""A tagger whose first filters cover all mel bands: the lecture's "1D convolution blocks".

Dieleman & Schrauwen, "End-to-end learning for music audio", ICASSP 2014, in the form that Pons &
Serra train as a baseline (musicnn-training, 2019). A log-mel spectrogram of 3 s goes in, 50 logits
come out, one per tag.

Each filter of the first layer looks at the entire frequency range and moves along time only, so its
output has one axis: few numbers, fast to train, but not invariant to transposition.

Where sources disagree: the paper has 128 bands; the baseline's 96, 8 frames and 66 thousand
parameters are followed. Its weights begin as He et al. (2015) have it; its batch normalisation is
TensorFlow's, with an epsilon of 1e-3 and 1 % of each batch in the running statistics.
"""

from __future__ import annotations

from minicnn import nn, ops
from minicnn.audio.compression import Log1p
from minicnn.axes import MelBands, Time
from minicnn.nn import init
from minicnn.rng import generator


class MelCNN1d(nn.Network):
    """The network, with 66,784 parameters.

    Parameters
    ----------
    classes : int
    rng : int, Generator or None
        Draws the weights from He's normal distribution; biases begin at 0.
    """

    sample_rate = 16_000
    n_fft, hop_length = 512, 256
    n_mels, fmin, fmax = 96, 0.0, 8000.0
    n_frames = 187
    # As in the baseline's code: log10(1 + 10000 x) of librosa's mel powers.
    power, mel_filters, periodic_window = 2.0, "slaney", True
    compression = Log1p(10_000, base=10)

    input_shape = (1, n_mels, n_frames)
    axes = (MelBands(n_mels, fmin, fmax), Time(sample_rate, hop_length))

    def __init__(self, *, classes: int = 50, rng=None):
        rng, he = generator(rng), init.kaiming_normal
        self.bn = nn.BatchNorm2d(1, eps=1e-3, momentum=0.01)
        self.conv1 = nn.Conv2d(1, 32, (self.n_mels, 8), weight_init=he, bias_init=0, rng=rng)
        self.conv2 = nn.Conv1d(32, 32, 8, weight_init=he, bias_init=0, rng=rng)
        self.pool = nn.MaxPool1d(4)
        self.fc1 = nn.Linear(32 * 9, 100, weight_init=he, bias_init=0, rng=rng)
        self.fc2 = nn.Linear(100, classes, weight_init=he, bias_init=0, rng=rng)

    def forward(self, x):  # (N, 1, 96, 187)
        x = ops.relu(self.conv1(self.bn(x)))  # (N, 32, 1, 180)
        x = self.pool(x.reshape(len(x), 32, 180))  # (N, 32, 45)
        x = self.pool(ops.relu(self.conv2(x)))  # (N, 32, 9)
        x = ops.relu(self.fc1(x.reshape(len(x), 32 * 9)))  # (N, 100)
        return self.fc2(x)  # (N, classes)


MODELS = {"mel_cnn_1d": MelCNN1d}

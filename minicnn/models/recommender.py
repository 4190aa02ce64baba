"""A network that hears which listeners would like a song: content-based recommendation.

Van den Oord, Dieleman & Schrauwen, "Deep content-based music recommendation", NIPS 2013; the layers
are those of Dieleman, "Recommending music on Spotify with deep learning", 2014, whose figure they
follow. A log-mel spectrogram goes in, 40 latent factors of the song come out; their loss is the
mean squared error (`ops.mse_loss`) to the factors that matrix factorisation of listening data
found, each normalised to length 1, which takes popularity out of them.

All convolutions are one-dimensional: the first filter covers all 128 mel bands. At the end each
feature map is pooled over all of time in three ways: its mean, its maximum and its L2 norm.

Where sources disagree: the article's factors are not those of weighted matrix factorisation, which
are the paper's, with 50 or 400 of them: `factors` says how many. The widths of the second to fourth
convolution stand in a figure only; 256, 512 and 512 are read from it. The article prints no sample
rate; 22,050 Hz, windows of 1024 and hops of 512 are the paper's. How weights begin is not known;
PyTorch's default is taken.
"""

from __future__ import annotations

from minicnn import nn, ops
from minicnn.audio.compression import Log1p
from minicnn.axes import MelBands, Time
from minicnn.rng import generator


class Recommender(nn.Network):
    """The network, with 9,393,704 parameters.

    Parameters
    ----------
    factors : int
        How many latent factors a song has.
    rng : int, Generator or None
        Draws every weight and bias from U(-b, b) with b = 1 / sqrt(fan-in).
    """

    sample_rate = 22_050
    n_fft, hop_length = 1024, 512
    n_mels, fmin, fmax = 128, 0.0, 11_025.0
    n_frames = 599
    # "Log-compressed" in paper and article; how stands in Dieleman & Schrauwen, "End-to-end
    # learning for music audio", ICASSP 2014.
    power, mel_filters, periodic_window = 2.0, "slaney", True
    compression = Log1p(10_000)

    input_shape = (1, n_mels, n_frames)
    smallest_shape = (1, n_mels, 103)  # for one frame to be left before the global pooling
    axes = (MelBands(n_mels, fmin, fmax), Time(sample_rate, hop_length))

    def __init__(self, *, factors: int = 40, rng=None):
        rng = generator(rng)
        self.conv1 = nn.Conv2d(1, 256, (self.n_mels, 4), rng=rng)
        self.conv2 = nn.Conv1d(256, 256, 4, rng=rng)
        self.conv3 = nn.Conv1d(256, 512, 4, rng=rng)
        self.conv4 = nn.Conv1d(512, 512, 4, rng=rng)
        self.fc1 = nn.Linear(3 * 512, 2048, rng=rng)
        self.fc2 = nn.Linear(2048, 2048, rng=rng)
        self.fc3 = nn.Linear(2048, factors, rng=rng)
        self.pool4, self.pool2 = nn.MaxPool1d(4), nn.MaxPool1d(2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):  # (N, 1, 128, 599)
        x = ops.relu(self.conv1(x))  # (N, 256, 1, 596)
        x = self.pool4(x.reshape(len(x), 256, x.shape[3]))  # (N, 256, 149)
        x = self.pool2(ops.relu(self.conv2(x)))  # (N, 256, 73)
        x = self.pool2(ops.relu(self.conv3(x)))  # (N, 512, 35)
        x = ops.relu(self.conv4(x))  # (N, 512, 32)
        pooled = [ops.global_avg_pool(x), ops.global_max_pool(x), ops.global_lp_pool(x, 2)]
        x = ops.concatenate(pooled, axis=1)  # (N, 1536)
        x = self.dropout(ops.relu(self.fc1(x)))  # (N, 2048)
        x = self.dropout(ops.relu(self.fc2(x)))  # (N, 2048)
        return self.fc3(x)  # (N, factors)


MODELS = {"recommender": Recommender}

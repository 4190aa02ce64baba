"""A tagger that treats the mel spectrogram as an image: the lecture's "2D convolution blocks".

The VGG-style baseline of Pons & Serra (musicnn-training, 2019), after Choi, Fazekas & Sandler,
"Automatic tagging using deep convolutional neural networks", ISMIR 2016. A log-mel spectrogram of 3
s goes in, 50 logits come out, one per tag.

A filter of 3x3 slides along time and frequency, so a pattern is the same pattern when it is played
higher; the price is a second axis in every feature map.

Where sources disagree: no paper has this very network, so the baseline's code is followed, also
where its first pooling, 1 band x 4 frames with a stride of 2x2, skips every second band. Its
weights begin as He et al. (2015) have it; its batch normalisation is TensorFlow's, with an epsilon
of 1e-3 and 1 % of each batch in the running statistics.
"""

from __future__ import annotations

from collections import OrderedDict

from minicnn import nn
from minicnn.audio.compression import Log1p
from minicnn.axes import MelBands, Time
from minicnn.nn import init
from minicnn.rng import generator

# For each layer the pooling behind it, window and stride (frequency, time), and the dropout.
LAYERS = (
    ((1, 4), (2, 2), 0.25),
    ((2, 2), (2, 2), 0.25),
    ((2, 2), (2, 2), 0.25),
    ((2, 2), (2, 2), 0.25),
    ((4, 4), (4, 4), 0.5),
)


class MelCNN2d(nn.Network):
    """The network, with 605,748 parameters for 128 filters and 40,884 for 32.

    Parameters
    ----------
    filters : int
        In each of the five layers.
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

    def __init__(self, filters: int = 128, *, classes: int = 50, rng=None):
        rng = generator(rng)
        self.bn = nn.BatchNorm2d(1, eps=1e-3, momentum=0.01)
        channels = (1, *[filters] * (len(LAYERS) - 1))
        self.layers = nn.Sequential(
            *(layer(c, filters, *kind, rng=rng) for c, kind in zip(channels, LAYERS, strict=True))
        )
        he = init.kaiming_normal
        self.fc = nn.Linear(filters * 1 * 2, classes, weight_init=he, bias_init=0, rng=rng)

    def forward(self, x):  # (N, 1, 96, 187)
        x = self.layers(self.bn(x))  # 48 x 92, 24 x 46, 12 x 23, 6 x 11, (N, filters, 1, 2)
        return self.fc(x.reshape(len(x), self.fc.in_features))  # (N, classes)


def layer(inputs: int, filters: int, window, stride, dropout: float, *, rng) -> nn.Sequential:
    """Return a 3x3 convolution, ReLU, batch normalisation, pooling and dropout."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(
                inputs, filters, 3, padding=1, weight_init=init.kaiming_normal, bias_init=0, rng=rng
            ),
            relu=nn.ReLU(),
            bn=nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01),
            pool=nn.MaxPool2d(window, stride),
            dropout=nn.Dropout(dropout),
        )
    )


MODELS = {"mel_cnn_2d": MelCNN2d}

"""SampleCNN: very deep, very short filters on the raw waveform, and no spectrogram at all.

Lee, Park, Kim & Nam, "Sample-level deep convolutional neural networks for music auto-tagging using
raw waveforms", SMC 2017, tables 1 to 3. A waveform goes in, 50 logits come out, one per tag.

The m^n model has a first convolution of m samples with a stride of m, and n modules of a
convolution of length m and a max pooling of m, so m^(n+1) samples become m^n frames and then one.
The best is 3^9: 59,049 samples, 2.7 s. A frame-level model has a longer first filter, the window,
and a longer stride, the hop, as an STFT does, and fewer modules behind it.

Where sources disagree: a port to PyTorch pads the first convolution, which shifts its output by one
sample; here and in the authors' code it is not padded, unless a window is longer than the hop: then
the input is padded by zeros, so that there are as many frames as hops. The paper prints the
channels of 3^9 and the code those of 2^13; their rule (128 up to the second module, 512 from the
last on, 256 between) is applied to the others. Batch normalisation is Keras's, with an epsilon of
1e-3 and 1 % of each batch in the running statistics.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from minicnn import nn
from minicnn.axes import Time
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator


class SampleCNN(nn.Network):
    """The m^n network, with 1,869,874 parameters for 3^9.

    Parameters
    ----------
    m : int, >= 2
        The length of every filter and pooling behind the first [frames].
    n : int, >= 1
        The number of modules.
    window, hop : int, optional [samples]
        The first filter and its stride; m by default. The table of frame-level models has
        729 (729), 729 (243), 243 (243), 243 (81), 81 (81), 27 (27), 27 (9), 9 (9) and 9 (3),
        all with m = 3 and as many modules as turn 59,049 / hop frames into one.
    classes : int
    rng : int, Generator or None
        Draws the filters from He's uniform distribution and the last layer from Glorot's; biases
        begin at 0.

    Raises
    ------
    ValueError
        If a number is out of range, or the window is shorter than the hop.
    """

    sample_rate = 22_050
    normalised = False  # samples come as they are

    axes = (Time(sample_rate),)

    def __init__(
        self,
        m: int = 3,
        n: int = 9,
        *,
        window: int | None = None,
        hop: int | None = None,
        classes: int = 50,
        rng=None,
    ):
        arguments.per_axis("sample_cnn", "m", m, 1, minimum=2)
        arguments.per_axis("sample_cnn", "n", n, 1)
        (hop,) = arguments.per_axis("sample_cnn", "hop", m if hop is None else hop, 1)
        window = hop if window is None else window
        arguments.per_axis("sample_cnn", "window", window, 1, minimum=hop)
        self.input_shape = (1, hop * m**n)
        rng = generator(rng)
        first = convolution(1, 128, window, stride=hop, rng=rng)
        channels = [128, *[128, 128][: n - 1], *[256] * (n - 3), 512]
        modules = [
            convolution(inputs, outputs, m, pool=m, rng=rng)
            for inputs, outputs in pairwise(channels)
        ]
        self.layers = nn.Sequential(first, *modules, convolution(512, 512, 1, rng=rng))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(512, classes, weight_init=init.xavier_uniform, bias_init=0, rng=rng)

    def forward(self, x):  # (N, 1, 59049)
        # 128 x 19683; 128 x 6561, 128 x 2187, 256 x 729, ..., 256 x 3, 512 x 1; 512 x 1
        x = self.layers(x)
        return self.fc(self.dropout(x.reshape(len(x), 512)))  # (N, classes)


def convolution(inputs, outputs, length, *, stride=1, pool=None, rng) -> nn.Sequential:
    """Return a convolution, batch normalisation, ReLU, and a pooling if there is one."""
    modules: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv1d(
            inputs,
            outputs,
            length,
            stride,
            padding="same",
            weight_init=init.kaiming_uniform,
            bias_init=0,
            rng=rng,
        ),
        bn=nn.BatchNorm1d(outputs, eps=1e-3, momentum=0.01),
        relu=nn.ReLU(),
    )
    if pool:
        modules["pool"] = nn.MaxPool1d(pool)
    return nn.Sequential(modules)


MODELS = {"sample_cnn": SampleCNN}

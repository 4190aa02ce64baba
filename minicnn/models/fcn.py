"""FCN-3 to FCN-7, taggers whose pooling reduces half a minute of music to one point.

Choi, Fazekas & Sandler, "Automatic tagging using deep convolutional neural networks", ISMIR 2016,
section 3. A log-mel spectrogram of 29 s goes in, 50 logits come out, one per tag.

Where sources disagree: the poolings of FCN-4 as lecture and paper print them, (2, 4), (4, 5), (3,
8) and (4, 8), do not give the shapes printed beside them: they give 48x341, 12x68, 4x8 and 1x1, not
48x341, 24x85, 12x21 and 1x1. Those belong to FCN-5. The poolings are followed; the variant
"lecture" has the printed shapes, from poolings (2, 4), (2, 4), (2, 4) and (12, 21). Both have the
same parameters. FCN-6 and FCN-7 add 1x1 convolutions to FCN-5. The table of FCN-3 was not at hand:
its widths and poolings are ours. The author's code has ELUs, his slides and the paper ReLUs, which
are followed; batch normalisation is Keras's, with an epsilon of 1e-3 and 1 % of each batch in the
running statistics.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable

from minicnn import nn, ops
from minicnn.audio.compression import Decibels
from minicnn.autograd import Tensor
from minicnn.axes import MelBands, Time
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator

# For each layer the filters, and the pooling (frequency, time) behind them. Filters are 3x3, or 1x1
# where nothing is left to pool.
Layers = tuple[tuple[int, tuple[int, int] | None], ...]
FCN5: Layers = ((128, (2, 4)), (256, (2, 4)), (512, (2, 4)), (1024, (3, 5)), (2048, (4, 4)))
LAYERS: dict[str, Layers] = {
    "fcn3": ((256, (4, 8)), (768, (4, 8)), (2048, (6, 21))),
    "fcn4": ((128, (2, 4)), (384, (4, 5)), (768, (3, 8)), (2048, (4, 8))),
    "fcn5": FCN5,
    "fcn6": (*FCN5, (1024, None)),
    "fcn7": (*FCN5, (1024, None), (1024, None)),
}
LECTURE: Layers = ((128, (2, 4)), (384, (2, 4)), (768, (2, 4)), (2048, (12, 21)))


class FCN(nn.Network):
    """The network of these layers; 17,365,938 parameters as FCN-4.

    Music that is longer than the paper's 1366 frames is cut, by the poolings, into several points
    in time, whose features `forward` averages, and whose logits `slide` returns one by one.

    Parameters
    ----------
    layers : one (filters, pooling) per layer
        As in `LAYERS`.
    classes : int
    rng : int, Generator or None
        Draws the filters from He's normal distribution and the last layer from Glorot's uniform
        one; biases begin at 0.
    """

    sample_rate = 12_000
    n_fft, hop_length = 512, 256
    n_mels, fmin, fmax = 96, 0.0, 6000.0
    n_frames = 1366
    # The author's program squares the powers once more before it takes decibels; not so here.
    power, mel_filters, periodic_window = 2.0, "slaney", True
    compression = Decibels(power=True, reference=1.0, dynamic_range=80.0)

    input_shape = (1, n_mels, n_frames)
    axes = (MelBands(n_mels, fmin, fmax), Time(sample_rate, hop_length))

    def __init__(self, layers, *, classes: int = 50, rng=None):
        rng = generator(rng)
        channels = [1, *(filters for filters, _ in layers)]
        self.layers = nn.Sequential(
            *(
                layer(inputs, *kind, rng=rng)
                for inputs, kind in zip(channels[:-1], layers, strict=True)
            )
        )
        self.fc = nn.Linear(
            channels[-1], classes, weight_init=init.xavier_uniform, bias_init=0, rng=rng
        )
        self.slide_hop = math.prod(pooling[1] for _, pooling in layers if pooling)
        self.smallest_shape = (1, self.n_mels, self.slide_hop)

    def forward(self, x):  # (N, 1, 96, 1366)
        x = self.layers(x)  # (N, filters, 1, 1)
        return self.fc(ops.global_avg_pool(x))  # (N, classes)

    def slide(self, x) -> Tensor:
        """Return logits (N, classes, T // slide_hop) of music of any length (N, 1, 96, T).

        The music is one long input, in which every point sees its neighbours where a lone window
        would see the zeros of its padding. So the logits of a point are those of a window that
        begins a whole number of points earlier, far enough for its receptive field.

        Parameters
        ----------
        x : Tensor or array, shape (N, 1, 96, T)

        Raises
        ------
        ValueError, TypeError
            If x has another shape or dtype.
        """
        x = self.layers(self.checked(x))  # (N, filters, 1, points)
        n, c, _, points = x.shape
        return self.fc(x.reshape(n, c, points).transpose(0, 2, 1)).transpose(0, 2, 1)


def layer(inputs: int, filters: int, pooling: tuple[int, int] | None, *, rng) -> nn.Sequential:
    """Return a convolution, batch normalisation, ReLU, and pooling with dropout if there is one."""
    size = 3 if pooling else 1
    he = init.kaiming_normal
    modules: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(
            inputs, filters, size, padding=size // 2, weight_init=he, bias_init=0, rng=rng
        ),
        bn=nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01),
        relu=nn.ReLU(),
    )
    if pooling:
        modules |= dict(pool=nn.MaxPool2d(pooling), dropout=nn.Dropout(0.5))
    return nn.Sequential(modules)


def build_fcn4(variant: str = "paper", *, classes: int = 50, rng=None) -> nn.Network:
    """Build FCN-4.

    Parameters
    ----------
    variant : "paper" or "lecture"
        With the poolings, or with the shapes, that paper and lecture print.
    classes : int
    rng : int, Generator or None
        Draws the weights.

    Raises
    ------
    ValueError
        If the variant is neither of the two.
    """
    variants = {"paper": LAYERS["fcn4"], "lecture": LECTURE}
    layers = arguments.choice("fcn4", "variant", variant, variants)
    return FCN(layers, classes=classes, rng=rng)


MODELS: dict[str, Callable[..., nn.Network]] = {
    name: functools.partial(FCN, layers) for name, layers in LAYERS.items()
}
MODELS["fcn4"] = build_fcn4
